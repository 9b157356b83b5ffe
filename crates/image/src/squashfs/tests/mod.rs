//! What the writer and the reader are held to.
#![allow(clippy::disallowed_methods, reason = "oracles are programs and their files, and tests read CI")]

mod cache;
mod host;
mod kernel;
mod mksquashfs;
mod mutate;
mod random;
mod reader;
mod sort;
mod unsquashfs;
mod writer;

use std::io::Cursor;
use std::num::NonZero;

use super::{Image, Options, WriteError, check, codec_for, write};
use crate::Epoch;
use crate::tree::{Content, Dir, Kind, Leaf, LeafId, Memory, Meta, Name, Node, Tree};

const EPOCH: Epoch = Epoch(1_700_000_000);

/// An image that mksquashfs 4.5.1 wrote with all metadata as it is; `fixture.sh` beside it says how.
const PLAIN: &[u8] = include_bytes!("plain.sqfs");

fn jobs(jobs: usize) -> NonZero<usize> {
    NonZero::new(jobs).unwrap()
}

fn options(codec: &str, block_size: u32) -> Options<'static> {
    let codec = codec_for(codec, block_size).unwrap();
    Options { block_size, codec, epoch: EPOCH, export_table: true, sort: None, cache: None, progress: None }
}

/// The codecs.
fn codecs(block_size: u32) -> [Options<'static>; 4] {
    ["zstd:15", "xz:6:x86", "gzip:9", "lz4:12"].map(|codec| options(codec, block_size))
}

fn image(tree: &Tree, contents: &Memory, options: &Options<'_>) -> Vec<u8> {
    try_image(tree, contents, options, 2).unwrap()
}

fn try_image(
    tree: &Tree,
    contents: &Memory,
    options: &Options<'_>,
    count: usize,
) -> Result<Vec<u8>, WriteError> {
    let mut out = Cursor::new(Vec::new());
    let written = write(tree, contents, options, jobs(count), &mut out)?;
    assert_eq!(written.size, u64::try_from(out.get_ref().len()).unwrap());
    assert_eq!(written.size, out.position());
    Ok(out.into_inner())
}

/// The tree as an image gives it back: leaves in the order of a walk, times at most the epoch.
fn as_read(tree: &Tree) -> Tree {
    fn below(from: &Tree, dir: &Dir, to: &mut Tree, ids: &mut Vec<Option<LeafId>>) -> Dir {
        let mut copy = Dir::new(clamped(&dir.meta));
        for (name, node) in dir.entries() {
            let node = match node {
                Node::Dir(dir) => Node::Dir(below(from, dir, to, ids)),
                Node::Leaf(id) => {
                    let leaf = from.leaf(*id);
                    let leaf = Leaf { meta: clamped(&leaf.meta), kind: leaf.kind.clone() };
                    Node::Leaf(*ids[id.index()].get_or_insert_with(|| to.add_leaf(leaf)))
                }
            };
            copy.insert(name.clone(), node).unwrap();
        }
        copy
    }
    fn clamped(meta: &Meta) -> Meta {
        Meta { mtime: i64::from(EPOCH.clamp(meta.mtime)), ..meta.clone() }
    }
    let mut to = Tree::new(Meta::root(0, 0));
    let root = below(tree, &tree.root, &mut to, &mut vec![None; tree.leaves().len()]);
    to.root = root;
    to
}

/// Reads `image` back and finds nothing wrong with it.
fn read(image: &[u8]) -> Tree {
    assert_eq!(check(image).unwrap(), []);
    Image::open(image).unwrap().to_content_tree(jobs(2)).unwrap().0
}

/// Reads the tree back, equal.
fn round_trip(tree: &Tree, contents: &Memory, options: &Options<'_>) -> Vec<u8> {
    let image = image(tree, contents, options);
    assert_same(&read(&image), &as_read(tree));
    image
}

/// Panics at the first entry that differs, rather than with two whole trees.
fn assert_same(found: &Tree, expected: &Tree) {
    let list = |tree: &Tree| {
        let mut list = Vec::new();
        tree.walk(|path, entry| {
            let path = path.escape_ascii().to_string();
            list.push(match entry.item {
                crate::tree::Item::Dir(_) => format!("{path}: {:?}", entry.meta),
                crate::tree::Item::Leaf(id, kind) => format!("{path}: {:?} {id:?} {kind:?}", entry.meta),
            });
            Ok::<(), ()>(())
        })
        .unwrap();
        list
    };
    for (found, expected) in list(found).iter().zip(&list(expected)) {
        assert_eq!(found, expected);
    }
    assert!(found == expected, "one tree has more entries");
}

/// Bytes that do not compress, the same ones for the same seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

/// A name that does not compress.
fn noisy_name(seed: u64, length: usize) -> Vec<u8> {
    noise(seed, length)
        .into_iter()
        .map(|byte| if matches!(byte, 0 | b'/') { byte + 1 } else { byte })
        .collect()
}

/// Bytes that compress by about a half, and quickly if they are many.
fn prose(seed: u64, length: usize) -> Vec<u8> {
    let part = noise(seed, length.min(30_000));
    part.iter().cycle().take(length).map(|byte| b"etaoin shrdlu\n.e"[usize::from(byte & 15)]).collect()
}

fn file(contents: &mut Memory, bytes: impl Into<Vec<u8>>) -> Leaf {
    leaf(Kind::File(contents.add(bytes)))
}

fn leaf(kind: Kind) -> Leaf {
    let mode = if matches!(kind, Kind::Symlink(_)) { 0o777 } else { 0o644 };
    Leaf { meta: Meta::root(mode, 1_600_000_000), kind }
}

fn empty() -> Tree {
    Tree::new(Meta::root(0o755, 1_600_000_000))
}

fn with_xattrs(mut leaf: Leaf, xattrs: &[(&str, &[u8])]) -> Leaf {
    leaf.meta.xattrs = xattrs.iter().map(|(name, value)| (name.as_bytes().into(), (*value).into())).collect();
    leaf
}

/// A file capability as Linux stores it: version 2, effective, `CAP_NET_BIND_SERVICE`.
const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// One of each: kinds, links, owners, times, attributes, sizes around the block size, holes, long and odd names.
/// `devices` and attributes beyond `user.` need root to be made by an oracle.
fn sample(block_size: usize, privileged: bool) -> (Tree, Memory) {
    let (mut tree, mut memory) = (empty(), Memory::new());
    let meta = |mode, uid, gid, mtime| Meta { uid, gid, ..Meta::root(mode, mtime) };
    let owner = |id| if privileged { id } else { 0 };
    tree.insert_dir(b"etc", meta(0o755, 0, 0, 1_600_000_001)).unwrap();
    tree.insert_dir(b"empty", meta(0o1777, owner(1000), owner(100_000), 1)).unwrap();
    let hostname = tree.insert(b"etc/hostname", file(&mut memory, "amnesia\n")).unwrap();
    tree.link(b"hostname", hostname).unwrap();
    tree.link(b"etc/also", hostname).unwrap();
    let mut late = file(&mut memory, "later than the epoch\n");
    late.meta = meta(if privileged { 0o4755 } else { 0o755 }, owner(4_294_967_294), 0, i64::MAX);
    tree.insert(b"etc/late", late).unwrap();
    tree.insert(b"etc/link", leaf(Kind::Symlink((*b"../hostname").into()))).unwrap();
    tree.insert(b"long-link", leaf(Kind::Symlink(vec![b'x'; 4095].into()))).unwrap();
    tree.insert(b"fifo", leaf(Kind::Fifo)).unwrap();
    for (name, bytes) in [
        ("0", vec![]),
        ("1", vec![1]),
        ("block-1", prose(1, block_size - 1)),
        ("block", prose(2, block_size)),
        ("block+1", prose(3, block_size + 1)),
        ("noise", noise(4, block_size + block_size / 8)),
        ("twin", prose(2, block_size)),
        ("five", prose(5, 5 * block_size + 77)),
        ("sparse", [prose(6, 10), vec![0; 3 * block_size], prose(7, block_size + 5)].concat()),
        ("zeros", vec![0; 2 * block_size + 9]),
        ("zero", vec![0]),
    ] {
        tree.insert(name.as_bytes(), file(&mut memory, bytes)).unwrap();
    }
    tree.insert(&[b'n'; 255], file(&mut memory, "255\n")).unwrap();
    tree.insert(b"not-utf8-\xff\xfe", file(&mut memory, "bytes\n")).unwrap();
    tree.insert(b"new\nline \\ \"", file(&mut memory, "odd\n")).unwrap();
    let big = prose(8, 300);
    let two: [(&str, &[u8]); 2] = [("user.big", &big), ("user.empty", b"")];
    tree.insert(b"xattr-a", with_xattrs(file(&mut memory, "a"), &two)).unwrap();
    tree.insert(b"xattr-b", with_xattrs(file(&mut memory, "b"), &two)).unwrap();
    let other: [(&str, &[u8]); 2] = [("user.big", &big), ("user.other", b"1")];
    tree.insert(b"xattr-c", with_xattrs(file(&mut memory, "c"), &other)).unwrap();
    let dir = with_xattrs(leaf(Kind::Fifo), &[("user.dir", b"yes")]).meta;
    tree.insert_dir(b"xattr-dir", Meta { mode: 0o700, ..dir }).unwrap();
    if privileged {
        tree.insert(b"socket", leaf(Kind::Socket)).unwrap();
        for (name, major, minor) in [("null", 1, 3), ("far", 4095, 1_048_575)] {
            tree.insert(name.as_bytes(), leaf(Kind::Char { major, minor })).unwrap();
        }
        tree.insert(b"disk", leaf(Kind::Block { major: 8, minor: 257 })).unwrap();
        let capable = with_xattrs(file(&mut memory, "cap"), &[("security.capability", CAPABILITY)]);
        tree.insert(b"capable", capable).unwrap();
        for (name, kind) in [
            ("trusted-fifo", Kind::Fifo),
            ("trusted-socket", Kind::Socket),
            ("trusted-null", Kind::Char { major: 1, minor: 3 }),
            ("trusted-disk", Kind::Block { major: 1, minor: 3 }),
            ("trusted-link", Kind::Symlink((*b"nowhere").into())),
        ] {
            let leaf = with_xattrs(leaf(kind), &[("trusted.selfsame", b"1")]);
            tree.insert(name.as_bytes(), leaf).unwrap();
        }
    }
    (tree, memory)
}

/// A directory that needs an index: `count` empty files.
fn crowd(count: usize) -> Tree {
    let mut tree = empty();
    tree.insert_dir(b"crowd", Meta::root(0o755, 0)).unwrap();
    let id = |tree: &mut Tree| tree.add_leaf(leaf(Kind::File(Content::of(b""))));
    for number in 0..count {
        let node = Node::Leaf(id(&mut tree));
        let name = Name::new(format!("entry number {number:06}").as_bytes()).unwrap();
        tree.dir_mut(b"crowd").unwrap().insert(name, node).unwrap();
    }
    tree
}
