//! The reader understands what mksquashfs writes.

use std::path::Path;
use std::process::Command;

use super::host::{capture, is_root, make, oracle};
use super::{assert_same, jobs, sample};
use crate::squashfs::{Image, check};
use crate::tree::Tree;

/// Packs `root`; `None` if mksquashfs is not installed.
fn mksquashfs(root: &Path, arguments: &[&str]) -> Option<Vec<u8>> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("image");
    let mut command = Command::new("mksquashfs");
    command.arg(root).arg(&file).args(["-no-progress", "-noappend"]).args(arguments);
    oracle(&mut command)?;
    Some(std::fs::read(&file).unwrap())
}

fn assert_reads(root: &Path, arguments: &[&str], expected: &Tree) -> Option<()> {
    let image = mksquashfs(root, arguments)?;
    assert_eq!(check(&image).unwrap(), [], "{arguments:?}");
    let (found, _) = Image::open(image).unwrap().to_content_tree(jobs(2)).unwrap();
    assert_same(&found, expected);
    Some(())
}

#[test]
fn images_of_mksquashfs_read_as_their_source() {
    let directory = tempfile::tempdir().unwrap();
    let (mut tree, memory) = sample(4096, is_root());
    // mksquashfs ends in 2038.
    tree.leaves_mut().iter_mut().for_each(|leaf| leaf.meta.mtime = leaf.meta.mtime.min(2_147_483_647));
    make(&tree, &memory, directory.path());
    // A large directory has an index in these images too.
    std::fs::create_dir(directory.path().join("crowd")).unwrap();
    for number in 0..2000 {
        std::fs::write(directory.path().join(format!("crowd/entry number {number:06}")), "").unwrap();
    }
    let (expected, _) = capture(directory.path());
    for arguments in [
        &["-comp", "zstd"][..],
        &["-comp", "zstd", "-b", "4096", "-Xcompression-level", "1"],
        &["-comp", "xz", "-Xbcj", "x86", "-b", "1048576"],
        &["-comp", "xz", "-b", "131072", "-Xdict-size", "8192"],
        &["-comp", "gzip", "-b", "4096", "-always-use-fragments"],
        &["-comp", "gzip", "-Xcompression-level", "1", "-no-exports", "-no-sparse"],
        &["-comp", "lz4"],
        &["-comp", "lz4", "-Xhc", "-b", "4096"],
        &["-comp", "lzma", "-b", "1048576"],
        &["-comp", "lzo"],
        &["-comp", "lzo", "-Xalgorithm", "lzo1x_1", "-b", "4096"],
        &["-comp", "zstd", "-no-fragments"],
        &["-comp", "zstd", "-no-duplicates", "-b", "4096"],
        &["-comp", "gzip", "-noI", "-noD", "-noF", "-noX", "-noId"],
        &["-comp", "zstd", "-always-use-fragments", "-b", "4096", "-nopad"],
    ] {
        if arguments.contains(&"-nopad") {
            let Some(image) = mksquashfs(directory.path(), arguments) else {
                return;
            };
            assert_eq!(check(&image).unwrap().len(), 1, "only the padding is missing");
        } else if assert_reads(directory.path(), arguments, &expected).is_none() {
            return;
        }
    }
    let mut plain = expected;
    plain.root.for_each_dir_mut(&mut |meta| meta.xattrs.clear());
    plain.leaves_mut().iter_mut().for_each(|leaf| leaf.meta.xattrs.clear());
    assert_reads(directory.path(), &["-comp", "zstd", "-no-xattrs"], &plain);
}
