//! Files that can be read in one go and functions that fit a screen.

use std::fs;
use std::path::{Path, PathBuf};

use selfsame_testkit::readme::workspace;

const LONGEST_FILE: usize = 900;
const LONGEST_FUNCTION: usize = 70;

/// Functions (or files) that may be longer: path from the root, name (empty for the file), reason.
const EXCEPTIONS: [(&str, &str, &str); 3] = [
    (
        "crates/cli/tests/it/inspect.rs",
        "a_hybrid_iso_shows_its_tables_boot_images_and_what_is_inside",
        "one image, made and then read from its first table to its last file",
    ),
    ("crates/image/src/cpio/tests.rs", "every_broken_rule_is_named", CASES),
    ("crates/image/src/tar/tests.rs", "every_broken_rule_is_named", CASES),
];
const CASES: &str = "a table with a case for each rule of the format";

/// Every Rust file of the workspace's crates and of the targets for fuzzing, sorted.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![workspace().join("crates"), workspace().join("fuzz/src")];
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Name and number of lines of each function in code that rustfmt has laid out: a function ends with the first
/// brace in the column where it began.
fn functions(code: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (first, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let indent = &line[..line.len() - trimmed.len()];
        let Some(name) = function_name(trimmed) else {
            continue;
        };
        let end = format!("{indent}}}");
        let one_line = trimmed.ends_with('}') || trimmed.ends_with(';');
        let length = match lines[first..].iter().position(|line| *line == end) {
            Some(last) if !one_line => last + 1,
            _ => 1,
        };
        found.push((name.to_owned(), length));
    }
    found
}

/// The name if the line begins a function.
fn function_name(line: &str) -> Option<&str> {
    let mut rest = line;
    loop {
        let (word, after) = rest.split_once(' ')?;
        match word {
            "fn" => return Some(after.split(['(', '<']).next().unwrap_or(after)),
            "const" | "async" | "unsafe" | "extern" => rest = after,
            _ if word == "pub" || word.starts_with("pub(") || word.starts_with('"') => rest = after,
            _ => return None,
        }
    }
}

fn is_excepted(path: &Path, name: &str) -> bool {
    EXCEPTIONS.iter().any(|(file, function, _)| Path::new(file) == path && *function == name)
}

#[test]
fn files_and_functions_are_short() {
    let root = workspace();
    let mut too_long = Vec::new();
    for path in sources() {
        let code = fs::read_to_string(&path).unwrap();
        let path = path.strip_prefix(&root).unwrap();
        let lines = code.lines().count();
        if lines > LONGEST_FILE && !is_excepted(path, "") {
            too_long.push(format!("{}: {lines} lines", path.display()));
        }
        for (name, lines) in functions(&code) {
            if lines > LONGEST_FUNCTION && !is_excepted(path, &name) {
                too_long.push(format!("{}: {name} has {lines} lines", path.display()));
            }
        }
    }
    assert!(too_long.is_empty(), "{too_long:#?}");
}

#[test]
fn every_exception_is_still_needed() {
    for (file, name, reason) in EXCEPTIONS {
        let code = fs::read_to_string(workspace().join(file)).unwrap();
        let needed = match name {
            "" => code.lines().count() > LONGEST_FILE,
            _ => functions(&code).iter().any(|(found, lines)| found == name && *lines > LONGEST_FUNCTION),
        };
        assert!(needed, "{file} {name} ({reason}) is short enough now");
    }
}

#[test]
fn functions_are_counted_from_first_line_to_closing_brace() {
    let code = "\
pub(crate) const fn one() -> u8 { 1 }

impl X {
    fn declared(&self);
    pub unsafe fn long<T>(
        a: T,
    ) {
        if a {
        }
    }
}
";
    let expected = [("one", 1), ("declared", 1), ("long", 6)];
    assert_eq!(functions(code), expected.map(|(name, lines)| (name.to_owned(), lines)));
}
