//! Writing the entries of packages below a directory, and nowhere else.
//!
//! Every path is looked up by the kernel as if the directory were `/` (openat2(2) with `RESOLVE_IN_ROOT`), so links
//! to directories inside the image lead where they will lead when it runs, and nothing leads out.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, chmodat, chownat, linkat,
    mkdirat, mknodat, openat, openat2, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use selfsame_image::tree::{Meta, Name, NotAName};

use super::IdShift;
use super::xattr::{self, AttributeError};

/// What [`Extractor::add`] is given.
pub enum EntryKind<'a> {
    /// A directory.
    Dir,
    /// A regular file of `size` bytes.
    File {
        /// How many bytes `content` yields.
        size: u64,
        /// The bytes.
        content: &'a mut dyn Read,
    },
    /// A symbolic link to this target.
    Symlink(&'a [u8]),
    /// One more name of what is at this path, which is no directory. Links are not followed.
    HardLink(&'a [u8]),
    /// A named pipe.
    Fifo,
    /// A device node or socket, which is always refused: without privilege over the machine a device cannot be made,
    /// and Debian Policy 10.6 forbids packages to contain any.
    Special,
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// It is new.
    New,
    /// It took the place of something that was no directory.
    Replaced,
    /// A directory was there and stays as it was: dpkg's rule for directories and for links to them.
    Kept,
}

/// What could not be extracted.
#[derive(Debug, thiserror::Error)]
#[error("cannot extract {}", path.display())]
pub struct ExtractError {
    /// The path as the archive has it.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub reason: ExtractReason,
}

/// Why something could not be extracted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExtractReason {
    /// The kernel refused.
    #[error("the kernel refused")]
    Io(#[from] io::Error),
    /// The path starts with a slash.
    #[error("the path is absolute")]
    Absolute,
    /// A component is not a file name.
    #[error(transparent)]
    Name(#[from] NotAName),
    /// The directory it shall be in is not there.
    #[error("there is no directory for it")]
    NoParent,
    /// A directory is where something else shall be, or the reverse.
    #[error("a directory and something else have this path")]
    Conflict,
    /// What a hard link names is not there, or a directory.
    #[error("{} is no file to link to", String::from_utf8_lossy(.0))]
    LinkTarget(Vec<u8>),
    /// A device node or socket.
    #[error("it is a device node or socket")]
    Special,
    /// A target that cannot be one.
    #[error("a link to {} bytes is not possible", .0)]
    Target(usize),
    /// The owner or group is none of the image's.
    #[error("owner {uid} or group {gid} is above {}", super::IDS - 1)]
    Owner {
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// The archive ended inside a file.
    #[error("only {found} of {size} bytes are there")]
    Short {
        /// Bytes there are.
        found: u64,
        /// Bytes there should be.
        size: u64,
    },
    /// An extended attribute that is none of an image, or malformed.
    #[error("extended attribute {name} {}", .source.map_or("is not for images".into(), |it| it.to_string()))]
    Attribute {
        /// Its name.
        name: String,
        /// What is wrong with its value; `None` if its name is.
        source: Option<AttributeError>,
    },
}

impl From<Errno> for ExtractReason {
    fn from(error: Errno) -> Self {
        Self::Io(error.into())
    }
}

/// Writes entries below one directory.
#[derive(Debug)]
pub struct Extractor {
    root: OwnedFd,
    shift: IdShift,
    /// The directory last written to, by its path.
    last: Option<(Vec<u8>, OwnedFd)>,
    /// Directories made, with the time they get once nothing is written to them any more.
    made: Vec<(Vec<u8>, i64)>,
    buffer: Vec<u8>,
}

impl Extractor {
    /// Writes below `dir`, which must exist. No other process may write there meanwhile.
    ///
    /// # Errors
    /// If `dir` cannot be opened.
    pub fn new(dir: &Path, shift: IdShift) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(dir, flags, Mode::empty())?;
        Ok(Self { root, shift, last: None, made: Vec::new(), buffer: vec![0; 128 << 10] })
    }

    /// Writes one entry. `path` is relative, of components separated by slashes, with or without a leading `./`.
    ///
    /// Directories on the way must exist; links to directories are followed as if `dir` were `/`. A directory that is
    /// there stays as it is, also if the entry is a link; a file that is there is replaced, not changed.
    ///
    /// # Errors
    /// As [`ExtractReason`] says. What was written before stays; what was written of this entry may stay.
    pub fn add(&mut self, path: &[u8], meta: &Meta, kind: EntryKind<'_>) -> Result<Placed, ExtractError> {
        let placed = self.place(path, meta, kind);
        placed.map_err(|reason| ExtractError { path: OsStr::from_bytes(path).into(), reason })
    }

    /// Gives the directories that were made their times.
    ///
    /// # Errors
    /// If one is no longer there.
    pub fn finish(mut self) -> Result<(), ExtractError> {
        for (path, mtime) in std::mem::take(&mut self.made) {
            let done = self
                .directory(&path)
                .and_then(|dir| Ok(utimensat(dir, "", &times(mtime), AtFlags::EMPTY_PATH)?));
            done.map_err(|reason| ExtractError { path: OsStr::from_bytes(&path).into(), reason })?;
        }
        Ok(())
    }

    fn place(&mut self, path: &[u8], meta: &Meta, kind: EntryKind<'_>) -> Result<Placed, ExtractReason> {
        let Some((parent, name)) = normal(path)? else {
            // The top directory itself.
            return if matches!(kind, EntryKind::Dir) {
                Ok(Placed::Kept)
            } else {
                Err(ExtractReason::Conflict)
            };
        };
        let is_dir = matches!(kind, EntryKind::Dir);
        if self.last.as_ref().is_none_or(|(path, _)| *path != parent) {
            self.last = Some((parent.clone(), self.directory(&parent)?));
        }
        let Some((_, dir)) = &self.last else {
            return Err(ExtractReason::NoParent);
        };
        let owner = (self.shift.outside(meta.uid), self.shift.outside(meta.gid));
        let (Some(uid), Some(gid)) = owner else {
            return Err(ExtractReason::Owner { uid: meta.uid, gid: meta.gid });
        };
        let place = Place {
            dir,
            name: OsStr::from_bytes(name.as_bytes()),
            meta,
            owner: (Uid::from_raw(uid), Gid::from_raw(gid)),
            xattrs: stored_attributes(meta, self.shift)?,
        };
        let placed = match kind {
            EntryKind::Dir => self.dir(&place, path)?,
            EntryKind::File { size, content } => place.file(size, content, &mut self.buffer)?,
            EntryKind::Symlink(target) => place.symlink(target)?,
            EntryKind::HardLink(target) => self.hard_link(&place, target)?,
            EntryKind::Fifo => place.fifo()?,
            EntryKind::Special => return Err(ExtractReason::Special),
        };
        match placed {
            Placed::New if is_dir => self.made.push((join(&parent, &name), meta.mtime)),
            // What was replaced may have been a link on the way to the directory remembered.
            Placed::Replaced => self.last = None,
            _ => {}
        }
        Ok(placed)
    }

    /// The directory at `path`, looked up as if our directory were `/`.
    fn directory(&self, path: &[u8]) -> Result<OwnedFd, ExtractReason> {
        let path = if path.is_empty() { b"." } else { path };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let mut tries = 0;
        loop {
            match openat2(&self.root, path, flags, Mode::empty(), resolve) {
                // The kernel gives up when something else on this machine is renamed at the wrong moment.
                Err(Errno::AGAIN) if tries < 100 => tries += 1,
                Err(Errno::NOENT | Errno::NOTDIR) => return Err(ExtractReason::NoParent),
                other => return Ok(other?),
            }
        }
    }

    fn dir(&self, place: &Place<'_>, path: &[u8]) -> Result<Placed, ExtractReason> {
        match mkdirat(place.dir, place.name, Mode::RWXU) {
            Err(Errno::EXIST) => {
                // A directory, or a link to one.
                return self.directory(path).map(|_| Placed::Kept).map_err(|error| match error {
                    ExtractReason::NoParent => ExtractReason::Conflict,
                    other => other,
                });
            }
            other => other?,
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(place.dir, place.name, flags, Mode::empty())?;
        place.dress(&made)?;
        Ok(Placed::New)
    }

    /// Gives a directory that is there the metadata of a tree.
    pub(super) fn set_dir(&mut self, path: &[u8], meta: &Meta) -> Result<(), ExtractReason> {
        let handle = self.directory(path)?;
        let owner = (self.shift.outside(meta.uid), self.shift.outside(meta.gid));
        let (Some(uid), Some(gid)) = owner else {
            return Err(ExtractReason::Owner { uid: meta.uid, gid: meta.gid });
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let place = Place {
            dir: &handle,
            name: OsStr::new("."),
            meta,
            owner: (Uid::from_raw(uid), Gid::from_raw(gid)),
            xattrs: stored_attributes(meta, self.shift)?,
        };
        place.dress(&openat(&handle, ".", flags, Mode::empty())?)?;
        self.made.push((path.to_vec(), meta.mtime));
        Ok(())
    }

    fn hard_link(&self, place: &Place<'_>, target: &[u8]) -> Result<Placed, ExtractReason> {
        let missing = || ExtractReason::LinkTarget(target.to_vec());
        let Some((parent, name)) = normal(target)? else {
            return Err(missing());
        };
        let parent = self.directory(&parent).map_err(|_| missing())?;
        let name = OsStr::from_bytes(name.as_bytes());
        let from = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|_| missing())?;
        if FileType::from_raw_mode(from.st_mode) == FileType::Directory {
            return Err(missing());
        }
        if let Ok(there) = statat(place.dir, place.name, AtFlags::SYMLINK_NOFOLLOW)
            && (there.st_dev, there.st_ino) == (from.st_dev, from.st_ino)
        {
            return Ok(Placed::Replaced);
        }
        let (placed, ()) = place.make(|| linkat(&parent, name, place.dir, place.name, AtFlags::empty()))?;
        Ok(placed)
    }
}

/// Where an entry goes and what it gets there.
struct Place<'a> {
    dir: &'a OwnedFd,
    name: &'a OsStr,
    meta: &'a Meta,
    owner: (Uid, Gid),
    xattrs: Vec<Attribute<'a>>,
}

/// Name and value of an extended attribute as this machine stores it.
type Attribute<'a> = (&'a [u8], Box<[u8]>);

fn stored_attributes(meta: &Meta, shift: IdShift) -> Result<Vec<Attribute<'_>>, ExtractReason> {
    let stored = |(name, value): (&'_ [u8], &[u8])| {
        let refused =
            |source| ExtractReason::Attribute { name: String::from_utf8_lossy(name).into_owned(), source };
        if !xattr::is_kept(name) {
            return Err(refused(None));
        }
        xattr::to_outside(name, value, shift).map_err(|error| refused(Some(error)))
    };
    meta.xattrs.iter().map(|(name, value)| Ok((&**name, stored((name, value))?))).collect()
}

impl Place<'_> {
    /// Calls `make`, which makes the entry; first removes what is in the way unless that is a directory.
    fn make<T>(&self, mut make: impl FnMut() -> Result<T, Errno>) -> Result<(Placed, T), ExtractReason> {
        match make() {
            Err(Errno::EXIST) => {}
            other => return Ok((Placed::New, other?)),
        }
        match unlinkat(self.dir, self.name, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => return Err(ExtractReason::Conflict),
            other => other?,
        }
        Ok((Placed::Replaced, make()?))
    }

    fn file(&self, size: u64, content: &mut dyn Read, buffer: &mut [u8]) -> Result<Placed, ExtractReason> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (placed, file) = self.make(|| openat(self.dir, self.name, flags, Mode::RUSR | Mode::WUSR))?;
        let mut file = File::from(file);
        let mut found = 0;
        while found < size {
            let most = usize::try_from(size - found).unwrap_or(usize::MAX).min(buffer.len());
            match content.read(&mut buffer[..most]) {
                Ok(0) => return Err(ExtractReason::Short { found, size }),
                Ok(length) => {
                    file.write_all(&buffer[..length])?;
                    found += length as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        let file = OwnedFd::from(file);
        self.dress(&file)?;
        rustix::fs::futimens(&file, &times(self.meta.mtime))?;
        Ok(placed)
    }

    /// Owner, permissions and attributes of what is open. In this order: a new owner takes the set-id bits and the
    /// capabilities away.
    fn dress(&self, fd: &OwnedFd) -> Result<(), ExtractReason> {
        rustix::fs::fchown(fd, Some(self.owner.0), Some(self.owner.1))?;
        rustix::fs::fchmod(fd, Mode::from_raw_mode(self.meta.mode.into()))?;
        for (name, value) in &self.xattrs {
            rustix::fs::fsetxattr(fd, *name, value, rustix::fs::XattrFlags::empty())?;
        }
        Ok(())
    }

    fn symlink(&self, target: &[u8]) -> Result<Placed, ExtractReason> {
        if target.is_empty() || target.len() > 4095 || target.contains(&0) {
            return Err(ExtractReason::Target(target.len()));
        }
        let placed = match self.make(|| symlinkat(target, self.dir, self.name)) {
            Err(ExtractReason::Conflict) => return Ok(Placed::Kept),
            other => other?.0,
        };
        self.dress_unopened()?;
        Ok(placed)
    }

    fn fifo(&self) -> Result<Placed, ExtractReason> {
        let make = || mknodat(self.dir, self.name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0);
        let (placed, ()) = self.make(make)?;
        // It was just made, so nothing is followed.
        let mode = Mode::from_raw_mode(self.meta.mode.into());
        self.dress_unopened()?;
        chmodat(self.dir, self.name, mode, AtFlags::empty())?;
        Ok(placed)
    }

    /// Owner, attributes and time of what cannot be opened.
    fn dress_unopened(&self) -> Result<(), ExtractReason> {
        let (uid, gid) = self.owner;
        chownat(self.dir, self.name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        if !self.xattrs.is_empty() {
            let mut path = format!("/proc/self/fd/{}/", self.dir.as_raw_fd()).into_bytes();
            path.extend_from_slice(self.name.as_bytes());
            for (name, value) in &self.xattrs {
                rustix::fs::lsetxattr(path.as_slice(), *name, value, rustix::fs::XattrFlags::empty())?;
            }
        }
        Ok(utimensat(self.dir, self.name, &times(self.meta.mtime), AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

fn times(mtime: i64) -> Timestamps {
    let moment = Timespec { tv_sec: mtime, tv_nsec: 0 };
    Timestamps { last_access: moment, last_modification: moment }
}

fn join(parent: &[u8], name: &Name) -> Vec<u8> {
    let slash: &[u8] = if parent.is_empty() { b"" } else { b"/" };
    [parent, slash, name.as_bytes()].concat()
}

/// Splits a path of an archive into its directory and its last component; `None` for the top directory.
fn normal(path: &[u8]) -> Result<Option<(Vec<u8>, Name)>, ExtractReason> {
    if path.first() == Some(&b'/') {
        return Err(ExtractReason::Absolute);
    }
    let parts = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let mut names = parts.map(Name::new).collect::<Result<Vec<_>, _>>()?;
    let Some(last) = names.pop() else { return Ok(None) };
    let parent = names.iter().fold(Vec::new(), |path, name| join(&path, name));
    Ok(Some((parent, last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_archives_are_made_normal() {
        let split =
            |path: &[u8]| normal(path).map(|found| found.map(|(dir, name)| (dir, name.as_bytes().to_vec())));
        for (path, dir, name) in
            [("./usr/bin/ls", "usr/bin", "ls"), ("a", "", "a"), ("a//b/./c/", "a/b", "c")]
        {
            let found = split(path.as_bytes()).unwrap();
            assert_eq!(found, Some((dir.as_bytes().to_vec(), name.as_bytes().to_vec())), "{path}");
        }
        for top in ["", ".", "./", "./."] {
            assert_eq!(split(top.as_bytes()).unwrap(), None);
        }
        for bad in ["..", "a/../b", "./..", "a/..", "a\0b"] {
            assert!(
                matches!(split(bad.replace("\\0", "\0").as_bytes()), Err(ExtractReason::Name(_))),
                "{bad}"
            );
        }
        assert!(matches!(split(b"/etc/passwd"), Err(ExtractReason::Absolute)));
    }
}
