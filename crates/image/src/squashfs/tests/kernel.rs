//! Linux mounts what was written, and shows the same tree.

use std::path::Path;
use std::process::Command;

use super::host::{capture, is_root, oracle};
use super::{as_read, assert_same, codecs, crowd, image, options, prose, sample};
use crate::tree::{Memory, Tree};

/// A mounted image. Only root can mount, and not every container has loop devices.
struct Mounted {
    directory: tempfile::TempDir,
}

impl Mounted {
    fn new(image: &[u8]) -> Option<Self> {
        if !is_root() || !Path::new("/dev/loop-control").exists() {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("image");
        std::fs::write(&file, image).unwrap();
        let root = directory.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let mut mount = Command::new("mount");
        oracle(mount.args(["-t", "squashfs", "-o", "loop,ro"]).arg(&file).arg(&root))?;
        Some(Self { directory })
    }

    fn tree(&self) -> Tree {
        capture(&self.directory.path().join("root")).0
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let root = self.directory.path().join("root");
        // A process that another test is just starting has a copy of every open file until its program runs.
        for _ in 0..50 {
            if Command::new("umount").arg(&root).status().is_ok_and(|status| status.success()) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!("cannot unmount {}", root.display());
    }
}

#[test]
fn every_codec_and_block_size_mounts_as_the_same_tree() {
    for block_size in [4 << 10, 128 << 10, 1 << 20] {
        let (mut tree, mut memory) = sample(usize::try_from(block_size).unwrap(), true);
        // A program, so that blocks pass the branch filter.
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let program = program[..program.len().min(300_000)].to_vec();
        tree.insert(b"program", super::file(&mut memory, program)).unwrap();
        for options in codecs(block_size) {
            let image = image(&tree, &memory, &options);
            let Some(mounted) = Mounted::new(&image) else {
                return;
            };
            assert_same(&mounted.tree(), &as_read(&tree));
        }
    }
}

#[test]
fn other_parameters_of_the_codecs_mount_too() {
    let mut memory = Memory::new();
    let mut tree = super::empty();
    tree.insert(b"prose", super::file(&mut memory, prose(1, 500_000))).unwrap();
    for codec in
        ["zstd:1", "zstd:22", "gzip:1", "lz4:2", "xz:0:dict=8192", "xz:9:dict=131072", "xz:6:dict=98304:x86"]
    {
        let image = image(&tree, &memory, &options(codec, 128 << 10));
        let Some(mounted) = Mounted::new(&image) else {
            return;
        };
        assert_same(&mounted.tree(), &as_read(&tree));
    }
}

#[test]
fn every_name_of_a_large_directory_is_found() {
    let tree = crowd(5000);
    let image = image(&tree, &Memory::new(), &options("zstd:3", 128 << 10));
    let Some(mounted) = Mounted::new(&image) else {
        return;
    };
    // The capture asks for every name, so each goes through the directory index.
    assert_same(&mounted.tree(), &as_read(&tree));
    let crowd = mounted.directory.path().join("root/crowd");
    for missing in ["", "a", "entry number 002500x", "zzz"] {
        assert!(std::fs::symlink_metadata(crowd.join(format!("{missing}-"))).is_err());
    }
}
