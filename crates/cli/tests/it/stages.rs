//! What is done of a build and what is kept of earlier ones, as `selfsame build` and `selfsame store gc` tell it.

use std::path::Path;

use selfsame_testkit::TestEnvironment;

use crate::build::{Recipe, builds_here, shared};

/// A world with the example and this hook, which no other test has.
fn with_hook(script: &str) -> TestEnvironment {
    let world = Recipe::with_hook().write();
    world.write("r/hook", format!("#!/bin/sh\n{script}\n"));
    world
}

#[test]
fn the_plan_says_what_would_run_and_why() {
    let plan = |world: &TestEnvironment, store: &Path| {
        let run = world.run(["build", "r", "--plan", "--store", store.to_str().unwrap()]);
        run.success().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    if !builds_here() {
        return;
    }
    let shared = shared();
    let world = with_hook("echo the plan");
    shared.build(&world, &[]).success();
    let kept = plan(&world, &shared.store);
    let names =
        ["fetch", "unpack", "bootstrap", "install", "settings", "customise", "finalise", "pack"].iter();
    let expected: Vec<String> = names
        .map(|name| format!("{name:<10} {}", if *name == "unpack" { "not needed" } else { "kept" }))
        .collect();
    assert_eq!(kept, expected);

    world.write("r/hook", "#!/bin/sh\necho another plan\n");
    let changed = plan(&world, &shared.store);
    assert_eq!(changed[..5], expected[..5]);
    let runs = [
        "customise  runs: hook hook changed",
        "finalise   runs: after customise",
        "pack       runs: after finalise",
    ];
    assert_eq!(changed[5..], runs);
    assert_eq!(plan(&world, &shared.store), changed, "planning changes nothing");

    let empty = plan(&world, &world.root().join("empty"));
    assert!(empty[0].starts_with("fetch      runs: "), "{empty:?}");
    assert_eq!(
        empty[1..3],
        ["unpack     runs: bootstrap needs it", "bootstrap  runs: never built in this store"]
    );
    shared.assert_clean();
}

#[test]
fn a_build_stops_where_it_is_told_and_the_next_one_goes_on_there() {
    if !builds_here() {
        return;
    }
    let shared = shared();
    let world = with_hook("echo until");
    let run = shared.build(&world, &["--until", "customise"]);
    assert_eq!((run.status, run.stdout.as_str()), (Some(0), ""), "{}", run.stderr);
    let not_made = "not made: tiny.squashfs, tiny.tar, tiny.manifest, tiny.packages, tiny.record.json";
    assert!(run.stderr.contains(&format!("stopped after stage customise; {not_made}\n")), "{}", run.stderr);
    assert!(!world.root().join("out").exists());

    let json = shared.build(&world, &["--json", "--offline"]).success();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let stages = json["stages"].as_array().unwrap().iter();
    let made = stages.filter(|stage| stage["cached"] == false).map(|stage| stage["name"].as_str().unwrap());
    assert_eq!(made.collect::<Vec<_>>(), ["fetch", "finalise", "pack"]);

    let json = shared.build(&world, &["--until", "fetch", "--json"]).success();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["stages"].as_array().unwrap().len(), 1, "{json}");
    let message = shared.build(&world, &["--until", "initramfs"]).failure(3);
    assert!(message.contains("no output that boots"), "{message}");
    let message = shared.build(&world, &["--until", "pack"]).failure(2);
    assert!(message.contains("possible values: fetch, unpack"), "{message}");
    shared.assert_clean();
}

#[test]
fn a_build_without_earlier_results_makes_the_same_bytes_anew() {
    if !builds_here() {
        return;
    }
    let shared = shared();
    let world = with_hook("echo no cache");
    let digests = shared.build(&world, &[]).success();
    // Nothing of earlier results is believed, not even that the store has these very bytes already.
    let (sha256, path) = digests.lines().next().unwrap().split_once("  ").unwrap();
    let blob = shared.store.join("blobs").join(&sha256[..2]).join(&sha256[2..]);
    std::fs::set_permissions(&blob, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let mut bytes = std::fs::read(&blob).unwrap();
    bytes[5000] ^= 1;
    std::fs::write(&blob, bytes).unwrap();
    std::fs::remove_file(world.root().join(path)).unwrap();
    let json = shared.build(&world, &["--no-cache", "--offline", "--json", "--timeline", "t.svg"]).success();
    for file in [world.root().join(path), blob.clone()] {
        let found = selfsame_image::Digest::of(&std::fs::read(&file).unwrap()).to_string();
        assert_eq!(found, sha256, "{}", file.display());
    }
    let timeline = std::fs::read_to_string(world.root().join("t.svg")).unwrap();
    assert!([">bootstrap<", ">pack<", ">warm<"].iter().all(|name| timeline.contains(name)), "{timeline}");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let stages = json["stages"].as_array().unwrap();
    assert!(stages.len() == 8 && stages.iter().all(|stage| stage["cached"] == false), "{json}");
    let outputs = json["outputs"].as_array().unwrap().iter();
    let line = |file: &serde_json::Value| {
        format!("{}  {}\n", file["sha256"].as_str().unwrap(), file["path"].as_str().unwrap())
    };
    assert_eq!(outputs.map(line).collect::<String>(), digests);
    shared.assert_clean();
}

#[test]
fn a_package_that_is_added_costs_its_own_group_and_the_bytes_are_those_of_a_build_from_nothing() {
    if !builds_here() {
        return;
    }
    let shared = shared();
    let world = Recipe::default().include(&["less"]).write();
    let store = shared.store.to_str().unwrap().to_owned();
    let lock = |arguments: &[&str]| {
        world.run(["lock", "r", "--store", &store].iter().chain(arguments)).success();
        let text = std::fs::read_to_string(world.root().join("r/selfsame.lock")).unwrap();
        let groups = text.split("[[install.groups]]\n").skip(1);
        let steps = groups.map(|group| group.split_once("\n]\n").unwrap().0.to_owned());
        (text.clone(), steps.collect::<Vec<_>>())
    };
    let write = |include: &[&str]| world.write("r/selfsame.toml", Recipe::default().include(include).text());
    let (first, before) = lock(&[]);
    assert_eq!(before.len(), 1, "{before:?}");
    shared.build(&world, &[]).success();

    write(&["less", "tree"]);
    let (_, after) = lock(&[]);
    assert_eq!((after.len(), &after[0]), (2, &before[0]), "what is installed stays where it is");
    assert!(after[1].contains("unpack tree") && !after[1].contains("less"), "{after:?}");
    let plan = shared.build(&world, &["--plan"]).success();
    assert!(plan.contains("\ninstall    runs: 1 of 2 groups are kept, package tree added\n"), "{plan}");
    assert!(plan.contains("\nbootstrap  kept\n"), "{plan}");
    let run = shared.build(&world, &["--verbose"]);
    let unpacked: Vec<&str> = run.stderr.lines().filter(|line| line.contains("] Unpacking ")).collect();
    assert!(unpacked.len() == 1 && unpacked[0].contains("Unpacking tree "), "{unpacked:?}");
    let digests = run.success();
    assert_eq!(shared.build(&world, &["--no-cache", "--offline"]).success(), digests);

    let (_, regrouped) = lock(&["--regroup"]);
    assert_eq!(regrouped.len(), 1, "{regrouped:?}");
    assert!(regrouped[0].contains(" less") && regrouped[0].contains(" tree"), "{regrouped:?}");
    write(&["less"]);
    let (again, _) = lock(&[]);
    assert_eq!(again, first, "a package that is gone leaves nothing behind");
    shared.assert_clean();
}

#[test]
fn what_was_not_used_is_removed_and_the_next_build_makes_it_again() {
    if !builds_here() {
        return;
    }
    let shared = shared();
    let world = with_hook("echo gc");
    // A store of its own: the layers of the shared one are needed.
    let packages = world.root().join("store/blobs");
    std::fs::create_dir_all(packages.parent().unwrap()).unwrap();
    std::fs::copy(shared.store.join("layout"), world.root().join("store/layout")).unwrap();
    std::os::unix::fs::symlink(shared.store.join("blobs"), &packages).unwrap();
    let build = |arguments: &[&str]| {
        world.run(["build", "r", "--store", "store", "--offline"].iter().chain(arguments)).success()
    };
    let gc = |arguments: &[&str]| {
        let run = world.run(["store", "gc", "--store", "store"].iter().chain(arguments));
        run.success().lines().map(|line| line.trim_start().to_owned()).collect::<Vec<_>>()
    };
    build(&["--until", "settings"]);
    assert_eq!(gc(&[]), ["0 B  removed in all"], "all of it was just used");
    let looked = gc(&["--older-than", "0", "--dry-run"]);
    assert_eq!(looked.len(), 3, "{looked:?}");
    let removed = gc(&["--older-than", "0"]);
    assert_eq!(removed[..2], looked[..2]);
    assert!(removed[0].contains("/work/bootstrap-") && removed[0].ends_with(": not used for long"));
    assert_eq!(std::fs::read_dir(world.root().join("store/work")).unwrap().count(), 0);
    let run = world.run(["build", "r", "--store", "store", "--plan"]).success();
    assert!(run.contains("\nbootstrap  runs: no result of this version is in the store\n"), "{run}");
    let message = world.run(["store", "gc", "--cache", "1.5GB"]).failure(2);
    assert!(message.contains("expected a whole number of bytes"), "{message}");
}
