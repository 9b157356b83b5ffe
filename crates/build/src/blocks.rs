//! Compressed blocks of SquashFS images, kept in the store from build to build and shared by all images.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use selfsame_apt::remote::Pull;
use selfsame_image::squashfs::{self, BlockCache};
use selfsame_image::{Digest, Tree};
use selfsame_store::Store;

/// Kind of the store's cache entries.
pub const KIND: &str = "squashfs";

/// How many bytes of compressed blocks stay in the store after a build that made more than a few: those that were used
/// last.
pub const LIMIT: u64 = 10 << 30;

/// Keys of the blocks that one build made.
#[derive(Debug, Default)]
pub(crate) struct OwnBlocks(Mutex<BTreeSet<Digest>>);

impl OwnBlocks {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The store as a cache of blocks.
#[derive(Clone, Copy, Debug)]
pub struct Blocks<'a> {
    pub(crate) store: &'a Store,
    /// If it is there, blocks that are not in it count as missing.
    pub(crate) only: Option<&'a OwnBlocks>,
    /// Who may have blocks that the store has not.
    pub(crate) remote: Option<&'a Pull<'a>>,
    /// Counts the blocks that were compressed.
    pub(crate) made: &'a AtomicU64,
}

impl Blocks<'_> {
    /// Has the remote bring what the store lacks of the blocks that `tree` will be packed into, all together: nearly all of
    /// the time of a single one is waiting. Ends early if `stop` says so.
    pub(crate) fn prefetch(
        &self,
        tree: &Tree,
        options: &squashfs::Options<'_>,
        stop: &(dyn Fn() -> bool + Sync),
    ) {
        // Whoever makes everything anew does not take it from somebody else either. What cannot be packed is told of by
        // whoever packs it.
        if let (None, Some(remote)) = (self.only, self.remote)
            && let Ok(keys) = squashfs::keys(tree, options)
        {
            remote.entries(self.store, KIND, &keys, stop);
        }
    }
}

impl<'a> Blocks<'a> {
    /// All blocks that `store` keeps. `made` counts those that are compressed.
    pub fn of(store: &'a Store, made: &'a AtomicU64) -> Self {
        Self { store, only: None, remote: None, made }
    }
}

impl BlockCache for Blocks<'_> {
    /// The store checks every byte before it hands an entry out.
    fn get(&self, key: &Digest) -> Option<Vec<u8>> {
        if self.only.is_some_and(|own| !own.lock().contains(key)) {
            return None;
        }
        self.store.cache_get(KIND, key).ok().flatten()
    }

    fn put(&self, key: &Digest, entry: &[u8]) {
        self.made.fetch_add(1, Ordering::Relaxed);
        // A cache that cannot be written, as on a full disk, costs time and nothing else: whatever must be written
        // fails with its own error.
        if self.store.cache_put(KIND, key, entry).is_ok()
            && let Some(own) = self.only
        {
            own.lock().insert(*key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_that_makes_everything_anew_finds_its_own_blocks_only() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (earlier, mine) = (Digest::of(b"earlier"), Digest::of(b"mine"));
        let made = AtomicU64::new(0);
        let all = Blocks { store: &store, only: None, remote: None, made: &made };
        all.put(&earlier, b"1");
        let own = OwnBlocks::default();
        let blocks = Blocks { only: Some(&own), ..all };
        blocks.put(&mine, b"2");
        assert_eq!((blocks.get(&earlier), blocks.get(&mine)), (None, Some(b"2".to_vec())));
        assert_eq!((all.get(&earlier), all.get(&mine)), (Some(b"1".to_vec()), Some(b"2".to_vec())));
        assert_eq!(made.into_inner(), 2);
    }
}
