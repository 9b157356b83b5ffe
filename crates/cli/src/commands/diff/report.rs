//! The report as data. The JSON form is an interface that scripts rely on: `docs/diff.md`.

use std::borrow::Cow;
use std::io::{self, Write};

use selfsame_image::cause::Finding;
use selfsame_image::compare::{self, Change, FieldChange, Leaf, Name};
use selfsame_image::extent::Role;
use serde::{Deserialize, Serialize};

use super::program::{Program, unchecked};
use super::text::{Show, Text};
use super::tolerance::Tolerated;
use crate::ui::Present;

/// A word of selfsame: its own, unless the report was read.
pub(super) type Word = Cow<'static, str>;

/// What `diff` gives.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Report {
    /// Of this form: 1.
    format: u32,
    /// `identical`, `tolerated`, `different` or `unexplained`.
    pub(super) verdict: Word,
    /// Bytes that differ at the same place, and what one file is longer.
    pub(super) differing: u64,
    /// Those of them that are in a structure that is named.
    explained: u64,
    /// The others, and those in files that could not be read on either side.
    unexplained: u64,
    /// Causes that were recognised in what differs, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) causes: Vec<Cause>,
    /// What could not be checked, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) unchecked: Vec<String>,
    /// What the policy that was named made of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tolerance: Option<Tolerated>,
    /// What differs; absent if nothing does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) root: Option<Comparison>,
    /// What the two are called.
    #[serde(skip)]
    pub(super) names: [String; 2],
    #[serde(skip)]
    show: Show,
}

/// Two files that differ.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Comparison {
    /// Path in the container; absent for what was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<String>,
    /// Name of the part of the container that this is, if it is no file with a path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) part: Option<String>,
    pub(super) sizes: [u64; 2],
    /// Bytes that differ at the same place, and what one of them is longer.
    pub(super) differing: u64,
    pub(super) formats: [Option<Word>; 2],
    /// What could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) faults: Vec<Fault>,
    pub(super) changes: Vec<Structure>,
    /// How many structures are the same at another place, and their bytes.
    pub(super) moved: (u64, u64),
    /// What differs in symbols, if both are programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) program: Option<Program>,
    /// Lines that differ, if both are text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lines: Option<Lines>,
    /// Places that differ, if nothing is known of the structure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) bytes: Vec<Bytes>,
    /// Whether there are more of them.
    pub(super) more_bytes: bool,
    /// The rule of the policy, from 1, that is about its lines or bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tolerated: Option<usize>,
    /// Causes that were recognised, by name, those of files inside not counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) causes: Vec<Cause>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) members: Vec<Comparison>,
}

/// A cause that was recognised: `selfsame explain` says more of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Cause {
    pub(super) cause: Word,
    /// How many differences look like it.
    pub(super) count: usize,
    /// The first of them.
    pub(super) seen: String,
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Fault {
    /// 1 or 2.
    pub(super) file: usize,
    pub(super) format: Word,
    pub(super) message: String,
}

#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Structure {
    pub(super) structure: Word,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) path: String,
    /// Path in the second file, if that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) renamed: Option<String>,
    /// First byte and length in both files; absent where it is not there.
    pub(super) places: [Option<(u64, u64)>; 2],
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) fields: Vec<Field>,
    pub(super) more_fields: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes: Option<Bytes>,
    /// What is encoded in it is the same.
    pub(super) same_content: bool,
    /// The rule of the policy, from 1, that is about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tolerated: Option<usize>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) values: [Option<String>; 2],
    /// `value`, `place` or `checksum`: the latter two follow from what else differs.
    pub(super) role: Word,
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Bytes {
    pub(super) at: [u64; 2],
    /// Hexadecimal digits.
    pub(super) hex: [String; 2],
    /// Those in front, which both files have.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) before: String,
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Lines {
    pub(super) removed: u32,
    pub(super) added: u32,
    pub(super) lines: Vec<Line>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Line {
    /// 1 or 2.
    pub(super) file: usize,
    pub(super) number: u32,
    pub(super) text: String,
    /// Lines around it, which both files have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) before: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) after: Vec<String>,
}

impl Report {
    pub(super) fn new(report: &compare::Report, names: [String; 2], show: Show) -> Self {
        let unexplained = report.unexplained();
        let root = report.root.as_ref().map(Comparison::of);
        Self {
            format: 1,
            verdict: Word::Borrowed(match (&report.root, unexplained) {
                (None, _) => "identical",
                (_, 0) => "different",
                _ => "unexplained",
            }),
            differing: report.differing,
            explained: report.explained,
            unexplained,
            causes: root.as_ref().map_or_else(Vec::new, Comparison::causes),
            unchecked: root.as_ref().map_or_else(Vec::new, unchecked),
            tolerance: None,
            root,
            names,
            show,
        }
    }

    /// The report that `--json` printed once, of two that are called `names`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub(super) fn read(text: &str, names: [String; 2]) -> Result<Self, String> {
        let read: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if read.format != 1 {
            return Err(format!("its format is {}, not 1", read.format));
        }
        if !["identical", "tolerated", "different", "unexplained"].contains(&&*read.verdict) {
            return Err(format!("there is no verdict {:?}", read.verdict));
        }
        // What is written as digits must be some: all other text is escaped.
        let digits =
            |hex: &String| hex.len().is_multiple_of(2) && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        let odd = |one: &Comparison| {
            let of_changes = one.changes.iter().filter_map(|change| change.bytes.as_ref());
            one.bytes.iter().chain(of_changes).filter(|bytes| !bytes.hex.iter().all(digits)).count()
        };
        match read.root.as_ref().map_or(0, |root| root.sum(&odd)) {
            0 => Ok(Self { names, ..read }),
            _ => Err("a field `hex` has something else than hexadecimal digits".into()),
        }
    }

    /// Whether every differing byte was looked at twice, and both counts are the same: the last line of each form.
    pub(super) fn completeness(&self) -> String {
        let Self { differing, explained, unexplained, .. } = self;
        format!("differing bytes: {differing}, explained: {explained}, unexplained: {unexplained}")
    }
}

impl Comparison {
    fn of(found: &compare::Comparison) -> Self {
        let (path, part) = match &found.name {
            Name::Whole => (None, None),
            Name::Part(name) => (None, Some(name.clone())),
            Name::Path(path) => (Some(readable(path)), None),
        };
        let (lines, bytes, more_bytes) = match &found.leaf {
            Some(Leaf::Text(lines)) => (Some(Lines::of(lines)), Vec::new(), false),
            Some(Leaf::Binary { places, more }) => (None, places.iter().map(Bytes::of).collect(), *more),
            None => (None, Vec::new(), false),
        };
        let fault = |(side, fault): &(usize, selfsame_image::extent::Unreadable)| Fault {
            file: side + 1,
            format: fault.format.into(),
            message: fault.message.clone(),
        };
        Self {
            path,
            part,
            sizes: found.sizes,
            differing: found.differing,
            formats: found.formats.map(|format| format.map(Word::Borrowed)),
            faults: found.faults.iter().map(fault).collect(),
            changes: found.changes.iter().map(Structure::of).collect(),
            moved: found.moved,
            program: found.program.as_ref().map(Program::of),
            lines,
            bytes,
            more_bytes,
            tolerated: None,
            causes: found.causes.iter().map(Cause::of).collect(),
            members: found.members.iter().map(Self::of).collect(),
        }
    }
}

impl Cause {
    fn of(found: &Finding) -> Self {
        Self { cause: found.cause.into(), count: found.count, seen: found.seen.clone() }
    }
}

impl Structure {
    fn of(change: &Change) -> Self {
        Self {
            structure: change.structure.into(),
            path: readable(&change.path),
            renamed: change.renamed.as_deref().map(readable),
            places: change.places,
            fields: change.fields.iter().map(Field::of).collect(),
            more_fields: change.more_fields,
            bytes: change.bytes.as_ref().map(Bytes::of),
            same_content: change.same_content,
            tolerated: None,
        }
    }
}

impl Field {
    pub(super) fn of(change: &FieldChange) -> Self {
        let role = match change.role {
            Role::Value => "value",
            Role::Place => "place",
            Role::Checksum => "checksum",
        };
        Self { name: change.name.clone(), values: change.values.clone(), role: role.into() }
    }
}

impl Bytes {
    fn of(bytes: &compare::Bytes) -> Self {
        let hex = |bytes: &Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { at: bytes.at, hex: bytes.bytes.each_ref().map(hex), before: hex(&bytes.before) }
    }
}

impl Lines {
    pub(super) fn of(found: &compare::Lines) -> Self {
        let line = |line: &compare::Line| Line {
            file: line.side + 1,
            number: line.number,
            text: line.text.clone(),
            before: line.before.clone(),
            after: line.after.clone(),
        };
        Self { removed: found.removed, added: found.added, lines: found.lines.iter().map(line).collect() }
    }
}

/// A path as text: what is not UTF-8 or cannot be printed is escaped.
pub(super) fn readable(path: &[u8]) -> String {
    match std::str::from_utf8(path) {
        Ok(text) if !text.contains(|c: char| c.is_control() || c == '\\') => text.to_owned(),
        _ => path.escape_ascii().to_string(),
    }
}

impl Present for Report {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        Text::new(to, self.show).report(self)
    }
}
