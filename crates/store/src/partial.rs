//! Downloads that survive the program.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Seek};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use selfsame_image::digest::{Digest, Hasher};
use selfsame_image::tree::Content;

use crate::Store;
use crate::error::StoreError;
use crate::fs::{self, Unfinished, failed, failed_writing};

/// The first bytes of a blob that is still being fetched, in `partial/<digest>`.
///
/// One process at a time can have it. Dropped unfinished it stays, and the next [`Store::partial`] goes on from there.
/// What an earlier run left is hashed like everything else, and trusted as little.
#[derive(Debug)]
pub struct Partial {
    store: Store,
    content: Content,
    path: PathBuf,
    file: File,
    hasher: Hasher,
    have: u64,
    finished: bool,
}

impl Store {
    /// Starts or goes on with fetching `content`; `None` if somebody else is at it just now.
    pub fn partial(&self, content: &Content) -> Result<Option<Partial>, StoreError> {
        let path = self.dir("partial").join(content.digest.to_string());
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let nofollow = rustix::fs::OFlags::NOFOLLOW.bits();
        options.custom_flags(i32::try_from(nofollow).unwrap_or_default());
        loop {
            let file = match options.open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied && thaw(&path) => continue,
                Err(error) => return Err(failed_writing("open", &path, Some(content.size))(error)),
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(failed("lock", &path)(error)),
            }
            // Whoever held the lock may have finished: then this file is a blob by now.
            if fs::is_same_file(&file, &path) {
                return Partial::go_on(self, *content, path, file).map(Some);
            }
        }
    }

    /// Removes the beginnings of blobs that are whole by now.
    pub(crate) fn sweep_partials(&self) {
        let dir = self.dir("partial");
        for name in fs::sorted_names(&dir).unwrap_or_default() {
            let whole = name.parse::<Digest>().is_ok_and(|digest| self.contains(&digest));
            let path = dir.join(name);
            if let Some(file) = File::open(&path).ok().filter(|_| whole)
                && file.try_lock().is_ok()
                && fs::is_same_file(&file, &path)
            {
                let _ = std::fs::remove_file(&path);
            }
        }
    }
}

/// Makes a whole partial writable again whose owner was killed between taking the write permission away and giving it
/// its final name. Waits for an owner who is alive; true if it is worth trying again.
fn thaw(path: &Path) -> bool {
    let Ok(file) = File::open(path) else {
        return !path.exists();
    };
    let frozen = file.metadata().is_ok_and(|found| found.permissions().mode() & 0o7777 == 0o444);
    frozen
        && file.lock().is_ok()
        && (!fs::is_same_file(&file, path) || file.set_permissions(Permissions::from_mode(0o600)).is_ok())
}

impl Partial {
    fn go_on(store: &Store, content: Content, path: PathBuf, mut file: File) -> Result<Self, StoreError> {
        file.rewind().map_err(failed("read", &path))?;
        let (hasher, have) = fs::hash(&mut file).map_err(failed("read", &path))?;
        let mut partial = Self { store: store.clone(), content, path, file, hasher, have, finished: false };
        if have > content.size {
            partial.restart()?;
        }
        Ok(partial)
    }

    /// How many bytes are there, at most the size of the content.
    pub fn have(&self) -> u64 {
        self.have
    }

    /// Adds the bytes that follow.
    ///
    /// # Errors
    /// [`StoreError::TooLong`] if that would be more than the content has; nothing is added then.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let missing = self.content.size.saturating_sub(self.have);
        if bytes.len() as u64 > missing {
            return Err(StoreError::TooLong { expected: self.content });
        }
        if let Err(error) = self.file.write_all_at(bytes, self.have) {
            // A part may have been written. It would be found and hashed by the next run, so this only saves room.
            let _ = self.file.set_len(self.have);
            return Err(failed_writing("write", &self.path, Some(missing))(error));
        }
        self.hasher.update(bytes);
        self.have += bytes.len() as u64;
        Ok(())
    }

    /// Throws away what is there.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        self.file.set_len(0).map_err(failed("empty", &self.path))?;
        self.hasher = Hasher::new();
        self.have = 0;
        Ok(())
    }

    /// Makes it a blob.
    ///
    /// # Errors
    /// [`StoreError::Mismatch`] if the bytes are not the content; they are thrown away then.
    pub fn finish(mut self) -> Result<Content, StoreError> {
        let hasher = std::mem::take(&mut self.hasher);
        let found = Content { size: self.have, digest: hasher.finish() };
        self.finished = true;
        let unfinished = Unfinished::new(self.path.clone());
        if found != self.content {
            return Err(StoreError::Mismatch { expected: self.content, found });
        }
        self.store.adopt(&self.file, unfinished, &found)?;
        Ok(found)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.finished && self.have == 0 {
            // Safe: this process holds the lock, and whoever takes it next looks whether the file still has its name.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
