//! `selfsame snapshot gc`, `freeze`, `bump` and `thaw`: a long series in little space, and recipes that name its states.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use selfsame_store::{Depth, Store};
use selfsame_testkit::archive::{Deb, NOW};
use serde_json::Value;

use crate::build::files_below;
use crate::serve::serve;
use crate::snapshot::World;

const DAY: i64 = 86_400;

/// Takes the states of that many days, of an index of 60 packages of which one changes each day.
pub(crate) fn series(days: i64) -> World {
    let world = World::new(1);
    for day in 0..days {
        put(&world, day, days);
        world.create(&[]);
    }
    world
}

pub(crate) fn put(world: &World, day: i64, days: i64) {
    world.put_with(1, "1.0", |suite| {
        suite.date = Some(NOW - (days - day) * DAY);
        for number in 0..60 {
            let version = if number == day { format!("2.{day}") } else { "1".to_owned() };
            let deb = Deb::new(&format!("package-{number}"), &version);
            suite.packages.get_mut("main").unwrap().push(deb);
        }
    });
}

fn gc(world: &World, more: &[&str]) -> Value {
    let words = [&["snapshot", "gc", "--store", "s", "--json"], more].concat();
    serde_json::from_str(&world.world.run(words).success()).unwrap()
}

/// Every file of every snapshot, as a client gets it.
fn served(world: &World) -> BTreeMap<String, Vec<u8>> {
    let service = serve(world, &["--offline"]);
    let list = String::from_utf8(service.get("/fixture/").2).unwrap();
    let mut files = BTreeMap::new();
    for serial in list.lines().map(|line| line.split_once('/').unwrap().0) {
        for path in ["InRelease", "main/binary-amd64/Packages.xz"] {
            let path = format!("/fixture/{serial}/dists/trixie/{path}");
            let (status, _, body) = service.get(&path);
            assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
            files.insert(path, body);
        }
    }
    files
}

fn size(dir: &Path) -> u64 {
    files_below(&dir.join("s/blobs")).iter().map(|path| fs::metadata(path).unwrap().len()).sum()
}

#[test]
fn old_snapshots_take_little_and_come_back_byte_for_byte() {
    let world = series(8);
    let root = world.world.root();
    let (before, whole) = (served(&world), size(root));
    assert_eq!(before.len(), 16);
    let dry = gc(&world, &["--dry-run"]);
    assert_eq!((dry["thin"].as_u64(), size(root)), (Some(0), whole));
    let done = gc(&world, &[]);
    // The first and the two newest are as they came.
    assert_eq!((done["thin"].as_u64(), done["whole"].as_u64()), (Some(10), Some(6)), "{done}");
    assert!(size(root) < whole * 6 / 10, "{} of {whole}", size(root));
    assert_eq!(done["freed"].as_u64().unwrap() - done["patch_bytes"].as_u64().unwrap(), whole - size(root));
    assert_eq!(world.list().lines().count(), 8);
    // Checking makes nothing again.
    let small = size(root);
    let said = world.world.run(["snapshot", "verify", "--store", "s"]).success();
    assert_eq!((said.matches(": good as of").count(), size(root)), (8, small));
    assert_eq!(served(&world), before);
    assert!(size(root) > small, "what was asked for is there now");
    let again = gc(&world, &[]);
    assert_eq!((again["thin"].as_u64(), size(root)), (Some(10), small));
    let store = Store::open(root.join("s")).unwrap();
    assert_eq!(store.check(Depth::Bytes).unwrap(), []);
}

#[test]
fn snapshots_that_are_too_old_go_but_not_the_newest_and_none_that_a_lock_needs() {
    let world = series(5);
    let root = world.world.root();
    let newest = served(&world).into_iter().rev().take(2).collect::<BTreeMap<_, _>>();
    gc(&world, &[]);
    // All of them were taken just now.
    assert_eq!(gc(&world, &["--older-than", "1"])["expired"].as_array().unwrap().len(), 0);
    // A lock that names the second one.
    let digest = selfsame_image::Digest::of(&fs::read(root.join("m1/dists/trixie/InRelease")).unwrap());
    let text = selfsame_testkit::readme::workspace().join("examples/tiny/selfsame.lock");
    let text = fs::read_to_string(text).unwrap();
    let at = text.find("in-release = ").unwrap();
    let old = text[at..].split('"').nth(1).unwrap();
    let second = world.list().lines().nth(1).unwrap().split(' ').nth(1).unwrap().to_owned();
    let json = world.world.run(["snapshot", "list", "--store", "s", "--json"]).success();
    let json: Value = serde_json::from_str(&json).unwrap();
    let needed = json["snapshots"][1]["snapshot"]["suites"][0]["in-release"].to_string();
    let needed = needed.split('"').find(|part| part.len() == 64).unwrap();
    assert_ne!(needed, digest.to_string());
    let lock = world.world.write("other/selfsame.lock", text.replace(old, needed));
    let store = Store::open(root.join("s")).unwrap();
    selfsame_build::snapshots::hold(&store, &lock.canonicalize().unwrap()).unwrap();
    let done = gc(&world, &["--older-than", "0", "--dry-run"]);
    assert_eq!((done["expired"].as_array().unwrap().len(), done["needed"].as_u64()), (3, Some(1)), "{done}");
    let done = gc(&world, &["--older-than", "0"]);
    assert_eq!((done["expired"].as_array().unwrap().len(), done["needed"].as_u64()), (3, Some(1)), "{done}");
    let list = world.list();
    assert!(list.lines().count() == 2 && list.contains(&second), "{list}");
    world.world.run(["snapshot", "verify", "--store", "s"]).success();
    assert!(newest.iter().all(|(path, bytes)| served(&world).get(path) == Some(bytes)));
    // A lock that cannot be read may need anything.
    fs::write(&lock, "odd").unwrap();
    let message = world.world.run(["snapshot", "gc", "--store", "s", "--older-than", "0"]).failure(3);
    assert!(message.contains("other/selfsame.lock may need snapshots and cannot be read"), "{message}");
    // One that is gone needs nothing. What the last one was made of goes with it.
    fs::remove_file(&lock).unwrap();
    let done = gc(&world, &["--older-than", "0"]);
    assert_eq!((done["expired"].as_array().unwrap().len(), done["needed"].as_u64()), (1, Some(0)), "{done}");
    assert_eq!(served(&world), newest);
    // Two files, the key; nothing that is thin.
    assert_eq!(files_below(&root.join("s/blobs")).len(), 3);
    assert_eq!(store.check(Depth::Bytes).unwrap(), []);
}

#[test]
fn a_recipe_is_frozen_moved_and_thawed() {
    let world = series(1);
    let path = world.world.root().join("r/selfsame.toml");
    let text = fs::read_to_string(&path).unwrap();
    let run = |words: &[&str]| world.world.run([&["snapshot"], words, &["--store", "s"]].concat());
    let first = world.list().split(' ').nth(1).unwrap().to_owned();
    assert_eq!(run(&["freeze", "r"]).success(), format!("fixture: latest -> {first}\n"));
    let frozen = text.replace("[archives.fixture]\n", &format!("[archives.fixture]\nserial = \"{first}\"\n"));
    assert_eq!(fs::read_to_string(&path).unwrap(), frozen);
    put(&world, 1, 1);
    world.create(&[]);
    assert_eq!(run(&["freeze", "r"]).success(), format!("fixture: {first} as before\n"));
    let second = world.list().lines().nth(1).unwrap().split(' ').nth(1).unwrap().to_owned();
    assert_eq!(run(&["bump", "r"]).success(), format!("fixture: {first} -> {second}\n"));
    assert_eq!(
        run(&["freeze", "r", "--serial", &first]).success(),
        format!("fixture: {second} -> {first}\n")
    );
    let message = run(&["freeze", "r", "--serial", "20200101T000000Z"]).failure(3);
    assert!(
        message.contains("the store has no snapshot 20200101T000000Z of all suites of fixture"),
        "{message}"
    );
    run(&["freeze", "r", "--archive", "other"]).failure(2);
    let thaw = |words: &[&str]| world.world.run([&["snapshot", "thaw", "r"], words].concat());
    assert_eq!(thaw(&[]).success(), format!("fixture: {first} -> latest\n"));
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    assert_eq!(run(&["bump", "r"]).success(), "fixture: latest as before\n");
    // What cannot be edited is left alone.
    let odd = text.replace("[archives.fixture]", "[archives]\n[archives . fixture]");
    fs::write(&path, &odd).unwrap();
    let message = run(&["freeze", "r"]).failure(3);
    assert!(
        message.contains("no table [archives.fixture]") && message.contains("write it by hand"),
        "{message}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), odd);
}
