//! Differences that somebody has decided to live with: a policy file names each kind of them, and says why.

use std::path::Path;

use selfsame_image::digest::Digest;
use selfsame_image::tree::Pattern;
use serde::{Deserialize, Serialize};

use super::report::{Comparison, Report, Structure};
use super::words::Kind;
use crate::commands::given;
use crate::failure::Failure;

/// Longest policy that is read, in bytes.
const LONGEST: u64 = 1 << 20;
/// Characters of a name.
const LONGEST_NAME: usize = 100;
/// What stands for the lines or bytes of a file of no known structure, where a rule names a structure.
const CONTENT: &str = "content";
/// What stands for structures that are the same at another place: that may be another order.
const PLACE: &str = "place";

/// A policy as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Policy {
    format: u32,
    name: String,
    #[serde(rename = "tolerate", default)]
    rules: Vec<Rule>,
    #[serde(skip)]
    digest: String,
}

/// One kind of difference.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// The files inside that it is about, by the way to them; without it, what was compared itself.
    #[serde(default, deserialize_with = "pattern")]
    file: Option<Pattern>,
    structure: String,
    /// Whose structures; without it, everybody's.
    #[serde(default, deserialize_with = "pattern")]
    path: Option<Pattern>,
    /// The fields that may differ; without it, all of the structure may, and it may be on one side only.
    fields: Option<Vec<String>>,
    reason: String,
}

fn pattern<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Pattern>, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

/// What a policy made of a report.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Tolerated {
    /// Its name for itself.
    pub(super) policy: String,
    /// SHA-256 of its text.
    pub(super) sha256: String,
    /// Differences that a rule is about.
    pub(super) tolerated: usize,
    /// All differences that somebody would have to look at.
    pub(super) of: usize,
    pub(super) rules: Vec<Use>,
}

/// A rule, and how often it was used.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Use {
    pub(super) reason: String,
    pub(super) count: usize,
}

impl Policy {
    /// The policy in the file `path`.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let text = given::text(path, LONGEST, "the policy")?;
        let wrong = |problem: String| {
            Failure::input(problem).context(format!("{} is no policy of differences", path.display())).hint(
                "a policy has `format = 1`, `name`, and tables `[[tolerate]]` with `structure`, `reason`, and perhaps \
                 `file`, `path` and `fields`: docs/diff.md",
            )
        };
        let mut policy: Self =
            toml::from_str(&text).map_err(|error| wrong(error.to_string().trim_end().replace('\n', ", ")))?;
        policy.check().map_err(wrong)?;
        policy.digest = Digest::of(text.as_bytes()).to_string();
        Ok(policy)
    }

    fn check(&self) -> Result<(), String> {
        if self.format != 1 {
            return Err(format!("its format is {}, not 1", self.format));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || " ._-".contains(c);
        if self.name.trim().is_empty() || self.name.len() > LONGEST_NAME || !self.name.chars().all(plain) {
            return Err(format!(
                "its name {:?} is not 1 to {LONGEST_NAME} letters, digits, blanks, dots, underscores and hyphens",
                self.name
            ));
        }
        match self.rules.iter().position(|rule| rule.reason.trim().is_empty()) {
            Some(index) => Err(format!("rule {} has an empty reason", index + 1)),
            None => Ok(()),
        }
    }

    /// Marks in `report` what a rule is about, and changes its verdict if that is all.
    pub(super) fn apply(&self, report: &mut Report) {
        let uses = self.rules.iter().map(|rule| Use { reason: rule.reason.clone(), count: 0 }).collect();
        let mut tolerated = Tolerated {
            policy: self.name.clone(),
            sha256: self.digest.clone(),
            tolerated: 0,
            of: 0,
            rules: uses,
        };
        let sound = report.root.as_mut().is_none_or(|root| self.walk("", root, &mut tolerated));
        if report.verdict == "different" && sound && tolerated.tolerated == tolerated.of {
            report.verdict = "tolerated".into();
        }
        report.tolerance = Some(tolerated);
    }

    /// Marks what differs in `found` and all in it; whether all of it could be read.
    fn walk(&self, before: &str, found: &mut Comparison, sums: &mut Tolerated) -> bool {
        // Some formats have paths with a slash in front.
        let way = format!("{before}{}", found.name().trim_start_matches('/'));
        let (mut sound, before) = (found.faults.is_empty(), sums.of);
        let silent = found.is_silent();
        for change in &mut found.changes {
            // What follows from something else is tolerated with it; a file with nothing else has nothing that it follows from.
            let counts = match change.kind() {
                Kind::Differs | Kind::First | Kind::Second | Kind::Renamed | Kind::Encoded => true,
                Kind::Follows => silent,
                Kind::Holds => false,
            };
            if counts {
                change.tolerated = self.find(sums, |rule| rule.is_about(&way, change));
            }
        }
        if found.moved.0 > 0 {
            self.find(sums, |rule| rule.is_of(&way) && rule.structure == PLACE);
        }
        // Nothing that differs goes without a rule, whatever way it is told in.
        let untold = found.members.is_empty() && sums.of == before;
        if found.lines.is_some() || !found.bytes.is_empty() || untold {
            found.tolerated = self.find(sums, |rule| rule.is_of(&way) && rule.structure == CONTENT);
        }
        let inner = if way.is_empty() { way } else { format!("{way}/") };
        for member in &mut found.members {
            sound &= self.walk(&inner, member, sums);
        }
        sound
    }

    /// The number of the first rule that `is_about` a difference, from 1.
    fn find(&self, sums: &mut Tolerated, is_about: impl Fn(&Rule) -> bool) -> Option<usize> {
        sums.of += 1;
        let index = self.rules.iter().position(is_about)?;
        sums.tolerated += 1;
        sums.rules[index].count += 1;
        Some(index + 1)
    }
}

impl Rule {
    fn is_of(&self, way: &str) -> bool {
        match &self.file {
            None => way.is_empty(),
            Some(pattern) => !way.is_empty() && pattern.matches(way.as_bytes()),
        }
    }

    fn is_about(&self, way: &str, change: &Structure) -> bool {
        let of = |path: &str| {
            self.path.as_ref().is_none_or(|pattern| pattern.matches(path.trim_start_matches('/').as_bytes()))
        };
        let fields = |names: &Vec<String>| {
            let told = change.more_fields == 0 && change.bytes.is_none() && !change.fields.is_empty();
            let both = change.places.iter().all(Option::is_some) && change.renamed.is_none();
            // Places and checksums follow from other fields.
            let named = |field: &super::report::Field| field.role != "value" || names.contains(&field.name);
            told && both && change.fields.iter().all(named)
        };
        self.is_of(way)
            && self.structure == change.structure
            && of(&change.path)
            && change.renamed.as_deref().is_none_or(of)
            && self.fields.as_ref().is_none_or(fields)
    }
}

impl Tolerated {
    /// What is said of it for a whole report.
    pub(super) fn sentences(&self) -> Vec<String> {
        let Self { policy, sha256, tolerated, of, rules } = self;
        let head =
            format!("policy {policy} (sha256 {sha256}): {tolerated} of {of} differences are tolerated");
        let rule = |(index, one): (usize, &Use)| {
            let used = if one.count == 0 { "nothing".to_owned() } else { one.count.to_string() };
            format!("rule {} tolerates {used}: {}", index + 1, one.reason)
        };
        [head].into_iter().chain(rules.iter().enumerate().map(rule)).collect()
    }
}
