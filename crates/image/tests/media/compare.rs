//! Comparing: every differing byte has an owner, whatever else differs.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::num::NonZero;
use std::sync::Arc;

use selfsame_image::codec::Codec;
use selfsame_image::compare::{Change, Comparison, Leaf, Name, Options, Report, compare};
use selfsame_image::extent::{self, Role, Room, Source};
use selfsame_image::squashfs;
use selfsame_image::tree::{Item, Kind, Leaf as Inode, Memory, Meta, Tree};
use selfsame_image::{Epoch, initramfs, tar};
use selfsame_testkit::{Numbers, number};

use crate::support::mutations;
use crate::{archives, elf, fat, gpt, iso, leaves, pe, zip};

pub(crate) const MOTD: &str = "Welcome.\nHave fun.\n";

pub(crate) fn source(bytes: &[u8]) -> Source {
    Arc::new(bytes.to_vec())
}

pub(crate) fn compared(a: &[u8], b: &[u8]) -> Report {
    let options = Options::new(NonZero::new(2).unwrap());
    let report = compare(&source(a), &source(b), &options).unwrap();
    let shared = a.iter().zip(b).filter(|(a, b)| a != b).count() + a.len().abs_diff(b.len());
    assert_eq!(report.differing, u64::try_from(shared).unwrap());
    assert_eq!(report.root.is_none(), a == b);
    report
}

/// A tree as a live system has them, small.
fn tree(change: impl FnOnce(&mut Tree, &mut Memory)) -> (Tree, Memory) {
    let (mut tree, mut memory) = (Tree::new(Meta::root(0o755, 1_600_000_000)), Memory::new());
    let text: String = (0..3_000).map(|line| format!("line {line} of a longer text\n")).collect();
    tree.insert_dir(b"etc", Meta::root(0o755, 1_600_000_001)).unwrap();
    for (path, bytes) in [("etc/motd", MOTD), ("etc/hostname", "amnesia\n"), ("etc/long", text.as_str())] {
        tree.insert(path.as_bytes(), file(&mut memory, bytes)).unwrap();
    }
    tree.insert(b"link", inode(Kind::Symlink((*b"etc/motd").into()))).unwrap();
    tree.insert(b"null", inode(Kind::Char { major: 1, minor: 3 })).unwrap();
    change(&mut tree, &mut memory);
    (tree, memory)
}

fn inode(kind: Kind) -> Inode {
    Inode { meta: Meta::root(0o644, 1_600_000_000), kind }
}

pub(crate) fn file(memory: &mut Memory, bytes: &str) -> Inode {
    inode(Kind::File(memory.add(bytes)))
}

pub(crate) fn squash(codec: &str, change: impl FnOnce(&mut Tree, &mut Memory)) -> Vec<u8> {
    let (tree, memory) = tree(change);
    packed(codec, &tree, &memory)
}

/// An upgrade kit of Tails, version 2: a SquashFS with a SquashFS in it.
fn kit() -> Vec<u8> {
    let (mut tree, mut memory) = (Tree::new(Meta::root(0o755, 1_600_000_000)), Memory::new());
    for path in [&b"overlay"[..], b"overlay/live"] {
        tree.insert_dir(path, Meta::root(0o755, 1_600_000_001)).unwrap();
    }
    tree.insert(b"FORMAT", file(&mut memory, "2")).unwrap();
    tree.insert(b"control.yml", file(&mut memory, "---\ndelete_files:\n- live/6.0.squashfs\n")).unwrap();
    let delta = Kind::File(memory.add(squash("xz:6:x86", same)));
    tree.insert(b"overlay/live/6.1.squashfs", inode(delta)).unwrap();
    packed("xz:6", &tree, &memory)
}

fn packed(codec: &str, tree: &Tree, memory: &Memory) -> Vec<u8> {
    let options = squashfs::Options {
        block_size: 4096,
        codec: squashfs::codec_for(codec, 4096).unwrap(),
        epoch: Epoch(1_700_000_000),
        export_table: true,
        sort: None,
        cache: None,
        progress: None,
    };
    let mut out = Cursor::new(Vec::new());
    squashfs::write(tree, memory, &options, NonZero::new(2).unwrap(), &mut out).unwrap();
    out.into_inner()
}

pub(crate) fn iso(change: impl FnOnce(&mut Tree, &mut Memory)) -> Vec<u8> {
    let (mut tree, mut memory) = iso::fixture();
    change(&mut tree, &mut memory);
    iso::hybrid(&tree, &mut memory).0
}

pub(crate) fn same(_: &mut Tree, _: &mut Memory) {}

/// One of each format, by name.
fn fixtures() -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> = ["zstd:15", "xz:6:x86", "gzip:9", "lz4:12"]
        .map(|codec| (codec.to_owned(), squash(codec, same)))
        .into();
    all.push(("upgrade kit".to_owned(), kit()));
    all.push(("iso".to_owned(), iso(same)));
    all.push(("disk".to_owned(), gpt::disk(&gpt::table())));
    let (files, memory) = fat::fixture();
    all.extend(fat::SIZES.map(|(size, width)| (format!("{width:?}"), fat::image(&files, &memory, size).0)));
    let (tree, memory) = tree(same);
    let parts = [None, Some(Codec::Zstd { level: 3 })].map(|codec| initramfs::Part {
        tree: &tree,
        contents: &memory,
        codec,
    });
    let mut early = Vec::new();
    initramfs::write(&parts, Epoch(1_700_000_000), &mut early).unwrap();
    all.push(("initramfs".to_owned(), early));
    let mut archive = Vec::new();
    tar::write(&tree, &memory, Epoch(1_700_000_000), &mut archive).unwrap();
    for codec in [
        Codec::Gzip { level: 6 },
        Codec::Xz { preset: 6, x86: false, dict_size: 1 << 20 },
        Codec::Zstd { level: 3 },
    ] {
        let mut writer = codec.stream_writer(Vec::new(), None).unwrap();
        std::io::Write::write_all(&mut writer, &archive).unwrap();
        all.push((format!("tar in {codec}"), writer.finish().unwrap()));
    }
    all.push(("tar".to_owned(), archive));
    all.push((
        "deb".to_owned(),
        selfsame_testkit::archive::Deb::new("nano", "1").file("usr/bin/nano", 0o755, b"#!/bin/sh\n").bytes(),
    ));
    for shape in elf::SHAPES {
        all.push((format!("ELF {shape:?}"), elf::fixture(shape, elf::COMMENT, 7)));
    }
    all.push(("ar".to_owned(), archives::library()));
    all.push(("sparse tar".to_owned(), archives::sparse()));
    all.push(("picture".to_owned(), leaves::png("one", 1)));
    all.push(("catalog".to_owned(), leaves::catalog(false, "ja")));
    all.push(("catalog, big-endian".to_owned(), leaves::catalog(true, "ja")));
    all.push(("bytecode by time".to_owned(), leaves::bytecode(false, 1_785_542_400)));
    all.push(("bytecode by hash".to_owned(), leaves::bytecode(true, 1_785_542_400)));
    all.push(("text in lz4".to_owned(), leaves::lz4(MOTD.as_bytes())));
    all.push(("text in bzip2".to_owned(), leaves::bzip2(MOTD.as_bytes())));
    all.push(("text in lzma".to_owned(), leaves::lzma(MOTD.as_bytes())));
    for kind in pe::KINDS {
        all.push((format!("PE {kind:?}"), pe::fixture(kind, MOTD, 1_700_000_000)));
    }
    all.push(("zip".to_owned(), zip::fixture(false)));
    all.push(("zip64".to_owned(), zip::fixture(true)));
    all
}

/// Those that are not mostly empty.
fn small() -> Vec<(String, Vec<u8>)> {
    let mut all = fixtures();
    all.retain(|(_, bytes)| bytes.len() < 5 << 20);
    all
}

#[test]
fn no_damage_makes_a_comparison_panic_or_leave_something_out() {
    for (name, good) in small() {
        mutations(&good, 100, |bad| {
            let report = compared(&good, bad);
            assert_eq!(report.unexplained(), 0, "{name}");
        });
    }
}

/// Damages `good` many times: each byte still has one owner, and fields are inside of their structures.
pub(crate) fn damaged(name: &str, good: &[u8], count: u32) {
    mutations(good, count, |bad| {
        let Ok(Some(parsed)) = extent::parse(&source(bad), &Room::new(1 << 20, 0)) else { return };
        let mut at = 0;
        for extent in parsed.map.extents() {
            assert_eq!(extent.start, at, "{name}");
            at = extent.end();
            let range = usize::try_from(extent.start).unwrap()..usize::try_from(at).unwrap();
            for field in (extent.structure.fields)(&bad[range]) {
                assert!(field.at + field.len <= extent.len, "{name}: {extent:?}, {field:?}");
            }
        }
        assert_eq!(at, u64::try_from(bad.len()).unwrap(), "{name}");
        let mut left = 4 * at;
        for member in 0..parsed.members.count() {
            let Ok(opened) = parsed.members.open(member) else { continue };
            // Holes may be longer than the image.
            let size = opened.source.size().unwrap().min(left).min(1 << 20);
            left -= size;
            // Damaged data may not be readable; that is an error, and no panic.
            let _ = opened.source.read_exact_at(&mut vec![0; usize::try_from(size).unwrap()], 0);
        }
    });
}

#[test]
fn damaged_files_are_cut_without_panic_and_their_files_are_no_longer_than_there_is_room() {
    let kinds = ["ELF", "PE", "zip", "ar", "picture", "catalog", "bytecode"];
    for (name, good) in
        fixtures().into_iter().filter(|(name, _)| kinds.iter().any(|kind| name.starts_with(kind)))
    {
        damaged(&name, &good, 3_000);
        mutations(&good, 3_000, |bad| {
            let Ok(Some(parsed)) = extent::parse(&source(bad), &Room::new(1 << 20, 0)) else { return };
            let size = |member| parsed.members.open(member).unwrap().source.size().unwrap();
            let sum: u64 = (0..parsed.members.count()).map(size).sum();
            // Strings can be twice as long when what is ambiguous in them is escaped.
            assert!(sum <= (1 << 20) + 2 * parsed.map.size(), "{name}: {sum}");
        });
    }
}

#[test]
fn what_is_damaged_on_both_sides_is_not_called_explained() {
    let good = squash("xz:6:x86", same);
    // The middle of the only data that is compressed as xz; a check there is of all of it.
    let parsed = extent::parse(&source(&good), &Room::new(0, 0)).unwrap().unwrap();
    let data = parsed.map.extents().iter().find(|extent| extent.structure.name == "data").unwrap();
    let at = usize::try_from(data.start + data.len / 2).unwrap();
    let damaged = |value: u8| {
        let mut bad = good.clone();
        bad[at..at + 40].fill(value);
        bad
    };
    assert_eq!(compared(&good, &damaged(1)).unexplained(), 0);
    let report = compared(&damaged(1), &damaged(2));
    assert!(report.unexplained() > 0, "{report:?}");
}

#[test]
fn files_that_overlap_without_end_are_given_up() {
    // Each sector is a table of four partitions that reach to the end, the last one first.
    let disk = |byte: u8| {
        let mut disk = vec![0; 512 * 30];
        for sector in 0..29_u32 {
            let at = 512 * usize::try_from(sector).unwrap();
            disk[at + 510..at + 512].copy_from_slice(&[0x55, 0xaa]);
            for entry in 0..4 {
                let first = (4 - entry).min(29 - sector);
                let place = at + 446 + 16 * usize::try_from(entry).unwrap();
                disk[place + 4] = 0x83;
                disk[place + 8..place + 12].copy_from_slice(&first.to_le_bytes());
                disk[place + 12..place + 16].copy_from_slice(&(30 - sector - first).to_le_bytes());
            }
            disk[at] = byte;
        }
        disk[512 * 29 + 100] = byte;
        disk
    };
    assert!(compared(&disk(1), &disk(2)).unexplained() > 0);
}

#[test]
fn many_small_streams_are_one_file() {
    let one = |bytes: &[u8]| {
        let mut writer = Codec::Gzip { level: 1 }.stream_writer(Vec::new(), None).unwrap();
        std::io::Write::write_all(&mut writer, bytes).unwrap();
        writer.finish().unwrap()
    };
    let many = |last: &[u8]| [one(b"").repeat(50_000), one(last)].concat();
    let report = compared(&many(b"one\n"), &many(b"two\n"));
    assert_eq!(report.unexplained(), 0);
    let content = &report.root.unwrap().members[0];
    assert!(matches!(&content.leaf, Some(Leaf::Text(lines)) if lines.lines.len() == 2), "{content:?}");
}

/// All changes, also those of files inside, with the names on the way to them.
pub(crate) fn changes(found: &Comparison) -> Vec<(String, Change)> {
    let name = |name: &Name| match name {
        Name::Whole => String::new(),
        Name::Part(part) => format!("[{part}]"),
        Name::Path(path) => String::from_utf8_lossy(path).into_owned(),
    };
    let own = name(&found.name);
    let mut all: Vec<_> = found.changes.iter().map(|change| (own.clone(), change.clone())).collect();
    for member in &found.members {
        all.extend(changes(member).into_iter().map(|(path, change)| (format!("{own}{path}"), change)));
    }
    all
}

/// Fields that differ of themselves, as `structure of path: field: before -> after`.
pub(crate) fn fields(report: &Report) -> Vec<String> {
    let mut all = Vec::new();
    for (_, change) in changes(report.root.as_ref().unwrap()) {
        let path = String::from_utf8_lossy(&change.path).into_owned();
        for field in change.fields.iter().filter(|field| field.role == Role::Value) {
            let [a, b] = field.values.each_ref().map(|value| value.clone().unwrap_or_default());
            all.push(format!("{} of {path}: {}: {a} -> {b}", change.structure, field.name));
        }
    }
    all
}

#[test]
fn owners_and_attributes_that_files_share_are_told_of_each() {
    const PATHS: [&str; 2] = ["etc/motd", "etc/hostname"];
    let image = |note: &[u8], uid| {
        squash("zstd:3", |tree, _| {
            for path in PATHS {
                let Some(Item::Leaf(id, _)) = tree.get(path.as_bytes()).map(|found| found.item) else {
                    panic!()
                };
                let meta = &mut tree.leaves_mut()[id.index()].meta;
                meta.uid = uid;
                meta.xattrs.insert(b"user.note".as_slice().into(), note.into());
            }
        })
    };
    let report = compared(&image(b"old", 1000), &image(b"new", 1001));
    assert_eq!(report.unexplained(), 0);
    let told = fields(&report);
    for path in PATHS {
        for field in ["uid: 1000 -> 1001", "user.note: \"old\" -> \"new\""] {
            let part = format!("owner and attributes of {path}: {field}");
            assert!(told.contains(&part), "{part} is not in {told:#?}");
        }
    }
}

#[test]
fn each_byte_is_named() {
    let mut text = String::new();
    for (name, bytes) in fixtures() {
        let parsed = extent::parse(&source(&bytes), &Room::new(1 << 20, 0)).unwrap().unwrap();
        assert_eq!(parsed.faults, [], "{name}");
        let mut sums: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        let mut at = 0;
        for extent in parsed.map.extents() {
            assert_eq!(extent.start, at, "{name}");
            at = extent.end();
            let sum = sums.entry(extent.structure.name).or_default();
            *sum = (sum.0 + 1, sum.1 + extent.len);
        }
        assert_eq!(at, u64::try_from(bytes.len()).unwrap(), "{name}");
        text += &format!("{name}: {}\n", parsed.format);
        sums.iter().for_each(|(name, (count, bytes))| text += &format!("  {count} {name}: {bytes}\n"));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn what_was_packed_in_another_way_is_compared_by_what_is_inside() {
    let stream = |codec: &str, text: &str| {
        let mut writer = codec.parse::<Codec>().unwrap().stream_writer(Vec::new(), None).unwrap();
        std::io::Write::write_all(&mut writer, text.as_bytes()).unwrap();
        writer.finish().unwrap()
    };
    let names = |report: Report| {
        assert_eq!(report.unexplained(), 0);
        let root = report.root.unwrap();
        assert_ne!(root.formats[0], root.formats[1]);
        root.members.into_iter().map(|member| member.name).collect::<Vec<_>>()
    };
    let packed = stream("gzip:9", MOTD);
    assert_eq!(names(compared(&packed, &stream("xz:6", MOTD))), []);
    assert_eq!(names(compared(&packed, &stream("zstd:3", "other\n"))), [Name::Part("content".to_owned())]);

    let archive = |change: fn(&mut Tree, &mut Memory)| {
        let ((tree, memory), mut archive) = (tree(change), Vec::new());
        tar::write(&tree, &memory, Epoch(1_700_000_000), &mut archive).unwrap();
        archive
    };
    let image = squash("zstd:15", same);
    assert_eq!(names(compared(&archive(same), &image)), []);
    let other = |tree: &mut Tree, memory: &mut Memory| {
        tree.set_file(b"etc/hostname", file(memory, "other\n")).unwrap();
    };
    assert_eq!(names(compared(&archive(other), &image)), [Name::Path(b"etc/hostname".to_vec())]);
}

/// Changes one bit at a time, alone and together with a byte elsewhere; each time both must be told.
pub(crate) fn flips(name: &str, good: &[u8], seed: u64) {
    let mut random = Numbers(seed);
    for round in 0..number("FLIPS", 100) {
        let (at, bit, also) = (random.below(good.len()), random.below(8), random.below(good.len()));
        let mut bad = good.to_vec();
        bad[at] ^= 1 << bit;
        let second = round % 2 == 1 && also != at;
        if second {
            bad[also] ^= 0x20;
        }
        let report = compared(good, &bad);
        let count = 1 + u64::from(second);
        let counts = (report.differing, report.explained, report.unexplained());
        assert_eq!(counts, (count, count, 0), "{name} at {at}, {also}: {report:#?}");
        let root = report.root.unwrap();
        for at in [Some(at), second.then_some(also)].into_iter().flatten() {
            let place = u64::try_from(at).unwrap();
            // In the good one: what a damaged directory led to has no owner in the bad one.
            let has = |change: &&Change| {
                change.places[0].is_some_and(|(start, len)| (start..start + len).contains(&place))
            };
            // A length that is damaged too can make its structure one that is the same elsewhere: then what lies there now has it.
            let now = |change: &&Change| {
                let found =
                    change.places[1].is_some_and(|(start, len)| (start..start + len).contains(&place));
                found && second && root.moved.0 > 0
            };
            let mut owners = root.changes.iter();
            let owner = owners.clone().find(has).or_else(|| owners.find(now));
            let owner = owner.unwrap_or_else(|| panic!("{name} at {at}: {root:?}"));
            // It says what differs, or something inside does.
            let both = owner.places.iter().all(Option::is_some) && owner.renamed.is_none();
            let silent = both && !owner.same_content && owner.fields.is_empty() && owner.bytes.is_none();
            assert!(!silent || !root.members.is_empty(), "{name} at {at}: {owner:?}");
            // Nothing is unused but what is empty.
            assert!(owner.structure != "unused" || good[at] == 0, "{name}: {owner:?}");
        }
    }
}

#[test]
fn one_bit_anywhere_is_named_with_its_structure() {
    for (seed, (name, good)) in (7..).zip(fixtures()) {
        flips(&name, &good, seed);
    }
}

#[test]
fn a_file_that_cannot_be_read_is_told_with_what_its_neighbour_knows() {
    for (name, good) in small() {
        let mut bad = good.clone();
        // Signatures, mostly.
        for at in [0, 510, 1024, 32_769] {
            if let Some(byte) = bad.get_mut(at) {
                *byte ^= 0x55;
            }
        }
        for (a, b) in [(&good, &bad), (&bad, &good)] {
            let report = compared(a, b);
            assert_eq!(report.unexplained(), 0, "{name}");
            assert!(
                report.root.is_some_and(|root| !root.changes.is_empty() || root.leaf.is_some()),
                "{name}"
            );
        }
        for cut in [1, 100.min(good.len() / 3), good.len() / 2, good.len() - 1] {
            for (a, b) in [(&good[..], &good[..cut]), (&good[..cut], &good[..])] {
                assert_eq!(compared(a, b).unexplained(), 0, "{name} cut to {cut}");
            }
        }
    }
}

#[test]
fn what_no_file_has_is_told_beside_a_file() {
    let (files, memory) = fat::fixture();
    let first = fat::image(&files, &memory, fat::SIZES[0].0).0;
    let mut second = first.clone();
    second[100] ^= 1;
    let at = first.windows(7).position(|bytes| bytes == b"fixture").unwrap();
    second[at..at + 7].copy_from_slice(b"Fixture");
    let end = second.len() - 1;
    second[end] ^= 1;
    let report = compared(&first, &second);
    assert_eq!((report.differing, report.unexplained()), (3, 0));
    let root = report.root.unwrap();
    let names: Vec<_> = root.changes.iter().map(|change| change.structure).collect();
    assert_eq!(names, ["boot sector", "data", "free clusters"]);
    assert_eq!(root.members[0].name, Name::Path(b".disk/info".to_vec()));
}

#[test]
fn a_file_of_the_same_blocks_in_another_order_is_another_file() {
    let (tree, memory) = fat::fixture();
    let good = fat::image(&tree, &memory, fat::SIZES[1].0).0;
    let volume = selfsame_image::fat::open(&good).unwrap();
    let entry = good.windows(11).position(|bytes| bytes == b"BOOTX64 EFI").unwrap();
    let number = |bytes: &[u8], at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let first = number(&good, entry + 26);
    let slot = |cluster: u16| usize::try_from(volume.table_at).unwrap() + 2 * usize::from(cluster);
    assert_eq!(number(&good, slot(first)), first + 1, "its clusters lie behind each other");
    // The first two clusters change places, in both tables; no byte of the file does.
    let mut bad = good.clone();
    let mut put = |at: usize, value: u16| bad[at..at + 2].copy_from_slice(&value.to_le_bytes());
    put(entry + 26, first + 1);
    for table in 0..usize::from(volume.tables) {
        let at = |cluster| slot(cluster) + table * usize::try_from(volume.table_len).unwrap();
        put(at(first + 1), first);
        put(at(first), first + 2);
    }
    let report = compared(&good, &bad);
    assert_eq!(report.unexplained(), 0);
    let members = &report.root.as_ref().unwrap().members;
    let names: Vec<_> = members.iter().map(|member| &member.name).collect();
    assert_eq!(names, [&Name::Path(b"EFI/BOOT/BOOTX64.EFI".to_vec())]);
    assert!(matches!(&members[0].leaf, Some(Leaf::Binary { places, .. }) if places[0].at == [0, 0]));
}

/// Entries of a tar behind each other, each a file with its text; a path may come twice.
fn entries(files: &[(&str, &str)]) -> Vec<u8> {
    let mut all = Vec::new();
    for (path, text) in files {
        let (mut tree, mut memory) = (Tree::new(Meta::root(0o755, 1_600_000_000)), Memory::new());
        tree.insert(path.as_bytes(), file(&mut memory, text)).unwrap();
        let mut one = Vec::new();
        tar::write(&tree, &memory, Epoch(1_700_000_000), &mut one).unwrap();
        // Two blocks of zeros end an archive.
        let end = one.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        one.truncate(end.next_multiple_of(512));
        all.extend(one);
    }
    all.extend([0; 1024]);
    all
}

#[test]
fn what_is_the_same_in_another_place_is_not_called_the_same_here() {
    let report =
        compared(&entries(&[("a", "old\n"), ("a", "new\n")]), &entries(&[("b", "xxx\n"), ("a", "old\n")]));
    assert_eq!(report.unexplained(), 0);
    let root = report.root.unwrap();
    assert!(root.changes.iter().all(|change| !change.same_content), "{root:#?}");
    assert!(root.causes.iter().all(|finding| finding.cause != "compression"), "{:?}", root.causes);
}

#[test]
fn of_two_files_with_one_path_each_is_compared_with_its_like() {
    let archive = |second: &str| {
        let mut both = Vec::new();
        for text in ["first\n", second] {
            let (tree, memory) = tree(|tree, memory| {
                tree.insert(b"etc/twice", file(memory, text)).unwrap();
            });
            let mut one = Vec::new();
            tar::write(&tree, &memory, Epoch(1_700_000_000), &mut one).unwrap();
            // Two blocks of zeros end an archive.
            let end = one.iter().rposition(|byte| *byte != 0).unwrap() + 1;
            one.truncate(end.next_multiple_of(512));
            both.extend(one);
        }
        both.extend([0; 1024]);
        both
    };
    let report = compared(&archive("second\n"), &archive("other\n"));
    assert_eq!(report.unexplained(), 0);
    let members = report.root.unwrap().members;
    let lines: Vec<_> = members
        .iter()
        .filter_map(|member| match &member.leaf {
            Some(Leaf::Text(lines)) => Some(lines.lines.iter().map(|line| line.text.as_str()).collect()),
            _ => None,
        })
        .collect::<Vec<Vec<_>>>();
    assert_eq!(lines, [["second\n", "other\n"]]);
}

#[test]
fn text_in_a_file_in_an_image_is_compared_by_lines() {
    let first = squash("zstd:15", same);
    let second = squash("zstd:15", |tree, memory| {
        tree.set_file(b"etc/motd", file(memory, "Welcome!\nHave fun.\n")).unwrap();
    });
    let report = compared(&first, &second);
    assert_eq!(report.unexplained(), 0);
    let root = report.root.unwrap();
    let motd = root.members.iter().find(|member| member.name == Name::Path(b"etc/motd".to_vec())).unwrap();
    let Some(Leaf::Text(lines)) = &motd.leaf else { panic!("{motd:?}") };
    let lines: Vec<_> = lines.lines.iter().map(|line| (line.side, line.text.as_str())).collect();
    assert_eq!(lines, [(0, "Welcome.\n"), (1, "Welcome!\n")]);
}

#[test]
fn a_compiler_and_a_build_id_are_told_in_an_elf_file() {
    for shape in elf::SHAPES {
        let first = elf::fixture(shape, elf::COMMENT, 7);
        let second = elf::fixture(shape, b"GCC: 12.2.1\0LLD 15.", 8);
        let report = compared(&first, &second);
        assert_eq!(report.unexplained(), 0);
        let root = report.root.unwrap();
        let changed: Vec<_> =
            root.changes.iter().map(|change| (change.structure, change.path.as_slice())).collect();
        assert_eq!(changed, [("note", &b".note.gnu.build-id"[..]), ("section", b".comment")]);
        assert_eq!(root.changes[0].fields[0].role, Role::Checksum);
        let Some(Leaf::Text(lines)) = &root.members[0].leaf else { panic!("{root:?}") };
        let lines: Vec<_> = lines.lines.iter().map(|line| (line.side, line.text.as_str())).collect();
        assert_eq!(lines, [(0, "GCC: 12.2.0\n"), (1, "GCC: 12.2.1\n")]);
    }
}

#[test]
fn dates_and_lines_of_files_in_an_archive_are_told() {
    let one = |text: &[u8], time| {
        let entry = |name| zip::Entry { time, method: 8, ..zip::Entry::new(name, text) };
        zip::archive(&[entry("a"), zip::Entry { method: 0, ..entry("b") }], false, b"", b"")
    };
    let report = compared(&one(b"one\ntwo\n", zip::TIME), &one(b"one\n2\n", zip::TIME + (1 << 16)));
    assert_eq!(report.unexplained(), 0);
    let date = "last modified: 2026-08-01T00:00:00Z if in UTC (0x5d010000) -> \
        2026-08-02T00:00:00Z if in UTC (0x5d020000)";
    let told = fields(&report);
    for expected in ["central directory entry of a", "local file header of b"] {
        assert!(told.contains(&format!("{expected}: {date}")), "{told:?}");
    }
    let root = report.root.unwrap();
    assert!(root.causes.iter().any(|finding| finding.cause == "zip-time"), "{:?}", root.causes);
    for (member, path) in root.members.iter().zip([b"a", b"b"]) {
        assert_eq!(member.name, Name::Path(path.to_vec()));
        let Some(Leaf::Text(lines)) = &member.leaf else { panic!("{member:?}") };
        let lines: Vec<_> = lines.lines.iter().map(|line| (line.side, line.text.as_str())).collect();
        assert_eq!(lines, [(0, "two\n"), (1, "2\n")]);
    }
    assert_eq!(root.members.len(), 2);
}

#[test]
fn an_archive_behind_a_program_is_looked_into() {
    let one = |text: &[u8]| {
        let mut all = elf::fixture(elf::SHAPES[0], elf::COMMENT, 7);
        all.truncate(all.len() - b"#behind\n".len());
        all.extend(zip::archive(&[zip::Entry::new("a", text)], false, b"", b""));
        all
    };
    let report = compared(&one(b"one\n"), &one(b"two\n"));
    assert_eq!(report.unexplained(), 0);
    let root = report.root.unwrap();
    let [behind] = &root.members[..] else { panic!("{root:?}") };
    assert_eq!(
        (&behind.name, behind.formats[0]),
        (&Name::Part("data behind the end".to_owned()), Some("zip"))
    );
    assert!(matches!(&behind.members[0].leaf, Some(Leaf::Text(lines)) if lines.added == 1));
}
