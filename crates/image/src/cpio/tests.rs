use super::*;
use crate::digest::Digest;
use crate::epoch::Epoch;
use crate::io::wide;
use crate::tar::sample as tar_sample;
use crate::tree::text::to_string;
use crate::tree::{Content, Item, Kind, Leaf, Memory, Meta, Tree};

/// Something of everything.
fn sample() -> (Tree, Memory) {
    let (mut tree, mut memory) = tar_sample();
    let socket = Leaf { meta: Meta::root(0o666, 5), kind: Kind::Socket };
    tree.insert(b"dev/socket", socket).unwrap();
    let id = tree
        .insert(b"dev/null", Leaf { meta: Meta::root(0o666, 5), kind: Kind::Char { major: 1, minor: 3 } });
    tree.link(b"null", id.unwrap()).unwrap();
    let empty = Leaf { meta: Meta::root(0o644, 5), kind: Kind::File(memory.add("")) };
    let id = tree.insert(b"etc/empty-1", empty).unwrap();
    tree.link(b"etc/empty-2", id).unwrap();
    (tree, memory)
}

fn written(tree: &Tree, memory: &Memory, epoch: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let size = write(tree, memory, Epoch(epoch), &mut out).unwrap();
    assert_eq!(size, wide(out.len()));
    assert_eq!(size, length(tree).unwrap());
    assert_eq!(size % 512, 0);
    out
}

fn with_digests(archive: &Archive, bytes: &[u8]) -> Tree {
    let tree = archive.tree.clone().try_map(|Extent { at, size }| {
        let at = usize::try_from(at).unwrap();
        let end = at + usize::try_from(size).unwrap();
        bytes.get(at..end).map(Content::of).ok_or("outside of the source")
    });
    let mut tree = tree.unwrap();
    tree.compact();
    tree
}

/// One entry: header, name, data.
fn entry(name: &[u8], data: &[u8], change: impl FnOnce(&mut header::Header)) -> Vec<u8> {
    let mut header = header::Header {
        mode: 0o100_644,
        nlink: 1,
        filesize: u32::try_from(data.len()).unwrap(),
        namesize: u32::try_from(name.len() + 1).unwrap(),
        ..header::Header::default()
    };
    change(&mut header);
    let mut out = header.to_bytes();
    out.extend_from_slice(name);
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    [entries.concat(), entry(TRAILER, b"", |_| {})].concat()
}

#[test]
fn trees_come_back() {
    let (mut tree, memory) = sample();
    let bytes = written(&tree, &memory, u32::MAX);
    let found = read(&bytes, 0).unwrap();
    tree.compact();
    let back = with_digests(&found, &bytes);
    assert_eq!(to_string(&back), to_string(&tree));
    assert_eq!(found.end.next_multiple_of(512), wide(bytes.len()));
    // The same from the middle of a source.
    let moved = [&[0; 512][..], &bytes].concat();
    assert_eq!(with_digests(&read(&moved, 512).unwrap(), &moved), tree);
}

#[test]
fn the_bytes_are_pinned() {
    let (tree, memory) = sample();
    let digest = Digest::of(&written(&tree, &memory, 1_000_000_000)).to_string();
    assert_eq!(
        digest, "2908620a926dacfdb26254ceb81121eb1c902ed58c6e0bb4d26a142785184a33",
        "bytes changed: if intended, update and say why in the commit"
    );
}

#[test]
fn a_small_archive_field_by_field() {
    let mut memory = Memory::new();
    let mut tree = Tree::new(Meta::root(0o755, 9));
    tree.insert_dir(b"d", Meta::root(0o700, 5)).unwrap();
    let file =
        Leaf { meta: Meta { uid: 1, gid: 2, ..Meta::root(0o644, 3) }, kind: Kind::File(memory.add("hello")) };
    let id = tree.insert(b"a", file).unwrap();
    tree.link(b"d/b", id).unwrap();
    let link = Kind::Symlink(b"a b".as_slice().into());
    tree.insert(b"l", Leaf { meta: Meta::root(0o777, 0), kind: link }).unwrap();
    let bytes = written(&tree, &memory, 7);
    assert_eq!(
        dump(&bytes, 0).unwrap(),
        "\
00000000 . ino=0 mode=40755 uid=0 gid=0 nlink=3 mtime=7 filesize=0 devmajor=0 devminor=0 rdevmajor=0 rdevminor=0 namesize=2 check=0 data=70
00000070 a ino=1 mode=100644 uid=1 gid=2 nlink=2 mtime=3 filesize=0 devmajor=0 devminor=0 rdevmajor=0 rdevminor=0 namesize=2 check=0 data=e0
000000e0 d ino=2 mode=40700 uid=0 gid=0 nlink=2 mtime=5 filesize=0 devmajor=0 devminor=0 rdevmajor=0 rdevminor=0 namesize=2 check=0 data=150
00000150 d/b ino=1 mode=100644 uid=1 gid=2 nlink=2 mtime=3 filesize=5 devmajor=0 devminor=0 rdevmajor=0 rdevminor=0 namesize=4 check=0 data=1c4
000001cc l ino=3 mode=120777 uid=0 gid=0 nlink=1 mtime=0 filesize=3 devmajor=0 devminor=0 rdevmajor=0 rdevminor=0 namesize=2 check=0 target=a%20b data=23c
00000240 TRAILER!!! ino=0 mode=0 uid=0 gid=0 nlink=1 mtime=0 filesize=0 devmajor=0 devminor=0 rdevmajor=0 rdevminor=0 namesize=b check=0 data=2bc
000002bc end
"
    );
}

#[test]
fn what_the_format_cannot_hold_is_refused() {
    let message =
        |tree: &Tree| write(tree, &Memory::new(), Epoch(0), &mut Vec::new()).unwrap_err().to_string();
    let mut tree = Tree::new(Meta::root(0o755, 0));
    tree.insert(TRAILER, Leaf { meta: Meta::root(0o644, 0), kind: Kind::Fifo }).unwrap();
    assert_eq!(message(&tree), "\"TRAILER!!!\" cannot be a name in a cpio archive");
    let mut tree = Tree::new(Meta::root(0o755, 0));
    let content = Content { size: 1 << 32, digest: Digest::of(b"") };
    tree.insert(b"big", Leaf { meta: Meta::root(0o644, 0), kind: Kind::File(content) }).unwrap();
    assert_eq!(message(&tree), "\"big\" has 4294967296 bytes, the format ends at 4294967295");
    let (tree, _) = sample();
    assert_eq!(message(&tree), "cannot read the content of \"etc/block\"");
}

#[test]
fn archives_of_other_programs_are_what_the_kernel_makes_of_them() {
    let dir = |name: &[u8], mode: u32| entry(name, b"", |header| header.mode = 0o040_000 | mode);
    let linked = |name: &[u8], data: &[u8], ino| entry(name, data, |h| (h.ino, h.nlink) = (ino, 2));
    let bytes = archive(&[
        dir(b"/", 0o700),
        dir(b"./d", 0o755),
        dir(b"d", 0o711),
        linked(b"first", b"data", 1),
        linked(b"d/second", b"", 1),
        linked(b"x", b"both", 2),
        linked(b"y", b"same", 2),
        entry(b"single", b"", |h| h.ino = 1),
    ]);
    let tree = with_digests(&read(&bytes, 0).unwrap(), &bytes);
    let content = |path: &[u8]| match tree.get(path).unwrap().item {
        Item::Leaf(id, Kind::File(content)) => (*content, tree.link_counts()[id.index()]),
        item => panic!("{item:?}"),
    };
    assert_eq!(tree.root.meta.mode, 0o700);
    assert_eq!(tree.get(b"d").unwrap().meta.mode, 0o711);
    assert_eq!(content(b"d/second"), (Content::of(b"data"), 2));
    assert_eq!(content(b"x"), (Content::of(b"same"), 2));
    assert_eq!(content(b"single"), (Content::of(b""), 1));
}

#[test]
fn every_broken_rule_is_named() {
    let one = |entry: Vec<u8>| read(&archive(&[entry]), 0).unwrap_err().to_string();
    type Change = fn(&mut header::Header);
    let changed = |change: Change| one(entry(b"a", b"data", change));
    for (change, wanted) in [
        ((|h| h.mode = 0o644) as Change, "corrupt at byte 0x0: mode 644 with 4 bytes of data"),
        (|h| (h.mode, h.filesize) = (0o170_644, 0), "corrupt at byte 0x0: mode is 170644 (octal)"),
        (|h| h.mode = 0o040_755, "corrupt at byte 0x0: mode 40755 with 4 bytes of data"),
        (
            |h| (h.mode, h.filesize) = (0o120_777, 0),
            "corrupt at byte 0x0: symbolic link target of 0 bytes is empty, too long or has a NUL",
        ),
        (
            |h| (h.mode, h.filesize, h.rdevmajor) = (0o020_600, 0, 4_096),
            "corrupt at byte 0x0: device 4096:0 is out of range",
        ),
        (|h| h.filesize = u32::MAX, "corrupt at byte 0x0: entry needs 4294967407 bytes, the source has 240"),
        (
            |h| h.namesize = 0,
            "corrupt at byte 0x0: name of 0 bytes is empty, too long, or does not end with its only NUL",
        ),
        (
            |h| h.namesize = 1,
            "corrupt at byte 0x0: name of 1 bytes is empty, too long, or does not end with its only NUL",
        ),
        (
            |h| h.namesize = 3,
            "corrupt at byte 0x0: name of 3 bytes is empty, too long, or does not end with its only NUL",
        ),
        (
            |h| h.namesize = 5_000,
            "corrupt at byte 0x0: name of 5000 bytes is empty, too long, or does not end with its only NUL",
        ),
    ] {
        assert_eq!(changed(change), wanted);
    }
    assert_eq!(
        one(entry(b"a/../../b", b"", |_| {})),
        "corrupt at byte 0x0: path \"a/../../b\" has a component \"..\""
    );
    assert_eq!(
        one(entry(b"a/b", b"", |_| {})),
        "corrupt at byte 0x0: entry does not fit into the tree: a does not exist"
    );
    let twice = archive(&[entry(b"a", b"", |_| {}), entry(b"a", b"", |_| {})]);
    assert_eq!(
        read(&twice, 0).unwrap_err().to_string(),
        "corrupt at byte 0x70: entry does not fit into the tree: a exists already"
    );
    let links = archive(&[entry(b"a", b"12", |h| h.nlink = 2), entry(b"b", b"123", |h| h.nlink = 2)]);
    assert_eq!(
        read(&links, 0).unwrap_err().to_string(),
        "corrupt at byte 0x74: a hard link has 3 bytes of data, another name of the same file had 2"
    );
    let mut odd = archive(&[]);
    odd[6] = b'g';
    assert_eq!(
        read(&odd, 0).unwrap_err().to_string(),
        "corrupt at byte 0x0: header field ino is \"g0000000\""
    );
    odd[5] = b'2';
    assert_eq!(
        read(&odd, 0).unwrap_err().to_string(),
        "unsupported feature at byte 0x0: cpio with checksums"
    );
    odd[..6].copy_from_slice(b"070708");
    assert_eq!(read(&odd, 0).unwrap_err().to_string(), "corrupt at byte 0x0: header magic is \"070708\"");
    let good = archive(&[]);
    assert_eq!(
        read(&good, u64::MAX - 5).unwrap_err().to_string(),
        format!("corrupt at byte {:#x}: entry needs {} bytes, the source has 124", u64::MAX - 5, u64::MAX)
    );
    assert!(read(&good[..121].to_vec(), 0).is_ok(), "padding after the trailer may be missing");
    assert!(read(&good[..120].to_vec(), 0).is_err());
}

#[test]
fn mutated_archives_never_panic() {
    let (tree, memory) = sample();
    let good = written(&tree, &memory, 7);
    crate::mutation::mutations(&good, 6_000, |bytes| {
        let bytes = bytes.to_vec();
        if let Ok(found) = read(&bytes, 0) {
            assert!(found.end <= wide(bytes.len()));
            let _ = with_digests(&found, &bytes);
        }
        let _ = dump(&bytes, 0);
    });
}
