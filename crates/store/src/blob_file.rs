//! Blobs that are not written from front to back.

use std::fs::File;
use std::io::Seek;
use std::thread;

use selfsame_image::tree::Content;

use crate::Store;
use crate::error::StoreError;
use crate::fs::{self, Unfinished, failed, failed_writing};

/// A file on its way into the store that may be written in any order: it is hashed when it is whole. Dropped unfinished,
/// it leaves nothing.
#[derive(Debug)]
pub struct BlobFile {
    store: Store,
    unfinished: Unfinished,
    file: File,
}

impl Store {
    /// A new file that can become a blob. [`Store::writer`] costs less where bytes come one after the other.
    pub fn file(&self) -> Result<BlobFile, StoreError> {
        let path = self.inner.sessions.path(None)?;
        let file = fs::create_new(&path, None)?;
        Ok(BlobFile { store: self.clone(), unfinished: Unfinished::new(path), file })
    }
}

impl BlobFile {
    /// The file itself, to write to and to read from.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Hashes all bytes and gives them their name; they are then in the store for good, whatever happens to the machine.
    ///
    /// # Errors
    /// [`StoreError::Mismatch`] if they are not `expected`; nothing is kept then, nor after any other error.
    pub fn finish(mut self, expected: Option<Content>) -> Result<Content, StoreError> {
        let path = self.unfinished.path();
        self.file.rewind().map_err(failed("read", path))?;
        let disk = self.file.try_clone().map_err(failed("open", path))?;
        // The disk is busy with these bytes anyway while they are hashed.
        let (hashed, synced) = thread::scope(|scope| {
            let synced = scope.spawn(move || disk.sync_data());
            let hashed = fs::hash(&mut self.file);
            (hashed, synced.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let (hasher, size) = hashed.map_err(failed("read", path))?;
        synced.map_err(failed_writing("sync", path, Some(size)))?;
        let found = Content { size, digest: hasher.finish() };
        match expected {
            Some(expected) if expected != found => Err(StoreError::Mismatch { expected, found }),
            _ => self.store.adopt(&self.file, self.unfinished, &found).map(|()| found),
        }
    }
}
