//! Other bytes in the place of a file: it is whole, or what it was, and all else that is known of it stays.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{XattrFlags, fchown, fgetxattr, flistxattr, fsetxattr};

use super::files::Group;
use crate::failure::Failure;

/// Puts `bytes` in the place of a file that is open as `old`, under all of its names.
///
/// The first name is replaced by a rename; each other one then becomes a further name of the new file, by a rename, too. Who stops
/// this in between finds each name with the old content or the new one, whole.
pub fn replace(group: &Group, old: &File, bytes: &[u8]) -> Result<(), Failure> {
    let (first, others) = group.names.split_first().expect("a file has a name");
    let cannot = |path: &Path, error: io::Error| {
        Failure::environment(error).context(format!("cannot replace {}", path.display()))
    };
    let next = beside(first);
    renamed(&next, first, || copy(&next, old, bytes)).map_err(|error| cannot(first, error))?;
    for path in others {
        let next = beside(path);
        renamed(&next, path, || fs::hard_link(first, &next)).map_err(|error| cannot(path, error))?;
    }
    Ok(())
}

/// A name in the same directory that nobody else uses.
fn beside(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".selfsame.{}.{count}.new", std::process::id()))
}

/// Has `make` make `next`, and renames it to `path`. Nothing is left if that fails.
fn renamed(next: &Path, path: &Path, make: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    // What another process of this number left behind when it was killed.
    match fs::remove_file(next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    make().and_then(|()| fs::rename(next, path)).inspect_err(|_| drop(fs::remove_file(next)))
}

/// Makes a file with these bytes and with owner, permissions, attributes and times of another, and has it written to the disk.
fn copy(path: &Path, old: &File, bytes: &[u8]) -> io::Result<()> {
    let meta = old.metadata()?;
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (meta.uid(), meta.gid()) {
        let owner = (rustix::fs::Uid::from_raw(meta.uid()), rustix::fs::Gid::from_raw(meta.gid()));
        fchown(&file, Some(owner.0), Some(owner.1))?;
    }
    // Another owner takes special bits and capabilities away.
    file.set_permissions(fs::Permissions::from_mode(meta.mode() & 0o7777))?;
    attributes(old, &file)?;
    let accessed = meta.accessed()?;
    file.set_times(fs::FileTimes::new().set_modified(meta.modified()?).set_accessed(accessed))?;
    file.sync_data()
}

/// Gives `new` the extended attributes of `old`.
fn attributes(old: &File, new: &File) -> io::Result<()> {
    let mut names = vec![0; 64 << 10];
    let len = match flistxattr(old, &mut names[..]) {
        Err(rustix::io::Errno::NOTSUP) => return Ok(()),
        len => len?,
    };
    names.truncate(len);
    let mut value = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = <OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name);
        value.resize(64 << 10, 0);
        let len = fgetxattr(old, name, &mut value[..])?;
        // What the system gave it already need not be allowed.
        let mut given = vec![0; len];
        if fgetxattr(new, name, &mut given[..]).is_ok_and(|found| given[..found] == value[..len]) {
            continue;
        }
        fsetxattr(new, name, &value[..len], XattrFlags::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_but_the_bytes_stays() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("a"), "old").unwrap();
        fs::hard_link(at("a"), at("b")).unwrap();
        fs::set_permissions(at("a"), fs::Permissions::from_mode(0o4751)).unwrap();
        let file = File::open(at("a")).unwrap();
        let tagged = fsetxattr(&file, "user.note", b"kept", XattrFlags::empty()).is_ok();
        let then = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123_000_000);
        File::options().write(true).open(at("a")).unwrap().set_modified(then).unwrap();
        replace(&Group { names: vec![at("a"), at("b")], elsewhere: 0 }, &file, b"new").unwrap();
        let (a, b) = (fs::metadata(at("a")).unwrap(), fs::metadata(at("b")).unwrap());
        assert_eq!((a.ino(), a.nlink(), a.mode() & 0o7777), (b.ino(), 2, 0o4751));
        assert_eq!(a.modified().unwrap(), then);
        assert_eq!(fs::read(at("b")).unwrap(), b"new");
        let mut value = [0; 9];
        let len = rustix::fs::getxattr(at("a"), "user.note", &mut value[..]);
        assert_eq!(len.ok().map(|len| &value[..len]), tagged.then_some(&b"kept"[..]));
        // A directory stands in the way: it stays, and nothing is left of the attempt.
        fs::create_dir(at("d")).unwrap();
        replace(&Group { names: vec![at("d")], elsewhere: 0 }, &file, b"new").unwrap_err();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }
}
