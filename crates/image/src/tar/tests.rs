use std::io::{Read, Write};

use super::*;
use crate::digest::Digest;
use crate::epoch::Epoch;
use crate::tree::text::to_string;
use crate::tree::{Content, Item, Kind as Node, Leaf, Memory, Tree};

/// Something of everything that an archive can hold, with names at the limits of the header's fields.
pub(crate) fn sample() -> (Tree, Memory) {
    let mut memory = Memory::new();
    let mut tree = Tree::new(Meta::root(0o755, 7));
    let meta = |mode, gid| Meta { gid, ..Meta::root(mode, 1_000_000_007) };
    for dir in ["dev", "etc", "usr", "usr/bin", &"d".repeat(97), &"e".repeat(98)] {
        tree.insert_dir(dir.as_bytes(), meta(0o755, 0)).unwrap();
    }
    let leaf = |mode, gid, kind| Leaf { meta: meta(mode, gid), kind };
    tree.insert(b"dev/console", leaf(0o600, 5, Node::Char { major: 5, minor: 1 })).unwrap();
    tree.insert(b"dev/disk", leaf(0o660, 6, Node::Block { major: 259, minor: 1_048_575 })).unwrap();
    tree.insert(b"dev/pipe", leaf(0o644, 0, Node::Fifo)).unwrap();
    tree.insert(b"etc/empty", leaf(0o4711, 0, Node::File(memory.add("")))).unwrap();
    tree.insert(b"etc/block", leaf(0o644, 0, Node::File(memory.add([b'x'; 512])))).unwrap();
    tree.insert(b"etc/motd", leaf(0o644, 0, Node::File(memory.add("hello\n")))).unwrap();
    tree.insert(b"etc/\xc3\xa9\xff \n", leaf(0o644, 0, Node::File(memory.add("odd name\n")))).unwrap();
    let id = tree.insert(b"usr/bin/tool", leaf(0o755, 0, Node::File(memory.add([1; 1_000])))).unwrap();
    tree.link(b"bin", id).unwrap();
    tree.link(b"usr/bin/other", id).unwrap();
    for (name, length) in [(97, 98), (98, 99), (99, 100), (100, 101), (250, 4_000)] {
        let target = Node::Symlink(vec![b't'; length].into());
        let name = format!("{}{}", "usr/", "n".repeat(name - 4));
        tree.insert(name.as_bytes(), leaf(0o777, 0, target)).unwrap();
    }
    (tree, memory)
}

/// The sample with what needs PAX records besides long names.
pub(crate) fn extended() -> (Tree, Memory) {
    let (mut tree, mut memory) = sample();
    let mut meta = Meta { uid: u32::MAX - 1, gid: 1 << 21, ..Meta::root(0o755, 5) };
    meta.xattrs.insert(b"security.capability".as_slice().into(), [1, 0, 0, 2, b'\n', b'='].as_slice().into());
    meta.xattrs.insert(b"user.a%=%25".as_slice().into(), b"".as_slice().into());
    tree.set_file(b"etc/capable", Leaf { meta, kind: Node::File(memory.add("ping")) }).unwrap();
    tree.root.meta.xattrs.insert(b"user.root".as_slice().into(), b"1".as_slice().into());
    (tree, memory)
}

fn written(tree: &Tree, memory: &Memory, epoch: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let length = write(tree, memory, Epoch(epoch), &mut out).unwrap();
    assert_eq!(length, wide(out.len()));
    assert_eq!(length % 10_240, 0);
    out
}

fn wide(length: usize) -> u64 {
    crate::io::wide(length)
}

/// The entries, or the message of the first error.
fn read(bytes: &[u8], dialect: Dialect) -> Result<Vec<Entry>, String> {
    let mut reader = Reader::new(bytes, dialect);
    let mut out = Vec::new();
    while let Some(entry) = reader.next().map_err(|error| error.to_string())? {
        out.push(entry);
    }
    Ok(out)
}

/// One header block with a right checksum.
fn header(name: &[u8], flag: u8, size: u64, change: impl FnOnce(&mut [u8; 512])) -> Vec<u8> {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name);
    block[100..107].copy_from_slice(b"0000644");
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    change(&mut block);
    let sum = header::checksum(&block);
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.to_vec()
}

fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn archive(parts: &[Vec<u8>]) -> Vec<u8> {
    let mut out = parts.concat();
    out.resize(out.len() + 1_024, 0);
    out
}

#[test]
fn trees_come_back() {
    let (mut tree, memory) = extended();
    let archive = written(&tree, &memory, u32::MAX);
    let (mut back, contents) = read_tree(&archive[..], Dialect::Any).unwrap();
    tree.compact();
    back.compact();
    assert_eq!(to_string(&back), to_string(&tree));
    assert_eq!(back, tree);
    assert_eq!(written(&back, &contents, u32::MAX), archive);
}

#[test]
fn the_bytes_are_pinned() {
    let (tree, memory) = extended();
    assert_eq!(
        Digest::of(&written(&tree, &memory, 1_000_000_000)).to_string(),
        "755b03380aeca70734276489098797bc196a9efa4367071ec4af76ddb27d9572",
        "bytes changed: if intended, update and say why in the commit"
    );
}

#[test]
fn times_are_clamped_and_sockets_refused() {
    let (mut tree, memory) = sample();
    tree.root.meta.mtime = -1;
    let entries = read(&written(&tree, &memory, 5), Dialect::Any).unwrap();
    assert_eq!(entries[0].mtime, 0);
    assert!(entries[1..].iter().all(|entry| entry.mtime == 5));
    let socket = Leaf { meta: Meta::root(0o644, 0), kind: Node::Socket };
    tree.set_file(b"etc/s", socket).unwrap();
    let error = write(&tree, &memory, Epoch(5), &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "\"etc/s\" is a socket, which a tar archive cannot hold");
}

#[test]
fn missing_contents_and_full_disks_are_told_apart() {
    let (tree, memory) = sample();
    let error = write(&tree, &Memory::new(), Epoch(5), &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the content of \"bin\"");
    let mut small = [0; 3_000];
    let error = write(&tree, &memory, Epoch(5), &mut &mut small[..]).unwrap_err();
    assert!(matches!(error, WriteError::Output(_)), "{error:?}");
}

#[test]
fn files_above_eight_gib_have_a_size_record() {
    struct Zeros;
    impl crate::tree::Contents for Zeros {
        fn open(&self, content: &Content) -> std::io::Result<std::sync::Arc<dyn crate::io::ReadAt + Send>> {
            struct Source(u64);
            impl crate::io::ReadAt for Source {
                fn size(&self) -> std::io::Result<u64> {
                    Ok(self.0)
                }
                fn read_exact_at(&self, buf: &mut [u8], _: u64) -> std::io::Result<()> {
                    buf.fill(0);
                    Ok(())
                }
            }
            Ok(std::sync::Arc::new(Source(content.size)))
        }
    }
    /// Keeps the start and counts the rest.
    struct Start(Vec<u8>, u64);
    impl Write for Start {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let room = bytes.len().min(8_192 - self.0.len());
            self.0.extend_from_slice(&bytes[..room]);
            self.1 += wide(bytes.len());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let size = (1 << 33) + 1;
    let mut tree = Tree::new(Meta::root(0o755, 0));
    let content = Content { size, digest: Digest::of(b"") };
    tree.insert(b"big", Leaf { meta: Meta::root(0o644, 0), kind: Node::File(content) }).unwrap();
    let mut start = Start(Vec::new(), 0);
    let length = write(&tree, &Zeros, Epoch(0), &mut start).unwrap();
    assert_eq!((start.1, length), (length, (size + 5 * 512).next_multiple_of(10_240)));
    let mut reader = Reader::new(&start.0[..], Dialect::Any);
    reader.next().unwrap();
    assert_eq!(reader.next().unwrap().unwrap().kind, Kind::File { size });
}

#[test]
fn gnu_long_names_are_read_in_both_dialects() {
    let long = [b"./".as_slice(), "x/".repeat(300).as_bytes(), b"name\0"].concat();
    let bytes = archive(&[
        header(b"././@LongLink", b'L', wide(long.len()), |_| {}),
        padded(&long),
        header(b"././@LongLink", b'K', 6, |_| {}),
        padded(b"targe\0"),
        header(b"cut", b'2', 0, |block| block[157..160].copy_from_slice(b"cut")),
    ]);
    for dialect in [Dialect::Dpkg, Dialect::Any] {
        let entries = read(&bytes, dialect).unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].path, [&b"x/".repeat(300)[..], b"name"].concat());
        assert_eq!(entries[0].kind, Kind::Symlink(b"targe".to_vec()));
        assert_eq!(entries[0].at, 2_560);
    }
}

#[test]
fn old_forms_that_dpkg_takes() {
    let v7 = |name: &[u8], flag| header(name, flag, 0, |block| block[257..265].fill(0));
    let prefixed = header(b"name", b'0', 0, |block| block[345..349].copy_from_slice(b"pre/"));
    let typed = header(b"typed", b'0', 0, |block| block[100..107].copy_from_slice(b"0100644"));
    let bytes = archive(&[v7(b"dir/", 0), v7(b"/./abs//f", 0), prefixed, typed]);
    let entries = read(&bytes, Dialect::Dpkg).unwrap();
    let found: Vec<_> = entries.iter().map(|e| (&e.path[..], &e.kind, e.mode)).collect();
    let file = &Kind::File { size: 0 };
    assert_eq!(
        found,
        [
            (&b"dir"[..], &Kind::Dir, 0o644),
            (b"abs/f", file, 0o644),
            (b"pre/name", file, 0o644),
            (b"typed", file, 0o644)
        ]
    );
}

#[test]
fn a_small_archive_field_by_field() {
    let mut memory = Memory::new();
    let mut tree = Tree::new(Meta::root(0o755, 9));
    let mut meta = Meta { uid: 1, gid: 1 << 21, ..Meta::root(0o644, 3) };
    meta.xattrs.insert(b"user.a".as_slice().into(), b"\0=".as_slice().into());
    let id = tree.insert(b"a", Leaf { meta, kind: Node::File(memory.add("hello")) }).unwrap();
    tree.link(b"b", id).unwrap();
    tree.insert(b"c", Leaf { meta: Meta::root(0o600, 0), kind: Node::Char { major: 5, minor: 1 } }).unwrap();
    assert_eq!(
        dump(&written(&tree, &memory, 7)[..], Dialect::Any).unwrap(),
        "\
00000000 name=./ mode=0000755 uid=0000000 gid=0000000 size=00000000000 mtime=00000000007 chksum=007351%00%20 typeflag=5 magic=ustar version=00 devmajor=0000000 devminor=0000000
00000200 name=./PaxHeaders/a mode=0000644 uid=0000000 gid=0000000 size=00000000051 mtime=00000000003 chksum=010400%00%20 typeflag=x magic=ustar version=00
         pax gid=2097152
         pax SCHILY.xattr.user.a=%00%3D
00000600 name=./a mode=0000644 uid=0000001 gid=0000000 size=00000000005 mtime=00000000003 chksum=007504%00%20 typeflag=0 magic=ustar version=00 devmajor=0000000 devminor=0000000
00000800 data 5 bytes
00000a00 name=./PaxHeaders/b mode=0000644 uid=0000000 gid=0000000 size=00000000017 mtime=00000000003 chksum=010403%00%20 typeflag=x magic=ustar version=00
         pax gid=2097152
00000e00 name=./b mode=0000644 uid=0000001 gid=0000000 size=00000000000 mtime=00000000003 chksum=007777%00%20 typeflag=1 linkname=./a magic=ustar version=00 devmajor=0000000 devminor=0000000
00001000 name=./c mode=0000600 uid=0000000 gid=0000000 size=00000000000 mtime=00000000000 chksum=007476%00%20 typeflag=3 magic=ustar version=00 devmajor=0000005 devminor=0000001
00001200 end
"
    );
    let long = archive(&[header(b"l", b'L', 4, |_| {}), padded(b"a b\0"), header(b"x", b'0', 0, |_| {})]);
    assert!(dump(&long[..], Dialect::Dpkg).unwrap().contains("         long a%20b\n"));
}

#[test]
fn every_broken_rule_is_named() {
    let one = |block: Vec<u8>| read(&archive(&[block]), Dialect::Dpkg).unwrap_err();
    let set = |at: usize, with: &'static [u8]| {
        move |block: &mut [u8; 512]| block[at..at + with.len()].copy_from_slice(with)
    };
    for (block, wanted) in [
        (header(b"a/../b", b'0', 0, |_| {}), "corrupt at byte 0x0: path \"a/../b\" has a component \"..\""),
        (header(b"..", b'5', 0, |_| {}), "corrupt at byte 0x0: path \"..\" has a component \"..\""),
        (header(b"", b'0', 0, |_| {}), "corrupt at byte 0x0: path \"\" is empty"),
        (header(b"./", b'2', 0, set(157, b"a")), "corrupt at byte 0x0: path \"./\" is empty"),
        (
            header(b"a", b'1', 0, set(157, b"../b")),
            "corrupt at byte 0x0: path \"../b\" has a component \"..\"",
        ),
        (
            header(b"a", b'1', 5, set(157, b"b")),
            "corrupt at byte 0x0: an entry with type flag '1' claims 5 bytes of data",
        ),
        (
            header(b"a", b'5', 5, |_| {}),
            "corrupt at byte 0x0: an entry with type flag '5' claims 5 bytes of data",
        ),
        (
            header(b"a", b'2', 0, |_| {}),
            "corrupt at byte 0x0: symbolic link target of 0 bytes is empty, too long or has a NUL",
        ),
        (header(b"a", b'Z', 0, |_| {}), "corrupt at byte 0x0: unknown type flag 'Z'"),
        (header(b"a", b's', 0, |_| {}), "corrupt at byte 0x0: unknown type flag 's'"),
        (header(b"a", b'S', 0, |_| {}), "unsupported feature at byte 0x0: GNU sparse file"),
        (header(b"a", b'x', 0, |_| {}), "unsupported feature at byte 0x0: PAX extended header"),
        (header(b"a", b'g', 0, |_| {}), "unsupported feature at byte 0x0: PAX global header"),
        (
            header(b"a", b'0', 0, set(100, b"0040644")),
            "corrupt at byte 0x0: mode 40644 does not fit type flag '0'",
        ),
        (
            header(b"a", b'0', 0, set(108, b"00000x0")),
            "corrupt at byte 0x0: header field uid is [30, 30, 30, 30, 30, 78, 30, 00]",
        ),
        (
            header(b"a", b'0', 0, set(124, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")),
            "corrupt at byte 0x0: header field size is [ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff, ff]",
        ),
        (
            header(b"a", b'0', 0, set(124, b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff")),
            "corrupt at byte 0x0: size 18446744073709551615 does not fit in 63 bits",
        ),
        (header(b"a", b'3', 0, set(329, b"0010000")), "corrupt at byte 0x0: device 4096:0 is out of range"),
        (
            header(b"a", b'0', 0, set(257, b"USTAR")),
            "corrupt at byte 0x0: header magic is [55, 53, 54, 41, 52, 00, 30, 30]",
        ),
        (header(b"a", b'0', 1_500, |_| {}), "corrupt at byte 0x600: the archive ends 512 bytes too early"),
        (
            header(b"a", b'L', 1 << 20, |_| {}),
            "corrupt at byte 0x0: extension header of 1048576 bytes, at most 65536 are allowed",
        ),
        (header(b"a", b'L', 0, |_| {}), "corrupt at byte 0x200: the archive ends after an extension header"),
    ] {
        assert_eq!(one(block), wanted);
    }
    let good = header(b"a", b'0', 0, |_| {});
    let mut flipped = good.clone();
    flipped[0] = b'b';
    assert_eq!(one(flipped), "corrupt at byte 0x0: header checksum is 3617, the header says 3616 (octal)");
    let read = |bytes: &[u8]| read(bytes, Dialect::Dpkg).unwrap_err();
    assert_eq!(read(&good), "corrupt at byte 0x200: the archive ends without a block of zeros");
    assert_eq!(read(&good[..500]), "corrupt at byte 0x0: the archive ends 12 bytes too early");
    assert_eq!(
        read(&archive(&[good.clone(), vec![0; 512], good.clone()])),
        "corrupt at byte 0x400: data follows the end of the archive"
    );
    let hidden = archive(&[header(b"a", b'L', 4, |_| {}), padded(b"a\0b\0"), good.clone()]);
    assert_eq!(read(&hidden), "corrupt at byte 0x0: path \"a\\0b\\0\" has a NUL byte");
    let long = padded(&[b'x'; 256]);
    assert_eq!(
        read(&archive(&[header(b"a", b'L', 256, |_| {}), long, good.clone()])).split_at(25).0,
        "corrupt at byte 0x400: pa"
    );
    let twice = [header(b"a", b'L', 2, |_| {}), padded(b"b\0")].concat();
    assert_eq!(
        read(&archive(&[twice.clone(), twice, good])),
        "corrupt at byte 0x400: extension header 'L' contradicts one before it"
    );
}

/// GHSA-3cv2-h65g-fgmm and RUSTSEC-2026-0068: what a PAX size is about must be the next entry and nothing else.
#[test]
fn pax_headers_cannot_shift_what_is_an_entry() {
    let records = |pairs: &[(&str, &str)]| {
        let mut body = Vec::new();
        pairs.iter().for_each(|(key, value)| pax::record(&mut body, key.as_bytes(), value.as_bytes()));
        body
    };
    let pax = |flag, body: &[u8]| [header(b"pax", flag, wide(body.len()), |_| {}), padded(body)].concat();
    let inner = header(b"inner", b'0', 0, |_| {});
    let sized = archive(&[
        pax(b'g', &records(&[("uid", "5"), ("uname", "u")])),
        pax(b'x', &records(&[("size", "512"), ("path", "p/q"), ("mtime", "-1.5"), ("gid", "9")])),
        header(b"outer", b'0', 0, |_| {}),
        inner.clone(),
    ]);
    let entries = read(&sized, Dialect::Any).unwrap();
    assert_eq!(entries.len(), 1, "the second header is the body of the first entry");
    let Entry { path, kind, uid, gid, user, mtime, .. } = &entries[0];
    assert_eq!((&path[..], kind), (&b"p/q"[..], &Kind::File { size: 512 }));
    assert_eq!((*uid, *gid, &user[..], *mtime), (5, 9, &b"u"[..], -2));
    for (mixed, at) in [
        ([pax(b'x', &records(&[("size", "512")])), pax(b'x', b""), inner.clone()].concat(), 0x400),
        ([pax(b'x', b""), header(b"l", b'L', 2, |_| {}), padded(b"b\0"), inner.clone()].concat(), 0x200),
        ([header(b"l", b'L', 2, |_| {}), padded(b"b\0"), pax(b'x', b""), inner.clone()].concat(), 0x400),
    ] {
        let message = read(&archive(&[mixed]), Dialect::Any).unwrap_err();
        assert!(message.starts_with(&format!("corrupt at byte {at:#x}: extension header")), "{message}");
    }
    let dir = archive(&[pax(b'x', &records(&[("size", "512")])), header(b"d", b'5', 0, |_| {}), inner]);
    assert!(read(&dir, Dialect::Any).unwrap_err().contains("claims 512 bytes"));
}

#[test]
fn entries_can_be_limited_and_bodies_left_unread() {
    let (tree, memory) = sample();
    let bytes = written(&tree, &memory, 5);
    let count = read(&bytes, Dialect::Any).unwrap().len();
    let mut reader = Reader::new(&bytes[..], Dialect::Any).max_entries(wide(count) - 1);
    let mut seen = 0;
    let error = loop {
        match reader.next() {
            Ok(Some(_)) => seen += 1,
            Ok(None) => panic!("the limit did not hold"),
            Err(error) => break error.to_string(),
        }
        // Half of each body is read, the rest has to be skipped.
        let mut buf = [0; 300];
        let _ = reader.body().read(&mut buf).unwrap();
    };
    assert_eq!(seen, count - 1);
    assert!(error.ends_with(&format!("more than {seen} entries")), "{error}");
}

#[test]
fn trees_refuse_what_they_cannot_hold() {
    let message = |parts: &[Vec<u8>]| match read_tree(&archive(parts)[..], Dialect::Dpkg) {
        Ok(_) => panic!("{parts:?}"),
        Err(error) => error.to_string(),
    };
    let link = header(b"b", b'1', 0, |block| block[157] = b'a');
    let file = header(b"a", b'0', 0, |_| {});
    assert_eq!(
        message(&[file.clone(), file.clone()]),
        "corrupt at byte 0x200: entry does not fit into the tree: a exists already"
    );
    assert_eq!(
        message(&[header(b"x/a", b'0', 0, |_| {})]),
        "corrupt at byte 0x0: entry does not fit into the tree: x does not exist"
    );
    assert_eq!(
        message(std::slice::from_ref(&link)),
        "corrupt at byte 0x0: hard link to \"a\", which is no earlier entry that can be linked"
    );
    let dir = header(b"a", b'5', 0, |_| {});
    assert_eq!(
        message(&[dir.clone(), link.clone()]),
        "corrupt at byte 0x200: hard link to \"a\", which is no earlier entry that can be linked"
    );
    let root = header(b"./", b'5', 0, |_| {});
    assert!(message(&[root.clone(), root]).contains("exists already"));
    // A write through a symbolic link.
    let through = [header(b"l", b'2', 0, |block| block[157] = b'/'), header(b"l/a", b'0', 0, |_| {})];
    assert_eq!(
        message(&through),
        "corrupt at byte 0x200: entry does not fit into the tree: l is not a directory"
    );
    let (tree, _) = read_tree(&archive(&[file, link])[..], Dialect::Dpkg).unwrap();
    assert!(matches!(tree.get(b"b").unwrap().item, Item::Leaf(id, _) if tree.link_counts()[id.index()] == 2));
}

#[test]
fn mutated_archives_never_panic() {
    let (tree, memory) = extended();
    let good = written(&tree, &memory, 7);
    crate::mutation::mutations(&good, 4_000, |bytes| {
        for dialect in [Dialect::Dpkg, Dialect::Any] {
            if let Ok((tree, memory)) = read_tree(bytes, dialect) {
                write(&tree, &memory, Epoch(7), &mut std::io::sink()).unwrap();
            }
        }
    });
    // Damage behind the checksum: every header is made valid again.
    crate::mutation::mutations(&good, 4_000, |bytes| {
        let mut bytes = bytes.to_vec();
        for block in bytes.as_chunks_mut::<512>().0 {
            if block[257..262] == *b"ustar" {
                let sum = header::checksum(block);
                block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
        let _ = read_tree(&bytes[..], Dialect::Any);
    });
}
