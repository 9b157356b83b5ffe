//! `snapshot create` and `snapshot gc` that are killed anywhere, whose system calls fail, and on disks that are full: every
//! snapshot is whole or not there, and the next run does the rest.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use selfsame_store::{Depth, Store};
use selfsame_testkit::{is_root, number, traces};

use crate::build::{files_below, in_namespace};
use crate::collect::{put, series};
use crate::faults::Sweep;
use crate::program;
use crate::snapshot::World;

/// How often each command is killed. `KILLS=50` for a long look.
const KILLS: u32 = 8;
/// How many snapshots there are before.
const SERIES: i64 = 5;

const CREATE: [&str; 5] = ["snapshot", "create", "r", "--store", "s"];
const GC: [&str; 4] = ["snapshot", "gc", "--store", "s"];
/// All but the newest snapshot go.
const EXPIRE: [&str; 6] = ["snapshot", "gc", "--older-than", "0", "--store", "s"];

/// Runs the command, which must work.
#[track_caller]
fn run(world: &World, words: &[&str], when: &str) {
    let ran = program(&world.world, &[], words).output().unwrap();
    assert!(ran.status.success(), "{when}: {}", String::from_utf8_lossy(&ran.stderr));
}

/// A world with a new state on the mirror, and its store as it is now, to begin again with.
fn prepared() -> World {
    let world = series(SERIES);
    put(&world, SERIES, SERIES);
    copy(&world, "s", "before");
    world
}

fn copy(world: &World, from: &str, to: &str) {
    let root = world.world.root();
    let _ = fs::remove_dir_all(root.join(to));
    let copied = Command::new("cp").arg("-a").arg(root.join(from)).arg(root.join(to)).status().unwrap();
    assert!(copied.success());
}

/// Nothing is damaged or left over, and every snapshot that is listed is good; how many there are.
#[track_caller]
fn assert_good(world: &World, when: &str) -> usize {
    let store = Store::open(world.world.root().join("s")).unwrap();
    assert_eq!(store.check(Depth::Bytes).unwrap(), [], "{when}");
    assert_eq!(store.stat().unwrap().tmp, 0, "{when}");
    let said = world.world.run(["snapshot", "verify", "--store", "s"]).success();
    said.matches(": good as of ").count()
}

#[test]
fn after_a_kill_every_snapshot_is_whole_or_not_there() {
    let world = prepared();
    for (words, least) in [(&CREATE[..], SERIES as usize), (&GC, SERIES as usize + 1), (&EXPIRE, 1)] {
        let begin = Instant::now();
        run(&world, words, "at first");
        let took = begin.elapsed();
        copy(&world, "s", "after");
        let kills = number("KILLS", KILLS);
        for kill in 0..kills {
            copy(&world, "before", "s");
            let mut command = program(&world.world, &[], words);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(took * 11 * kill / (10 * kills));
            child.kill().unwrap();
            child.wait().unwrap();
            let when = format!("{words:?}, kill {kill} of {kills}");
            let there = assert_good(&world, &when);
            assert!((least..=SERIES as usize + 1).contains(&there), "{when}: {there}");
            run(&world, words, &when);
            assert_good(&world, &when);
            assert_eq!(store_files(&world, "s"), store_files(&world, "after"), "{when}");
        }
        copy(&world, "after", "before");
    }
}

/// Names of all blobs and records: what is the same however often something was tried.
fn store_files(world: &World, store: &str) -> Vec<PathBuf> {
    let root = world.world.root().join(store);
    let all = ["blobs", "records"].map(|part| files_below(&root.join(part))).concat();
    all.iter().map(|path| path.strip_prefix(&root).unwrap().to_owned()).collect()
}

#[test]
fn a_system_call_that_fails_is_an_error_that_is_said() {
    if !traces() {
        return;
    }
    let world = prepared();
    let good = |when: &str| {
        let there = assert_good(&world, when);
        assert!(there >= SERIES as usize, "{when}: {there}");
    };
    for words in [&CREATE[..], &GC] {
        let fresh = || copy(&world, "before", "s");
        let sweep = Sweep { world: &world.world, words, fresh: &fresh, left: &good, done: &good };
        sweep.run(&[
            ("write", "ENOSPC"),
            ("fsync", "EIO"),
            ("fdatasync", "EIO"),
            ("rename", "EIO"),
            ("openat", "EMFILE"),
            ("linkat", "ENOSPC"),
        ]);
        fresh();
        run(&world, words, "at last");
        copy(&world, "s", "before");
    }
}

#[test]
fn on_a_full_disk_nothing_is_lost_and_room_lets_it_go_on() {
    if !is_root() {
        return;
    }
    let world = prepared();
    let root = world.world.root();
    fs::copy(env!("CARGO_BIN_EXE_selfsame"), root.join("selfsame")).unwrap();
    for words in ["create r", "gc"] {
        // What it takes is what it adds to the store: counted in inodes and in pages.
        let script = format!(
            "mkdir -p t && mount -t tmpfs -o size=1g x t && cp -a before t/s && df -k --output=used t | tail -n 1 && \
             ./selfsame snapshot {words} --store t/s > /dev/null && df -k --output=used t | tail -n 1"
        );
        let (status, said, text) = in_namespace(root, &script);
        assert_eq!(status, Some(0), "{text}");
        let used: Vec<u64> = said.lines().map(|line| line.trim().parse().unwrap()).collect();
        let added = used[1].saturating_sub(used[0]).max(200);
        for percent in [0, 25, 50, 75, 90, 99] {
            let size = used[0] + added * percent / 100 + 4;
            let script = format!(
                "mkdir -p t && mount -t tmpfs -o size={size}k x t && cp -a before t/s || exit 98\n\
                 ./selfsame snapshot {words} --store t/s > /dev/null && echo status 0 || echo status $?\n\
                 ./selfsame snapshot verify --store t/s > /dev/null || exit 97\n\
                 mount -o remount,size=1g t\n\
                 ./selfsame snapshot {words} --store t/s > /dev/null || exit 96\n\
                 ./selfsame store check --store t/s > /dev/null || exit 95"
            );
            let (status, said, text) = in_namespace(root, &script);
            let when = format!("{words}, {percent} % of {added} KiB: {said}{text}");
            assert_eq!(status, Some(0), "{when}");
            assert!(said == "status 0\n" || said == "status 4\n" && text.contains("error: "), "{when}");
        }
    }
    selfsame_testkit::leaks::assert_none_below(root);
}
