//! What differs in symbols of programs: as data, and in words.

use selfsame_image::compare;
use serde::{Deserialize, Serialize};

use super::report::{Comparison, Field, Lines, Word, readable};
use super::words::more;

/// What differs between two programs beside their bytes.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Program {
    /// Those of both, if they differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    build_ids: Option<[Option<String>; 2]>,
    pub(super) symbols: Vec<Symbol>,
    /// How many more differ.
    more_symbols: usize,
    /// Whether there are more than are looked at.
    unlooked: bool,
    /// Why instructions were not compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_disassembled: Option<String>,
}

/// A symbol that differs.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Symbol {
    /// `function`, `object` or `symbol`.
    kind: Word,
    name: String,
    /// Its name in the second file, if that is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    renamed: Option<String>,
    /// Absent if it is to be found in another file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    section: String,
    /// First byte and length in both files; absent where it is not there.
    pub(super) places: [Option<(u64, u64)>; 2],
    /// How many of its bytes differ, and how many one is longer.
    differing: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) fields: Vec<Field>,
    /// Instructions that differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<Lines>,
}

impl Program {
    pub(super) fn of(found: &compare::Program) -> Self {
        Self {
            build_ids: found.build_ids.clone(),
            symbols: found.symbols.iter().map(Symbol::of).collect(),
            more_symbols: found.more,
            unlooked: found.unlooked,
            not_disassembled: found.not_disassembled.clone(),
        }
    }

    /// How many symbols differ.
    pub(super) fn count(&self) -> usize {
        self.symbols.len() + self.more_symbols
    }

    /// The build IDs, if they differ.
    pub(super) fn identity(&self) -> Option<String> {
        let id = |id: &Option<String>| id.clone().unwrap_or_else(|| "(none)".to_owned());
        self.build_ids.as_ref().map(|[a, b]| format!("build ID: {} -> {}", id(a), id(b)))
    }

    /// What is said of both files, in front of their symbols.
    pub(super) fn sentences(&self) -> Vec<String> {
        let count = Some(self.count()).filter(|count| *count > 0);
        self.identity()
            .into_iter()
            .chain(count.map(|count| format!("symbols that differ: {count}")))
            .collect()
    }

    /// What is said behind the first `shown` symbols.
    pub(super) fn rest(&self, shown: usize) -> Vec<String> {
        more(self.count() - shown.min(self.count()), "symbols").into_iter().chain(self.unchecked()).collect()
    }

    /// What was not looked at.
    pub(super) fn unchecked(&self) -> Vec<String> {
        let symbols = self.unlooked.then(|| "not all symbols were compared: there are too many".to_owned());
        let code =
            self.not_disassembled.as_ref().map(|why| format!("not all instructions were compared: {why}"));
        symbols.into_iter().chain(code).collect()
    }
}

impl Symbol {
    fn of(found: &compare::Symbol) -> Self {
        Self {
            kind: found.kind.into(),
            name: readable(&found.name),
            renamed: found.renamed.as_deref().map(readable),
            section: readable(&found.section),
            places: found.places,
            differing: found.differing,
            fields: found.fields.iter().map(Field::of).collect(),
            code: found.code.as_ref().map(Lines::of),
        }
    }

    /// What it is, and whose: `function main`.
    pub(super) fn head(&self) -> String {
        let renamed = self.renamed.as_ref().map_or_else(String::new, |renamed| format!(" -> {renamed}"));
        format!("{} {}{renamed}", self.kind, self.name)
    }

    /// How it differs and where it lies.
    pub(super) fn facts(&self) -> String {
        let section = match self.section.as_str() {
            "" => "of another file".to_owned(),
            section => format!("in {section}"),
        };
        let len = |side: usize| self.places[side].map(|(_, len)| len);
        let how = match [len(0), len(1)] {
            _ if self.renamed.is_some() => "has another name".to_owned(),
            [Some(_), None] => "only in the first".to_owned(),
            [None, Some(_)] => "only in the second".to_owned(),
            [Some(a), Some(b)] if a != b => format!("{a} -> {b} bytes"),
            [Some(all), _] if self.differing > 0 => format!("{} of {all} bytes differ", self.differing),
            _ => "differs".to_owned(),
        };
        let place = |(at, len): (u64, u64)| format!("{at:#x}+{len:#x}");
        let place = match self.places.map(|one| one.filter(|(_, len)| *len > 0).map(place)) {
            [Some(a), Some(b)] if a != b => format!(" at {a} -> {b}"),
            [Some(one), _] | [None, Some(one)] => format!(" at {one}"),
            [None, None] => String::new(),
        };
        let same = self.code.as_ref().is_some_and(|code| code.removed == 0 && code.added == 0);
        let code = if same { ", the same instructions with other distances" } else { "" };
        format!("{section}, {how}{place}{code}")
    }
}

/// Whatever could not be checked, by name: the file, and why.
pub(super) fn unchecked(root: &Comparison) -> Vec<String> {
    let mut all = Vec::new();
    if root.formats.contains(&Some("directory".into())) {
        all.push("owners, times and hard links of directories are not looked at".to_owned());
    }
    for (way, one) in root.all() {
        let faults = one.faults.iter().map(super::report::Fault::sentence);
        let program = one.program.iter().flat_map(Program::unchecked);
        let gap = if way.is_empty() { "" } else { ": " };
        all.extend(faults.chain(program).map(|what| format!("{way}{gap}{what}")));
    }
    all
}
