//! Tags where system calls fail and disks are full: whole or not there, and the next try makes them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use selfsame_image::Digest;
use selfsame_store::{Depth, Store};
use selfsame_testkit::{is_root, leaks, number, traces};

use crate::build::in_namespace;
use crate::scene::Scene;

/// How many calls of each kind fail, one after the other. `FAULTS=300` for a long look.
const FAULTS: usize = 6;

/// Files below `dir` with their digests.
fn files(dir: &Path) -> BTreeMap<String, Digest> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            all.extend(files(&path).into_iter().map(|(below, digest)| (format!("{name}/{below}"), digest)));
        } else {
            all.insert(name, Digest::of(&fs::read(path).unwrap()));
        }
    }
    all
}

#[test]
fn a_call_that_fails_leaves_a_whole_tag_or_none() {
    if !traces() {
        return;
    }
    let scene = Scene::with_lock(4);
    let root = scene.world.root();
    let run = |wrapper: &[&str]| {
        let words = ["snapshot", "tag", "r", "tag", "--store", "s"];
        let all: Vec<&str> = [wrapper, &[env!("CARGO_BIN_EXE_selfsame")], &words].concat();
        let mut command = Command::new(all[0]);
        command.args(&all[1..]).current_dir(root).env("HOME", root.join("home")).stdin(Stdio::null());
        command.output().unwrap()
    };
    let fresh = || ["s", "tag"].iter().for_each(|name| drop(fs::remove_dir_all(root.join(name))));
    assert!(run(&[]).status.success());
    let whole = files(&root.join("tag"));
    assert!(whole.len() > 8, "{whole:?}");
    let most = number("FAULTS", FAULTS);
    let mut failed = 0;
    for (call, error) in
        [("write", "ENOSPC"), ("fsync", "EIO"), ("rename", "EIO"), ("openat", "EMFILE"), ("mkdir", "ENOSPC")]
    {
        fresh();
        let trace = format!("trace={call}");
        assert!(run(&["strace", "-f", "-qq", "-e", &trace, "-o", "calls"]).status.success());
        let calls = fs::read_to_string(root.join("calls")).unwrap().lines().count();
        let most = calls.min(most);
        for fault in 0..most {
            fresh();
            let inject = format!("inject={call}:error={error}:when={}", fault * calls / most + 1);
            let ran = run(&["strace", "-f", "-qq", "-e", &inject, "-o", "/dev/null"]);
            let said = String::from_utf8_lossy(&ran.stderr);
            assert!(!said.contains("panicked") && ran.status.code() != Some(70), "{inject}: {said}");
            failed += usize::from(!ran.status.success());
            let told = said.contains("error: ") || said.contains("cause: ");
            assert!(ran.status.success() || told, "{inject}: {said}");
            if root.join("tag").exists() {
                assert_eq!(files(&root.join("tag")), whole, "{inject}");
            }
            let again = run(&[]);
            assert!(again.status.success(), "{inject}: {}", String::from_utf8_lossy(&again.stderr));
            assert_eq!(files(&root.join("tag")), whole, "{inject}");
            let store = Store::open(root.join("s")).unwrap();
            assert_eq!(store.check(Depth::Bytes).unwrap(), [], "{inject}");
        }
    }
    // Otherwise nothing was made to fail.
    assert!(failed > FAULTS, "{failed}");
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
