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
        ["unpack     runs: bootstrap and install need it", "bootstrap  runs: never built in this store"]
    );
    shared.assert_clean();
}
