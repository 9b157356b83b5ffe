//! The report as Markdown (of GitHub's kind), short enough for a comment on a change.

use std::fmt::Write;

use super::program::Program;
use super::report::{Comparison, Line, Report, Structure};
use super::tolerance::Tolerated;
use super::words::{Untold, more};
use crate::markup::{self, Room, short};
use crate::ui::harmless_line;

/// Longest text, in bytes: GitHub takes 65,536 characters, and somebody may put words around it.
const LONGEST: usize = 60_000;
/// Room for the table of files, and for what is said of one of them at least, in bytes.
const TABLE: usize = 20_000;
const LEAST: usize = 2_000;
/// Room for notes and end tags, in bytes.
const NOTES: usize = 400;
/// Characters of a line of text, of a value or of a path.
const LONGEST_TEXT: usize = 300;

/// The text.
pub(super) fn text(report: &Report, limit: usize) -> String {
    let names = report.names.each_ref().map(|name| code(name));
    let [a, b] = &names;
    let mut page = format!("### {a} and {b}: {}\n\n{}\n", report.verdict, report.completeness());
    if let Some(guess) = report.guess() {
        let _ = writeln!(page, "\n{guess}");
    }
    for sentence in report.tolerance.iter().flat_map(Tolerated::sentences) {
        let _ = writeln!(page, "\n{}", code(&sentence));
    }
    let Some(root) = &report.root else { return page };
    let _ = writeln!(page, "\n| | first | second |\n|---|---|---|\n| file | {a} | {b} |");
    let [a, b] = root.formats.each_ref().map(|format| format.as_deref().unwrap_or("unknown"));
    let _ = writeln!(page, "| format | {a} | {b} |");
    let [a, b] = root.sizes;
    let _ = writeln!(page, "| bytes | {a} | {b} |");

    let all = root.all();
    let mut untold = Untold::default();
    page.push_str("\n| what differs | size | how |\n|---|---|---|\n");
    let mut room = Room(TABLE);
    let row = |(way, one): &(String, &Comparison)| {
        let row = format!("| {} | {} | {} |\n", title(way), one.size(), one.summary());
        room.put(&mut page, &row)
    };
    let rows = all.iter().take(limit).map(row).take_while(|fits| *fits).count();
    untold.files += all.len() - rows;

    let mut room = Room(LONGEST.saturating_sub(page.len() + NOTES));
    page.push('\n');
    for (index, (way, one)) in all.iter().enumerate() {
        // Each gets its share, and what those before it left.
        let rest = all.len().min(limit).saturating_sub(index);
        let share = room.0.checked_div(rest).map_or(0, |share| share.max(LEAST).min(room.0));
        let details = details(way, one, limit, share);
        let shown = match details {
            Some((text, shown)) if room.put(&mut page, &text) => shown,
            _ => 0,
        };
        untold.structures += one.shown().count() - shown;
    }
    if let Some(sentence) = untold.sentence() {
        let _ = writeln!(page, "{sentence}");
    }
    page
}

fn title(way: &str) -> String {
    if way.is_empty() { "the whole".to_owned() } else { code(way) }
}

/// What differs of a file itself, and how many of its structures that tells; `None` if there is no room.
fn details(way: &str, one: &Comparison, limit: usize, room: usize) -> Option<(String, usize)> {
    let lines = of_one(one, limit);
    if lines.is_empty() {
        return None;
    }
    let summary = if way.is_empty() { "the whole".to_owned() } else { tag(way) };
    // A fence is longer than whatever looks like one.
    let longest = lines.iter().map(|line| ticks(&line.text)).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let mut text = format!("<details><summary>{summary}</summary>\n\n{fence}diff\n");
    let mut room = Room(room.checked_sub(text.len() + fence.len() + NOTES)?);
    let fitting = lines.iter().take_while(|line| room.put(&mut text, &line.text));
    let (count, shown) =
        fitting.fold((0, 0), |(count, shown), line| (count + 1, shown + usize::from(line.ends)));
    let _ = writeln!(text, "{fence}\n");
    for note in [
        more(one.shown().count() - shown, "structures"),
        one.lines.as_ref().and_then(|lines| more(lines.untold(), "lines")),
        one.more_bytes.then(|| "and more bytes differ".to_owned()),
        (count < lines.len()).then(|| "the rest is left out here".to_owned()),
    ] {
        let _ = note.map(|note| writeln!(text, "{note}\n"));
    }
    text.push_str("</details>\n\n");
    Some((text, shown))
}

/// A line of what differs.
#[derive(Debug)]
struct Told {
    text: String,
    /// Whether it is the last one of a structure.
    ends: bool,
}

impl Told {
    fn new(sign: char, text: &str) -> Self {
        let text = harmless_line(&short(text, LONGEST_TEXT)).into_owned();
        Self { text: format!("{sign} {text}\n"), ends: false }
    }
}

fn of_one(one: &Comparison, limit: usize) -> Vec<Told> {
    let mut told = Vec::new();
    let mut say = |sign: char, text: &str| told.push(Told::new(sign, text));
    for fault in &one.faults {
        say('!', &fault.sentence());
    }
    for aside in one.asides() {
        say('#', &aside);
    }
    for guess in one.guesses() {
        say('#', &guess);
    }
    for line in one.program.iter().flat_map(|program| program_lines(program, limit)) {
        say(line.0, &line.1);
    }
    for (sign, text) in one.lines.iter().flat_map(|lines| &lines.lines).flat_map(Line::with_context) {
        say(sign, &text);
    }
    for bytes in &one.bytes {
        bytes.context().into_iter().for_each(|(at, before)| say(' ', &format!("{at:#010x}: {before}")));
        for (side, sign) in ['-', '+'].into_iter().enumerate() {
            say(sign, &format!("{:#010x}: {}", bytes.at[side], bytes.hex[side]));
        }
    }
    for change in one.shown().take(limit) {
        structure(change, &mut told);
    }
    told
}

/// What differs in symbols, each line with its sign.
fn program_lines(program: &Program, limit: usize) -> Vec<(char, String)> {
    let mut all: Vec<(char, String)> = program.sentences().into_iter().map(|text| ('!', text)).collect();
    for symbol in program.symbols.iter().take(limit) {
        all.push(('!', format!("{} {}", symbol.head(), symbol.facts())));
        for field in &symbol.fields {
            all.extend(
                [('-', 0), ('+', 1)]
                    .map(|(sign, side)| (sign, format!("{}: {}", field.name, field.value(side)))),
            );
        }
        let Some(code) = &symbol.code else { continue };
        all.extend(code.lines.iter().flat_map(Line::with_context));
        all.extend(more(code.untold(), "instructions").map(|text| ('#', text)));
    }
    let rest = program.rest(program.symbols.len().min(limit));
    all.extend(rest.into_iter().map(|text| ('#', text)));
    all
}

fn structure(change: &Structure, told: &mut Vec<Told>) {
    let owner = change.owner().map_or_else(String::new, |owner| format!(" of {owner}"));
    let head = short(&format!("{}{owner}", change.structure), LONGEST_TEXT);
    let head = format!("{}{}", harmless_line(&head), change.remark());
    told.push(Told { text: format!("@@ {head} @@\n"), ends: false });
    let mut say = |sign: char, text: &str| told.push(Told::new(sign, text));
    for field in &change.fields {
        say('-', &format!("{}: {}", field.name, field.value(0)));
        say('+', &format!("{}: {}", field.name, field.value(1)));
    }
    if let Some(note) = more(change.more_fields, "fields") {
        say('#', &note);
    }
    if let Some(bytes) = &change.bytes {
        bytes.context().into_iter().for_each(|(at, before)| say(' ', &format!("{at:#010x}: {before}")));
        for (side, sign) in ['-', '+'].into_iter().enumerate() {
            say(sign, &format!("{:#010x}: {}", bytes.at[side], bytes.hex[side]));
        }
    }
    if let Some(last) = told.last_mut() {
        last.ends = true;
    }
}

/// The longest run of backticks.
fn ticks(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

/// A name from an image as code.
fn code(name: &str) -> String {
    markup::code(name, LONGEST_TEXT)
}

/// A name from an image as an HTML element.
fn tag(name: &str) -> String {
    markup::tag(name, LONGEST_TEXT)
}
