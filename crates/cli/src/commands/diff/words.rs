//! What is said of a difference: one place for all forms that people read.

use std::collections::{BTreeMap, BTreeSet};

use super::report::{Bytes, Cause, Comparison, Fault, Field, Line, Lines, Report, Structure};
use super::tolerance::Tolerated;

/// So many checks that were not possible are named; `--json` has all.
const UNCHECKED: usize = 10;

/// What a structure that differs tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Something of its own differs.
    Differs,
    /// Only the first file has it.
    First,
    /// Only the second file has it.
    Second,
    /// It is the same under another path.
    Renamed,
    /// What differs in it is told as that of the files inside.
    Holds,
    /// It says where others lie or what they sum up to.
    Follows,
    /// What is encoded in it is the same.
    Encoded,
}

impl Kind {
    /// Those that somebody has to look at.
    pub(super) const SHOWN: [Self; 4] = [Self::Differs, Self::First, Self::Second, Self::Renamed];
    /// Those that follow from what else differs: their number says enough.
    const COUNTED: [Self; 3] = [Self::Holds, Self::Follows, Self::Encoded];

    pub(super) fn is_shown(self) -> bool {
        Self::SHOWN.contains(&self)
    }

    /// What structures of this kind do, or are.
    pub(super) fn of_many(self) -> &'static str {
        match self {
            Self::Differs => "differ",
            Self::First => "are only in the first",
            Self::Second => "are only in the second",
            Self::Renamed => "have another name",
            Self::Holds => "hold what differs below",
            Self::Follows => "say otherwise where others lie or what they sum up to",
            Self::Encoded => "hold the same, encoded in another way",
        }
    }

    /// What is said of one of them behind its name; nothing of the usual ones.
    pub(super) fn of_one(self) -> &'static str {
        match self {
            Self::First => "only in the first",
            Self::Second => "only in the second",
            Self::Renamed => "has another name",
            Self::Encoded => "holds the same, encoded in another way",
            Self::Differs | Self::Holds | Self::Follows => "",
        }
    }
}

impl Structure {
    pub(super) fn kind(&self) -> Kind {
        let derived = |field: &Field| field.role != "value";
        let silent = self.fields.is_empty() && self.bytes.is_none();
        match (&self.places, &self.renamed) {
            _ if self.same_content => Kind::Encoded,
            _ if !self.fields.is_empty() && self.bytes.is_none() && self.fields.iter().all(derived) => {
                Kind::Follows
            }
            ([Some(_), None], _) => Kind::First,
            ([None, Some(_)], _) => Kind::Second,
            (_, Some(_)) => Kind::Renamed,
            _ if silent => Kind::Holds,
            _ => Kind::Differs,
        }
    }

    /// Whose it is: a path, or two if it has another name.
    pub(super) fn owner(&self) -> Option<String> {
        match &self.renamed {
            Some(renamed) => Some(format!("{} -> {renamed}", self.path)),
            None => (!self.path.is_empty()).then(|| self.path.clone()),
        }
    }

    /// What is said behind its name: if it is no usual change, and where it lies, as first byte and length, for both files if
    /// they are not the same. What has no bytes lies nowhere.
    pub(super) fn remark(&self) -> String {
        let what = self.kind().of_one();
        let gap = if what.is_empty() { "" } else { " " };
        let place = self.place().map_or_else(String::new, |place| format!(" at {place}"));
        format!("{gap}{what}{place}{}", if self.tolerated.is_some() { ", tolerated" } else { "" })
    }

    pub(super) fn place(&self) -> Option<String> {
        let place = |(at, len): (u64, u64)| format!("{at:#x}+{len:#x}");
        if self.places.iter().flatten().all(|place| *place == (0, 0)) {
            return None;
        }
        match self.places.map(|one| one.map(place)) {
            [Some(a), Some(b)] if a == b => Some(a),
            [Some(a), Some(b)] => Some(format!("{a} -> {b}")),
            [one, other] => one.or(other),
        }
    }
}

impl Field {
    /// Its value in the first (0) or second (1) file.
    pub(super) fn value(&self, side: usize) -> &str {
        self.values[side].as_deref().unwrap_or("(none)")
    }
}

impl Fault {
    pub(super) fn sentence(&self) -> String {
        let which = if self.file == 1 { "first" } else { "second" };
        format!("the {which} cannot be read as {}: {}", self.format, self.message)
    }
}

impl Line {
    pub(super) fn sign(&self) -> char {
        if self.file == 1 { '-' } else { '+' }
    }

    /// Its text without its end.
    pub(super) fn content(&self) -> &str {
        bare(&self.text)
    }

    /// The line and those around it, each with its sign: those around have a blank.
    pub(super) fn with_context(&self) -> impl Iterator<Item = (char, String)> {
        let equal = |line: &String| (' ', bare(line).to_owned());
        let own = (self.sign(), format!("{}: {}", self.number, self.content()));
        self.before.iter().map(equal).chain([own]).chain(self.after.iter().map(equal))
    }
}

/// A line without its end.
fn bare(line: &str) -> &str {
    line.strip_suffix('\n').unwrap_or(line)
}

impl Bytes {
    /// The bytes in front of those that differ, with the offset of the first of them in the first file.
    pub(super) fn context(&self) -> Option<(u64, &str)> {
        let length = u64::try_from(self.before.len() / 2).unwrap_or(u64::MAX);
        let at = self.at[0].checked_sub(length)?;
        (length > 0).then_some((at, &self.before))
    }
}

impl Lines {
    /// How many lines differ that are not among those that are told.
    pub(super) fn untold(&self) -> usize {
        let all = usize::try_from(u64::from(self.removed) + u64::from(self.added)).unwrap_or(usize::MAX);
        all.saturating_sub(self.lines.len())
    }
}

impl Comparison {
    /// What it is called in the file around it; empty for what was asked for.
    pub(super) fn name(&self) -> &str {
        self.path.as_ref().or(self.part.as_ref()).map_or("", String::as_str)
    }

    pub(super) fn format(&self) -> String {
        match &self.formats {
            [Some(a), Some(b)] if a != b => format!("{a} -> {b}"),
            [Some(format), _] | [_, Some(format)] => format.clone().into_owned(),
            [None, None] => "file".to_owned(),
        }
    }

    pub(super) fn size(&self) -> String {
        match self.sizes {
            [a, b] if a == b => format!("{a} bytes"),
            [a, b] => format!("{a} -> {b} bytes"),
        }
    }

    /// Whether there is nothing in it to look at but what follows from something else.
    pub(super) fn is_silent(&self) -> bool {
        let silent = self.members.is_empty() && self.lines.is_none() && self.bytes.is_empty();
        silent && !self.changes.iter().any(|change| change.kind().is_shown())
    }

    /// Structures that somebody has to look at.
    pub(super) fn shown(&self) -> impl Iterator<Item = &Structure> + Clone {
        // What follows from something else is not worth a look, unless there is nothing else.
        let alone = self.is_silent();
        self.changes
            .iter()
            .filter(move |change| change.kind().is_shown() || alone && change.kind() == Kind::Follows)
    }

    fn count(&self, kind: Kind) -> usize {
        self.changes.iter().filter(|change| change.kind() == kind).count()
    }

    /// What is said of structures that are counted only.
    pub(super) fn asides(&self) -> Vec<String> {
        let counted = Kind::COUNTED.map(|kind| (self.count(kind), kind.of_many().to_owned()));
        let mut said: Vec<String> = counted
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("structures that {what}: {count}"))
            .collect();
        let (moved, length) = self.moved;
        if moved > 0 {
            said.push(format!("structures that are the same at another place ({length} bytes): {moved}"));
        }
        said.extend(self.tolerated.map(|rule| format!("its content is tolerated by rule {rule}")));
        said
    }

    /// What is said of the causes that were recognised.
    pub(super) fn guesses(&self) -> Vec<String> {
        let of = |cause: &Cause| {
            let times = if cause.count == 1 { String::new() } else { format!(", {} times", cause.count) };
            format!("looks like {}{times}: {}", cause.cause, cause.seen)
        };
        self.causes.iter().map(of).collect()
    }

    /// The causes that were recognised in it and in what it holds, with the first one seen of each.
    pub(super) fn causes(&self) -> Vec<Cause> {
        let mut sums: BTreeMap<&str, Cause> = BTreeMap::new();
        for (way, one) in self.all() {
            for cause in &one.causes {
                match sums.get_mut(&*cause.cause) {
                    Some(sum) => sum.count += cause.count,
                    None => {
                        let gap = if way.is_empty() { "" } else { ": " };
                        let seen = format!("{way}{gap}{}", cause.seen);
                        sums.insert(&cause.cause, Cause { seen, ..cause.clone() });
                    }
                }
            }
        }
        sums.into_values().collect()
    }

    /// What differs of its own, in a few words.
    pub(super) fn summary(&self) -> String {
        let mut said: Vec<String> = self.faults.iter().take(1).map(|_| "cannot be read".to_owned()).collect();
        for kind in Kind::SHOWN {
            match self.count(kind) {
                0 => {}
                count if said.is_empty() => said.push(format!("structures that {}: {count}", kind.of_many())),
                count => said.push(format!("that {}: {count}", kind.of_many())),
            }
        }
        if let Some(program) = self.program.as_ref().filter(|program| program.count() > 0) {
            said.push(format!("symbols that differ: {}", program.count()));
        }
        if let Some(lines) = &self.lines {
            said.push(format!("lines: -{} +{}", lines.removed, lines.added));
        }
        if !self.bytes.is_empty() {
            said.push("bytes differ".to_owned());
        }
        if !self.members.is_empty() {
            said.push(format!("files inside that differ: {}", self.members.len()));
        }
        if said.is_empty() {
            said.extend(self.asides().into_iter().take(1));
        }
        said.join(", ")
    }

    /// How many files, and structures to look at, are in it and in what it holds.
    pub(super) fn extent(&self) -> Untold {
        let own = Untold { files: 1, structures: self.shown().count() };
        self.members.iter().map(Self::extent).fold(own, Untold::and)
    }

    /// What `of` says of it and of each that it holds, together.
    pub(super) fn sum(&self, of: &dyn Fn(&Self) -> usize) -> usize {
        of(self) + self.members.iter().map(|member| member.sum(of)).sum::<usize>()
    }

    /// It and what it holds, each with the way to it: the path in the file around it behind the path of that file.
    pub(super) fn all(&self) -> Vec<(String, &Self)> {
        let mut all = Vec::new();
        self.walk("", &mut all);
        all
    }

    /// The ways to files that differ, are only on one side, or have another name; each once.
    pub(super) fn ways(&self) -> Vec<String> {
        let (mut ways, mut known) = (Vec::new(), BTreeSet::new());
        for (way, one) in self.all() {
            let inner = if way.is_empty() { String::new() } else { format!("{way}: ") };
            let other = |change: &&Structure| {
                let elsewhere = matches!(change.kind(), Kind::First | Kind::Second | Kind::Renamed);
                elsewhere || change.structure == "entry"
            };
            let owners = one.changes.iter().filter(other).filter_map(Structure::owner);
            let all = [way].into_iter().chain(owners.map(|owner| format!("{inner}{owner}")));
            ways.extend(all.filter(|way| !way.is_empty() && known.insert(way.clone())));
        }
        ways
    }

    fn walk<'a>(&'a self, before: &str, all: &mut Vec<(String, &'a Self)>) {
        let way = format!("{before}{}", self.name());
        let inner = if way.is_empty() { String::new() } else { format!("{way}: ") };
        all.push((way, self));
        self.members.iter().for_each(|member| member.walk(&inner, all));
    }
}

impl Report {
    /// What is said of all that differs: its causes, if any was recognised, what a policy makes of it, and what was not checked.
    pub(super) fn notes(&self) -> Vec<String> {
        let unchecked = self.unchecked.iter().take(UNCHECKED).map(|what| format!("not checked: {what}"));
        let rest = more(self.unchecked.len().saturating_sub(UNCHECKED), "that were not checked");
        let tolerated = self.tolerance.iter().flat_map(Tolerated::sentences);
        self.guess().into_iter().chain(tolerated).chain(unchecked).chain(rest).collect()
    }

    /// What is said of the causes of all that differs; nothing if none was recognised.
    pub(super) fn guess(&self) -> Option<String> {
        let of = |cause: &Cause| format!("{} ({})", cause.cause, cause.count);
        let all: Vec<String> = self.causes.iter().map(of).collect();
        (!all.is_empty())
            .then(|| format!("likely causes: {}; `selfsame explain CAUSE` says more", all.join(", ")))
    }
}

/// What a bounded form leaves out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Untold {
    pub(super) files: usize,
    pub(super) structures: usize,
}

impl Untold {
    pub(super) fn and(self, other: Self) -> Self {
        Self { files: self.files + other.files, structures: self.structures + other.structures }
    }

    /// A sentence for the top of the page; nothing if all is there.
    pub(super) fn sentence(self) -> Option<String> {
        let Self { files, structures } = self;
        (self != Self::default()).then(|| {
            format!(
                "Left out here: files that differ: {files}, structures that differ: {structures}. \
                 `selfsame diff --json` tells all."
            )
        })
    }
}

/// What is said of things that are left out; nothing if there are none.
pub(super) fn more(count: usize, what: &str) -> Option<String> {
    (count > 0).then(|| format!("and {count} more {what}"))
}
