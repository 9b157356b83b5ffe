//! `selfsame check`: what a hook lets into the image is found, with the variation that shows it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use selfsame_image::Digest;
use selfsame_testkit::{TestEnvironment, is_root};
use serde_json::Value;

use crate::assert_says;
use crate::build::{Recipe, builds_here, names_in, shared};
use crate::world;

/// Things that get into images, one in each file: what it is, what `check` says of it, and the commands of a hook that print it.
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/leaks");

/// One of them.
struct Leak {
    name: String,
    /// Variations of which one is told; `nothing` if it differs anyway, `missed` if it is not found.
    expected: Vec<String>,
    commands: String,
}

fn corpus() -> Vec<Leak> {
    let leak = |name: String| {
        let text = fs::read_to_string(Path::new(CORPUS).join(&name)).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("# expected: "));
        let expected = line.unwrap_or_else(|| panic!("{name} expects nothing")).split(' ');
        Leak { expected: expected.map(String::from).collect(), commands: text.clone(), name }
    };
    names_in(Path::new(CORPUS)).into_iter().map(leak).collect()
}

/// A recipe with a hook that leaks all of it.
fn leaking(leaks: &[Leak]) -> TestEnvironment {
    let world = Recipe::with_hook().write();
    let mut hook = String::from("#!/bin/sh\nmask=$(umask)\numask 022\nmkdir -p /etc/leaks\n");
    for Leak { name, commands, .. } in leaks {
        // The file itself is the same, whatever is varied.
        hook.push_str(&format!("out=/etc/leaks/{name}\n(umask $mask\n{commands}\n) > $out\n"));
    }
    world.write("r/hook", hook + "exit 0\n");
    world
}

#[test]
fn what_leaks_is_told_with_its_variation() {
    if !builds_here() {
        return;
    }
    let shared = shared();
    let leaks = corpus();
    assert!(leaks.len() >= 60);
    let world = leaking(&leaks);
    let store = shared.store.to_str().unwrap();
    let run = world.run(["check", "r", "--store", store, "--offline", "--seed", "5", "--json"]);
    assert_eq!(run.status, Some(1), "{}", run.stderr);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let of = |name: &str| {
        findings.iter().find(|finding| {
            let path = finding["what"].as_str().unwrap().split("/etc/leaks/").nth(1).unwrap_or_default();
            path.split(['.', '/']).next() == Some(name)
        })
    };
    let (mut wrong, mut found, mut all) = (Vec::new(), 0, 0);
    for Leak { name, expected, .. } in &leaks {
        let one_processor = std::thread::available_parallelism().is_ok_and(|count| count.get() == 1);
        if (one_processor && expected[0] == "processors") || (!is_root() && expected[0] == "user-ids") {
            continue;
        }
        let finding = of(name);
        all += 1;
        found += usize::from(finding.is_some());
        let told = finding.map_or("missed", |finding| match finding["culprit"].as_str().unwrap() {
            "varied" => finding["varied"][0]["name"].as_str().unwrap(),
            other => other,
        });
        if !expected.iter().any(|one| one == told) {
            wrong.push(format!("{name}: {told}, not {}", expected.join(" or ")));
        }
        let stage = finding.map_or("customise", |finding| finding["stage"].as_str().unwrap_or("unknown"));
        assert_eq!(stage, "customise", "{name}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}\n{}", run.stderr);
    println!("{found} of {all} leaks are found");
    assert!(found * 100 >= all * 95);
    // Nothing else differs, and what was made apart is gone.
    let others = findings.iter().filter(|finding| !finding["what"].as_str().unwrap().contains("/etc/leaks"));
    assert_eq!(others.count(), 0, "{}", run.stdout);
    shared.assert_clean();
    let plan = fs::read_to_string(world.root().join("results/plan.toml")).unwrap();
    assert_says(&plan, &["seed = 5\n", "\"directory-order\""]);
    assert!(world.root().join("results/control/tiny.squashfs").exists());
    // Of the experiments there is what shows a finding, and the store has nothing of them.
    let shown: BTreeSet<u64> =
        findings.iter().map(|finding| finding["experiment"].as_u64().unwrap()).collect();
    let kept = names_in(&world.root().join("results"));
    let kept: BTreeSet<u64> = kept.iter().filter_map(|name| name.parse().ok()).collect();
    assert_eq!(kept, shown);
    for number in kept {
        let image = fs::read(world.root().join(format!("results/{number}/tiny.tar"))).unwrap();
        let digest = Digest::of(&image);
        assert_eq!(selfsame_store::Store::open(&shared.store).unwrap().size(&digest), None);
    }
    a_part_again(&world, store);
}

/// A part of it again, by its plan, to another place.
fn a_part_again(world: &TestEnvironment, store: &str) {
    world.write("small.toml", "format = 1\nseed = 5\nexperiments = 1\nvary = [\"umask\", \"kernel\"]\n");
    let words = ["check", "r", "--store", store, "--offline", "--plan", "small.toml", "--out", "again"];
    let run = world.run(words);
    assert_eq!(run.status, Some(1), "{}", run.stderr);
    assert_says(
        &run.stdout,
        &[
            "/etc/leaks/kernel-release\n  differs because of kernel (",
            "/etc/leaks/mode-of-file\n  differs because of umask (0",
            "/etc/leaks/random-bytes\n  differs from build to build",
            "first in stage customise\n",
        ],
    );
    assert!(!run.stdout.contains("/etc/leaks/date"), "{}", run.stdout);
}

#[test]
fn what_breaks_the_build_is_found_and_the_rest_is_checked_without_it() {
    if !builds_here() {
        return;
    }
    let shared = shared();
    let world = Recipe::with_hook().write();
    let hook = "#!/bin/sh\necho $USER > /etc/user\n[ \"$(umask)\" = 0022 ] || { echo no umask but 022 >&2; exit 9; }\n";
    world.write("r/hook", hook);
    let store = shared.store.to_str().unwrap();
    let words =
        ["check", "r", "--store", store, "--offline", "--seed", "3", "--vary", "home,umask,user-name,path"];
    let run = world.run(words);
    assert_eq!(run.status, Some(1), "{}", run.stderr);
    assert_says(
        &run.stdout,
        &[
            "the build\n  fails because of umask (0",
            "no umask but 022\n",
            "/etc/user\n  differs because of user-name (",
            "\n2 differences, ",
        ],
    );
    shared.assert_clean();
}

#[test]
fn a_recipe_without_leaks_is_the_same_everywhere() {
    if !builds_here() {
        return;
    }
    let shared = shared();
    let world = Recipe::default().write();
    let store = shared.store.to_str().unwrap();
    let words = ["check", "r", "--store", store, "--offline", "--seed", "11"];
    let run = world.run(words);
    assert_eq!(run.status, Some(0), "{}\n{}", run.stdout, run.stderr);
    assert_eq!(run.stdout, "identical in 1 experiment, seed 11\n");
    assert!(!world.root().join("results/1").exists());
    // Results are not written over.
    let run = world.run(words);
    assert_eq!(run.status, Some(2));
    assert_says(&run.stderr, &["there is something in it already", "choose another directory with --out"]);
    shared.assert_clean();
}

#[test]
fn wrong_plans_are_refused_before_anything_is_built() {
    let world = world();
    let wrong = [
        ("format = 2\nseed = 1\nexperiments = 1\nvary = [\"clock\"]\n", "its format is 2, not 1"),
        ("format = 1\nseed = 1\nexperiments = 0\nvary = [\"clock\"]\n", "it needs 1 to 1000 experiments"),
        ("format = 1\nseed = 1\nexperiments = 1\nvary = []\n", "and something to vary"),
        ("format = 1\nseed = 1\nexperiments = 1\nvary = [\"clock\", \"clock\"]\n", "clock is there twice"),
        ("format = 1\nseed = 1\nexperiments = 1\nvary = [\"moon\"]\n", "\"moon\" cannot be varied"),
        ("format = 1\nseed = -1\nexperiments = 1\nvary = [\"clock\"]\n", "seed"),
        ("more", "expected"),
    ];
    for (text, why) in wrong {
        world.write("plan.toml", text);
        let run = world.run(["check", "r", "--plan", "plan.toml"]);
        assert_eq!(run.status, Some(3), "{}", run.stderr);
        assert_says(&run.stderr, &["plan.toml is no plan of a check", why]);
    }
    let run = world.run(["check", "r", "--vary", "clock,moon"]);
    assert_eq!(run.status, Some(2));
    assert_says(&run.stderr, &["it is none of clock, time-zone"]);
    let list = world.run(["check", "--list"]).success();
    assert_says(&list, &["directory-order\n  every build: that of the file system\n  experiment:  shuffled"]);
}

#[test]
fn the_page_has_the_variations_that_there_are() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/checking.md")).unwrap();
    let list: Value = serde_json::from_str(&world().run(["check", "--list", "--json"]).success()).unwrap();
    let field = |of: &Value, name: &str| of[name].as_str().unwrap_or_default().to_owned();
    let row = |of: &Value| {
        let [control, experiment, limits] = ["control", "experiment", "limits"].map(|name| field(of, name));
        format!("| `{}` | {control} | {experiment} | {limits} |", field(of, "name"))
    };
    let rows: Vec<String> = list["variations"].as_array().unwrap().iter().map(row).collect();
    let on_page: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(on_page, rows);
}

#[test]
fn a_check_ends_when_its_time_is_spent() {
    if !builds_here() {
        return;
    }
    let shared = shared();
    let world = Recipe::with_hook().write();
    world.write("r/hook", "#!/bin/sh\numask > /etc/leak\n");
    let store = shared.store.to_str().unwrap();
    let words = ["check", "r", "--store", store, "--offline", "--vary", "umask,locale", "--experiments", "3"];
    let run = world.run(words.iter().chain(&["--budget", "0s", "--seed", "1", "--json"]));
    assert_eq!(run.status, Some(1), "{}", run.stderr);
    assert!(
        run.stderr.contains("warning: the time was spent before all that was planned was done"),
        "{}",
        run.stderr
    );
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((report["spent"].as_bool(), report["experiments"].as_array().unwrap().len()), (Some(true), 1));
    let findings = report["findings"].as_array().unwrap();
    assert!(
        !findings.is_empty() && findings.iter().all(|one| one["culprit"] == "unsearched"),
        "{findings:?}"
    );
    let page = world.run(["report", "results", "--markdown", "-"]).success();
    assert!(page.contains("differs; there was no time to find out why"), "{page}");
    shared.assert_clean();
}
