//! The report for people.

use std::io::{self, Write};

use super::json::{Bytes, Comparison, Field, Structure};
use crate::ui::harmless;

/// What is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Show {
    /// How many changes of each file.
    pub(super) limit: usize,
    /// Paths only.
    pub(super) paths: bool,
}

/// Writes what differs in a file and in those inside it.
pub(super) fn comparison(found: &Comparison, depth: usize, show: Show, to: &mut dyn Write) -> io::Result<()> {
    let pad = "  ".repeat(depth);
    let name = found.path.as_ref().or(found.part.as_ref());
    let name = name.map_or("", String::as_str);
    let format = match found.formats {
        [Some(a), Some(b)] if a != b => format!("{a} -> {b}"),
        [Some(format), _] | [_, Some(format)] => format.to_owned(),
        [None, None] => "file".to_owned(),
    };
    let size = match found.sizes {
        [a, b] if a == b => format!("{a} bytes"),
        [a, b] => format!("{a} -> {b} bytes"),
    };
    let gap = if name.is_empty() { "" } else { " " };
    line(to, &format!("{pad}{name}{gap}({format}, {size})"))?;
    for fault in &found.faults {
        let which = if fault.file == 1 { "first" } else { "second" };
        line(to, &format!("{pad}  ! the {which} cannot be read as {}: {}", fault.format, fault.message))?;
    }
    let shown = found.changes.iter().filter(|change| !follows(change) && !holds(change));
    for change in shown.clone().take(show.limit) {
        structure(change, depth + 1, to)?;
    }
    rest(shown.count().saturating_sub(show.limit), "structures", &pad, to)?;
    let same = found.changes.iter().filter(|change| change.same_content).count();
    let follow = found.changes.iter().filter(|change| follows(change)).count() - same;
    let hold = found.changes.iter().filter(|change| holds(change)).count();
    let (moved, length) = found.moved;
    for (count, what) in [
        (hold, "hold what differs below".to_owned()),
        (follow, "say otherwise where others lie or what they sum up to".to_owned()),
        (same, "hold the same, encoded in another way".to_owned()),
        (
            usize::try_from(moved).unwrap_or(usize::MAX),
            format!("are the same at another place ({length} bytes)"),
        ),
    ] {
        if count > 0 {
            line(to, &format!("{pad}  structures that {what}: {count}"))?;
        }
    }
    if let Some(lines) = &found.lines {
        for one in &lines.lines {
            let sign = if one.file == 1 { '-' } else { '+' };
            line(to, &format!("{pad}  {sign}{}: {}", one.number, one.text.trim_end_matches('\n')))?;
        }
        let all = usize::try_from(lines.removed + lines.added).unwrap_or(usize::MAX);
        rest(all - lines.lines.len(), "lines", &pad, to)?;
    }
    for one in &found.bytes {
        bytes(one, &pad, to)?;
    }
    if found.more_bytes {
        line(to, &format!("{pad}  and more bytes differ"))?;
    }
    for member in found.members.iter().take(show.limit) {
        comparison(member, depth + 1, show, to)?;
    }
    rest(found.members.len().saturating_sub(show.limit), "files", &pad, to)
}

/// Writes the paths of files that differ, those inside files behind the path of that file.
pub(super) fn paths(found: &Comparison, before: &str, to: &mut dyn Write) -> io::Result<()> {
    let own = found.path.as_ref().or(found.part.as_ref());
    let path = own.map_or_else(|| before.to_owned(), |own| format!("{before}{own}"));
    if own.is_some() {
        line(to, &path)?;
    }
    let inner = if path.is_empty() { path } else { format!("{path}: ") };
    found.members.iter().try_for_each(|member| paths(member, &inner, to))
}

/// Whether a change follows from what else differs: nobody has to look at it.
fn follows(change: &Structure) -> bool {
    if change.same_content {
        return true;
    }
    !change.fields.is_empty()
        && change.bytes.is_none()
        && change.fields.iter().all(|field| field.role != "value")
}

/// Whether what differs in it is told as that of the files inside.
fn holds(change: &Structure) -> bool {
    let there = change.places.iter().all(Option::is_some) && change.renamed.is_none();
    there && !change.same_content && change.fields.is_empty() && change.bytes.is_none()
}

fn structure(change: &Structure, depth: usize, to: &mut dyn Write) -> io::Result<()> {
    let pad = "  ".repeat(depth);
    let path = match (&change.path, &change.renamed) {
        (path, Some(renamed)) => format!(" of {path} -> {renamed}"),
        (path, None) if path.is_empty() => String::new(),
        (path, None) => format!(" of {path}"),
    };
    let what = match change.places {
        [Some(_), None] => " only in the first",
        [None, Some(_)] => " only in the second",
        _ if change.renamed.is_some() => " has another name",
        _ => "",
    };
    let [a, b] = change.places.map(|place| place.map(|(at, len)| format!("{at:#x}+{len:#x}")));
    let place = match (a, b) {
        (Some(a), Some(b)) if a == b => a,
        (Some(a), Some(b)) => format!("{a} -> {b}"),
        (one, other) => one.or(other).unwrap_or_default(),
    };
    line(to, &format!("{pad}{}{path}{what} at {place}", change.structure))?;
    for field in &change.fields {
        let Field { name, values: [a, b], .. } = field;
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".to_owned());
        line(to, &format!("{pad}  {name}: {} -> {}", value(a), value(b)))?;
    }
    rest(change.more_fields, "fields", &pad, to)?;
    match &change.bytes {
        Some(one) => bytes(one, &pad, to),
        None => Ok(()),
    }
}

fn bytes(one: &Bytes, pad: &str, to: &mut dyn Write) -> io::Result<()> {
    for (sign, at, hex) in [('-', one.at[0], &one.hex[0]), ('+', one.at[1], &one.hex[1])] {
        line(to, &format!("{pad}  {sign}{at:#010x}: {hex}"))?;
    }
    Ok(())
}

fn rest(count: usize, what: &str, pad: &str, to: &mut dyn Write) -> io::Result<()> {
    if count == 0 { Ok(()) } else { line(to, &format!("{pad}  and {count} more {what}")) }
}

/// One line; no name in an image can drive the terminal.
fn line(to: &mut dyn Write, text: &str) -> io::Result<()> {
    writeln!(to, "{}", harmless(text))
}
