//! Files made to break whoever reads them: that contain themselves, that grow, that lead in circles, that lie about
//! lengths. Each has a verdict, and what is read for it is bounded by its length.

use std::num::NonZero;
use std::process::Command;
use std::sync::Arc;

use selfsame_image::codec::Codec;
use selfsame_image::compare::{Comparison, Leaf, Options, Report, compare as run};
use selfsame_image::extent::{self, Room, Source, Unreadable};
use selfsame_image::iso9660::{self, Iso, Labels};
use selfsame_testkit::oracle_text;

use crate::compare::{compared, same, source, squash};
use crate::support::{Counted, EPOCH, load, noise, save, scratch, tree};
use crate::{archives, elf, ext4, fat, gpt, leaves, zip};

/// What is wrong with a file. Each of its bytes has one owner, and little more is read than what it has.
fn looked_at(name: &str, bytes: &[u8]) -> Vec<Unreadable> {
    let counted = Arc::new(Counted::new(bytes.to_vec()));
    let found = extent::parse(&(Arc::clone(&counted) as Source), &Room::new(1 << 20, 0));
    let (size, (read, _)) = (u64::try_from(bytes.len()).unwrap(), counted.read());
    assert!(read <= 16 * size + (1 << 20), "{name}: {read} of {size} bytes were read");
    match found {
        Ok(Some(parsed)) => {
            let end = parsed.map.extents().iter().fold(0, |at, extent| {
                assert_eq!(extent.start, at, "{name}");
                extent.end()
            });
            assert_eq!(end, size, "{name}");
            parsed.faults
        }
        Ok(None) => Vec::new(),
        Err(fault) => vec![fault],
    }
}

/// Compares a file with one that was made of it to do harm, and that one with another such.
fn judged(name: &str, good: &[u8], bad: &[u8]) -> Vec<Unreadable> {
    assert!(good != bad, "{name}");
    assert_eq!(looked_at(name, good), [], "{name}");
    for (a, b) in [(good, bad), (bad, good)] {
        assert_eq!(compared(a, b).unexplained(), 0, "{name}");
    }
    let mut other = bad.to_vec();
    *other.last_mut().unwrap() ^= 1;
    let report = compared(bad, &other);
    let root = report.root.as_ref().unwrap();
    // Whoever cannot read both says so.
    assert!(report.unexplained() == 0 || told(root), "{name}: {report:?}");
    looked_at(name, bad)
}

/// Whether something is said to be unreadable here or inside.
fn told(found: &Comparison) -> bool {
    !found.faults.is_empty() || found.members.iter().any(told)
}

/// The innermost of the files that differ, and how many are around it.
fn innermost(report: &Report) -> (usize, &Comparison) {
    let (mut depth, mut at) = (0, report.root.as_ref().unwrap());
    while let Some(next) = at.members.first() {
        (depth, at) = (depth + 1, next);
    }
    (depth, at)
}

/// `report` ends where files lie too deep in each other, and says so.
fn ends_deep(name: &str, report: &Report) {
    assert!(report.unexplained() > 0, "{name}");
    let (depth, end) = innermost(report);
    assert!((20..30).contains(&depth), "{name}: {depth}");
    let sides: Vec<_> = end.faults.iter().map(|(side, _)| *side).collect();
    assert_eq!(sides, [0, 1], "{name}");
    assert!(end.faults[0].1.message.contains("lies in more than"), "{name}: {:?}", end.faults);
}

/// Makes a compressed stream of bytes.
type Packer = dyn Fn(&[u8]) -> Vec<u8>;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    packed(Codec::Gzip { level: 6 }, bytes)
}

fn packed(codec: Codec, bytes: &[u8]) -> Vec<u8> {
    let mut writer = codec.stream_writer(Vec::new(), None).unwrap();
    std::io::Write::write_all(&mut writer, bytes).unwrap();
    writer.finish().unwrap()
}

/// A text in so many tar archives, each a file of the next one.
fn tar_in_tar(text: &[u8], levels: usize) -> Vec<u8> {
    let (body, ends) = (text.len().next_multiple_of(512), 1024);
    let size = |level: usize| if level == 0 { text.len() } else { level * (512 + ends) + body };
    let mut all: Vec<u8> =
        (0..levels).rev().flat_map(|level| archives::header("a", b'0', size(level), &USTAR)).collect();
    all.extend(text);
    all.resize(size(levels), 0);
    all
}

const USTAR: [(usize, &[u8]); 1] = [(257, b"ustar\x0000")];

#[test]
fn a_thousand_files_in_each_other_are_followed_to_a_bound() {
    let nested = |text: &[u8], levels: usize| (0..levels).fold(text.to_vec(), |inner, _| gzip(&inner));
    for (name, make) in [("tar", &tar_in_tar as &dyn Fn(&[u8], usize) -> Vec<u8>), ("gzip", &nested)] {
        ends_deep(name, &compared(&make(b"one\n", 1000), &make(b"two\n", 1000)));
        // What an honest file may have is read to its end.
        let report = compared(&make(b"one\n", 20), &make(b"two\n", 20));
        assert_eq!(report.unexplained(), 0, "{name}");
        let (depth, end) = innermost(&report);
        assert!(depth == 20 && matches!(&end.leaf, Some(Leaf::Text(lines)) if lines.added == 1), "{end:?}");
    }
}

/// An ISO image without boot.
fn iso(files: &[(&str, &[u8])]) -> Vec<u8> {
    let (tree, memory) = tree(files);
    let labels = Labels::default();
    let iso = Iso { tree: &tree, epoch: EPOCH, labels, joliet: false, bios: None, esp: None, hybrid: None };
    let mut out = Vec::new();
    iso9660::write(&iso, &memory, &mut out).unwrap();
    out
}

/// Where the first extent of this structure and path lies.
fn place(bytes: &[u8], structure: &str, path: &str) -> usize {
    let parsed = extent::parse(&source(bytes), &Room::new(0, 0)).unwrap().unwrap();
    let is = |extent: &&extent::Extent| {
        extent.structure.name == structure && parsed.map.path(extent.owner) == path.as_bytes()
    };
    let found = parsed.map.extents().iter().find(is);
    usize::try_from(found.unwrap_or_else(|| panic!("{structure} of {path}")).start).unwrap()
}

fn put(bytes: &mut [u8], at: usize, new: &[u8]) {
    bytes[at..at + new.len()].copy_from_slice(new);
}

/// A number in both byte orders, as ISO 9660 has it.
fn both(value: usize) -> Vec<u8> {
    let value = u32::try_from(value).unwrap();
    [value.to_le_bytes(), value.to_be_bytes()].concat()
}

#[test]
fn an_image_that_contains_itself_has_an_end() {
    let quine = |byte: u8| {
        let mut image = iso(&[("self", b"x"), ("text", b"text\n")]);
        let (record, size) = (place(&image, "directory record", "/self"), image.len());
        // Its first block and its length (ECMA-119, 9.1).
        put(&mut image, record + 2, &both(0));
        put(&mut image, record + 10, &both(size));
        image[1000] = byte;
        image
    };
    assert!(looked_at("quine", &quine(1)).len() <= 1);
    // What is inside is what is around it, of which all is told.
    let report = compared(&quine(1), &quine(2));
    assert_eq!(report.unexplained(), 0);
    let (depth, end) = innermost(&report);
    assert_eq!((depth, end.changes[0].structure), (1, "the pair around it again"));
}

/// Compares two files with little room for what they unpack to.
fn tight(first: &[u8], second: &[u8]) -> Report {
    let mut options = Options::new(NonZero::new(2).unwrap());
    options.room = Room::new(1 << 20, 1 << 20);
    run(&source(first), &source(second), &options).unwrap()
}

#[test]
fn what_unpacks_to_more_than_there_is_room_for_is_given_up_and_said() {
    let len = 8 << 20;
    let xz = Codec::Xz { preset: 1, x86: false, dict_size: 1 << 20 };
    let packers: [(&str, &Packer); 6] = [
        ("gzip", &gzip),
        ("xz", &move |bytes| packed(xz, bytes)),
        ("zstd", &|bytes| packed(Codec::Zstd { level: 1 }, bytes)),
        ("bzip2", &leaves::bzip2),
        ("lzma", &leaves::lzma),
        ("lz4", &leaves::lz4),
    ];
    for (name, pack) in packers {
        let [first, second] = [1, 2].map(|byte| pack(&vec![byte; len]));
        assert!(first.len() < len / 100, "{name}");
        let faults = looked_at(name, &first);
        assert_eq!(faults.len(), 1, "{name}");
        let report = tight(&first, &second);
        assert!(report.unexplained() > 0 && told(report.root.as_ref().unwrap()), "{name}: {report:?}");
        let whole = extent::parse(&source(&first), &Room::new(16 << 20, 0)).unwrap().unwrap();
        assert_eq!((whole.held, whole.faults), (u64::try_from(len).unwrap(), Vec::new()), "{name}");
        // The outer one fits, what is in it does not.
        let report = tight(&gzip(&first), &gzip(&second));
        assert!(report.unexplained() > 0 && told(report.root.as_ref().unwrap()), "{name}: {report:?}");
    }
    let [first, second] = [1, 2].map(|byte| {
        let content = vec![byte; len];
        zip::archive(&[zip::Entry { method: 8, ..zip::Entry::new("a", &content) }], false, b"", b"")
    });
    looked_at("zip", &first);
    let report = tight(&first, &second);
    assert!(report.unexplained() == 0 || told(report.root.as_ref().unwrap()), "{report:?}");
}

#[test]
fn directories_that_contain_each_other_are_read_once() {
    let good = iso(&[("dir/file", b"file\n"), ("text", b"text\n")]);
    let mut bad = good.clone();
    let (record, root) = (place(&good, "directory record", "/dir"), place(&good, "directory record", "/"));
    put(&mut bad, record + 2, &both(root / 2048));
    assert!(!judged("ISO 9660", &good, &bad).is_empty());

    let (files, memory) = fat::fixture();
    let good = fat::image(&files, &memory, fat::SIZES[0].0).0;
    let entry = |name: &[u8]| good.windows(11).position(|bytes| bytes == name).unwrap();
    let (outer, inner) = (entry(b"EFI        "), entry(b"BOOT       "));
    let mut bad = good.clone();
    // The first cluster (Microsoft's specification, 6).
    bad.copy_within(outer + 26..outer + 28, inner + 26);
    assert!(!judged("FAT", &good, &bad).is_empty());

    if let Some(good) = squashfs() {
        let at = usize::try_from(u64::from_le_bytes(good[64..72].try_into().unwrap())).unwrap() + 2;
        let offset = usize::from(u16::from_le_bytes([good[32], good[33]]));
        // The inode of the root lies last, that of the only other directory before it, each of 32 bytes.
        let (root, dir) = (at + offset, at + offset - 32);
        assert_eq!((good[root], good[dir]), (1, 1));
        let mut bad = good.clone();
        bad.copy_within(root + 16..root + 28, dir + 16);
        judged("SquashFS", &good, &bad);
    }
    let dir = scratch();
    if let Some(good) = ext4::image(dir.path(), ext4::KINDS[3], "Welcome.\n") {
        let entry = good.windows(6).position(|bytes| bytes == b"\x04\x02many").unwrap() - 6;
        let mut bad = good.clone();
        put(&mut bad, entry, &2_u32.to_le_bytes());
        judged("ext4", &good, &bad);
    }
    if let Some(good) = erofs() {
        let names = good.windows(7).position(|bytes| bytes == b"...loop").unwrap();
        // Three entries of 12 bytes, each of which begins with the number of an inode.
        let mut bad = good.clone();
        bad.copy_within(names - 36..names - 28, names - 12);
        judged("EROFS", &good, &bad);
    }
}

/// A SquashFS of a directory with a file, its inodes not compressed.
fn squashfs() -> Option<Vec<u8>> {
    packed_tree("mksquashfs", |make, root, image| {
        make.arg(root).arg(image).args(["-noI", "-no-xattrs", "-quiet", "-no-progress", "-all-root"]);
    })
}

/// An EROFS of the same.
fn erofs() -> Option<Vec<u8>> {
    packed_tree("mkfs.erofs", |make, root, image| {
        make.args(["--quiet", "-T1600000000", "--all-root"]).arg(image).arg(root);
    })
}

#[allow(clippy::disallowed_methods)] // A test hands files to other programs; the crate itself never does.
fn packed_tree(
    program: &str,
    arguments: impl FnOnce(&mut Command, &std::path::Path, &std::path::Path),
) -> Option<Vec<u8>> {
    let dir = scratch();
    let (root, image) = (dir.path().join("root"), dir.path().join("image"));
    std::fs::create_dir_all(root.join("loop")).unwrap();
    save(&root.join("loop"), "file", b"text\n");
    let mut make = Command::new(program);
    arguments(&mut make, &root, &image);
    oracle_text(&mut make)?;
    Some(load(&image))
}

#[test]
fn a_chain_of_clusters_that_bites_its_tail_ends() {
    let (files, memory) = fat::fixture();
    let good = fat::image(&files, &memory, fat::SIZES[1].0).0;
    let volume = selfsame_image::fat::open(&good).unwrap();
    let entry = good.windows(11).position(|bytes| bytes == b"BOOTX64 EFI").unwrap();
    let first = [good[entry + 26], good[entry + 27]];
    let mut bad = good.clone();
    let slot = usize::try_from(volume.table_at).unwrap() + 2 * usize::from(u16::from_le_bytes(first));
    put(&mut bad, slot, &first);
    assert!(!judged("FAT16", &good, &bad).is_empty());
}

/// A tar archive of these blocks.
fn tar(blocks: &[Vec<u8>]) -> Vec<u8> {
    [blocks.concat(), vec![0; 1024]].concat()
}

#[test]
fn archives_as_attackers_write_them_have_a_verdict() {
    let block = |name: &str, flag: u8, size: usize| archives::header(name, flag, size, &USTAR);
    let body = |text: &[u8]| [text, &vec![0; text.len().next_multiple_of(512) - text.len()]].concat();
    let good = tar(&[block("a", b'0', 4), body(b"one\n")]);
    let link = |flag, to: &'static [u8]| archives::header("a", flag, 0, &[USTAR[0], (157, to)]);
    let file = [block("a/b", b'0', 4), body(b"two\n")].concat();
    let pax = |record: &[u8]| {
        [block("x", b'x', record.len()), body(record), block("a", b'0', 4), body(b"two\n")].concat()
    };
    let sized = |size: &'static [u8]| archives::header("a", b'0', 0, &[USTAR[0], (124, size)]);
    for (name, bad) in [
        ("parent", block("../../etc/passwd", b'0', 4)),
        ("absolute", block("/etc/passwd", b'0', 4)),
        ("control characters", block("a\x1b[2J\nb", b'0', 4)),
        ("long", block(&"x/".repeat(50), b'0', 4)),
        ("link, then file", [link(b'2', b"/etc"), file.clone()].concat()),
        ("hard link outside", [link(b'1', b"../../etc/passwd"), file.clone()].concat()),
        ("device", [block("a", b'3', 0), file.clone()].concat()),
        ("twice", [block("a", b'0', 4), body(b"one\n"), block("a", b'0', 4), body(b"two\n")].concat()),
        ("length in PAX", pax(b"21 size=99999999999\n\n")),
        ("record too long", pax(b"999 path=b\n")),
        ("record too short", pax(b"1 path=b\n")),
        ("record of nothing", pax(b"0 path=b\n")),
        ("negative time", pax(b"18 mtime=-1000000\n")),
        ("holes", pax(b"22 GNU.sparse.major=0\n22 GNU.sparse.minor=1\n40 GNU.sparse.map=0,1,18446744073709551615,9\n")),
        ("longest length", [sized(b"77777777777"), file.clone()].concat()),
        ("negative length", [sized(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"), file.clone()].concat()),
        ("length of 96 bits", [sized(b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), file.clone()].concat()),
    ] {
        judged(name, &good, &tar(&[bad]));
    }
    let deb =
        selfsame_testkit::archive::Deb::new("nano", "1").file("usr/bin/nano", 0o755, b"#!/bin/sh\n").bytes();
    let starts: Vec<usize> = archives::parsed(&deb)
        .map
        .extents()
        .iter()
        .filter(|extent| extent.structure.name.contains("header"))
        .map(|extent| usize::try_from(extent.start).unwrap())
        .collect();
    for size in [b"9999999999", b"-1        ", b"0         ", b"4294967296", b"0x10      "] {
        for start in starts.iter().filter(|start| **start > 0) {
            let mut bad = deb.clone();
            put(&mut bad, start + 48, size);
            judged("size of a member", &deb, &bad);
        }
    }
    let [_, control, data] = starts[starts.len() - 3..] else { panic!("{starts:?}") };
    let (head, control, data) = (&deb[..control], &deb[control..data], &deb[data..]);
    for (name, parts) in [
        ("reordered", vec![head, data, control]),
        ("data twice", vec![head, control, data, data]),
        ("no control", vec![head, data]),
        ("cut", vec![head, control, &data[..data.len() - 10]]),
    ] {
        judged(name, &deb, &parts.concat());
    }
}

/// A file as cpio has it.
fn entry(name: &str, bytes: &[u8]) -> Vec<u8> {
    let len = |len: usize| u32::try_from(len).unwrap();
    let fields = [1, 0o100_644, 0, 0, 1, 0, len(bytes.len()), 0, 0, 0, 0, len(name.len() + 1), 0];
    let numbers: String = fields.iter().map(|field| format!("{field:08x}")).collect();
    let mut all = format!("070701{numbers}{name}\0").into_bytes();
    all.resize(all.len().next_multiple_of(4), 0);
    all.extend(bytes);
    all.resize(all.len().next_multiple_of(4), 0);
    all
}

/// Writes each of these into a good file.
fn lied(name: &str, good: &[u8], lies: &[(usize, &[u8])]) {
    for (at, lie) in lies {
        let mut bad = good.to_vec();
        put(&mut bad, *at, lie);
        judged(&format!("{name} at {at}"), good, &bad);
    }
}

const MOST: &[u8] = &[0xff; 4];
/// The largest number of 64 bits stands for nothing in some formats; this is one less.
const LONG: &[u8] = &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

#[test]
fn numbers_of_an_image_that_lie_are_not_believed() {
    let squash = squash("zstd:15", same);
    // Inodes, length of a block and its logarithm, fragments, ids, then where tables lie.
    lied("SquashFS", &squash, &[4, 12, 16, 22, 26].map(|at| (at, MOST)));
    lied("SquashFS", &squash, &[32, 40, 48, 56, 64, 72, 80, 88].map(|at| (at, LONG)));
    let image = iso(&[("dir/file", b"file\n"), ("text", b"text\n")]);
    let record = place(&image, "directory record", "/dir");
    // Blocks of the volume, of the path table, of a directory; the length of its record and of its name.
    lied("ISO 9660", &image, &[0x8050, 0x8084, 0x808c].map(|at| (at, MOST)));
    lied("ISO 9660", &image, &[2, 10].map(|at| (record + at, LONG)));
    lied("ISO 9660", &image, &[(record, &[1]), (record, &[255]), (record + 32, &[255])]);
    let disk = gpt::disk(&gpt::table());
    // First and last sector, place, count and size of entries.
    lied("GPT", &disk, &[40, 48, 72].map(|at| (512 + at, LONG)));
    lied("GPT", &disk, &[80, 84].map(|at| (512 + at, MOST)));
}

#[test]
fn numbers_of_an_archive_or_program_that_lie_are_not_believed() {
    let archive = zip::fixture(false);
    let central = archive.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
    lied("ZIP", &archive, &[20, 24, 28, 42].map(|at| (central + at, MOST)));
    let initramfs = [entry("a", b"text\n"), entry("TRAILER!!!", b"")].concat();
    lied("cpio", &initramfs, &[(54, b"ffffffff"), (94, b"ffffffff"), (94, b"00000000"), (54, b"-0000001")]);
    let program = elf::fixture(elf::SHAPES[0], elf::COMMENT, 7);
    // Where headers of segments and sections lie, their sizes and counts.
    lied("ELF", &program, &[32, 40].map(|at| (at, LONG)));
    lied("ELF", &program, &[54, 56, 58, 60, 62].map(|at| (at, &MOST[..2])));
}

#[test]
fn a_superblock_that_lies_is_not_believed() {
    let dir = scratch();
    let Some(good) = ext4::image(dir.path(), ext4::KINDS[0], "Welcome.\n") else { return };
    // Inodes, blocks, first block, sizes of blocks and clusters, blocks and inodes of a group, size of an inode.
    lied("ext2", &good, &[0, 4, 20, 24, 28, 32, 40, 88].map(|at| (1024 + at, MOST)));
}

#[test]
fn noise_behind_any_signature_has_a_verdict() {
    let noise = noise(70_000);
    let signatures: [(usize, &[u8]); 14] = [
        (0, b"hsqs"),
        (0x8001, b"CD001"),
        (0x438, b"\x53\xef"),
        (1024, b"\xe2\xe1\xf5\xe0"),
        (510, b"\x55\xaa"),
        (0, b"QFI\xfb\0\0\0\x03"),
        (0, b"070701"),
        (257, b"ustar\x0000"),
        (0, b"!<arch>\n"),
        (0, b"\x7fELF\x02\x01\x01"),
        (0, b"SQLite format 3\0"),
        (0, b"PK\x03\x04"),
        (0, b"\x89PNG\r\n\x1a\n"),
        (0, b"\xde\x12\x04\x95\0\0\0\0"),
    ];
    for (at, signature) in signatures {
        let mut bad = noise.clone();
        put(&mut bad, at, signature);
        judged(&format!("{signature:?}"), &noise, &bad);
    }
}
