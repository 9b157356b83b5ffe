//! The pairs of files that strip-nondeterminism is tested with: `x.in`, and what is to come of it as `x.out`. They are under the GPL
//! and not kept here.
//!
//! `PAIRS` says where its directory `t` is; else it may lie in `../shared/fixtures` beside this tree, or `scripts/fixtures.sh` fetches it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use selfsame_image::normalise::Outcome;
use selfsame_testkit::readme::workspace;

use super::run;

/// Where they are; `None` if they cannot be fetched. That is said and no error, even in CI: mirrors without sources do not have
/// them, and nothing that could be installed would help.
fn place() -> Option<PathBuf> {
    if let Some(given) = env::var_os("PAIRS") {
        return Some(given.into());
    }
    let beside = workspace().join("../shared/fixtures/strip-nondeterminism");
    if beside.is_dir() {
        return Some(beside);
    }
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fixtures");
    let script = workspace().join("scripts/fixtures.sh");
    let output = Command::new(script).arg(place).arg("strip-nondeterminism").output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if !output.status.success() {
        println!("skipped: strip-nondeterminism's fixtures cannot be fetched: {}", text(&output.stderr));
        return None;
    }
    Some(text(&output.stdout).into())
}

/// Of each pair its name without `.in`, and both files.
fn pairs(place: &Path) -> Vec<(String, Vec<u8>, Vec<u8>)> {
    let list = |dir: &Path| {
        let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        let mut all: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        all.sort();
        all
    };
    let mut all = Vec::new();
    for dir in list(&place.join("fixtures")) {
        for first in list(&dir).into_iter().filter(|path| path.extension().is_some_and(|end| end == "in")) {
            let second = first.with_extension("out");
            // A link that was not kept as one holds the name that it leads to.
            let mut expected = fs::read(&second).unwrap();
            let link = first.file_name().unwrap().to_str().unwrap();
            if expected.trim_ascii() == link.as_bytes() {
                expected = fs::read(&first).unwrap();
            }
            let name = link.trim_end_matches(".in").to_owned();
            all.push((name, fs::read(&first).unwrap(), expected));
        }
    }
    all
}

fn after(name: &str, before: &[u8], all: bool) -> Vec<u8> {
    match run(name, before, all) {
        Some(Outcome::Changed { bytes, .. }) => bytes,
        _ => before.to_vec(),
    }
}

/// What comes out in another way than there if all times are set, and why: `docs/normalise.md`.
const OTHERWISE: [(&str, &str); 1] = [
    // ISO 8601 knows no zone of -00:00.
    ("tEXt.png", "-00:00"),
];

#[test]
fn each_pair_comes_out_as_there() {
    let Some(place) = place() else { return };
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (name, before, expected) in pairs(&place) {
        let ours = after(&name, &before, true);
        count += 1;
        if ours == expected {
            continue;
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let known = OTHERWISE.iter().find(|(one, _)| *one == name);
        let explained =
            known.is_some_and(|(_, odd)| text(&expected).contains(odd) && !text(&ours).contains(odd));
        if !explained || ours.len() != expected.len() {
            wrong.push(name);
        }
    }
    assert_eq!(wrong, [""; 0]);
    assert!(count >= 20, "{count} pairs");
    eprintln!("{count} pairs");
}

/// Times before the epoch stay, as with its `--clamp-timestamp`, which not all of its handlers know.
#[test]
fn only_earlier_times_come_out_otherwise_if_times_are_clamped() {
    let Some(place) = place() else { return };
    let pairs = pairs(&place);
    let others: Vec<&str> = pairs
        .iter()
        .filter(|(name, before, expected)| after(name, before, false) != *expected)
        .map(|(name, ..)| &**name)
        .collect();
    assert_eq!(others, ["a.html", "bug_931039.png", "tEXt.png"]);
}

#[test]
fn what_it_fails_on_is_left_with_a_reason() {
    let Some(place) = place() else { return };
    let failure = fs::read(place.join("failures/ar/857975.a")).unwrap();
    let Some(Outcome::Left(reason)) = run("857975.a", &failure, false) else { panic!("it is changed") };
    assert!(reason.contains("size"), "{reason}");
    for (name, before, _) in pairs(&place) {
        if let "android.apk" | "encrypted.zip" | "huge-chunk-size.png" = &*name {
            assert!(matches!(run(&name, &before, false), Some(Outcome::Left(_))), "{name}");
        }
    }
}
