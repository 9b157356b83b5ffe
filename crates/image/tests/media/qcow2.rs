//! qcow2 images as qemu-img makes them: the disk inside is what qemu-img converts, and each byte has an owner.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use selfsame_image::compare::{Name, Options, compare as compared};
use selfsame_image::extent::{self, Label, Parsed, Room, Source};
use selfsame_testkit::oracle_text;

use crate::support::{load, noise, save, scratch};
use crate::{compare, fat};

/// Kinds of image, by the options that make them, and whether they are compressed.
const KINDS: [(&str, bool); 5] = [
    ("compat=0.10", false),
    ("compat=1.1", false),
    ("compat=1.1,cluster_size=512,lazy_refcounts=on", false),
    ("compat=1.1,cluster_size=4096", true),
    ("compat=1.1,compression_type=zstd", true),
];

/// A disk with holes, noise and what can be compressed, whose length is no number of clusters.
fn disk(first: u8) -> Vec<u8> {
    let mut disk = vec![0; 3 << 20];
    disk[0] = first;
    disk[70_000..170_000].copy_from_slice(&noise(100_000));
    disk[1_000_000..1_300_000].fill(b'x');
    disk.truncate((3 << 20) - 512);
    let end = disk.len() - 1;
    disk[end] = 7;
    disk
}

fn convert(dir: &Path, raw: &[u8], (options, packed): (&str, bool)) -> Option<Vec<u8>> {
    let (from, to) = (save(dir, "raw", raw), dir.join("image.qcow2"));
    let mut convert = Command::new("qemu-img");
    convert.args(["convert", "-f", "raw", "-O", "qcow2", "-o", options]);
    // One after the other: else their order is by chance.
    convert.args(if packed { &["-c", "-m", "1"][..] } else { &["-m", "1"] });
    oracle_text(convert.arg(from).arg(&to))?;
    Some(load(&to))
}

fn parsed(bytes: &[u8]) -> Parsed {
    extent::parse(&(Arc::new(bytes.to_vec()) as Source), &Room::new(64 << 20, 0)).unwrap().unwrap()
}

fn guest(parsed: &Parsed) -> Vec<u8> {
    assert_eq!((parsed.members.count(), parsed.members.label(0)), (1, Label::Part("guest disk")));
    let source = parsed.members.open(0).unwrap().source;
    let mut bytes = vec![0; usize::try_from(source.size().unwrap()).unwrap()];
    source.read_exact_at(&mut bytes, 0).unwrap();
    // In other steps, the same.
    let mut again = Vec::new();
    for step in bytes.chunks(70_001) {
        let mut part = vec![1; step.len()];
        source.read_exact_at(&mut part, u64::try_from(again.len()).unwrap()).unwrap();
        again.extend(part);
    }
    assert!(again == bytes);
    bytes
}

#[test]
fn the_disk_is_what_qemu_converts() {
    let dir = scratch();
    let mut text = String::new();
    for kind in KINDS {
        let Some(image) = convert(dir.path(), &disk(1), kind) else { return };
        let parsed = parsed(&image);
        assert_eq!(parsed.faults, [], "{kind:?}");
        assert!(guest(&parsed) == disk(1), "{kind:?}");
        let (mut names, mut at) = (BTreeSet::new(), 0);
        for extent in parsed.map.extents() {
            assert_eq!(extent.start, at);
            at = extent.end();
            names.insert(extent.structure.name);
            let bytes = &image[usize::try_from(extent.start).unwrap()..usize::try_from(at).unwrap()];
            let empty = bytes.iter().all(|byte| *byte == 0);
            assert!(kind.1 || empty || extent.structure.name != "free clusters", "{kind:?}: {extent:?}");
        }
        assert_eq!(at, u64::try_from(image.len()).unwrap());
        text += &format!("{}: {}\n", kind.0, names.into_iter().collect::<Vec<_>>().join(", "));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn snapshots_and_backing_files_are_told() {
    let dir = scratch();
    let Some(_) = convert(dir.path(), &disk(1), KINDS[1]) else { return };
    let image = dir.path().join("image.qcow2");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(if arguments[0] == "-c" { "qemu-io" } else { "qemu-img" });
        oracle_text(command.current_dir(dir.path()).args(arguments))
    };
    let Some(_) = run(&["snapshot", "-c", "before", "image.qcow2"]) else { return };
    let Some(_) = run(&["-c", "write -P 5 1000448 70000", "image.qcow2"]) else { return };
    let Some(_) = run(&["-c", "write -z 65536 65536", "image.qcow2"]) else { return };
    let bytes = load(&image);
    let parsed = parsed(&bytes);
    assert_eq!(parsed.faults, []);
    let Some(_) = run(&["convert", "-O", "raw", "image.qcow2", "now"]) else { return };
    assert!(guest(&parsed) == load(&dir.path().join("now")));
    let named = |name: &str, path: &[u8]| {
        let all = parsed.map.extents().iter();
        all.filter(|extent| extent.structure.name == name && parsed.map.path(extent.owner) == path).count()
    };
    assert_eq!(named("snapshot", b"before"), 1);
    assert!(named("data of a snapshot", b"before") > 0);
    compare::flips("qcow2 with a snapshot", &bytes, 21);
    let Some(_) = run(&["create", "-q", "-f", "qcow2", "-b", "image.qcow2", "-F", "qcow2", "above.qcow2"])
    else {
        return;
    };
    let above = self::parsed(&load(&dir.path().join("above.qcow2")));
    assert!(above.map.extents().iter().any(|extent| extent.structure.name == "name of the backing file"));
    assert!(guest(&above).iter().all(|byte| *byte == 0));
}

#[test]
fn one_bit_anywhere_is_named_with_its_structure() {
    let dir = scratch();
    for (seed, kind) in (5..).zip(KINDS) {
        let Some(image) = convert(dir.path(), &disk(1), kind) else { return };
        compare::flips(kind.0, &image, seed);
    }
}

#[test]
fn no_damage_makes_reading_panic_or_leave_something_out() {
    let dir = scratch();
    for kind in KINDS {
        let Some(image) = convert(dir.path(), &disk(1), kind) else { return };
        compare::damaged(kind.0, &image, 1_000);
    }
}

#[test]
fn a_disk_that_is_allocated_in_another_order_is_the_same() {
    let dir = scratch();
    let (Some(a), Some(b)) =
        (convert(dir.path(), &disk(1), KINDS[1]), convert(dir.path(), &disk(1), KINDS[3]))
    else {
        return;
    };
    let [a, b] = [a, b].map(|image| Arc::new(image) as Source);
    let report = compared(&a, &b, &Options::new(NonZero::new(2).unwrap())).unwrap();
    assert_eq!(report.unexplained(), 0);
    assert!(report.root.unwrap().members.is_empty());
}

#[test]
fn a_large_disk_without_much_on_it_is_compared_by_what_is_on_it() {
    let dir = scratch();
    let of = |first: u8| {
        let mut image = convert(dir.path(), &disk(first), KINDS[1])?;
        let path = save(dir.path(), "grown.qcow2", &image);
        oracle_text(Command::new("qemu-img").args(["resize", "-q"]).arg(&path).arg("7T"))?;
        image = load(&path);
        Some(Arc::new(image) as Source)
    };
    let (Some(a), Some(b)) = (of(1), of(2)) else { return };
    let report = compared(&a, &b, &Options::new(NonZero::new(2).unwrap())).unwrap();
    assert_eq!(report.unexplained(), 0, "{report:?}");
    let guest = &report.root.unwrap().members[0];
    assert_eq!((guest.sizes, guest.differing), ([7 << 40; 2], 1));
}

#[test]
fn what_differs_in_a_file_system_on_the_disk_is_named() {
    let dir = scratch();
    let mut images = Vec::new();
    for change in [false, true] {
        let (files, memory) = fat::fixture();
        let mut disk = fat::image(&files, &memory, fat::SIZES[0].0).0;
        if change {
            let at = disk.windows(4).position(|bytes| bytes == b"FAT1").unwrap();
            disk[at] = b'f';
        }
        let Some(image) = convert(dir.path(), &disk, KINDS[1]) else { return };
        images.push(Arc::new(image) as Source);
    }
    let report = compared(&images[0], &images[1], &Options::new(NonZero::new(2).unwrap())).unwrap();
    assert_eq!(report.unexplained(), 0);
    let guest = &report.root.unwrap().members[0];
    assert_eq!((guest.name.clone(), guest.formats), (Name::Part("guest disk".into()), [Some("fat"); 2]));
    assert_eq!(guest.changes.len(), 1, "{guest:?}");
}
