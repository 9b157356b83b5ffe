use std::process::Command;

use selfsame_image::Epoch;
use selfsame_image::cpio::{Extent, read, write};
use selfsame_image::tree::{Content, Kind, Memory, Tree};

use crate::host::{assert_same, capture, oracle, root, sample, unpack_tar};

fn written(tree: &Tree, memory: &Memory) -> Vec<u8> {
    let mut archive = Vec::new();
    write(tree, memory, Epoch(u32::MAX), &mut archive).unwrap();
    archive
}

/// The names of `tree` in the order of the walk, each followed by a NUL.
fn names(tree: &Tree) -> Vec<u8> {
    let mut names = Vec::new();
    tree.walk(|path, _| {
        names.extend_from_slice(if path.is_empty() { b"." } else { path });
        names.push(0);
        Ok::<(), ()>(())
    })
    .unwrap();
    names
}

fn unpacked(archive: &[u8]) -> Option<tempfile::TempDir> {
    let dir = tempfile::tempdir().unwrap();
    let mut unpack = Command::new("cpio");
    unpack.current_dir(dir.path()).args(["--extract", "--preserve-modification-time", "--quiet"]);
    oracle(&mut unpack, archive)?;
    Some(dir)
}

/// GNU cpio sets no times of symbolic links, and those of directories before it fills them.
fn without_those_times(mut tree: Tree) -> Tree {
    tree.root.for_each_dir_mut(&mut |meta| meta.mtime = 0);
    let links = tree.leaves_mut().iter_mut().filter(|leaf| matches!(leaf.kind, Kind::Symlink(_)));
    links.for_each(|leaf| leaf.meta.mtime = 0);
    tree
}

#[test]
fn gnu_cpio_lists_and_unpacks_the_tree() {
    let (tree, memory) = sample();
    let ours = written(&tree, &memory);
    let Some(dir) = unpacked(&ours) else { return };
    let found = capture(dir.path()).0;
    assert_same(&without_those_times(tree.clone()), &without_those_times(found), "unpacked by GNU cpio");
    let listed = oracle(Command::new("cpio").args(["--list", "--null", "--quiet"]), &ours).unwrap();
    let listed = listed.split_inclusive(|byte| matches!(byte, b'\n' | 0)).count();
    // One name has a newline.
    assert!((names(&tree).split(|byte| *byte == 0).count() - 1..).contains(&listed));
}

/// GNU cpio packs the same bytes again, but for hard links, whose names it writes together at the last of them.
#[test]
fn gnu_cpio_packs_the_same_bytes() {
    let (mut tree, memory) = sample();
    tree.remove_matching(&["bin".parse().unwrap(), "usr/bin/other".parse().unwrap()]);
    let ours = written(&tree, &memory);
    let dir = tempfile::tempdir().unwrap();
    if unpack_tar(&tree, &memory, dir.path()).is_none() {
        return;
    }
    let mut pack = Command::new("cpio");
    pack.current_dir(dir.path()).args(["--create", "--format=newc", "--null", "--reproducible", "--quiet"]);
    if !root() {
        pack.args(["--owner", "+0:+0"]);
    }
    let Some(theirs) = oracle(&mut pack, &names(&tree)) else { return };
    assert!(ours == theirs, "the bytes differ");
}

/// An archive of GNU cpio with hard links is read as the tree it was made of.
#[test]
fn archives_of_gnu_cpio_are_read_as_the_same_tree() {
    let (tree, memory) = sample();
    let Some(dir) = unpacked(&written(&tree, &memory)) else { return };
    let mut pack = Command::new("cpio");
    pack.current_dir(dir.path()).args(["--create", "--format=newc", "--null", "--quiet"]);
    let theirs = oracle(&mut pack, &names(&tree)).unwrap();
    let found = read(&theirs, 0).unwrap();
    let found = found.tree.try_map(|Extent { at, size }| {
        let (at, size) = (usize::try_from(at).unwrap(), usize::try_from(size).unwrap());
        Ok::<_, ()>(Content::of(&theirs[at..at + size]))
    });
    let mut found = found.unwrap();
    found.compact();
    let mut wanted = capture(dir.path()).0;
    if !root() {
        for tree in [&mut found, &mut wanted] {
            tree.root.for_each_dir_mut(&mut |meta| (meta.uid, meta.gid) = (0, 0));
            tree.leaves_mut().iter_mut().for_each(|leaf| (leaf.meta.uid, leaf.meta.gid) = (0, 0));
        }
    }
    assert_same(&found, &wanted, "packed by GNU cpio");
}
