//! What selfsame is made of may be given away under MIT or Apache-2.0.

use std::process::Command;

use selfsame_testkit::readme::workspace;
use serde_json::Value;

/// Licences that ask for no more than a notice.
const ALLOWED: [&str; 14] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    // As BSD-3-Clause, and altered sources must say so, as with Zlib.
    "bzip2-1.0.6",
];

/// Whether one may choose allowed licences only. `expression` is SPDX, or the older form with `/` for OR.
fn allowed(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let result = either(&words, &mut at);
    result && at == words.len()
}

fn either(words: &[&str], at: &mut usize) -> bool {
    let mut result = both(words, at);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        result |= both(words, at);
    }
    result
}

fn both(words: &[&str], at: &mut usize) -> bool {
    let mut result = single(words, at);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        result &= single(words, at);
    }
    result
}

fn single(words: &[&str], at: &mut usize) -> bool {
    let Some(&word) = words.get(*at) else { return false };
    *at += 1;
    if word == "(" {
        let result = either(words, at);
        *at += 1;
        return result;
    }
    let mut name = word.to_owned();
    if let [Some("WITH"), Some(exception)] = [words.get(*at).copied(), words.get(*at + 1).copied()] {
        name = format!("{word} WITH {exception}");
        *at += 2;
    }
    ALLOWED.contains(&name.as_str())
}

#[test]
fn every_dependency_may_be_given_away() {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--offline", "--locked"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(workspace())
        .output()
        .expect("the cargo that runs this test can run again");
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: Value = serde_json::from_slice(&metadata.stdout).expect("cargo writes JSON");
    let packages = metadata["packages"].as_array().expect("packages are a list");
    assert!(packages.len() > 6, "only {} packages", packages.len());
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| !package["license"].as_str().is_some_and(allowed))
        .map(|package| format!("{}: {}", package["name"], package["license"]))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn expressions_are_understood() {
    for good in [
        "MIT",
        "GPL-3.0 OR MIT",
        "(MIT OR GPL-2.0) AND Unicode-3.0",
        "Apache-2.0/MIT",
        "MIT AND (ISC AND Zlib)",
    ] {
        assert!(allowed(good), "{good}");
    }
    for bad in [
        "",
        "GPL-3.0",
        "MIT AND GPL-2.0",
        "(MIT OR ISC) AND GPL-2.0",
        "MIT WITH something",
        "MIT MIT",
        "(MIT",
    ] {
        assert!(!allowed(bad), "{bad}");
    }
}
