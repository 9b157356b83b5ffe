//! What the tests of all three formats share.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use selfsame_image::extent::{Field, Parsed};
use selfsame_image::iso9660::Extent;
use selfsame_image::tree::{Kind, Leaf, LeafId, Memory, Meta, Tree, TreeError};
use selfsame_image::{Epoch, ReadAt};

/// A directory that is gone when the test ends.
pub(crate) fn scratch() -> selfsame_testkit::tempfile::TempDir {
    selfsame_testkit::tempfile::tempdir().expect("a temporary directory can be made")
}

/// Stores `bytes` as `name` in `dir` for a reference program.
#[allow(clippy::disallowed_methods)] // A test hands files to other programs; the crate itself never does.
pub(crate) fn save(dir: &Path, name: &str, bytes: &[u8]) -> std::path::PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, bytes).expect("the temporary directory takes a file");
    path
}

/// Calls `try_it` with `count` damaged forms of `good`, the same ones each time.
pub(crate) fn mutations(good: &[u8], count: u32, mut try_it: impl FnMut(&[u8])) {
    const BYTES: [u8; 8] = [0, 1, 2, 0x7f, 0x80, 0xfe, 0xff, b'.'];
    // splitmix64
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |limit: usize| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(limit).unwrap()).unwrap()
    };
    let used: Vec<usize> = (0..good.len()).filter(|at| good[*at] != 0).collect();
    let mut bad = Vec::new();
    for _ in 0..count {
        bad.clear();
        bad.extend_from_slice(good);
        for _ in 0..=below(4) {
            // Zeros are mostly padding: damage falls on or just behind what holds something.
            let at = (used[below(used.len())] + below(4)).min(bad.len().saturating_sub(1));
            match below(8) {
                _ if bad.is_empty() => {}
                0..4 => bad[at] ^= 1 << below(8),
                4..6 => bad[at] = BYTES[below(BYTES.len())],
                6 => {
                    let end = bad.len().min(at + 1 + below(32));
                    bad[at..end].fill(BYTES[below(BYTES.len())]);
                }
                _ => bad.truncate(at),
            }
        }
        try_it(&bad);
    }
}

/// Each extent of `parsed`, which is of `bytes`, with its owner and fields, a line each.
pub(crate) fn told(parsed: &Parsed, bytes: &[u8]) -> String {
    let mut text = String::new();
    for extent in parsed.map.extents() {
        let owner = String::from_utf8_lossy(parsed.map.path(extent.owner));
        writeln!(text, "{:#05x}+{:#x} {} {owner}", extent.start, extent.len, extent.structure.name).unwrap();
        let range = usize::try_from(extent.start).unwrap()..usize::try_from(extent.end()).unwrap();
        for field in (extent.structure.fields)(&bytes[range]) {
            let Field { at, len, name, value, role } = field;
            writeln!(text, "    {at}+{len} {name} = {value} ({role:?})").unwrap();
        }
    }
    text
}

/// What another program left as a file.
#[allow(clippy::disallowed_methods)] // As above.
pub(crate) fn load(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

/// Time of all fixtures: 2023-11-14T22:13:20Z.
pub(crate) const EPOCH: Epoch = Epoch(1_700_000_000);

/// A tree of regular files with directories made as needed, and what they hold.
pub(crate) fn tree(files: &[(&str, &[u8])]) -> (Tree, Memory) {
    let (mut tree, mut memory) = (Tree::new(Meta::root(0o755, i64::from(EPOCH.0))), Memory::new());
    for (path, bytes) in files {
        let content = memory.add(*bytes);
        put(&mut tree, path, Kind::File(content));
    }
    (tree, memory)
}

/// Adds a leaf, and the directories on the way to it.
pub(crate) fn put(tree: &mut Tree, path: &str, kind: Kind) -> LeafId {
    for (slash, _) in path.match_indices('/') {
        match tree.insert_dir(&path.as_bytes()[..slash], Meta::root(0o755, i64::from(EPOCH.0) - 60)) {
            Ok(()) | Err(TreeError::Exists(_)) => {}
            Err(error) => panic!("{path}: {error}"),
        }
    }
    let meta = Meta::root(0o644, i64::from(EPOCH.0) - 3600);
    tree.insert(path.as_bytes(), Leaf { meta, kind }).expect("fixtures name each file once")
}

/// Bytes that repeat only after a long while.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

/// Counts what is read of a file.
pub(crate) struct Counted<R> {
    inner: R,
    read: AtomicU64,
    largest: AtomicU64,
}

impl<R> Counted<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, read: AtomicU64::new(0), largest: AtomicU64::new(0) }
    }

    /// How many bytes were read, and the most at a time.
    pub(crate) fn read(&self) -> (u64, u64) {
        (self.read.load(Ordering::Relaxed), self.largest.load(Ordering::Relaxed))
    }
}

impl<R: ReadAt> ReadAt for Counted<R> {
    fn size(&self) -> io::Result<u64> {
        self.inner.size()
    }

    fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        let len = u64::try_from(buf.len()).unwrap();
        self.read.fetch_add(len, Ordering::Relaxed);
        self.largest.fetch_max(len, Ordering::Relaxed);
        self.inner.read_exact_at(buf, at)
    }
}

/// Joins ranges of an image.
pub(crate) fn join(image: &[u8], extents: &[Extent]) -> Vec<u8> {
    let range = |extent: &Extent| {
        let at = usize::try_from(extent.at).unwrap();
        &image[at..at + usize::try_from(extent.len).unwrap()]
    };
    extents.iter().flat_map(range).copied().collect()
}
