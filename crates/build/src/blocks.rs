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
    use std::num::NonZero;
    use std::path::{Path, PathBuf};

    use selfsame_image::Epoch;
    use selfsame_image::tree::{Leaf, Memory, Meta};
    use selfsame_testkit::Numbers;

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

    /// Files of the entries below `dir`.
    fn entries(dir: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { found.extend(entries(&path)) } else { found.push(path) }
        }
        found.sort();
        found
    }

    #[test]
    fn a_thousand_damaged_blocks_are_compressed_again_and_none_is_packed() {
        let mut numbers = Numbers(3);
        let (mut tree, mut contents) = (Tree::new(Meta::root(0o755, 0)), Memory::new());
        for number in 0..50 {
            let length = 9000 + numbers.below(300_000);
            let leaf = Leaf::file(Meta::root(0o644, 0), contents.add(numbers.bytes(length)));
            tree.insert(format!("{number}").as_bytes(), leaf).unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let made = AtomicU64::new(0);
        let blocks = Blocks::of(&store, &made);
        let pack = |cache: Option<&dyn BlockCache>| {
            let codec = "lz4:2".parse().unwrap();
            let options = squashfs::Options {
                block_size: 1 << 17,
                codec,
                epoch: Epoch(0),
                export_table: false,
                sort: None,
                cache,
                progress: None,
            };
            let mut out = std::io::Cursor::new(Vec::new());
            squashfs::write(&tree, &contents, &options, NonZero::new(2).unwrap(), &mut out).unwrap();
            (Digest::of(out.get_ref()), made.swap(0, Ordering::Relaxed))
        };
        let (cold, _) = pack(None);
        let (first, all) = pack(Some(&blocks));
        assert!(first == cold && all > 50, "{all}");
        let (mut flips, mut others) = (0, 0);
        while flips < 1000 {
            let files = entries(&dir.path().join("cache"));
            assert_eq!(files.len() as u64, all);
            for (number, file) in files.iter().enumerate() {
                let mut bytes = std::fs::read(file).unwrap();
                match number % 20 {
                    0 => bytes.truncate(numbers.below(bytes.len())),
                    // That of another block, which is damaged after this one.
                    1 => bytes = std::fs::read(&files[number + 1]).unwrap(),
                    _ => {
                        let at = numbers.below(bytes.len());
                        bytes[at] ^= 1 << numbers.below(8);
                        flips += 1;
                    }
                }
                others += u64::from(number % 20 < 2);
                std::fs::write(file, bytes).unwrap();
            }
            assert_eq!(pack(Some(&blocks)), (cold, all));
        }
        assert!(others > 50, "{others}");
        assert_eq!(pack(Some(&blocks)), (cold, 0));
    }
}
