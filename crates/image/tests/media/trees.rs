//! Random trees, packed by the programs that everybody uses: what is read is what others read, and what differs between
//! two of them is named. `TREES` is how many pairs each program gets.
#![allow(clippy::disallowed_methods, reason = "oracles work on files")]

mod disk;
mod ours;
mod plan;
mod tools;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use selfsame_image::compare::{Comparison, Name};
use selfsame_testkit::number;

use crate::compare::compared;
use crate::support::{load, scratch};
use disk::Listing;
use plan::Plan;
use tools::{Writer, shown};

/// An image of a planned tree, and what others read of it.
struct Packed {
    image: Vec<u8>,
    listing: Listing,
}

/// Packs a tree, and holds what is read of it against what others read.
fn pack(writer: Writer, plan: &Plan, dir: &Path, seed: u64, what: &str) -> Option<Packed> {
    let (root, image) = (dir.join("root"), dir.join("image"));
    disk::make(plan, &root);
    writer.write(&root, plan, &image, seed)?;
    let bytes = load(&image);
    let mut ours = writer.ours(&bytes);
    let mut theirs = writer.theirs(&image, dir, &root)?;
    fs::remove_dir_all(&root).unwrap();
    fs::remove_file(&image).unwrap();
    writer.known(&mut ours, seed);
    writer.known(&mut theirs, seed);
    assert_same(&ours, &theirs, what);
    Some(Packed { image: bytes, listing: theirs })
}

/// Fails with the entries that differ.
fn assert_same(ours: &Listing, theirs: &Listing, what: &str) {
    let mut text = String::new();
    for path in ours.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
        let both = [ours.get(path), theirs.get(path)];
        if both[0] != both[1] {
            text += &format!("{}\n  ours   {:?}\n  theirs {:?}\n", shown(path), both[0], both[1]);
        }
    }
    assert!(text.is_empty(), "{what}:\n{text}");
}

/// All paths that a comparison names, and those in files inside.
fn named(comparison: &Comparison, all: &mut BTreeSet<Vec<u8>>) {
    let mut add = |path: &[u8]| {
        let path =
            path.strip_prefix(b".").filter(|rest| rest.first().is_none_or(|b| *b == b'/')).unwrap_or(path);
        all.insert(path.strip_prefix(b"/").unwrap_or(path).to_vec());
    };
    for change in &comparison.changes {
        add(&change.path);
        change.renamed.iter().for_each(|path| add(path));
    }
    if let Name::Path(path) = &comparison.name {
        add(path);
    }
    comparison.members.iter().for_each(|member| named(member, all));
}

/// Everything in which two trees differ is named when their images are compared.
fn assert_named(a: &Packed, b: &Packed, what: &str) {
    let report = compared(&a.image, &b.image);
    assert_eq!(report.unexplained(), 0, "{what}");
    let root = report.root.expect("the images differ");
    let mut all = BTreeSet::new();
    named(&root, &mut all);
    // Whatever name of an inode is told will do.
    let mut names: BTreeMap<&[u8], BTreeSet<&[u8]>> = BTreeMap::new();
    for (path, entry) in a.listing.iter().chain(&b.listing) {
        names.entry(&entry.first).or_default().insert(path);
    }
    let mut missing = String::new();
    for path in a.listing.keys().chain(b.listing.keys()).collect::<BTreeSet<_>>() {
        let both = [a.listing.get(path), b.listing.get(path)];
        let mut known = both.iter().flatten().flat_map(|entry| &names[&entry.first[..]]);
        if both[0] != both[1] && !known.any(|name| all.contains(*name)) {
            missing += &format!("{}\n  {:?}\n  {:?}\n", shown(path), both[0], both[1]);
        }
    }
    assert!(missing.is_empty(), "{what}: nothing is said of\n{missing}");
}

fn pairs(writer: Writer) {
    let dir = scratch();
    for seed in 0..number("TREES", 4) {
        let what = format!("{writer:?}, seed {seed}");
        let first = Plan::new(seed, writer.taste());
        let second = first.changed(seed);
        let Some(a) = pack(writer, &first, dir.path(), seed, &what) else { return };
        let Some(b) = pack(writer, &second, dir.path(), seed, &format!("{what}, changed")) else { return };
        assert_ne!(a.listing, b.listing, "{what}: nothing was changed");
        assert_named(&a, &b, &what);
    }
}

#[test]
fn trees_of_mksquashfs() {
    pairs(Writer::Squashfs);
}

#[test]
fn trees_of_mke2fs() {
    pairs(Writer::Ext4);
}

#[test]
fn trees_of_mkfs_fat() {
    pairs(Writer::Fat);
}

#[test]
fn trees_of_xorriso() {
    pairs(Writer::Iso);
}

#[test]
fn trees_of_gnu_tar() {
    pairs(Writer::Tar);
}

#[test]
fn trees_of_gnu_cpio() {
    pairs(Writer::Cpio);
}
