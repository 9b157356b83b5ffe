//! `selfsame snapshot create`, `list` and `verify`: archives that are honest, and archives that are not.

use std::fs;

use selfsame_testkit::TestEnvironment;
use selfsame_testkit::archive::{Archive, Deb, Key, NOW, Suite};
use serde_json::Value;

use crate::build::{Recipe, builds_here, files_below, shared};
use crate::world;

const DAY: i64 = 86_400;

/// A world with a recipe `r` for the mirrors `m1`, `m2`, ... of one suite.
pub(crate) struct World {
    pub(crate) world: TestEnvironment,
    key: Key,
}

impl World {
    pub(crate) fn new(mirrors: usize) -> Self {
        let (world, key) = (world(), Key::new("archive"));
        let url = |number: usize| format!("\"file:{}/m{number}\"", world.root().display());
        let urls: Vec<_> = (1..=mirrors).map(url).collect();
        world.write("r/keys.pgp", key.certificate());
        let text = format!(
            "format = 1\n[image]\nname = \"x\"\noutputs = [\"tar\"]\n\
             [archives.fixture]\nmirrors = [{}]\nsuites = [\"trixie\"]\n\
             keys = {{ file = \"keys.pgp\", fingerprints = [\"{}\"] }}\n",
            urls.join(", "),
            key.fingerprint()
        );
        world.write("r/selfsame.toml", text);
        Self { world, key }
    }

    /// Puts a state of `date`, with a package of this version, on a mirror.
    pub(crate) fn put(&self, mirror: usize, date: i64, version: &str) {
        self.put_with(mirror, version, |suite| suite.date = Some(date));
    }

    pub(crate) fn put_with(&self, mirror: usize, version: &str, change: impl FnOnce(&mut Suite<'_>)) {
        let root = self.world.root().join(format!("m{mirror}"));
        let _ = fs::remove_dir_all(&root);
        let mut suite = Suite::new("trixie", &self.key).with(Deb::new("hello", version));
        change(&mut suite);
        Archive { suites: vec![suite] }.write(&root);
    }

    pub(crate) fn create(&self, more: &[&str]) -> String {
        self.world.run(self.words(more)).success()
    }

    fn refused(&self, status: i32, more: &[&str]) -> String {
        self.world.run(self.words(more)).failure(status)
    }

    fn words<'a>(&self, more: &[&'a str]) -> Vec<&'a str> {
        [&["snapshot", "create", "r", "--store", "s"], more].concat()
    }

    pub(crate) fn list(&self) -> String {
        self.world.run(["snapshot", "list", "--store", "s"]).success()
    }
}

#[test]
fn a_snapshot_is_taken_listed_and_verified_when_the_mirror_is_gone() {
    let world = World::new(1);
    world.put(1, NOW - 60, "1.0");
    let text = world.create(&[]);
    assert!(text.starts_with("fixture 20260115T115900Z\n  trixie: signed by "), "{text}");
    assert!(text.contains("on 1 of 1 mirrors; nothing of it was seen before"), "{text}");
    // Again is no second one.
    assert!(world.create(&[]).contains("on 1 of 1 mirrors; seen before"));
    assert_eq!(world.list().lines().count(), 1);
    world.put(1, NOW - 30, "1.1");
    let json: Value = serde_json::from_str(&world.create(&["--json"])).unwrap();
    assert_eq!(json["snapshots"][0]["evidence"][0]["novelty"], "newer", "{json}");
    let list = world.list();
    assert!(list.starts_with("fixture 20260115T115900Z  trixie, taken 20"), "{list}");
    assert!(list.lines().nth(1).unwrap().starts_with("fixture 20260115T115930Z  "), "{list}");

    fs::remove_dir_all(world.world.root().join("m1")).unwrap();
    fs::remove_dir_all(world.world.root().join("r")).unwrap();
    let verify = |more: &[&str]| {
        let words: Vec<&str> = [&["snapshot", "verify", "--store", "s"], more].concat();
        world.world.run(words)
    };
    let text = verify(&[]).success();
    assert_eq!(text.matches(": good as of 20").count(), 2, "{text}");
    assert_eq!(text.matches(": signed, coexisted (1 of 1 mirrors)").count(), 1, "{text}");
    assert_eq!(text.matches(": signed, monotonic, coexisted (1 of 1 mirrors)").count(), 1, "{text}");
    let one = verify(&["fixture", "20260115T115930Z"]).success();
    assert!(one.contains("trixie of 20260115T115930Z"), "{one}");
    let message = verify(&["fixture", "20200101T000000Z"]).failure(3);
    assert!(message.contains("the store has no snapshot fixture 20200101T000000Z"), "{message}");

    // Every blob that is damaged is noticed, and put aside; nothing of it is believed afterwards.
    let blobs = files_below(&world.world.root().join("s/blobs"));
    // Two signed files, two indexes, the key.
    assert_eq!(blobs.len(), 5, "{blobs:?}");
    for path in blobs {
        let whole = fs::read(&path).unwrap();
        let mut bad = whole.clone();
        bad[whole.len() / 2] ^= 1;
        fs::remove_file(&path).unwrap();
        fs::write(&path, bad).unwrap();
        let message = verify(&[]).failure(4);
        assert!(message.contains("damaged"), "{message}");
        let message = verify(&[]).failure(4);
        assert!(message.contains("is not in the store"), "{message}");
        fs::write(&path, whole).unwrap();
    }
    verify(&[]).success();
}

#[test]
fn an_older_state_than_one_that_was_seen_is_refused() {
    let world = World::new(1);
    world.put(1, NOW - 60, "1.1");
    world.create(&[]);
    world.put(1, NOW - DAY, "1.0");
    let message = world.refused(3, &[]);
    assert!(message.contains("trixie contradicts what was seen before"), "{message}");
    assert!(message.contains("20260114T120000Z is older than 20260115T115900Z"), "{message}");
    assert_eq!(world.list().lines().count(), 1);
    // Another store has no memory.
    world.world.run(["snapshot", "create", "r", "--store", "other"]).success();
}

#[test]
fn one_stale_mirror_of_three_is_named_and_the_newest_state_taken() {
    let world = World::new(3);
    world.put(1, NOW - DAY, "1.0");
    world.put(2, NOW - 60, "1.1");
    world.put(3, NOW - 60, "1.1");
    let text = world.create(&["--agreeing", "2"]);
    assert!(text.starts_with("fixture 20260115T115900Z\n"), "{text}");
    assert!(text.contains("on 2 of 3 mirrors"), "{text}");
    assert!(text.contains("/m1 has the one of 20260114T120000Z"), "{text}");
    let message = world.refused(4, &["--agreeing", "3"]);
    assert!(message.contains("2 of 3 needed sources have trixie of 20260115T115900Z"), "{message}");
    let verify = || world.world.run(["snapshot", "verify", "--store", "s"]).success();
    assert!(verify().contains(": signed, fresh, coexisted (2 of 3 mirrors)"), "{}", verify());
    // Known again is not newer; more mirrors than before count.
    world.put(1, NOW - 60, "1.1");
    world.create(&[]);
    assert!(verify().contains(": signed, fresh, coexisted (3 of 3 mirrors)"), "{}", verify());
    assert_eq!(world.list().lines().count(), 1);
}

#[test]
fn a_state_that_is_frozen_or_over_is_refused() {
    let world = World::new(1);
    world.put(1, NOW - 60, "1.0");
    let message = world.refused(4, &["--max-age", "2"]);
    assert!(message.contains("trixie is of 20260115T115900Z, older than the 172800 seconds"), "{message}");
    world.put_with(1, "1.0", |suite| suite.valid_until = Some(NOW + DAY));
    let message = world.refused(4, &[]);
    assert!(message.contains("it is not current"), "{message}");
    assert_eq!(world.list(), "");
}

#[test]
fn two_stories_of_one_date_are_refused_and_kept_as_evidence() {
    let world = World::new(2);
    world.put(1, NOW - 60, "1.0");
    world.put(2, NOW - 60, "1.1");
    let message = world.refused(3, &[]);
    assert!(message.contains("trixie of 20260115T115900Z exists twice, both signed"), "{message}");
    assert!(message.contains("both files are in the store"), "{message}");
    let signed = files_below(&world.world.root().join("s/blobs"));
    let texts = signed.iter().map(|path| fs::read(path).unwrap());
    assert_eq!(texts.filter(|text| text.starts_with(b"-----BEGIN PGP SIGNED")).count(), 2);
    // The same one after the other.
    let world = World::new(1);
    world.put(1, NOW - 60, "1.0");
    world.create(&[]);
    world.put(1, NOW - 60, "1.1");
    let message = world.refused(3, &[]);
    assert!(message.contains("have the same date 20260115T115900Z"), "{message}");
}

#[test]
fn a_state_from_the_future_is_refused_and_not_remembered() {
    let world = World::new(1);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let now = i64::try_from(now).unwrap();
    for ahead in [3600, 365 * DAY] {
        world.put_with(1, "9.9", |suite| {
            suite.date = Some(now + ahead);
            suite.valid_until = None;
        });
        let message = world.refused(4, &[]);
        assert!(message.contains("no source has an acceptable InRelease of trixie"), "{message}");
    }
    // Otherwise every true state would look like going back from now on.
    world.put(1, NOW - 60, "1.0");
    world.create(&[]);
}

#[test]
fn what_is_wrong_on_the_command_line_is_said() {
    let world = World::new(1);
    let message = world.refused(2, &["--archive", "debian"]);
    assert!(message.contains("no archive \"debian\"") && message.contains("fixture"), "{message}");
    let message = world.refused(4, &[]);
    assert!(message.contains("no source has an acceptable InRelease of trixie"), "{message}");
    let message = world.world.run(["snapshot", "verify", "debian", "--store", "s"]).failure(3);
    assert!(message.contains("the store has no snapshot debian"), "{message}");
}

#[test]
fn a_lock_takes_the_state_that_the_recipe_names() {
    if !builds_here() {
        return;
    }
    let shared = shared();
    let store = shared.store.to_str().unwrap();
    let world = Recipe::default().write();
    let json = world.run(["snapshot", "create", "r", "--store", store, "--json"]).success();
    let json: Value = serde_json::from_str(&json).unwrap();
    let serial = json["snapshots"][0]["snapshot"]["serial"].as_str().unwrap();
    let named = |serial: &str| {
        let table = "[archives.debian]\n";
        assert!(Recipe::default().text().contains(table));
        let text = Recipe::default().text().replace(table, &format!("{table}serial = \"{serial}\"\n"));
        world.write("r/selfsame.toml", text);
    };
    named(serial);
    let message = world.run(["build", "r", "--store", store, "--offline"]).failure(3);
    assert!(message.contains(&format!("archives.debian.serial: latest -> {serial}")), "{message}");
    let path = world.root().join("r/selfsame.lock");
    let before = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    world.run(["lock", "r", "--store", store, "--offline"]).success();
    let lock = fs::read_to_string(&path).unwrap();
    let packages = |lock: &str| lock.split_once("[[package]]").unwrap().1.to_owned();
    assert_eq!(packages(&lock), packages(&before));
    assert_eq!(lock.matches(serial).count(), 2, "asked for, and given");

    named("20200101T000000Z");
    let message = world.run(["lock", "r", "--store", store]).failure(3);
    assert!(message.contains("the store has no snapshot 20200101T000000Z"), "{message}");
}
