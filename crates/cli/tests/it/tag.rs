//! `selfsame snapshot tag`: what a lock needs, kept as a directory that is enough.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

use selfsame_testkit::oracle_text;

use crate::build::{Recipe, builds_here, files_below, names_in, shared};
use crate::program;

#[test]
fn a_tag_is_enough_to_build_offline() {
    if !builds_here() {
        return;
    }
    let shared = shared();
    let world = Recipe::default().write();
    let store = shared.store.to_str().unwrap();
    let tag = ["snapshot", "tag", "r", "tag", "--store", store];
    let said = world.run(tag).success();
    assert!(said.starts_with("tag: debian 2"), "{said}");
    let root = world.root().join("tag");
    let mut sums = Command::new("sha256sum");
    sums.args(["--check", "--strict", "--quiet", "SHA256SUMS"]).current_dir(&root);
    if let Some(text) = oracle_text(&mut sums) {
        assert_eq!(text, "");
    }
    assert_eq!(
        fs::read(root.join("selfsame.lock")).unwrap(),
        fs::read(world.root().join("r/selfsame.lock")).unwrap()
    );

    let built = world.run(["build", "r", "--store", "empty", "--tag", "tag", "--offline"]).success();
    assert_eq!(built, shared.digests);

    // Made again it is the same; another one does not take its place.
    let run = world.run(tag);
    assert_eq!((run.status, run.stdout), (Some(0), said));
    assert!(run.stderr.contains("it is there already"), "{}", run.stderr);
    fs::write(root.join("SHA256SUMS"), "").unwrap();
    let message = world.run(tag).failure(3);
    assert!(message.contains("tag is there already, and is not this tag"), "{message}");

    // What is damaged is named, and nothing is built of it.
    let package = files_below(&root.join("debian/pool")).pop().unwrap();
    let mut bytes = fs::read(&package).unwrap();
    bytes[100] ^= 1;
    fs::write(&package, bytes).unwrap();
    let message = world.run(["build", "r", "--store", "other", "--tag", "tag", "--offline"]).failure(4);
    assert!(message.contains("served other bytes"), "{message}");
}

#[test]
fn a_tag_that_is_killed_on_the_way_is_not_there_and_leaves_nothing_behind() {
    if !builds_here() {
        return;
    }
    let shared = shared();
    let world = Recipe::default().write();
    let store = shared.store.to_str().unwrap();
    let begin = Instant::now();
    world.run(["snapshot", "tag", "r", "first", "--store", store]).success();
    let took = begin.elapsed();
    let whole = files_below(&world.root().join("first")).len();
    let mut seen = (0, 0);
    for number in 0..8 {
        let mut command = program(&world, &[], &["snapshot", "tag", "r", "tag", "--quiet", "--store", store]);
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(took * number / 7);
        child.kill().unwrap();
        child.wait().unwrap();
        let tag = world.root().join("tag");
        if tag.exists() {
            assert_eq!(files_below(&tag).len(), whole);
            fs::remove_dir_all(tag).unwrap();
            seen.0 += 1;
        } else {
            seen.1 += 1;
        }
    }
    assert!(seen.1 > 0, "{seen:?}");
    world.run(["snapshot", "tag", "r", "tag", "--store", store]).success();
    let names = names_in(world.root());
    assert!(names.iter().all(|name| !name.ends_with(".new")), "{names:?}");
    shared.assert_clean();
}

#[test]
fn what_cannot_be_a_tag_is_said() {
    let world = Recipe::default().include(&["nano"]).write();
    let message = world.run(["snapshot", "tag", "r", "tag", "--store", "s"]).failure(3);
    assert!(message.contains("the lock is stale") && message.contains("`selfsame lock`"), "{message}");
    fs::remove_file(world.root().join("r/selfsame.lock")).unwrap();
    let message = world.run(["snapshot", "tag", "r", "tag", "--store", "s"]).failure(3);
    assert!(message.contains("there is no lock r/selfsame.lock"), "{message}");
    let world = Recipe::default().write();
    let message = world.run(["snapshot", "tag", "r", "tag", "--store", "s", "--offline"]).failure(4);
    assert!(message.contains("InRelease of bookworm"), "{message}");
    assert!(!world.root().join("tag").exists());
    let message = world.run(["build", "r", "--store", "s", "--tag", "nowhere"]).failure(3);
    assert!(message.contains("nowhere is no tag of archive debian"), "{message}");
    let message = crate::world().run(["snapshot", "tag", "r"]).failure(2);
    assert!(message.contains("<DIRECTORY>"), "{message}");
}
