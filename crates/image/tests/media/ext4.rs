//! ext2, ext3 and ext4 as mke2fs makes them: whose each byte is, and what differs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rustix::fs::{XattrFlags, lsetxattr};
use selfsame_image::extent::{self, Label, Room, Source};
use selfsame_image::gpt::{self, Gpt, Guid, Mbr, Partition, guid_from};
use selfsame_testkit::{oracle_text, skip};

use crate::support::{load, noise, scratch};
use crate::{compare, fat};

/// Kinds of file system, with the size of a block and of the image in KiB.
pub(crate) const KINDS: [(&str, u32, u32); 5] = [
    ("ext2", 1024, 8192),
    ("ext2", 4096, 8192),
    ("ext3", 1024, 16384),
    ("ext4", 1024, 12288),
    ("ext4", 4096, 20480),
];

/// Files and what they hold.
fn files(motd: &str) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::from([
        ("etc/motd".to_owned(), motd.as_bytes().to_vec()),
        ("etc/large".to_owned(), noise(300_000)),
        ("etc/hole".to_owned(), [noise(5_000), vec![0; 200_000], noise(4_097)].concat()),
        ("one".to_owned(), vec![1]),
    ]);
    for number in 0..400 {
        files.insert(format!("many/a file with quite a long name, number {number}"), vec![b'x'; number]);
    }
    files
}

#[allow(clippy::disallowed_methods)] // A test hands files to other programs; the crate itself never does.
pub(crate) fn image(dir: &Path, (kind, block, size): (&str, u32, u32), motd: &str) -> Option<Vec<u8>> {
    let (root, image) = (dir.join("root"), dir.join("image"));
    let _ = std::fs::remove_dir_all(&root);
    for (path, bytes) in files(motd) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    // Holes are found by mke2fs where the source has them.
    let hole = std::fs::File::options().write(true).open(root.join("etc/hole")).unwrap();
    let bytes = &files(motd)["etc/hole"];
    hole.set_len(0).unwrap();
    for at in [0..5_000, 205_000..209_097] {
        std::os::unix::fs::FileExt::write_all_at(&hole, &bytes[at.clone()], at.start as u64).unwrap();
    }
    std::fs::hard_link(root.join("one"), root.join("etc/also")).unwrap();
    std::os::unix::fs::symlink("etc/motd", root.join("short")).unwrap();
    std::os::unix::fs::symlink("x/".repeat(100), root.join("long")).unwrap();
    // Times of the host must not differ between two images.
    for path in walk(&root) {
        oracle_text(Command::new("touch").args(["-h", "-d", "@1600000000"]).arg(path))?;
    }
    let _ = std::fs::remove_file(&image);
    let mut make = Command::new("mke2fs");
    make.env("E2FSPROGS_FAKE_TIME", "1600000000").args(["-q", "-F", "-t", kind, "-b", &block.to_string()]);
    make.args(["-U", "6f4a3c0e-5d2b-4e1a-9b8c-7d6e5f4a3b2c", "-E"]);
    make.arg("hash_seed=6f4a3c0e-5d2b-4e1a-9b8c-7d6e5f4a3b2c,root_owner=0:0").arg("-d").arg(&root);
    oracle_text(make.arg(&image).arg(format!("{size}k")))?;
    Some(load(&image))
}

#[allow(clippy::disallowed_methods)] // As above.
fn walk(root: &Path) -> Vec<std::path::PathBuf> {
    let mut all = vec![root.to_owned()];
    let mut index = 0;
    while index < all.len() {
        if all[index].is_dir() && !all[index].is_symlink() {
            let below: Vec<_> =
                std::fs::read_dir(&all[index]).unwrap().map(|entry| entry.unwrap().path()).collect();
            all.extend(below);
        }
        index += 1;
    }
    all.reverse();
    all
}

fn bytes_of(source: &Source) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(source.size().unwrap()).unwrap()];
    source.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn files_are_found_with_their_bytes_and_every_byte_has_an_owner() {
    let dir = scratch();
    let mut text = String::new();
    for kind in KINDS {
        let Some(image) = image(dir.path(), kind, "Welcome.\n") else { return };
        let source: Source = Arc::new(image);
        let parsed = extent::parse(&source, &Room::new(0, 0)).unwrap().unwrap();
        assert_eq!(parsed.faults, [], "{kind:?}");
        let (mut found, mut names) = (BTreeMap::new(), BTreeSet::new());
        let mut at = 0;
        for extent in parsed.map.extents() {
            assert_eq!(extent.start, at);
            at = extent.end();
            names.insert(extent.structure.name);
            for member in parsed.map.members(extent) {
                let Label::Path(path) = parsed.members.label(*member) else { panic!() };
                let path = String::from_utf8(path[1..].to_vec()).unwrap();
                found.entry(path).or_insert_with(|| bytes_of(&parsed.members.open(*member).unwrap().source));
            }
        }
        assert_eq!(at, source.size().unwrap());
        let mut expected = files("Welcome.\n");
        expected.retain(|_, bytes| !bytes.is_empty());
        // Of two names of one file the first one that is met counts.
        if let Some(bytes) = found.remove("etc/also") {
            found.insert("one".into(), bytes);
        }
        assert!(found == expected, "{kind:?}: {:?}", found.keys());
        // How many of them there are depends on the version of mke2fs, and on the order of the directory it read.
        let (name, block, _) = kind;
        text += &format!("{name}, blocks of {block}: {}\n", names.into_iter().collect::<Vec<_>>().join(", "));
    }
    insta::assert_snapshot!(text);
}

#[test]
#[allow(clippy::disallowed_methods)] // As above.
fn attributes_and_times_are_told_as_the_kernel_reads_them() {
    let dir = scratch();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let file = root.join("file");
    std::fs::write(&file, "text\n").unwrap();
    let image = |note: &[u8], time: &str| {
        lsetxattr(&file, "user.note", note, XattrFlags::empty()).ok()?;
        // The second one has no room in the inode.
        lsetxattr(&file, "user.long", &note.repeat(100), XattrFlags::empty()).ok()?;
        oracle_text(Command::new("touch").args(["-d", time]).arg(&file))?;
        let mut make = Command::new("mke2fs");
        make.env("E2FSPROGS_FAKE_TIME", "1600000000").args(["-q", "-F", "-t", "ext4", "-I", "256"]);
        let seed = "hash_seed=6f4a3c0e-5d2b-4e1a-9b8c-7d6e5f4a3b2c";
        make.args(["-U", "6f4a3c0e-5d2b-4e1a-9b8c-7d6e5f4a3b2c", "-E", seed, "-d"]).arg(&root);
        let image = dir.path().join("image");
        oracle_text(make.arg(&image).arg("4m"))?;
        let bytes = load(&image);
        std::fs::remove_file(&image).unwrap();
        Some(bytes)
    };
    let (Some(a), Some(b)) = (image(b"old", "@-5"), image(b"new", "@1600000000")) else {
        return skip("the file system has no attributes for users");
    };
    let report = compare::compared(&a, &b);
    assert_eq!(report.unexplained(), 0);
    let told = compare::fields(&report);
    for part in [
        "inode of /file: user.note: \"old\" -> \"new\"".to_owned(),
        "inode of /file: mtime: -5 -> 2020-09-13T12:26:40Z (1600000000)".to_owned(),
        format!(
            "extended attributes of /file: user.long: {:?} -> {:?}",
            "old".repeat(100),
            "new".repeat(100)
        ),
    ] {
        assert!(told.contains(&part), "{part} is not in {told:#?}");
    }
}

#[test]
fn one_bit_anywhere_in_a_disk_is_named_with_its_structure() {
    let dir = scratch();
    let Some(root) = image(dir.path(), KINDS[3], "Welcome.\n") else { return };
    let (files, memory) = fat::fixture();
    let esp = fat::image(&files, &memory, fat::SIZES[0].0).0;
    let sectors = |bytes: &[u8]| u64::try_from(bytes.len()).unwrap() / 512;
    let (first, second) = (2048, 2048 + sectors(&esp).next_multiple_of(2048));
    let mut gpt = Gpt::new(guid_from("disk", b""), second + sectors(&root) + 2048);
    let part = |number: u32, first, bytes: &[u8]| Partition {
        number,
        kind: Guid::LINUX,
        id: guid_from("part", &number.to_le_bytes()),
        first,
        last: first + sectors(bytes) - 1,
        attributes: 0,
        name: String::new(),
    };
    gpt.partitions = vec![part(1, first, &esp), part(2, second, &root)];
    let mut disk = Vec::new();
    gpt::write(&Mbr::protective(gpt.sectors), &gpt, &[(1, &esp), (2, &root)], &mut disk).unwrap();
    compare::flips("disk of FAT and ext4", &disk, 3);
    compare::flips("ext4", &root, 4);
}

#[test]
#[allow(clippy::disallowed_methods)] // As above.
fn clusters_of_several_blocks_are_read() {
    let dir = scratch();
    let (root, image) = (dir.path().join("root"), dir.path().join("image"));
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("file"), "text\n").unwrap();
    let mut make = Command::new("mke2fs");
    make.args(["-q", "-F", "-t", "ext4", "-b", "1024", "-O", "bigalloc", "-d"]).arg(&root).arg(&image);
    if oracle_text(make.arg("8m")).is_none() {
        return;
    }
    let source: Source = Arc::new(load(&image));
    let parsed = extent::parse(&source, &Room::new(0, 0)).unwrap().unwrap();
    assert_eq!(parsed.faults, []);
    let mut members = 0..parsed.members.count();
    let file = members.find(|member| parsed.members.label(*member) == Label::Path(b"/file")).unwrap();
    assert_eq!(bytes_of(&parsed.members.open(file).unwrap().source), b"text\n");
}
