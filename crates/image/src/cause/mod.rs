//! Why builds differ: known causes of differences, how they are recognised, and what helps.
//!
//! A cause is a guess from what differs: two dates may differ because the clock did, or because a program wrote another one.
//! What was seen is told with it.

mod catalogue;
mod fields;
mod lines;
mod paths;
mod pattern;

use std::collections::BTreeMap;

use crate::compare::{Comparison, Leaf, Name};

pub use catalogue::CAUSES;
pub(crate) use lines::Order;

/// A known cause of differences between builds.
#[derive(Debug, PartialEq, Eq)]
pub struct Cause {
    /// Its name: lower-case words with hyphens. Never changes.
    pub id: &'static str,
    /// What it is, in a few words.
    pub title: &'static str,
    /// Where it comes from as a rule.
    pub origin: &'static str,
    /// What helps.
    pub remedy: &'static str,
    /// Bug reports and specifications, if there are any.
    pub see: &'static [&'static str],
}

/// The cause with a name.
pub fn cause(id: &str) -> Option<&'static Cause> {
    CAUSES.iter().find(|cause| cause.id == id)
}

/// A cause that was recognised in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which one: the name of one of [`CAUSES`].
    pub cause: &'static str,
    /// How many differences look like it.
    pub count: usize,
    /// The first of them.
    pub seen: String,
}

/// Findings by cause.
#[derive(Default)]
struct Findings(BTreeMap<&'static str, Finding>);

impl Findings {
    fn add(&mut self, cause: &'static str, seen: impl FnOnce() -> String) {
        let new = || Finding { cause, count: 0, seen: seen() };
        self.0.entry(cause).or_insert_with(new).count += 1;
    }
}

/// The causes that are recognised in what differs between two files, those inside not counted.
pub(crate) fn recognise(comparison: &Comparison) -> Vec<Finding> {
    let mut found = Findings::default();
    // In the list of passwords more can differ than a day.
    let fits = |cause: &&str| match &comparison.leaf {
        _ if *cause != "password-day" => true,
        Some(Leaf::Text(text)) => lines::password_day(text),
        _ => false,
    };
    if let Name::Path(path) = &comparison.name
        && let Some(cause) = paths::cause(path).filter(fits)
    {
        found.add(cause, || path.escape_ascii().to_string());
    }
    comparison.changes.iter().for_each(|change| fields::recognise(change, &mut found));
    if let Some(Leaf::Text(text)) = &comparison.leaf {
        lines::recognise(text, &mut found);
    }
    found.0.into_values().collect()
}
