//! Tags where system calls fail and disks are full: whole or not there, and the next try makes them.

use std::fs;

use selfsame_store::{Depth, Store};
use selfsame_testkit::powercut::read_tree;
use selfsame_testkit::{is_root, leaks, traces};

use crate::build::in_namespace;
use crate::faults::Sweep;
use crate::program;
use crate::scene::Scene;

#[test]
fn a_call_that_fails_leaves_a_whole_tag_or_none() {
    if !traces() {
        return;
    }
    let scene = Scene::with_lock(4);
    let root = scene.world.root();
    let words = ["snapshot", "tag", "r", "tag", "--store", "s"];
    assert!(program(&scene.world, &[], &words).output().unwrap().status.success());
    let tag = root.join("tag");
    let whole = read_tree(&tag);
    assert!(whole.len() > 8, "{:?}", whole.keys());
    let sweep = Sweep {
        world: &scene.world,
        words: &words,
        fresh: &|| [root.join("s"), tag.clone()].iter().for_each(|dir| fs::remove_dir_all(dir).unwrap()),
        left: &|when| assert!(!tag.exists() || read_tree(&tag) == whole, "{when}"),
        done: &|when| {
            assert!(read_tree(&tag) == whole, "{when}");
            assert_eq!(Store::open(root.join("s")).unwrap().check(Depth::Bytes).unwrap(), [], "{when}");
        },
    };
    sweep.run(&[
        ("write", "ENOSPC"),
        ("fsync", "EIO"),
        ("rename", "EIO"),
        ("openat", "EMFILE"),
        ("mkdir", "ENOSPC"),
    ]);
}

#[test]
fn a_full_disk_leaves_no_part_of_a_tag() {
    if !is_root() {
        return;
    }
    let scene = Scene::with_lock(4);
    let root = scene.world.root();
    fs::copy(env!("CARGO_BIN_EXE_selfsame"), root.join("selfsame")).unwrap();
    let script = "mkdir -p t && mount -t tmpfs -o size=1g x t && ./selfsame snapshot tag r t/tag --store t/s > /dev/null && \
                  df -k --output=used t | tail -n 1";
    let (status, said, text) = in_namespace(root, script);
    assert_eq!(status, Some(0), "{text}");
    let used: u64 = said.trim().parse().unwrap();
    for percent in [25, 50, 75, 90, 99] {
        let script = format!(
            "mount -t tmpfs -o size={}k x t || exit 98\n\
             ./selfsame snapshot tag r t/tag --store t/s > /dev/null && echo status 0 || echo status $?\n\
             [ ! -e t/tag ] || (cd t/tag && sha256sum --quiet --check SHA256SUMS) || exit 97\n\
             mount -o remount,size=1g t\n\
             ./selfsame snapshot tag r t/tag --store t/s > /dev/null || exit 96\n\
             (cd t/tag && sha256sum --quiet --check SHA256SUMS) || exit 95\n\
             ./selfsame store check --store t/s > /dev/null || exit 94",
            (used * percent / 100).max(4)
        );
        let (status, said, text) = in_namespace(root, &script);
        let when = format!("{percent} % of {used} KiB: {said}{text}");
        assert_eq!(status, Some(0), "{when}");
        assert!(said == "status 0\n" || said == "status 4\n" && text.contains("error: "), "{when}");
    }
    leaks::assert_none_below(root);
}
