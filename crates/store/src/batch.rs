//! Many blobs with the syncs of one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use selfsame_image::digest::Digest;
use selfsame_image::tree::Content;

use crate::Store;
use crate::blob::BlobWriter;
use crate::error::StoreError;
use crate::fs::Unfinished;

/// Blobs that get their names together, at [`Batch::commit`].
///
/// For the many small files of a tree: a sync per blob costs a millisecond on a fast disk and ten on a slow one. Until
/// the commit the blobs are nowhere to be found; after it they are as durable as single ones. Threads may share it.
#[derive(Debug)]
pub struct Batch {
    store: Store,
    pending: Arc<Pending>,
}

/// Whole files that wait for their names.
#[derive(Debug, Default)]
pub(crate) struct Pending(Mutex<BTreeMap<Digest, Unfinished>>);

impl Pending {
    /// Takes a whole file. Equal content twice is one blob; the second file is dropped and thereby removed.
    pub(crate) fn add(&self, content: Content, unfinished: Unfinished) {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pending.entry(content.digest).or_insert(unfinished);
    }

    fn contains(&self, digest: &Digest) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(digest)
    }
}

impl Store {
    /// Starts a batch.
    pub fn batch(&self) -> Batch {
        Batch { store: self.clone(), pending: Arc::default() }
    }
}

impl Batch {
    /// As [`Store::put`], to be kept at the commit.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let content = Content::of(bytes);
        let known = self.store.read(&content.digest).is_ok_and(|kept| kept.is_some());
        if !known && !self.pending.contains(&content.digest) {
            let mut writer =
                BlobWriter::new(&self.store, Some(Arc::clone(&self.pending)), Some(content.size))?;
            writer.append(bytes)?;
            writer.finish(Some(content))?;
        }
        Ok(content.digest)
    }

    /// As [`Store::writer`], to be kept at the commit.
    pub fn writer(&self) -> Result<BlobWriter, StoreError> {
        BlobWriter::new(&self.store, Some(Arc::clone(&self.pending)), None)
    }

    /// Gives all blobs their names. When this returns they are in the store for good.
    ///
    /// Writes back the whole file system twice (`syncfs`), which includes what other programs wrote to it.
    ///
    /// # Errors
    /// After an error some of the blobs may have their names; those are whole.
    pub fn commit(self) -> Result<(), StoreError> {
        let pending = std::mem::take(&mut *self.pending.0.lock().unwrap_or_else(PoisonError::into_inner));
        // Bytes before names, names before anything that refers to them.
        self.store.sync()?;
        for (digest, unfinished) in pending {
            // Over one that is there already, too: nobody looked at its bytes.
            unfinished.place(&self.store.path(&digest))?;
        }
        self.store.sync()
    }
}
