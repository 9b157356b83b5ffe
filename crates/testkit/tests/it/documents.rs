//! Documents and scripts that people rely on.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use selfsame_testkit::oracle_text;
use selfsame_testkit::readme::{commands, workspace};

/// Everything that is run by hand or by a machine.
const SCRIPTS: [&str; 10] = [
    ".ci/run",
    "scripts/test.sh",
    "scripts/oracles.sh",
    "scripts/mirror.sh",
    "scripts/fuzz.sh",
    "scripts/fixtures.sh",
    "fuzz/seeds.sh",
    "bench/run.sh",
    "bench/expert.sh",
    "bench/normalise.sh",
];

#[test]
fn readme_has_two_commands() {
    let readme = fs::read_to_string(workspace().join("README.md")).unwrap();
    assert_eq!(commands(&readme), ["cargo run --release --locked -- build examples/live", "scripts/test.sh"]);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let documents = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SHORTCOMINGS.md",
        "CHANGELOG.md",
        "docs/cli.md",
        "docs/snapshots.md",
        "docs/verify.md",
        "docs/attacks.md",
        "docs/checking.md",
        "docs/reporting.md",
        "docs/normalise.md",
    ];
    for document in documents.map(PathBuf::from) {
        let text = fs::read_to_string(workspace().join(&document)).unwrap();
        for (_, rest) in text.match_indices("](").map(|(at, _)| text.split_at(at + 2)) {
            let target = rest.split([')', '#']).next().unwrap();
            let path = workspace().join(document.parent().unwrap()).join(target);
            assert!(target.contains("://") || path.exists(), "{}: {target}", document.display());
        }
    }
}

#[test]
fn every_attack_has_its_line_and_every_test_of_it_exists() {
    let page = fs::read_to_string(workspace().join("docs/attacks.md")).unwrap();
    let named = |line: &str| line.split('`').filter(|word| word.contains(".rs::")).count();
    for number in 1..=15 {
        let start = format!("| S{number} | ");
        let line = page.lines().find(|line| line.starts_with(&start));
        let line = line.unwrap_or_else(|| panic!("no line {start}"));
        assert!(named(line) > 0 || line.contains("not done yet"), "{line}");
    }
    for word in page.split('`') {
        let Some((path, test)) = word.split_once("::") else { continue };
        let code = fs::read_to_string(workspace().join("crates").join(path));
        let code = code.unwrap_or_else(|error| panic!("{path}: {error}"));
        let lines: Vec<_> = code.lines().map(str::trim).collect();
        let found = lines.windows(2).any(|pair| pair == ["#[test]", format!("fn {test}() {{").as_str()]);
        assert!(found, "{path} has no test {test}");
    }
}

#[test]
fn scripts_can_be_run_and_parsed() {
    for script in SCRIPTS {
        let path = workspace().join(script);
        let mode =
            fs::metadata(&path).unwrap_or_else(|error| panic!("{script}: {error}")).permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{script} is executable");
        let shell = if script == ".ci/run" { "sh" } else { "bash" };
        let _parsed = oracle_text(Command::new(shell).arg("-n").arg(&path));
    }
}

#[test]
fn architecture_fits_two_pages_and_contributing_has_twenty_rules() {
    let lines = |name: &str| fs::read_to_string(workspace().join(name)).unwrap().lines().count();
    assert!(lines("ARCHITECTURE.md") <= 120, "two pages of 60 lines");
    let rules = fs::read_to_string(workspace().join("CONTRIBUTING.md")).unwrap();
    let numbered =
        |line: &&str| line.split_once(". ").is_some_and(|(number, _)| number.parse::<u32>().is_ok());
    assert_eq!(rules.lines().filter(numbered).count(), 20);
}
