//! Pairs that other programs are known to compare badly (`t1` to `t15`; those of directories are tests of the command line).

use std::io;
use std::num::NonZero;
use std::sync::Arc;

use selfsame_image::compare::{Change, Comparison, Leaf, Name, Options, compare as run};
use selfsame_image::extent::{self, Room, Source};
use selfsame_image::gpt::{self, Gpt, Guid, Mbr, Partition, guid_from};
use selfsame_image::io::ReadAt;

use crate::compare::{MOTD, changes, compared, fields, file, iso, same, source, squash};
use crate::ext4;
use crate::support::{Counted, scratch};

/// The member that differs, by the names on the way to it.
fn member<'a>(root: &'a Comparison, way: &[Name]) -> &'a Comparison {
    way.iter().fold(root, |at, name| {
        at.members.iter().find(|member| member.name == *name).unwrap_or_else(|| panic!("{name:?}: {at:?}"))
    })
}

fn path(path: &str) -> Name {
    Name::Path(path.into())
}

/// Lines that differ, each with its side.
fn lines(found: &Comparison) -> Vec<(usize, &str)> {
    let Some(Leaf::Text(lines)) = &found.leaf else { panic!("{found:?}") };
    lines.lines.iter().map(|line| (line.side, line.text.as_str())).collect()
}

/// A SquashFS in which `/etc/motd` is so many seconds younger.
fn later(seconds: i64) -> Vec<u8> {
    squash("zstd:15", |tree, memory| {
        let mut motd = file(memory, MOTD);
        motd.meta.mtime += seconds;
        tree.set_file(b"etc/motd", motd).unwrap();
    })
}

#[test]
fn t1_ten_seconds_in_a_squashfs_are_named() {
    let report = compared(&squash("zstd:15", same), &later(10));
    assert_eq!(report.unexplained(), 0);
    assert_eq!(
        fields(&report),
        ["inode of etc/motd: mtime: 2020-09-13T12:26:40Z (1600000000) -> 2020-09-13T12:26:50Z (1600000010)"]
    );
}

#[test]
fn t1b_so_are_they_if_the_squashfs_has_the_same_length() {
    let first = later(10);
    // The superblock counts the bytes that are used, from byte 40 on.
    let second = (11..200).map(later).find(|second| second[40..48] == first[40..48]).unwrap();
    let report = compared(&first, &second);
    assert_eq!(report.unexplained(), 0);
    let told = fields(&report);
    assert!(told.len() == 1 && told[0].starts_with("inode of etc/motd: mtime: "), "{told:?}");
}

/// A SquashFS in which `/etc/motd` has an attribute.
fn noted(value: &'static [u8]) -> Vec<u8> {
    squash("zstd:15", move |tree, memory| {
        let mut motd = file(memory, MOTD);
        motd.meta.xattrs.insert((*b"user.note").into(), value.into());
        tree.set_file(b"etc/motd", motd).unwrap();
    })
}

#[test]
fn t3_an_attribute_that_only_one_squashfs_has_is_told_with_its_file() {
    let report = compared(&squash("zstd:15", same), &noted(b"1"));
    assert_eq!(report.unexplained(), 0);
    let all = changes(report.root.as_ref().unwrap());
    for name in ["xattr values", "table of xattr sets"] {
        let told = all.iter().any(|(_, change)| only_second(change) && change.structure == name);
        assert!(told, "{name}: {all:?}");
    }
    let told = fields(&report);
    assert!(told.iter().any(|field| field.starts_with("inode of etc/motd: kind:")), "{told:?}");
}

fn only_second(change: &Change) -> bool {
    change.places[0].is_none()
}

#[test]
fn t3b_another_value_of_an_attribute_is_told_with_its_name() {
    let report = compared(&noted(b"1"), &noted(b"2"));
    assert_eq!(report.unexplained(), 0);
    let told = fields(&report);
    let [of_file, value] = &told[..] else { panic!("{told:?}") };
    assert!(of_file.starts_with("owner and attributes of etc/motd: user.note: "), "{of_file}");
    assert!(value.starts_with("extended attributes of : user.note: "), "{value}");
}

/// Changes a text in an ISO image, and the byte at `at`; both must be told.
fn beside_a_text(at: impl FnOnce(&[u8]) -> usize, structure: &str) {
    let first = iso(same);
    let mut second = first.clone();
    let text = first.windows(8).position(|bytes| bytes == b"fixture\n").unwrap();
    second[text] = b'F';
    let at = at(&first);
    second[at] ^= 0xff;
    let report = compared(&first, &second);
    assert_eq!((report.differing, report.explained, report.unexplained()), (2, 2, 0));
    let root = report.root.unwrap();
    let place = u64::try_from(at).unwrap();
    let owner = root.changes.iter().find(|change| change.structure == structure).unwrap();
    assert!(owner.places[1].is_some_and(|(start, len)| (start..start + len).contains(&place)), "{owner:?}");
    assert!(owner.bytes.is_some() || !owner.fields.is_empty(), "{owner:?}");
    assert_eq!(lines(member(&root, &[path("/.disk/info")])), [(0, "fixture\n"), (1, "Fixture\n")]);
}

#[test]
fn t5_a_text_does_not_hide_the_boot_code() {
    beside_a_text(|_| 100, "master boot record");
}

#[test]
fn t5b_a_text_does_not_hide_bytes_in_the_padding() {
    let unused = |bytes: &[u8]| {
        let parsed = extent::parse(&source(bytes), &Room::new(0, 0)).unwrap().unwrap();
        let padding = parsed.map.extents().iter().rfind(|extent| extent.structure.name == "unused").unwrap();
        usize::try_from(padding.end() - 1).unwrap()
    };
    beside_a_text(unused, "unused");
}

#[test]
fn t6_boot_code_alone_is_named() {
    let first = iso(same);
    let mut second = first.clone();
    second[100..112].copy_from_slice(b"EVILBOOTCODE");
    let report = compared(&first, &second);
    assert_eq!((report.explained, report.unexplained()), (report.differing, 0));
    let root = report.root.unwrap();
    let names: Vec<_> = root.changes.iter().map(|change| change.structure).collect();
    assert_eq!((names, root.members.len()), (vec!["master boot record"], 0));
}

#[test]
fn t8_a_hard_link_is_not_a_copy() {
    let linked = squash("zstd:15", |tree, memory| {
        let id = tree.insert(b"etc/other", file(memory, MOTD)).unwrap();
        tree.remove(b"etc/motd").unwrap();
        tree.link(b"etc/motd", id).unwrap();
    });
    let copied = squash("zstd:15", |tree, memory| {
        tree.insert(b"etc/other", file(memory, MOTD)).unwrap();
    });
    let report = compared(&linked, &copied);
    assert_eq!(report.unexplained(), 0);
    let all = changes(report.root.as_ref().unwrap());
    assert!(all.iter().any(|(_, change)| change.path == b"etc/other" && only_second(change)), "{all:?}");
}

/// Two ext4 file systems that differ in one file; `None` without mke2fs.
fn file_systems() -> Option<[Vec<u8>; 2]> {
    let dir = scratch();
    let image = |motd| ext4::image(dir.path(), ext4::KINDS[4], motd);
    Some([image("Welcome.\n")?, image("Welcome!\n")?])
}

/// `found` are two ext4 file systems that differ in nothing but what a program wrote into `/etc/motd`.
fn only_motd(found: &Comparison) {
    assert_eq!(found.formats, [Some("ext4"); 2]);
    assert_eq!(found.members.len(), 1, "{found:?}");
    assert_eq!(lines(member(found, &[path("/etc/motd")])), [(0, "Welcome.\n"), (1, "Welcome!\n")]);
}

#[test]
fn t10_a_file_in_a_partition_is_named() {
    let Some(images) = file_systems() else { return };
    let [first, second] = images.map(|image| {
        let mut table = Gpt::new(guid_from("test disk", b""), 49_152);
        let id = guid_from("test partition", b"");
        let last = 2048 + u64::from(ext4::KINDS[4].2) * 2 - 1;
        let name = "root".to_owned();
        table.partitions =
            vec![Partition { number: 1, kind: Guid::LINUX, id, first: 2048, last, attributes: 0, name }];
        let mut disk = Vec::new();
        gpt::write(&Mbr::protective(table.sectors), &table, &[(1, &image)], &mut disk).unwrap();
        disk
    });
    let report = compared(&first, &second);
    assert_eq!((report.explained, report.unexplained()), (report.differing, 0));
    only_motd(member(&report.root.unwrap(), &[Name::Part("partition 1".into())]));
}

#[test]
fn t13_a_file_in_an_ext4_is_named() {
    let Some([first, second]) = file_systems() else { return };
    let report = compared(&first, &second);
    assert_eq!((report.explained, report.unexplained()), (report.differing, 0));
    only_motd(&report.root.unwrap());
}

/// Bytes that repeat and need no memory, one of them changed.
struct Repeated {
    pattern: &'static [u8; 16],
    size: u64,
    odd: Option<u64>,
}

impl ReadAt for Repeated {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        let len = u64::try_from(buf.len()).unwrap();
        if at + len > self.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut pattern = *self.pattern;
        pattern.rotate_left(usize::try_from(at % 16).unwrap());
        buf.chunks_mut(16).for_each(|part| part.copy_from_slice(&pattern[..part.len()]));
        if let Some(odd) = self.odd.filter(|odd| (at..at + len).contains(odd)) {
            buf[usize::try_from(odd - at).unwrap()] ^= 1;
        }
        Ok(())
    }
}

/// Two files of `size` bytes that differ in the byte at `odd`: that is said, and nothing long is held for it.
fn one_byte(pattern: &'static [u8; 16], size: u64, odd: u64) {
    let [first, second] =
        [None, Some(odd)].map(|odd| Arc::new(Counted::new(Repeated { pattern, size, odd })));
    let sources = [&first, &second].map(|one| Arc::clone(one) as Source);
    let report = run(&sources[0], &sources[1], &Options::new(NonZero::new(2).unwrap())).unwrap();
    assert_eq!((report.differing, report.explained, report.unexplained()), (1, 1, 0));
    let root = report.root.unwrap();
    let Some(Leaf::Binary { places, .. }) = &root.leaf else { panic!("{root:?}") };
    assert_eq!((places.len(), places[0].at), (1, [odd, odd]));
    for one in [&first, &second] {
        let (read, largest) = one.read();
        assert!(read < 3 * size && largest <= 4 << 20, "{read} bytes were read, {largest} at a time");
    }
}

#[test]
fn t14_one_byte_in_32_mib_is_found_without_holding_them() {
    one_byte(b"\x00\x01\xfe\xff0123456789ab", 32 << 20, 20_000_000);
}

#[test]
fn t15_a_difference_behind_64_mib_of_text_has_a_place() {
    one_byte(b"fifteen letters\n", 80 << 20, (72 << 20) + 5);
}
