//! Removing trees that others filled.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, fchmod, openat, renameat_with, unlinkat,
};
use rustix::io::Errno;

/// Directories below this are moved up before they are emptied, so that no depth exhausts descriptors or stack.
const DEPTH: usize = 40;

/// Removes `path` and everything below it. That it is not there is no error.
///
/// Never follows a symbolic link, works for directories without permissions and for trees of any depth, and goes on
/// after an entry that cannot be removed.
///
/// # Errors
/// The first error met, such as `EBUSY` for a mount point below.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let Some(name) = path.file_name() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = match rustix::fs::open(parent, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    let name = CString::new(std::os::unix::ffi::OsStrExt::as_bytes(name))?;
    let top = match open_dir(parent.as_fd(), &name) {
        Ok(top) => top,
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => return Ok(unlinkat(&parent, &name, AtFlags::empty())?),
        Err(error) => return Err(error.into()),
    };
    let mut removal = Removal { top: top.as_fd(), moved: 0, first_error: None };
    // Directories moved up while emptying are entries of `top` again, so repeat until none was moved.
    loop {
        let before = removal.moved;
        removal.empty(&top, 0);
        if removal.moved == before || removal.first_error.is_some() {
            break;
        }
    }
    match removal.first_error {
        Some(error) => Err(error.into()),
        None => Ok(unlinkat(&parent, &name, AtFlags::REMOVEDIR)?),
    }
}

struct Removal<'a> {
    top: std::os::fd::BorrowedFd<'a>,
    moved: u64,
    first_error: Option<Errno>,
}

impl Removal<'_> {
    fn empty(&mut self, dir: &OwnedFd, depth: usize) {
        let entries = match Dir::read_from(dir) {
            Ok(entries) => entries,
            Err(error) => return self.note(error),
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return self.note(error),
            };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let removed = match entry.file_type() {
                FileType::Directory => self.remove_dir(dir, name, depth),
                _ => match unlinkat(dir, name, AtFlags::empty()) {
                    // Not every file system tells the type in advance.
                    Err(Errno::ISDIR | Errno::PERM) => self.remove_dir(dir, name, depth),
                    other => other,
                },
            };
            if let Err(error) = removed {
                self.note(error);
            }
        }
    }

    fn remove_dir(&mut self, dir: &OwnedFd, name: &std::ffi::CStr, depth: usize) -> Result<(), Errno> {
        if depth >= DEPTH {
            return self.move_up(dir, name);
        }
        let below = open_dir(dir.as_fd(), name)?;
        self.empty(&below, depth + 1);
        unlinkat(dir, name, AtFlags::REMOVEDIR)
    }

    /// Makes a deep directory an entry of the top directory, to be emptied in the next round.
    fn move_up(&mut self, dir: &OwnedFd, name: &std::ffi::CStr) -> Result<(), Errno> {
        loop {
            self.moved += 1;
            let new = CString::new(format!(".selfsame-deep-{}", self.moved)).expect("no NUL in it");
            match renameat_with(dir, name, self.top, &new, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                other => return other,
            }
        }
    }

    fn note(&mut self, error: Errno) {
        self.first_error.get_or_insert(error);
    }
}

/// Opens a directory to empty it, giving its owner all permissions if that is what it takes.
fn open_dir(parent: std::os::fd::BorrowedFd<'_>, name: &std::ffi::CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || openat(parent, name, flags | OFlags::RDONLY, Mode::empty());
    let dir = match open() {
        Err(Errno::ACCESS) => {
            let handle = openat(parent, name, flags | OFlags::PATH, Mode::empty())?;
            chmod_handle(&handle)?;
            open()?
        }
        other => other?,
    };
    // Entries of a directory without write permission cannot be removed by an ordinary owner.
    let _ = fchmod(&dir, Mode::RWXU);
    Ok(dir)
}

/// Changes the mode of what a path handle stands for; `fchmod` does not take such handles.
fn chmod_handle(handle: &OwnedFd) -> Result<(), Errno> {
    use std::os::fd::AsRawFd as _;
    rustix::fs::chmod(format!("/proc/self/fd/{}", handle.as_raw_fd()), Mode::RWXU)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn removes_odd_modes_and_leaves_link_targets() {
        let temp = tempfile::tempdir().unwrap();
        let (kept, tree) = (temp.path().join("kept"), temp.path().join("tree"));
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), b"x").unwrap();
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::write(tree.join("a/b/file"), b"x").unwrap();
        symlink(&kept, tree.join("a/link")).unwrap();
        fs::set_permissions(tree.join("a/b"), fs::Permissions::from_mode(0o0)).unwrap();
        fs::set_permissions(tree.join("a"), fs::Permissions::from_mode(0o555)).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists() && kept.join("file").exists());
        remove_tree(&tree).unwrap();
        symlink(&kept, &tree).unwrap();
        remove_tree(&tree).unwrap();
        assert!(fs::symlink_metadata(&tree).is_err() && kept.join("file").exists());
    }

    #[test]
    fn removes_what_no_path_can_name() {
        let temp = tempfile::tempdir().unwrap();
        let tree = temp.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let mut at = rustix::fs::open(&tree, flags, Mode::empty()).unwrap();
        let name = "d".repeat(250);
        for _ in 0..3 * DEPTH {
            rustix::fs::mkdirat(&at, &name, Mode::RWXU).unwrap();
            at = openat(&at, &name, flags, Mode::empty()).unwrap();
        }
        drop(at);
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    }
}
