//! The report in the JSON form of diffoscope (version 1), for its own programs that show and search such reports.
//!
//! The form is what `diffoscope/presenters/json.py` writes and `diffoscope/readers/json.py` reads.

use serde::Serialize;

use super::program::Symbol;
use super::report::{Comparison, Line, Lines, Report, Structure};
use super::words::{Kind, more};
use crate::ui::harmless_line;

#[derive(Debug, Default, Serialize)]
struct Node {
    /// At the root only.
    #[serde(rename = "diffoscope-json-version", skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    source1: String,
    source2: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    comments: Vec<String>,
    /// Whether lines say themselves where they are, so that their numbers mean nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    has_internal_linenos: bool,
    unified_diff: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<Node>,
}

/// The document.
pub(super) fn document(report: &Report, limit: usize) -> serde_json::Result<String> {
    let names = report.names.each_ref().map(|name| harmless_line(name).into_owned());
    let mut root = match &report.root {
        Some(root) => comparison(root, names, limit),
        None => node(names),
    };
    root.version = Some(1);
    root.comments.splice(0..0, report.notes().iter().map(|note| harmless_line(note).into_owned()));
    root.comments.insert(0, format!("{}: {}", report.verdict, report.completeness()));
    serde_json::to_string(&root).map(|text| text + "\n")
}

fn node([source1, source2]: [String; 2]) -> Node {
    Node { source1, source2, ..Node::default() }
}

fn comparison(found: &Comparison, names: [String; 2], limit: usize) -> Node {
    let mut node = node(names);
    node.comments.push(format!("{}, {}", found.format(), found.size()));
    node.comments.extend(found.faults.iter().map(|fault| harmless_line(&fault.sentence()).into_owned()));
    node.comments.extend(found.asides());
    node.comments.extend(found.guesses());
    node.details.extend(found.shown().take(limit).map(structure));
    node.comments.extend(more(found.shown().count().saturating_sub(limit), "structures"));
    if let Some(program) = &found.program {
        node.comments.extend(program.sentences());
        node.details.extend(program.symbols.iter().take(limit).map(symbol));
        node.comments.extend(program.rest(program.symbols.len().min(limit)));
    }
    if let Some(lines) = &found.lines {
        node.unified_diff = Some(text(lines));
        node.comments.extend(more(lines.untold(), "lines"));
    }
    if !found.bytes.is_empty() {
        let hex = |side: usize| {
            let lines = found.bytes.iter().filter(move |one| !one.hex[side].is_empty());
            lines.map(move |one| format!("{:#010x}: {}", one.at[side], one.hex[side])).collect()
        };
        node.unified_diff = Some(unified([hex(0), hex(1)]));
        node.has_internal_linenos = true;
        node.comments.extend(found.more_bytes.then(|| "and more bytes differ".to_owned()));
    }
    let inner = found.members.iter().take(limit).map(|member| {
        let name = harmless_line(member.name()).into_owned();
        comparison(member, [name.clone(), name], limit)
    });
    node.details.extend(inner);
    node.comments.extend(more(found.members.len().saturating_sub(limit), "files"));
    node
}

fn structure(change: &Structure) -> Node {
    let name = |path: &str| {
        let of = if path.is_empty() { String::new() } else { format!(" of {path}") };
        harmless_line(&format!("{}{of}", change.structure)).into_owned()
    };
    let mut node = node([name(&change.path), name(change.renamed.as_ref().unwrap_or(&change.path))]);
    let kind = change.kind();
    node.comments.extend(Some(change.remark().trim_start().to_owned()).filter(|remark| !remark.is_empty()));
    let mut sides: [Vec<String>; 2] = Default::default();
    for (side, lines) in sides.iter_mut().enumerate() {
        // What only one file has is shown as taken away or added.
        let lone = matches!(kind, Kind::First | Kind::Second).then_some(change.places[side]).flatten();
        lines.extend(lone.map(|(at, len)| format!("{len} bytes at {at:#x}")));
        let fields =
            change.fields.iter().filter_map(|field| Some((&field.name, field.values[side].as_ref()?)));
        lines.extend(fields.map(|(name, value)| format!("{name}: {value}")));
        let bytes = change.bytes.as_ref().filter(|bytes| !bytes.hex[side].is_empty());
        lines.extend(bytes.map(|bytes| format!("{:#010x}: {}", bytes.at[side], bytes.hex[side])));
    }
    if sides.iter().any(|lines| !lines.is_empty()) {
        node.unified_diff = Some(unified(sides));
        node.has_internal_linenos = true;
    }
    node.comments.extend(more(change.more_fields, "fields"));
    node
}

fn symbol(symbol: &Symbol) -> Node {
    let name = harmless_line(&symbol.head()).into_owned();
    let mut node = node([name.clone(), name]);
    node.comments.push(harmless_line(&symbol.facts()).into_owned());
    for field in &symbol.fields {
        node.comments.push(format!("{}: {} -> {}", field.name, field.value(0), field.value(1)));
    }
    if let Some(code) = symbol.code.as_ref().filter(|code| !code.lines.is_empty()) {
        node.unified_diff = Some(text(code));
        node.comments.extend(more(code.untold(), "instructions"));
    } else if let [Some((a, a_len)), Some((b, b_len))] = symbol.places {
        let side = |at: u64, len: u64| vec![format!("{len} bytes at {at:#x}")];
        node.unified_diff = Some(unified([side(a, a_len), side(b, b_len)]));
        node.has_internal_linenos = true;
    }
    node
}

/// A unified diff in which nothing is the same.
fn unified(sides: [Vec<String>; 2]) -> String {
    let start = |lines: &Vec<String>| usize::from(!lines.is_empty());
    let [a, b] = &sides;
    let mut diff = format!("@@ -{},{} +{},{} @@\n", start(a), a.len(), start(b), b.len());
    for (sign, lines) in ['-', '+'].into_iter().zip(&sides) {
        lines.iter().for_each(|line| push(&mut diff, sign, line));
    }
    diff
}

/// One line of a diff. diffoscope takes `--- `, `+++ ` and `[ 2 lines removed ]` for its own words: of a line that would read
/// like one, the first character is escaped.
fn push(diff: &mut String, sign: char, line: &str) {
    let line = harmless_line(line);
    let cut = line.starts_with("[ ") && line.ends_with(" lines removed ]");
    let mut rest = line.chars();
    diff.push(sign);
    if cut || line.starts_with("-- ") || line.starts_with("++ ") {
        diff.extend(rest.next().into_iter().flat_map(char::escape_unicode));
    }
    diff.push_str(rest.as_str());
    diff.push('\n');
}

/// Lines removed and added at one place, with the numbers of their first ones.
#[derive(Debug)]
struct Hunk<'a> {
    starts: [u32; 2],
    lines: [Vec<&'a Line>; 2],
}

/// The unified diff of a text, without lines around.
fn text(lines: &Lines) -> String {
    let mut diff = String::new();
    for Hunk { starts, lines } in hunks(&lines.lines) {
        // Where nothing is, the number is that of the line before.
        let at = |side: usize| starts[side] - u32::from(lines[side].is_empty());
        let len = |side: usize| lines[side].len();
        diff.push_str(&format!("@@ -{},{} +{},{} @@\n", at(0), len(0), at(1), len(1)));
        for line in lines.iter().flatten() {
            push(&mut diff, line.sign(), line.content());
        }
    }
    diff
}

/// Cuts lines into hunks: they come in the order of the text, in each hunk those removed before those added.
fn hunks(lines: &[Line]) -> Vec<Hunk<'_>> {
    let mut hunks: Vec<Hunk<'_>> = Vec::new();
    // The numbers that follow in both files if nothing differs from here on: both files advance by as much.
    let mut next = [1_u32; 2];
    for line in lines {
        let side = line.file - 1;
        let follows = line.number == next[side];
        let goes_on = follows && hunks.last().is_some_and(|hunk| side == 1 || hunk.lines[1].is_empty());
        if !goes_on {
            let gap = line.number.saturating_sub(next[side]);
            next = next.map(|number| number.saturating_add(gap));
            hunks.push(Hunk { starts: next, lines: Default::default() });
        }
        if let Some(hunk) = hunks.last_mut() {
            hunk.lines[side].push(line);
        }
        next[side] = line.number + 1;
    }
    hunks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(file: usize, number: u32, text: &str) -> Line {
        Line { file, number, text: format!("{text}\n"), before: Vec::new(), after: Vec::new() }
    }

    #[test]
    fn hunks_have_the_numbers_that_diff_gives_them() {
        // a b c d e f g h -> a X c d Y Z e f h, as `diff -U0` has it.
        let all = [line(1, 2, "b"), line(2, 2, "X"), line(2, 5, "Y"), line(2, 6, "Z"), line(1, 7, "g")];
        let lines = Lines { removed: 2, added: 3, lines: all.into() };
        assert_eq!(text(&lines), "@@ -2,1 +2,1 @@\n-b\n+X\n@@ -4,0 +5,2 @@\n+Y\n+Z\n@@ -7,1 +8,0 @@\n-g\n");
        let lines = Lines { removed: 0, added: 1, lines: vec![line(2, 1, "new")] };
        assert_eq!(text(&lines), "@@ -0,0 +1,1 @@\n+new\n");
    }

    #[test]
    fn no_line_reads_like_a_word_of_diffoscope() {
        let lines = Lines {
            removed: 1,
            added: 2,
            lines: vec![line(1, 1, "-- a"), line(2, 1, "++ b"), line(2, 2, "[ 9 lines removed ]")],
        };
        let expected = "@@ -1,1 +1,2 @@\n-\\u{2d}- a\n+\\u{2b}+ b\n+\\u{5b} 9 lines removed ]\n";
        assert_eq!(text(&lines), expected);
    }
}
