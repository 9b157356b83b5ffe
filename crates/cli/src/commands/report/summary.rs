//! The checks as Markdown (of GitHub's kind, which GitLab reads too), short enough for a comment on a change.

use std::collections::BTreeSet;
use std::fmt::Write;

use selfsame_image::cause;

use super::model::{Cell, Check, Finding, columns};
use crate::markup::{Room, code};

/// Longest text, in bytes: GitHub takes 65,536 characters, and somebody may put words around it.
const LONGEST: usize = 60_000;
/// Room for a note on what is left out, in bytes.
const NOTES: usize = 200;
/// Room for the findings of a recipe at least, in bytes.
const LEAST: usize = 2_000;
/// Characters of a name or a line.
const LONG: usize = 200;
/// So many findings of a check are told, so many earlier checks of a recipe, and so many files.
const FINDINGS: usize = 50;
const EARLIER: usize = 10;
const FILES: usize = 20;

/// The text: of each recipe the newest check, and how those before it ended. `checks` are sorted by recipe, then the newest first.
pub(super) fn text(checks: &[&Check]) -> String {
    let (mut page, mut room, mut untold) = (String::new(), Room(LONGEST - NOTES), 0);
    let groups: Vec<&[&Check]> = checks.chunk_by(|a, b| a.recipe == b.recipe).collect();
    // Half is for findings, the rest for what is said of each recipe.
    let share = (LONGEST / 2 / groups.len().max(1)).max(LEAST);
    for group in groups {
        let Some((newest, earlier)) = group.split_first() else { continue };
        let mut piece = newest_of(newest, share);
        before(earlier, &mut piece);
        untold += usize::from(!room.put(&mut page, &piece));
    }
    if untold > 0 {
        let _ = writeln!(page, "And {untold} more recipes, for which there is no room here.");
    }
    page
}

/// What is said of a check, with findings in at most `room` bytes.
fn newest_of(check: &Check, room: usize) -> String {
    let recipe = code(&check.recipe, LONG);
    let mut page = format!("### selfsame check: {recipe}: {}\n\n", check.verdict());
    let _ = write!(page, "{}, seed {}", check.effort(), check.seed);
    if check.started.is_some() {
        let _ = write!(page, ", {} UTC", check.day());
    }
    for (name, value) in [("commit", &check.commit), ("lock", &check.lock)] {
        if let Some(value) = value {
            let _ = write!(page, ", {name} `{}`", &value[..12]);
        }
    }
    page.push_str("\n\n");
    findings(check, Room(room), &mut page);
    let columns = columns([check].into_iter());
    let of = |cell: Cell| {
        let names: Vec<&str> =
            columns.iter().filter(|name| check.cell(name) == cell).map(String::as_str).collect();
        names.join(", ")
    };
    for (words, cell) in [("The same with another", Cell::Same), ("Not varied:", Cell::NotVaried)] {
        let names = of(cell);
        if !names.is_empty() {
            let _ = writeln!(page, "{words} {names}\n");
        }
    }
    page.push_str("| file | SHA-256 |\n|---|---|\n");
    for image in check.images.iter().take(FILES) {
        let _ = writeln!(page, "| {} | `{}` |", code(&image.name, LONG), image.sha256);
    }
    page.push_str("\nAgain: `selfsame check RECIPE --plan plan.toml`, with the plan among the results\n\n");
    page
}

fn findings(check: &Check, mut room: Room, page: &mut String) {
    if check.findings.is_empty() {
        return;
    }
    page.push_str("| what differs | why | first in stage | looks like |\n|---|---|---|---|\n");
    let rows = check.findings.iter().take(FINDINGS).map(row);
    let told = rows.take_while(|row| room.put(page, row)).count();
    page.push('\n');
    if check.findings.len() > told {
        let _ = writeln!(page, "And {} more.\n", check.findings.len() - told);
    }
    let causes: BTreeSet<&str> =
        check.findings.iter().take(told).flat_map(|one| &one.causes).map(String::as_str).collect();
    for known in causes.into_iter().filter_map(cause::cause) {
        let _ = writeln!(page, "- `{}`: {}", known.id, known.remedy);
    }
    page.push('\n');
}

fn row(one: &Finding) -> String {
    let Finding { what, stage, causes, .. } = one;
    let causes: Vec<String> = causes.iter().take(5).map(|name| code(name, LONG)).collect();
    let stage = stage.as_ref().map(|stage| code(stage, LONG)).unwrap_or_default();
    format!("| {} | {} | {stage} | {} |\n", code(what, LONG), reason(one), causes.join(" "))
}

/// Values may be anybody's: they are code, the rest are words of selfsame.
fn reason(one: &Finding) -> String {
    let marks: Vec<(String, String)> =
        one.varied.iter().map(|varied| (varied.name.clone(), code(&varied.value, LONG))).collect();
    one.culprit
        .reason(marks.iter().map(|(name, value)| (name.as_str(), value.as_str())), one.failed.is_some())
}

fn before(earlier: &[&Check], page: &mut String) {
    if earlier.is_empty() {
        return;
    }
    page.push_str("| earlier | result | seed |\n|---|---|---|\n");
    for check in earlier.iter().take(EARLIER) {
        let _ = writeln!(page, "| {} | {} | {} |", check.day(), check.verdict(), check.seed);
    }
    page.push('\n');
    if earlier.len() > EARLIER {
        let _ = writeln!(page, "And {} more.\n", earlier.len() - EARLIER);
    }
}
