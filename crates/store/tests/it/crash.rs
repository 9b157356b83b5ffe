//! Processes that die in the middle, and systems that refuse in the middle.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Instant;

use selfsame_image::Digest;
use selfsame_image::tree::Content;
use selfsame_store::{Store, StoreError};
use selfsame_testkit::powercut::{Cut, Disk, Op, Tree, trace, write_tree};
use selfsame_testkit::{Numbers, scratch, traces};

use crate::{as_child, assert_clean, child};

/// Everything that writes, once. Every record names blobs that must be there when it is.
fn scenario(store: &Store, rounds: u64) -> Result<(), StoreError> {
    for round in 0..rounds {
        let mut numbers = Numbers(round);
        let single = store.put(&numbers.bytes(3000))?;
        let mut writer = store.writer()?;
        for _ in 0..5 {
            writer.append(&numbers.bytes(700))?;
        }
        let streamed = writer.finish(None)?.digest;
        let batch = store.batch();
        let batched = batch.put(&numbers.bytes(500))?;
        let batched_too = batch.put(&numbers.bytes(501))?;
        batch.commit()?;
        let fetched = numbers.bytes(2000);
        let content = Content::of(&fetched);
        if !store.contains(&content.digest) {
            let mut partial = store.partial(&content)?.expect("nobody else is here");
            // A left-over of a killed run may be there. It is a prefix unless the file system lost bytes.
            let have = usize::try_from(partial.have()).unwrap();
            for part in fetched[have..].chunks(400) {
                partial.append(part)?;
            }
            partial.finish()?;
        }
        let all = [single, streamed, batched, batched_too, content.digest];
        let text: Vec<String> = all.iter().map(Digest::to_string).collect();
        store.record_put("round", &Digest::of(&round.to_le_bytes()), text.join(" ").as_bytes())?;
    }
    Ok(())
}

/// Nothing damaged, nothing half, and what a record names is there.
fn assert_sound(store: &Store) -> usize {
    assert_clean(store);
    let keys = store.record_keys("round").unwrap();
    for key in &keys {
        let text = String::from_utf8(store.record_get("round", key).unwrap().unwrap()).unwrap();
        for digest in text.split(' ') {
            assert!(store.read(&digest.parse().unwrap()).unwrap().is_some(), "{digest} is named and missing");
        }
    }
    keys.len()
}

fn run_child(rounds: u64) -> bool {
    let Some(dir) = child() else { return false };
    let code = match Store::open(dir).and_then(|store| scenario(&store, rounds)) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{error}");
            7
        }
    };
    std::process::exit(code);
}

#[test]
fn killed_at_any_moment_the_store_is_clean_and_the_next_run_ends_alike() {
    const ROUNDS: u64 = 20;
    run_child(ROUNDS);
    let reference = scratch();
    let started = Instant::now();
    let name = "crash::killed_at_any_moment_the_store_is_clean_and_the_next_run_ends_alike";
    assert!(as_child(name, reference.path(), &[]).stdout(Stdio::null()).status().unwrap().success());
    let mut whole = started.elapsed();
    let expected = Store::open(reference.path()).unwrap().stat().unwrap();

    let mut numbers = Numbers(5);
    let (mut killed, mut seen) = (0, BTreeSet::new());
    // Until the sample is one: enough kills, at enough different moments, however fast this machine is.
    for _ in 0..1000 {
        let dir = scratch();
        let started = Instant::now();
        let mut process = as_child(name, dir.path(), &[]).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole * u32::try_from(numbers.below(1100)).unwrap() / 1000);
        process.kill().unwrap();
        if process.wait().unwrap().signal() == Some(9) {
            killed += 1;
        } else {
            whole = whole.min(started.elapsed());
        }
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.stat().unwrap().tmp, 0, "left-overs are swept");
        seen.insert(assert_sound(&store));
        scenario(&store, ROUNDS).unwrap();
        assert_eq!(store.stat().unwrap(), expected);
        if killed >= 40 && seen.len() >= 5 {
            return;
        }
    }
    panic!("killed {killed} times, at {seen:?} records");
}

#[test]
fn a_refused_system_call_is_an_error_and_leaves_a_clean_store() {
    const ROUNDS: u64 = 1;
    run_child(ROUNDS);
    let name = "crash::a_refused_system_call_is_an_error_and_leaves_a_clean_store";
    if !traces() {
        return;
    }
    let mut refused = 0;
    for (calls, error) in [
        ("fsync", "EIO"),
        ("syncfs", "EIO"),
        ("rename,renameat,renameat2", "EIO"),
        ("fchmod", "EPERM"),
        ("pwrite64", "ENOSPC"),
        ("mkdir,mkdirat", "ENOSPC"),
    ] {
        for nth in 1.. {
            let dir = scratch();
            let inject = format!("inject={calls}:error={error}:when={nth}");
            let trace = format!("trace={calls}");
            let wrapper = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
            let output = as_child(name, dir.path(), &wrapper).output().unwrap();
            if output.status.success() {
                break;
            }
            refused += 1;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(7), "{inject}: {said}");
            let words = if error == "ENOSPC" { "no space left to write " } else { "cannot " };
            assert!(said.contains(words), "{inject}: {said}");
            let store = Store::open(dir.path()).unwrap();
            assert_eq!(store.stat().unwrap().tmp, 0, "{inject}");
            assert_sound(&store);
            scenario(&store, ROUNDS).unwrap();
            assert_eq!(assert_sound(&store), 1);
        }
    }
    assert!(refused > 25, "only {refused} calls were refused");
}

/// Replays the system calls of a run and keeps the books of a file system that writes nothing back on its own.
#[derive(Default)]
struct Books {
    /// Files with bytes that a power cut would take.
    unsynced: BTreeSet<String>,
    /// Directories with names that a power cut would take.
    unsettled: BTreeSet<String>,
    /// Blobs and records that got their names.
    placed: u32,
}

impl Books {
    /// One line of `strace -y`, such as `fsync(5</store/tmp/1-0/3>) = 0`.
    fn enter(&mut self, line: &str) {
        let call = line.split('(').next().unwrap_or_default().rsplit(' ').next().unwrap_or_default();
        let in_angles =
            line.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(path, _)| path.to_owned());
        match (call, in_angles) {
            ("write" | "pwrite64" | "writev", Some(path)) => drop(self.unsynced.insert(path)),
            ("fsync", Some(path)) => {
                self.unsynced.remove(&path);
                self.unsettled.remove(&path);
            }
            ("syncfs", Some(_)) => {
                self.unsynced.clear();
                self.unsettled.clear();
            }
            ("rename", _) => {
                let names: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
                let [from, to] = names[..] else { panic!("{line}") };
                assert!(!self.unsynced.contains(from), "got its name before its bytes were safe: {line}");
                if to.contains("/records/") {
                    let blobs: Vec<_> = self.unsettled.iter().filter(|dir| dir.contains("/blobs")).collect();
                    assert!(blobs.is_empty(), "{to} may name what is not safe yet in {blobs:?}");
                }
                self.unsettled.insert(to.rsplit_once('/').unwrap().0.to_owned());
                self.placed += 1;
            }
            ("mkdir", _) => {
                let made = line.split('"').nth(1).unwrap();
                // Temporary directories may go; the others hold names that must stay.
                if !made.contains("/tmp/") {
                    self.unsettled.insert(made.rsplit_once('/').unwrap().0.to_owned());
                }
            }
            _ => {}
        }
    }
}

#[test]
fn bytes_are_safe_before_names_and_names_before_the_call_returns() {
    run_child(3);
    if !traces() {
        return;
    }
    let name = "crash::bytes_are_safe_before_names_and_names_before_the_call_returns";
    let dir = scratch();
    let store = dir.path().join("store");
    let log = dir.path().join("log");
    let calls = "trace=write,pwrite64,writev,fsync,syncfs,rename,mkdir";
    let wrapper = ["strace", "-f", "-y", "-qq", "-z", "-o", log.to_str().unwrap(), "-e", calls];
    let output = as_child(name, &store, &wrapper).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut books = Books::default();
    for line in std::fs::read_to_string(log).unwrap().lines() {
        books.enter(line);
    }
    assert_eq!(books.placed, 1 + 3 * 6, "the layout, and five blobs and a record a round");
    let lost: Vec<_> = books.unsettled.iter().filter(|path| path.contains("/store")).collect();
    assert!(lost.is_empty(), "a power cut would take names in {lost:?}");
}

/// What is left is sound, and the scenario ends as it would have; whether it had to begin a download anew.
fn goes_on(left: &Tree, dir: &std::path::Path, when: &str) -> bool {
    write_tree(left, dir);
    let store = Store::open(dir.join("store")).unwrap_or_else(|error| panic!("{when}: {error}"));
    assert_sound(&store);
    // A download that lost bytes is noticed at its end and thrown away.
    let torn = match scenario(&store, 1) {
        Err(StoreError::Mismatch { .. }) => true,
        other => other.map(|()| false).unwrap_or_else(|error| panic!("{when}: {error}")),
    };
    scenario(&store, 1).unwrap_or_else(|error| panic!("{when}: {error}"));
    assert_eq!(assert_sound(&store), 1, "{when}");
    assert_eq!((store.stat().unwrap().tmp, store.stat().unwrap().damaged), (0, 0), "{when}");
    torn
}

#[test]
fn after_a_power_cut_at_any_moment_records_have_their_blobs_and_the_next_run_ends_alike() {
    run_child(1);
    if !traces() {
        return;
    }
    let name = "crash::after_a_power_cut_at_any_moment_records_have_their_blobs_and_the_next_run_ends_alike";
    let (dir, room) = (scratch(), scratch());
    let root = dir.path().canonicalize().unwrap().join("disk");
    std::fs::create_dir(&root).unwrap();
    let log = dir.path().join("log");
    let wrapper = trace::wrapper(log.to_str().unwrap());
    let output = as_child(name, &root.join("store"), &wrapper).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let ops = trace::operations(&std::fs::read_to_string(log).unwrap(), &root, &root);
    let mut disk = Disk::new(&root, &Tree::new());
    let (mut seen, mut torn) = (BTreeSet::new(), 0);
    for (number, op) in ops.iter().map(Some).chain([None]).enumerate() {
        let random = (0..3).map(|seed| Cut::Some(number as u64 * 3 + seed));
        for cut in [Cut::Nothing, Cut::Everything].into_iter().chain(random) {
            let left = disk.cut(cut);
            // Two states that differ in what was not finished are one.
            let key: Tree =
                left.clone().into_iter().filter(|(path, _)| !path.starts_with("store/tmp")).collect();
            if seen.insert(key) {
                let when =
                    format!("{cut:?} before operation {number}, {}", op.map_or("none".into(), Op::words));
                torn += usize::from(goes_on(&left, room.path(), &when));
            }
            if op.is_none() {
                write_tree(&left, room.path());
                let store = Store::open(room.path().join("store")).unwrap();
                assert_eq!(assert_sound(&store), 1, "what was kept is there after {cut:?}");
            }
        }
        op.into_iter().for_each(|op| disk.apply(op));
    }
    assert!(seen.len() > 30 && torn > 0, "{} states, {torn} torn downloads", seen.len());
}
