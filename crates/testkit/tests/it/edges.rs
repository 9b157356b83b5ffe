//! Who may depend on whom.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use selfsame_testkit::readme::workspace;
use serde_json::Value;

/// Dependencies point down only: each crate and the crates of the workspace it may use. ARCHITECTURE.md explains.
const EDGES: [(&str, &[&str]); 8] = [
    ("selfsame-image", &[]),
    ("selfsame-store", &["selfsame-image"]),
    ("selfsame-apt", &["selfsame-image", "selfsame-store"]),
    ("selfsame-build", &["selfsame-apt", "selfsame-image", "selfsame-store"]),
    // What is judged is bytes that somebody gave: no store, no archive, no build.
    ("selfsame-release", &["selfsame-image"]),
    ("selfsame-serve", &["selfsame-apt", "selfsame-image", "selfsame-store"]),
    (
        "selfsame-cli",
        &[
            "selfsame-apt",
            "selfsame-build",
            "selfsame-image",
            "selfsame-release",
            "selfsame-serve",
            "selfsame-store",
        ],
    ),
    ("selfsame-testkit", &["selfsame-image"]),
];

/// Foreign crates that only some may use: what a crate is for shows in what the others may not do.
const RESERVED: [(&str, &[&str]); 17] = [
    ("clap", &["selfsame-cli"]),
    ("indicatif", &["selfsame-cli"]),
    ("signal-hook", &["selfsame-cli"]),
    ("ureq", &["selfsame-apt"]),
    // The only crate with async code: whoever waits for clients.
    ("tokio", &["selfsame-serve"]),
    ("hyper", &["selfsame-serve"]),
    // testkit signs the archives that tests are made of.
    ("pgp", &["selfsame-apt", "selfsame-testkit"]),
    ("rpgpie", &["selfsame-apt"]),
    ("ed25519-dalek", &["selfsame-apt", "selfsame-release"]),
    ("base64ct", &["selfsame-cli", "selfsame-release"]),
    ("toml", &["selfsame-build", "selfsame-cli", "selfsame-release"]),
    ("serde_json", &["selfsame-build", "selfsame-cli", "selfsame-release", "selfsame-testkit"]),
    ("zstd", &["selfsame-image"]),
    ("liblzma", &["selfsame-image"]),
    ("flate2", &["selfsame-image"]),
    ("bzip2", &["selfsame-image"]),
    ("tempfile", &["selfsame-testkit"]),
];

/// For each crate of the workspace what it depends on, tests left out.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline", "--locked"])
        .current_dir(workspace())
        .output()
        .expect("the cargo that runs this test can run again");
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: Value = serde_json::from_slice(&metadata.stdout).expect("cargo writes JSON");
    let text = |value: &Value| value.as_str().expect("names are strings").to_owned();
    let normal = |dependency: &&Value| dependency["kind"] != "dev";
    let package = |package: &Value| {
        let dependencies = package["dependencies"].as_array().expect("dependencies are a list");
        (text(&package["name"]), dependencies.iter().filter(normal).map(|one| text(&one["name"])).collect())
    };
    metadata["packages"].as_array().expect("packages are a list").iter().map(package).collect()
}

#[test]
fn dependencies_point_down_only() {
    let found = dependencies();
    let known: BTreeSet<&str> = EDGES.iter().map(|(name, _)| *name).collect();
    assert_eq!(found.keys().map(String::as_str).collect::<BTreeSet<_>>(), known, "every crate has its row");
    for (name, allowed) in EDGES {
        for dependency in &found[name] {
            let foreign = !known.contains(dependency.as_str());
            assert!(foreign || allowed.contains(&dependency.as_str()), "{name} must not use {dependency}");
        }
    }
}

#[test]
fn reserved_crates_stay_where_they_belong() {
    let found = dependencies();
    for (reserved, allowed) in RESERVED {
        for (name, _) in found.iter().filter(|(_, uses)| uses.contains(reserved)) {
            assert!(allowed.contains(&name.as_str()), "{name} must not use {reserved}");
        }
    }
}

#[test]
fn the_budget_of_crates() {
    let lock = std::fs::read_to_string(workspace().join("Cargo.lock")).unwrap();
    let names: Vec<&str> =
        lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')).collect();
    // Every crate is code that somebody must trust. Raising this is a decision: say why in the commit.
    const BUDGET: usize = 290;
    assert!(names.len() <= BUDGET, "Cargo.lock has {} crates, the budget is {BUDGET}", names.len());
    for banned in ["async-std", "openssl-sys", "anyhow", "chrono-tz"] {
        assert!(!names.contains(&banned), "{banned} got in");
    }
}
