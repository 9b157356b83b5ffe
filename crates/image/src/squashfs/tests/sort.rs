//! A sort file decides where contents lie, and nothing else.

use std::process::Command;

use super::host::{capture, make, oracle};
use super::{
    as_read, assert_same, empty, file, image, jobs, options, prose, read, round_trip, sample, try_image,
};
use crate::squashfs::read::Body;
use crate::squashfs::scan::scan;
use crate::squashfs::{Image, Options, Sort};
use crate::tree::{Memory, Meta, Tree};

/// Paths of the files of an image in the order in which their blocks, or without blocks their ends, lie in it.
fn order(image: &[u8]) -> Vec<String> {
    let image = Image::open(image).unwrap();
    let mut files = Vec::new();
    scan(
        &image.inner,
        |found| {
            if let Body::Leaf(crate::tree::Kind::File(file)) = &found.inode.body {
                let path = String::from_utf8_lossy(found.path).into_owned();
                let place = match file.fragment.filter(|_| file.blocks == 0) {
                    None => (file.start, 0),
                    Some((index, offset)) => (image.inner.fragment_entry(index)?.start.get(), offset),
                };
                files.push((place, path));
            }
            Ok(())
        },
        Err,
    )
    .unwrap();
    files.sort();
    files.into_iter().map(|(_, path)| path).collect()
}

fn sorted<'a>(sort: &'a Sort, codec: &str) -> Options<'a> {
    Options { sort: Some(sort), ..options(codec, 4096) }
}

/// Files of whole blocks, so that each has a place of its own.
fn blocks() -> (Tree, Memory) {
    let (mut tree, mut memory) = (empty(), Memory::new());
    for dir in ["bin", "lib", "lib/deep"] {
        tree.insert_dir(dir.as_bytes(), Meta::root(0o755, 0)).unwrap();
    }
    for (seed, path) in (1..).zip(["bin/a", "bin/b", "lib/c", "lib/d", "lib/deep/e", "lib/deep/f", "z"]) {
        tree.insert(path.as_bytes(), file(&mut memory, prose(seed, 8192))).unwrap();
    }
    (tree, memory)
}

#[test]
fn contents_lie_in_the_order_of_priorities_then_of_paths() {
    let (tree, memory) = blocks();
    let sort = Sort::parse(b"z 10\nlib/deep -1\nlib 5\nlib/d 32767\nlib/deep/f -5\nnot/there 9\n").unwrap();
    let image = round_trip(&tree, &memory, &sorted(&sort, "zstd:3"));
    assert_eq!(order(&image), ["lib/d", "z", "lib/c", "bin/a", "bin/b", "lib/deep/e", "lib/deep/f"]);
    let plain = round_trip(&tree, &memory, &options("zstd:3", 4096));
    assert_eq!(order(&plain), ["bin/a", "bin/b", "lib/c", "lib/d", "lib/deep/e", "lib/deep/f", "z"]);
    assert_same(&read(&image), &as_read(&tree));
    assert!(image != plain && image.len() == plain.len());
}

#[test]
fn a_sort_file_that_says_nothing_changes_no_bytes() {
    let (tree, memory) = sample(4096, true);
    let plain = image(&tree, &memory, &options("zstd:3", 4096));
    for text in ["", "# nothing\n", "/ 7\n", "not/there 3\n"] {
        let sort = Sort::parse(text.as_bytes()).unwrap();
        assert!(image(&tree, &memory, &sorted(&sort, "zstd:3")) == plain, "{text:?}");
    }
}

#[test]
fn equal_contents_lie_where_the_highest_priority_asks_for_them() {
    let (mut tree, mut memory) = blocks();
    tree.insert(b"zz", file(&mut memory, prose(1, 8192))).unwrap();
    tree.insert(b"small", file(&mut memory, "early")).unwrap();
    let linked = tree.insert(b"late", file(&mut memory, "late")).unwrap();
    tree.link(b"lib/link", linked).unwrap();
    let sort = Sort::parse(b"z 1\nzz 2\nbin/a -9\nsmall 3\nlib/link -2\n").unwrap();
    let image = round_trip(&tree, &memory, &sorted(&sort, "zstd:3"));
    let order = order(&image);
    assert_eq!(order[..3], ["bin/a", "zz", "z"]);
    // One fragment holds both ends, the early one first; its last content closes it.
    assert_eq!(order[order.len() - 3..], ["small", "late", "lib/link"]);
}

#[test]
fn job_count_changes_nothing_with_a_sort_file() {
    let (mut tree, mut memory) = sample(4096, true);
    for number in 0..200 {
        let path = format!("small-{number}");
        tree.insert(path.as_bytes(), file(&mut memory, prose(number, 700))).unwrap();
    }
    let sort = Sort::parse(b"five 3\nsmall-17 2\nsmall-3 1\nblock -4\nnoise 9\n").unwrap();
    let options = sorted(&sort, "lz4:12");
    let serial = try_image(&tree, &memory, &options, 1).unwrap();
    assert_same(&read(&serial), &as_read(&tree));
    for jobs in [2, 3, 8] {
        assert!(try_image(&tree, &memory, &options, jobs).unwrap() == serial, "jobs = {jobs}");
    }
}

#[test]
fn mksquashfs_understands_a_sort_file_the_same_way() {
    let (tree, memory) = blocks();
    // A priority for each file, because mksquashfs has its own order among equal ones.
    let text = "bin -3\nbin/b 5\nlib -7\nlib/deep 200\nlib/deep/f -300\nlib/d 32767\nz 1\n";
    let directory = tempfile::tempdir().unwrap();
    let [root, list, out] = ["root", "sort", "image"].map(|name| directory.path().join(name));
    std::fs::create_dir(&root).unwrap();
    make(&tree, &memory, &root);
    std::fs::write(&list, text).unwrap();
    let mut mksquashfs = Command::new("mksquashfs");
    mksquashfs.arg(&root).arg(&out).args(["-no-progress", "-noappend", "-comp", "lz4", "-b", "4096"]);
    // It takes paths from the directory that it runs in.
    mksquashfs.arg("-sort").arg(&list).current_dir(&root);
    if oracle(&mut mksquashfs).is_none() {
        return;
    }
    let theirs = std::fs::read(&out).unwrap();
    let (captured, contents) = capture(&root);
    let sort = Sort::parse(text.as_bytes()).unwrap();
    let ours = image(&captured, &contents, &sorted(&sort, "lz4:12"));
    assert_eq!(order(&ours), order(&theirs));
    let theirs = Image::open(&theirs[..]).unwrap().to_content_tree(jobs(1)).unwrap().0;
    assert_same(&read(&ours), &theirs);
}
