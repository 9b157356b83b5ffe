//! `selfsame normalise`

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use selfsame_testkit::TestEnvironment;
use serde_json::Value;

use crate::{assert_says, pipe, world};

/// A gzip file that holds nothing, with a name and the time 2018-01-01.
const GZIP: &[u8] = b"\x1f\x8b\x08\x08\x80\x7b\x49\x5a\0\x03name\0\x03\0\0\0\0\0\0\0\0\0";
/// The same without the name, and of the epoch.
const CLEAN: &[u8] = b"\x1f\x8b\x08\0\0\x4e\x72\x53\0\x03\x03\0\0\0\0\0\0\0\0\0";
const EPOCH: &str = "1400000000";

fn tree(world: &TestEnvironment) {
    world.write("tree/b.gz", GZIP);
    world.write("tree/a/deep.gz", GZIP);
    world.write("tree/a/clean.gz", CLEAN);
    world.write("tree/a/text", "nothing to see");
    world.write("tree/a/broken.gz", &GZIP[..20]);
}

fn normalise(world: &TestEnvironment, words: &[&str]) -> String {
    let all = [&["normalise", "--epoch", EPOCH], words].concat();
    world.run(all).success()
}

#[test]
fn files_change_in_place_and_once() {
    let world = world();
    tree(&world);
    let at = |name: &str| world.root().join(name);
    fs::set_permissions(at("tree/b.gz"), fs::Permissions::from_mode(0o640)).unwrap();
    let before = fs::metadata(at("tree/b.gz")).unwrap();
    let said = normalise(&world, &["tree"]);
    assert_eq!(
        said,
        "tree/a/deep.gz: changed (gzip): file name, time\ntree/b.gz: changed (gzip): file name, time\n\
         tree/a/broken.gz: left (gzip): cannot be read as gzip: unexpected end of file\n5 files: 2 changed, 1 left as they are\n"
    );
    for name in ["tree/b.gz", "tree/a/deep.gz", "tree/a/clean.gz"] {
        assert_eq!(fs::read(at(name)).unwrap(), CLEAN, "{name}");
    }
    let after = fs::metadata(at("tree/b.gz")).unwrap();
    assert_eq!((after.mode(), after.mtime_nsec()), (before.mode(), before.mtime_nsec()));
    assert!(normalise(&world, &["tree"]).ends_with("5 files: 0 changed, 1 left as they are\n"));
    // Nothing lies about.
    assert_eq!(fs::read_dir(at("tree")).unwrap().count(), 2);
    assert_eq!(fs::read_dir(at("tree/a")).unwrap().count(), 4);
}

#[test]
fn a_check_changes_nothing_and_answers() {
    let mut world = world();
    tree(&world);
    world.set("SOURCE_DATE_EPOCH", EPOCH);
    let said = world.run(["normalise", "--check", "--json", "tree"]).answer(1);
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&report["files"], &report["check"]), (&5.into(), &true.into()));
    assert_eq!(report["changed"][1]["path"], "tree/b.gz");
    assert_eq!(report["changed"][1]["done"]["time"], 1);
    assert_eq!(report["left"][0]["handler"], "gzip");
    assert_eq!(fs::read(world.root().join("tree/b.gz")).unwrap(), GZIP);
    let text = world.run(["normalise", "--check", "tree/b.gz"]).answer(1);
    assert_eq!(
        text,
        "tree/b.gz: would change (gzip): file name, time\n1 files: 1 would change, 0 left as they are\n"
    );
    world.run(["normalise", "--check", "tree/a/clean.gz"]).success();
    // One that is left is no file that would change.
    world.run(["normalise", "--check", "tree/a/broken.gz"]).success();
    let words = ["normalise", "--check", "--without", "gzip,png", "tree"];
    assert_eq!(world.run(words).success(), "5 files: 0 would change, 0 left as they are\n");
    assert_eq!(
        world.run(["normalise", "--check", "--only", "png", "tree"]).success(),
        "5 files: 0 would change, 0 left as they are\n"
    );
}

#[test]
fn names_of_one_file_stay_together() {
    let world = world();
    tree(&world);
    let at = |name: &str| world.root().join(name);
    fs::hard_link(at("tree/b.gz"), at("tree/a/other")).unwrap();
    let said = normalise(&world, &["tree/b.gz"]);
    assert_says(&said, &["tree/b.gz: left (gzip): 1 more names of it are not in what was given"]);
    assert_eq!(fs::read(at("tree/b.gz")).unwrap(), GZIP);
    let said = normalise(&world, &["tree"]);
    assert_says(&said, &["tree/a/other: changed", "tree/b.gz: changed", "6 files: 3 changed"]);
    let inode = |name: &str| fs::metadata(at(name)).unwrap().ino();
    assert_eq!(inode("tree/b.gz"), inode("tree/a/other"));
    assert_eq!(fs::read(at("tree/a/other")).unwrap(), CLEAN);
}

#[test]
fn links_are_not_followed_and_pipes_not_waited_for() {
    let world = world();
    tree(&world);
    world.write("outside.gz", GZIP);
    symlink("../outside.gz", world.root().join("tree/link.gz")).unwrap();
    symlink("..", world.root().join("tree/up")).unwrap();
    pipe(&world, "tree/pipe");
    normalise(&world, &["tree"]);
    assert_eq!(fs::read(world.root().join("outside.gz")).unwrap(), GZIP);
    assert!(world.root().join("tree/link.gz").is_symlink());
    for path in ["tree/link.gz", "tree/pipe", "nowhere"] {
        world.run(["normalise", "--epoch", EPOCH, path]).failure(3);
    }
}

#[test]
fn job_count_changes_nothing() {
    let [one, many] = ["1", "7"].map(|jobs| {
        let world = world();
        tree(&world);
        for number in 0..60 {
            world.write(Path::new("tree").join(format!("{number}.gz")), GZIP);
        }
        normalise(&world, &["--jobs", jobs, "tree"])
    });
    assert_eq!(one, many);
}

#[test]
fn wrong_command_lines_say_what_is_missing() {
    let world = world();
    tree(&world);
    assert_says(&world.run(["normalise", "tree"]).failure(2), &["--epoch", "SOURCE_DATE_EPOCH"]);
    let said = world.run(["normalise", "--epoch", "1", "--only", "gzip,zipp", "tree"]).failure(2);
    assert_says(&said, &["zipp", "--list"]);
    world.run(["normalise", "--epoch", "1"]).failure(2);
    world.run(["normalise", "--epoch", "-1", "tree"]).failure(2);
}

#[test]
fn the_list_names_every_handler_and_the_page_explains_each() {
    let list = world().run(["normalise", "--list", "--json"]).success();
    let list: Value = serde_json::from_str(&list).unwrap();
    let page = fs::read_to_string(selfsame_testkit::readme::workspace().join("docs/normalise.md")).unwrap();
    let text = world().run(["normalise", "--list"]).success();
    for one in list["handlers"].as_array().unwrap() {
        let name = one["handler"].as_str().unwrap();
        assert!(text.lines().any(|line| line.starts_with(name)), "{name}");
        assert!(page.contains(&format!("\n### {name}\n")), "docs/normalise.md says nothing of {name}");
    }
}
