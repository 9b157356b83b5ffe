//! The report for people at a terminal.

use std::io::{self, Write};

use super::program::Program;
use super::report::{Bytes, Comparison, Line, Lines, Report, Structure};
use super::words::more;
use crate::ui::harmless_line;

/// What is shown.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Show {
    /// How many changes of each file.
    pub(super) limit: usize,
    /// Paths only.
    pub(super) paths: bool,
    /// Nothing but the last line: the rest went elsewhere.
    pub(super) brief: bool,
    /// With the colours of a terminal.
    pub(super) colour: bool,
}

/// How many files are told without a summary in front.
const FEW: usize = 3;

/// What a line is, for its colour. Nothing is said by colour alone.
#[derive(Clone, Copy, Debug)]
enum Ink {
    Plain,
    /// The name of a file.
    Name,
    Removed,
    Added,
    Fault,
    /// What is counted, not shown.
    Aside,
}

impl Ink {
    /// Parameters of the control sequence "select graphic rendition" (ECMA-48, 8.3.117).
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Name => Some("1"),
            Self::Removed => Some("31"),
            Self::Added => Some("32"),
            Self::Fault => Some("31;1"),
            Self::Aside => Some("2"),
        }
    }
}

/// Writes the text form.
pub(super) struct Text<'a> {
    to: &'a mut dyn Write,
    show: Show,
}

impl<'a> Text<'a> {
    pub(super) fn new(to: &'a mut dyn Write, show: Show) -> Self {
        Self { to, show }
    }

    pub(super) fn report(&mut self, report: &Report) -> io::Result<()> {
        match &report.root {
            Some(root) if self.show.paths => {
                return root.ways().iter().try_for_each(|way| self.line(0, Ink::Plain, way));
            }
            Some(root) if !self.show.brief => {
                // What one looks for among many is seen before the details of the first.
                if root.all().len() > FEW {
                    self.summary(root, 0)?;
                    self.line(0, Ink::Plain, "")?;
                }
                self.comparison(root, 0)?;
                report.notes().iter().try_for_each(|note| self.line(0, Ink::Plain, note))?;
            }
            _ => {}
        }
        let ink = if report.verdict == "unexplained" { Ink::Fault } else { Ink::Name };
        self.line(0, ink, &report.completeness())
    }

    /// Writes how much differs in a file and in those inside it.
    fn summary(&mut self, found: &Comparison, depth: usize) -> io::Result<()> {
        let causes: Vec<&str> = found.causes.iter().map(|cause| &*cause.cause).collect();
        let causes = if causes.is_empty() { String::new() } else { format!("; {}", causes.join(", ")) };
        let (name, format) = (found.name(), found.format());
        let gap = if name.is_empty() { "" } else { " " };
        self.line(depth, Ink::Plain, &format!("{name}{gap}({format}): {}{causes}", found.summary()))?;
        for member in found.members.iter().take(self.show.limit) {
            self.summary(member, depth + 1)?;
        }
        self.more(found.members.len().saturating_sub(self.show.limit), "files", depth + 1)
    }

    /// Writes what differs in a file and in those inside it.
    fn comparison(&mut self, found: &Comparison, depth: usize) -> io::Result<()> {
        let (name, limit) = (found.name(), self.show.limit);
        let gap = if name.is_empty() { "" } else { " " };
        self.line(depth, Ink::Name, &format!("{name}{gap}({}, {})", found.format(), found.size()))?;
        let inner = depth + 1;
        for fault in &found.faults {
            self.line(inner, Ink::Fault, &format!("! {}", fault.sentence()))?;
        }
        for change in found.shown().take(limit) {
            self.structure(change, inner)?;
        }
        self.more(found.shown().count().saturating_sub(limit), "structures", inner)?;
        for aside in found.asides() {
            self.line(inner, Ink::Aside, &aside)?;
        }
        for guess in found.guesses() {
            self.line(inner, Ink::Aside, &guess)?;
        }
        found.program.as_ref().map_or(Ok(()), |program| self.program(program, inner))?;
        found.lines.as_ref().map_or(Ok(()), |lines| self.lines(lines, "lines", inner))?;
        for one in &found.bytes {
            self.bytes(one, inner)?;
        }
        if found.more_bytes {
            self.line(inner, Ink::Aside, "and more bytes differ")?;
        }
        for member in found.members.iter().take(limit) {
            self.comparison(member, inner)?;
        }
        self.more(found.members.len().saturating_sub(limit), "files", inner)
    }

    fn program(&mut self, program: &Program, depth: usize) -> io::Result<()> {
        program.sentences().iter().try_for_each(|sentence| self.line(depth, Ink::Plain, sentence))?;
        let limit = self.show.limit;
        for symbol in program.symbols.iter().take(limit) {
            self.line(depth + 1, Ink::Plain, &format!("{} {}", symbol.head(), symbol.facts()))?;
            for field in &symbol.fields {
                let text = format!("{}: {} -> {}", field.name, field.value(0), field.value(1));
                self.line(depth + 2, Ink::Plain, &text)?;
            }
            symbol.code.as_ref().map_or(Ok(()), |code| self.lines(code, "instructions", depth + 2))?;
        }
        let rest = program.rest(program.symbols.len().min(limit));
        rest.iter().try_for_each(|text| self.line(depth + 1, Ink::Aside, text))
    }

    fn lines(&mut self, lines: &Lines, what: &str, depth: usize) -> io::Result<()> {
        for (sign, text) in lines.lines.iter().flat_map(Line::with_context) {
            let ink = match sign {
                '-' => Ink::Removed,
                '+' => Ink::Added,
                _ => Ink::Aside,
            };
            self.line(depth, ink, &format!("{sign}{text}"))?;
        }
        self.more(lines.untold(), what, depth)
    }

    fn structure(&mut self, change: &Structure, depth: usize) -> io::Result<()> {
        let owner = change.owner().map_or_else(String::new, |owner| format!(" of {owner}"));
        self.line(depth, Ink::Plain, &format!("{}{owner}{}", change.structure, change.remark()))?;
        for field in &change.fields {
            let text = format!("{}: {} -> {}", field.name, field.value(0), field.value(1));
            self.line(depth + 1, Ink::Plain, &text)?;
        }
        self.more(change.more_fields, "fields", depth + 1)?;
        change.bytes.as_ref().map_or(Ok(()), |bytes| self.bytes(bytes, depth + 1))
    }

    fn bytes(&mut self, one: &Bytes, depth: usize) -> io::Result<()> {
        if let Some((at, before)) = one.context() {
            self.line(depth, Ink::Aside, &format!(" {at:#010x}: {before}"))?;
        }
        let [a, b] = &one.hex;
        self.line(depth, Ink::Removed, &format!("-{:#010x}: {a}", one.at[0]))?;
        self.line(depth, Ink::Added, &format!("+{:#010x}: {b}", one.at[1]))
    }

    fn more(&mut self, count: usize, what: &str, depth: usize) -> io::Result<()> {
        more(count, what).map_or(Ok(()), |text| self.line(depth, Ink::Aside, &text))
    }

    /// One line; no name in an image can drive the terminal, or begin another line.
    fn line(&mut self, depth: usize, ink: Ink, text: &str) -> io::Result<()> {
        let (pad, text) = ("  ".repeat(depth), harmless_line(text));
        match ink.code().filter(|_| self.show.colour) {
            Some(code) => writeln!(self.to, "{pad}\x1b[{code}m{text}\x1b[0m"),
            None => writeln!(self.to, "{pad}{text}"),
        }
    }
}
