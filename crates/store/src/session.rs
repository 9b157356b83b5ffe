//! Temporary files that cannot outlive their owner for long.
//!
//! Each open store that writes has a directory `tmp/<pid>-<n>/` and holds a lock on `tmp/<pid>-<n>.lock`. The kernel
//! drops the lock however the process ends; whoever finds a lock free removes the directory and then the lock file.
//! An owner makes the lock file first and removes it last, so a directory without one is nobody's.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::StoreError;
use crate::fs::{self, failed};

/// Numbers of this process's sessions, so that two stores opened by it do not meet.
static NEXT_SESSION: AtomicU64 = AtomicU64::new(0);

/// Makes names for temporary files. The session starts with the first of them: a store that is only read from needs
/// no free space.
#[derive(Debug)]
pub(crate) struct Sessions {
    tmp: PathBuf,
    current: Mutex<Option<Session>>,
}

#[derive(Debug)]
struct Session {
    dir: PathBuf,
    lock_path: PathBuf,
    /// Held until drop.
    _lock: File,
    next: u64,
}

impl Sessions {
    pub(crate) fn new(tmp: PathBuf) -> Self {
        Self { tmp, current: Mutex::new(None) }
    }

    /// A path for a file of `needed` bytes that nobody has yet.
    pub(crate) fn path(&self, needed: Option<u64>) -> Result<PathBuf, StoreError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.is_none() {
            *current = Some(Session::start(&self.tmp, needed)?);
        }
        let Some(session) = current.as_mut() else { unreachable!("it was just set") };
        session.next += 1;
        Ok(session.dir.join(session.next.to_string()))
    }

    /// Removes what dead owners left. What cannot be removed (another user's) stays: it is in nobody's way.
    pub(crate) fn sweep(&self) {
        for name in fs::sorted_names(&self.tmp).unwrap_or_default() {
            let path = self.tmp.join(&name);
            match name.strip_suffix(".lock") {
                Some(owner) => sweep_owner(&path, &self.tmp.join(owner)),
                None if !self.tmp.join(format!("{name}.lock")).exists() => {
                    let _ = fs::remove_tree(&path);
                }
                None => {}
            }
        }
    }
}

/// A directory in `tmp/` for whatever its owner likes. It is removed when dropped, or swept when its owner was killed.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn create(path: PathBuf) -> Result<Self, StoreError> {
        std::fs::create_dir(&path).map_err(failed("make directory", &path))?;
        Ok(Self(path))
    }

    /// Where it is, absolute.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is swept by a later process.
        let _ = fs::remove_tree(&self.0);
    }
}

fn sweep_owner(lock_path: &Path, dir: &Path) {
    let Ok(lock) = File::open(lock_path) else { return };
    if lock.try_lock().is_ok() && fs::is_same_file(&lock, lock_path) && fs::remove_tree(dir).is_ok() {
        let _ = std::fs::remove_file(lock_path);
    }
}

impl Session {
    fn start(tmp: &Path, needed: Option<u64>) -> Result<Self, StoreError> {
        loop {
            let number = NEXT_SESSION.fetch_add(1, Ordering::Relaxed);
            let name = format!("{}-{number}", std::process::id());
            let lock_path = tmp.join(format!("{name}.lock"));
            if lock_path.exists() {
                // A process of another pid namespace, or one that is gone and could not be swept.
                continue;
            }
            let lock = fs::create_new(&lock_path, needed)?;
            // A sweeper may have come between the creation and the lock; then the file is no longer there.
            if lock.try_lock().is_ok() && fs::is_same_file(&lock, &lock_path) {
                let dir = tmp.join(name);
                let session = Self { dir, lock_path, _lock: lock, next: 0 };
                std::fs::create_dir(&session.dir).map_err(failed("make directory", &session.dir))?;
                return Ok(session);
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if fs::remove_tree(&self.dir).is_ok() {
            let _ = std::fs::remove_file(&self.lock_path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_no_owner_is_swept() {
        let tmp = tempfile::tempdir().unwrap();
        let mine = Sessions::new(tmp.path().to_owned());
        let file = mine.path(None).unwrap();
        std::fs::write(&file, "half").unwrap();
        for (name, has_lock) in [("1-0", true), ("2-0", false)] {
            std::fs::create_dir(tmp.path().join(name)).unwrap();
            std::fs::write(tmp.path().join(name).join("1"), "dead").unwrap();
            if has_lock {
                std::fs::write(tmp.path().join(format!("{name}.lock")), "").unwrap();
            }
        }
        let other = Sessions::new(tmp.path().to_owned());
        other.sweep();
        assert_eq!(fs::sorted_names(tmp.path()).unwrap().len(), 2, "my directory and my lock");
        assert_eq!(std::fs::read(&file).unwrap(), b"half");
        drop(mine);
        assert!(fs::sorted_names(tmp.path()).unwrap().is_empty());
    }
}
