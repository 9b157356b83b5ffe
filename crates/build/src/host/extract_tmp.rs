//! Temporary.
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, mkdirat, openat2, symlinkat, linkat, chownat, unlinkat, open};
use selfsame_image::tree::Meta;
use super::IdShift;

/// What to make.
pub enum NewKind<'a> { /// d
 Dir, /// f
 File(&'a mut dyn Read), /// s
 Symlink(&'a [u8]), /// h
 Hardlink(&'a [u8]) }
/// Extractor.
pub struct Extractor { root: OwnedFd, shift: IdShift }
impl Extractor {
    /// new
    pub fn new(dir: &Path, shift: IdShift) -> io::Result<Self> {
        Ok(Self { root: open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?, shift })
    }
    fn parent<'a>(&self, path: &'a [u8]) -> io::Result<(OwnedFd, &'a [u8])> {
        let (p, n) = match path.iter().rposition(|b| *b == b'/') { Some(i) => (&path[..i], &path[i+1..]), None => (&b"."[..], path) };
        Ok((openat2(&self.root, p, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)?, n))
    }
    /// add
    pub fn add(&self, path: &[u8], meta: &Meta, kind: NewKind<'_>) -> io::Result<()> {
        if path.is_empty() { return Ok(()); }
        let (dir, name) = self.parent(path)?;
        let uid = Uid::from_raw(self.shift.outside(meta.uid).ok_or(io::ErrorKind::InvalidInput)?);
        let gid = Gid::from_raw(self.shift.outside(meta.gid).ok_or(io::ErrorKind::InvalidInput)?);
        let times = Timestamps { last_access: Timespec { tv_sec: meta.mtime, tv_nsec: 0 }, last_modification: Timespec { tv_sec: meta.mtime, tv_nsec: 0 } };
        let mode = Mode::from_raw_mode(u32::from(meta.mode));
        match kind {
            NewKind::Dir => {
                match mkdirat(&dir, name, Mode::from_raw_mode(0o700)) { Ok(()) => {}
                  Err(e) if e == rustix::io::Errno::EXIST => {
                    let fd = openat2(&self.root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT)?;
                    if rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) == rustix::fs::FileType::Directory { return Ok(()); }
                    return Err(e.into()); }
                  Err(e) => return Err(e.into()) }
                chownat(&dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
                rustix::fs::chmodat(&dir, name, mode, AtFlags::empty())?;
                rustix::fs::utimensat(&dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            NewKind::File(reader) => {
                let _ = unlinkat(&dir, name, AtFlags::empty());
                let fd = rustix::fs::openat(&dir, name, OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::from_raw_mode(0o600))?;
                let mut file = std::fs::File::from(fd);
                io::copy(reader, &mut file)?;
                rustix::fs::fchown(&file, Some(uid), Some(gid))?;
                rustix::fs::fchmod(&file, mode)?;
                rustix::fs::futimens(&file, &times)?;
            }
            NewKind::Symlink(target) => {
                let _ = unlinkat(&dir, name, AtFlags::empty());
                symlinkat(target, &dir, name)?;
                chownat(&dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
                rustix::fs::utimensat(&dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            NewKind::Hardlink(target) => {
                let _ = unlinkat(&dir, name, AtFlags::empty());
                let (tdir, tname) = self.parent(target)?;
                linkat(&tdir, tname, &dir, name, AtFlags::empty())?;
            }
        }
        Ok(())
    }
}
