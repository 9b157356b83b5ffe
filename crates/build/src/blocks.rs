//! Compressed blocks of SquashFS images, kept in the store from build to build and shared by all images.

use selfsame_image::Digest;
use selfsame_image::squashfs::BlockCache;
use selfsame_store::Store;

/// Kind of the store's cache entries.
const KIND: &str = "squashfs";

/// The store as a cache of blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocks<'a>(pub(crate) &'a Store);

impl BlockCache for Blocks<'_> {
    /// The store checks every byte before it hands an entry out.
    fn get(&self, key: &Digest) -> Option<Vec<u8>> {
        self.0.cache_get(KIND, key).ok().flatten()
    }

    fn put(&self, key: &Digest, entry: &[u8]) {
        // A cache that cannot be written, as on a full disk, costs time and nothing else: whatever must be written
        // fails with its own error.
        let _ = self.0.cache_put(KIND, key, entry);
    }
}
