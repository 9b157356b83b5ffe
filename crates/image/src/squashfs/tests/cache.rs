//! The cache of compressed blocks: same bytes with and without, and one changed file costs little.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use super::*;
use crate::digest::Digest;
use crate::extent::{Extent, Source};
use crate::io::ReadAt;
use crate::squashfs::{BlockCache, extents, keys, warm};
use crate::tree::Contents;

/// A cache in memory that counts.
#[derive(Default)]
struct Kept {
    entries: Mutex<BTreeMap<Digest, Vec<u8>>>,
    made: Mutex<usize>,
    found: Mutex<usize>,
}

impl BlockCache for Kept {
    fn get(&self, key: &Digest) -> Option<Vec<u8>> {
        let entry = self.entries.lock().unwrap().get(key).cloned();
        *self.found.lock().unwrap() += usize::from(entry.is_some());
        entry
    }

    fn put(&self, key: &Digest, entry: &[u8]) {
        *self.made.lock().unwrap() += 1;
        self.entries.lock().unwrap().insert(*key, entry.to_vec());
    }
}

impl Kept {
    /// Entries made and found since the last call.
    fn count(&self) -> (usize, usize) {
        (std::mem::take(&mut *self.made.lock().unwrap()), std::mem::take(&mut *self.found.lock().unwrap()))
    }
}

/// Contents that may not be opened.
struct Closed;

impl Contents for Closed {
    fn open(&self, _: &Content) -> io::Result<Arc<dyn ReadAt + Send>> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

fn cached<'a>(options: &Options<'a>, kept: &'a Kept) -> Options<'a> {
    Options { cache: Some(kept), ..*options }
}

#[test]
fn an_image_is_the_same_without_with_an_empty_and_with_a_full_cache() {
    let (tree, contents) = sample(4096, true);
    for options in codecs(4096) {
        let plain = image(&tree, &contents, &options);
        let kept = Kept::default();
        for count in [1, 3] {
            let again = try_image(&tree, &contents, &cached(&options, &kept), count).unwrap();
            assert!(again == plain, "{options:?} with {count} jobs");
        }
        let (made, found) = kept.count();
        assert!(made > 3 && made == found, "{made} made, {found} found");
        let mut out = Cursor::new(Vec::new());
        write(&tree, &Closed, &cached(&options, &kept), jobs(2), &mut out).unwrap();
        assert!(out.into_inner() == plain, "nothing is read that is in the cache");
    }
}

#[test]
fn an_entry_that_is_none_is_made_again() {
    let (tree, contents) = sample(4096, true);
    let options = options("zstd:3", 4096);
    let plain = image(&tree, &contents, &options);
    let kept = Kept::default();
    image(&tree, &contents, &cached(&options, &kept));
    let entries = kept.entries.lock().unwrap().len();
    kept.entries.lock().unwrap().values_mut().for_each(|entry| entry.truncate(entry.len() - 1));
    kept.count();
    assert!(image(&tree, &contents, &cached(&options, &kept)) == plain);
    assert_eq!(kept.count().0, entries);
}

#[test]
fn a_tree_that_was_warmed_is_not_compressed_again() {
    let (tree, contents) = sample(4096, true);
    let options = options("zstd:3", 4096);
    let kept = Kept::default();
    warm(&tree, &contents, &cached(&options, &kept), jobs(2)).unwrap();
    let (made, _) = kept.count();
    let warmed = image(&tree, &contents, &cached(&options, &kept));
    assert_eq!(kept.count(), (0, made));
    assert!(warmed == image(&tree, &contents, &options));
}

#[test]
fn the_names_are_known_before_anything_is_read() {
    let (tree, contents) = sample(4096, true);
    for options in codecs(4096) {
        let kept = Kept::default();
        image(&tree, &contents, &cached(&options, &kept));
        let mut names = keys(&tree, &options).unwrap();
        names.sort();
        names.dedup();
        assert!(kept.entries.lock().unwrap().keys().eq(&names), "{options:?}");
    }
}

/// Many small files and some of several runs.
fn library(changed: Option<usize>) -> (Tree, Memory) {
    let mut memory = Memory::new();
    let mut tree = Tree::new(Meta::root(0o755, 0));
    for number in 0..400usize {
        let size = if number % 50 == 7 { (1 << 20) + 200_000 } else { 300 + number * 37 % 9000 };
        let mut bytes = noise(number.try_into().unwrap(), size);
        if changed == Some(number) {
            bytes[size / 2] ^= 1;
        }
        let kind = Kind::File(memory.add(bytes));
        let path = format!("{number:03}");
        tree.insert(path.as_bytes(), Leaf { meta: Meta::root(0o644, 0), kind }).unwrap();
    }
    (tree, memory)
}

/// The blocks and fragments of an image, as they are stored.
fn stored(image: Vec<u8>) -> Vec<Vec<u8>> {
    let source: Source = Arc::new(image);
    let parsed = extents(&source).unwrap();
    let blocks = parsed.map.extents().iter();
    let blocks = blocks.filter(|extent| ["data", "fragment block"].contains(&extent.structure.name));
    let read = |extent: &Extent| {
        let mut bytes = vec![0; usize::try_from(extent.len).unwrap()];
        source.read_exact_at(&mut bytes, extent.start).unwrap();
        bytes
    };
    blocks.map(read).collect()
}

#[test]
fn a_changed_file_costs_its_blocks_and_its_fragment() {
    let options = options("zstd:1", 1 << 17);
    let kept = Kept::default();
    let (tree, contents) = library(None);
    let before = stored(image(&tree, &contents, &cached(&options, &kept)));
    let (all, _) = kept.count();
    // A small file: its fragment. A large one: all its runs and its end, for they are named by the whole content.
    for (changed, costs) in [(8, 1), (399, 1), (57, 3)] {
        let (tree, contents) = library(Some(changed));
        let after = stored(image(&tree, &contents, &cached(&options, &kept)));
        assert_eq!(kept.count(), (costs, all - costs), "{changed}");
        // In the image, the block or the fragment with the changed byte, and no other.
        assert_eq!(before.len(), after.len());
        assert_eq!(before.iter().zip(&after).filter(|(one, other)| one != other).count(), 1, "{changed}");
    }
}

/// The files of 300 packages, 40 each; those of every 60th package have another length and other bytes in an `update`.
fn distribution(update: bool) -> (Tree, Memory) {
    let mut memory = Memory::new();
    let mut tree = Tree::new(Meta::root(0o755, 0));
    for package in 0..300usize {
        for number in 0..40usize {
            let seed = package * 40 + number;
            let changed = update && package % 60 == 30;
            let any = u16::from_le_bytes([noise(seed as u64, 2)[0], noise(seed as u64, 2)[1]]);
            let size = 200 + usize::from(any) % 9000 + if changed { 1 + seed % 90 } else { 0 };
            let seed = if changed { seed + 1_000_000 } else { seed };
            let kind = Kind::File(memory.add(noise(seed.try_into().unwrap(), size)));
            let path = format!("{package:03}-{number:02}");
            tree.insert(path.as_bytes(), Leaf { meta: Meta::root(0o644, 0), kind }).unwrap();
        }
    }
    (tree, memory)
}

/// Files of another length shift the ends that come after them, but only for a few fragments: then the old cuts are met
/// again. Nothing else says that an update of some packages leaves most of an image's blocks as they were.
#[test]
fn an_update_of_some_packages_leaves_most_of_the_blocks() {
    let options = options("zstd:1", 1 << 17);
    let kept = Kept::default();
    let (tree, contents) = distribution(false);
    image(&tree, &contents, &cached(&options, &kept));
    let (all, _) = kept.count();
    let (tree, contents) = distribution(true);
    image(&tree, &contents, &cached(&options, &kept));
    let (made, found) = kept.count();
    assert!(all > 400 && made > 5 && found >= (made + found) * 8 / 10, "{all}: {made} made, {found} found");
}
