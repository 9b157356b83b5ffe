//! `selfsame verify`

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use selfsame_image::Digest;
use selfsame_release::{Decision, MAX_RESULT, MAX_RESULTS, Outcome, Policy, Refusal, Tally, Vote};
use serde::Serialize;

use super::{Context, given};
use crate::failure::{Failure, Status};
use crate::ui::{Output, Present, harmless_line};

/// The longest policy or key file that is read, in bytes.
const MAX_POLICY: u64 = 1 << 18;

/// Say whether enough independent rebuilders got the same bytes
///
/// The policy names operators, their keys, and how many of them must have built the image to the same bytes. A result is a
/// file that `selfsame reproduce --key` or rebuilderd signed; of a directory all files *.json and *.link are taken. Each
/// result that does not count is told, with the reason. Needs no network, and no clock: keys do not expire.
///
/// An operator has one vote, however many keys it has. If one got other bytes, the image is not verified, unless the
/// policy says `bad = "warn"`.
///
/// `docs/verify.md` describes policies, results, the JSON form, and what a verified image proves.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selfsame verify live.iso --policy policy.toml results/
  selfsame verify live.iso --policy policy.toml alice.json bob.json --json

A policy, with the name and the commit of one release (both may be missing):
  threshold = 2
  name = \"live.iso\"
  commit = \"434d61f0c2a5e0d1f7a1c3b5d0e8f9a2b4c6d8e0\"
  [[operator]]
  name = \"Alice\"
  keys = [\"alice.pub\"]
  [[operator]]
  name = \"Example University\"
  keys = [\"uni-2025.pub\", \"uni-2026.pub\"]

Exit status: 0 verified, 1 not verified: too few rebuilt it, one got other bytes, or a result cannot be read.")]
pub struct Args {
    /// The image
    image: PathBuf,
    /// Whom to believe, and how many of them are needed
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Results of rebuilders, or directories of them
    #[arg(required = true, value_name = "RESULT")]
    results: Vec<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// What `verify` gives. The JSON form is an interface that scripts rely on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Report {
    image: String,
    /// 64 lower-case hexadecimal digits.
    sha256: String,
    /// `verified`, `disputed`, `below-threshold` or `incomplete`.
    verdict: Outcome,
    threshold: usize,
    votes: Vec<Counted>,
    /// Operators that got other bytes.
    bad: Vec<String>,
    /// Operators that said both good and bad.
    contradicting: Vec<String>,
    /// Operators that signed what cannot be read.
    unreadable: Vec<String>,
    /// How many results were not looked at.
    unseen: usize,
    not_counted: Vec<NotCounted>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Counted {
    operator: String,
    result: String,
    key: String,
    names: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lock: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct NotCounted {
    result: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    operator: Option<String>,
    /// What [`selfsame_release::Reason::name`] says.
    reason: &'static str,
    message: String,
}

impl Counted {
    fn of(vote: Vote) -> Self {
        Self {
            operator: vote.operator,
            result: vote.source,
            key: vote.key.to_string(),
            names: vote.names,
            lock: vote.lock.map(|lock| lock.to_string()),
            commit: vote.commit,
        }
    }
}

impl Report {
    fn new(image: &Path, digest: Digest, decision: Decision) -> Self {
        let refused = |refusal: Refusal| NotCounted {
            result: refusal.source,
            operator: refusal.operator,
            reason: refusal.reason.name(),
            message: refusal.reason.to_string(),
        };
        Self {
            image: image.to_string_lossy().into_owned(),
            sha256: digest.to_string(),
            verdict: decision.outcome,
            threshold: decision.threshold,
            votes: decision.votes.into_iter().map(Counted::of).collect(),
            bad: decision.bad,
            contradicting: decision.contradicting,
            unreadable: decision.unreadable,
            unseen: decision.unseen,
            not_counted: decision.refused.into_iter().map(refused).collect(),
        }
    }

    /// Who says something against the image.
    fn objecting(&self) -> String {
        let names = self.bad.iter().chain(&self.contradicting);
        names.map(|name| one_line(name)).collect::<Vec<_>>().join(", ")
    }

    /// What could not be taken into account.
    fn missing(&self) -> String {
        let signed = self.unreadable.iter().map(|name| format!("a result that {} signed", one_line(name)));
        let unseen = match self.unseen {
            0 => None,
            1 => Some("1 result".to_owned()),
            count => Some(format!("{count} results")),
        };
        signed.chain(unseen).collect::<Vec<_>>().join(", ")
    }

    /// What makes it doubtful of what the image was built, in whole sentences.
    fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        if self.votes.is_empty() {
            return doubts;
        }
        let several = |what: fn(&Counted) -> Option<&String>| {
            self.votes.iter().filter_map(what).collect::<BTreeSet<_>>().len() > 1
        };
        if several(|vote| vote.lock.as_ref()) {
            doubts.push("the counted results are of different locks".to_owned());
        }
        if several(|vote| vote.commit.as_ref()) {
            doubts.push("the counted results are of different commits".to_owned());
        }
        let silent = self.votes.iter().filter(|vote| vote.commit.is_none());
        let silent: Vec<_> = silent.map(|vote| one_line(&vote.operator)).collect();
        if !silent.is_empty() {
            doubts.push(format!("no commit is named by {}: what they built is not known", silent.join(", ")));
        }
        let own = Path::new(&self.image).file_name().unwrap_or_default();
        let mut names = self.votes.iter().flat_map(|vote| &vote.names);
        if !names.any(|name| *own == **name) {
            let names: BTreeSet<String> =
                self.votes.iter().flat_map(|vote| &vote.names).map(|name| one_line(name)).collect();
            let names = names.into_iter().collect::<Vec<_>>().join(", ");
            doubts.push(format!("no result is about a file of this name: they have these bytes as {names}"));
        }
        doubts
    }
}

impl Present for Report {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        writeln!(to, "{}  {}", self.sha256, one_line(&self.image))?;
        for Counted { operator, result, names, lock, commit, .. } in &self.votes {
            let names = one_line(&names.join(" and "));
            write!(to, "counted: {}: {}, {names}", one_line(result), one_line(operator))?;
            match lock {
                Some(lock) => write!(to, ", lock {lock}")?,
                None => write!(to, ", no lock")?,
            }
            match commit {
                Some(commit) => writeln!(to, ", commit {commit}")?,
                None => writeln!(to, ", no commit")?,
            }
        }
        for NotCounted { result, operator, message, .. } in &self.not_counted {
            let by = operator.as_ref().map_or(String::new(), |operator| format!("{}, ", one_line(operator)));
            writeln!(to, "not counted: {}: {by}{}", one_line(result), one_line(message))?;
        }
        for operator in &self.contradicting {
            writeln!(to, "contradiction: {} says both good and bad", one_line(operator))?;
        }
        let operators = match self.votes.len() {
            1 => "1 operator".to_owned(),
            count => format!("{count} operators"),
        };
        let built = format!("{operators} built these bytes");
        let needed = self.threshold;
        match self.verdict {
            Outcome::Verified => write!(to, "verified: {built}, {needed} needed")?,
            Outcome::BelowThreshold => write!(to, "not verified: {built}, {needed} needed")?,
            Outcome::Disputed => write!(to, "not verified: {built}")?,
            Outcome::Incomplete => {
                write!(to, "not verified: {built}, but not all could be read: {}", self.missing())?;
            }
        }
        match self.objecting().as_str() {
            "" => writeln!(to),
            names => writeln!(to, ", but other bytes came out for {names}"),
        }
    }
}

/// A name of somebody's choice, which cannot look like a line of ours.
fn one_line(text: &str) -> String {
    harmless_line(text).into_owned()
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    let policy = read_policy(&args.policy)?;
    let results = results(&args.results, cx)?;
    if results.len() > MAX_RESULTS {
        let message =
            format!("there are {} results, and no more than {MAX_RESULTS} are looked at", results.len());
        let hint = "give fewer: those of this image, and only those of operators in the policy";
        return Err(Failure::input(message).hint(hint));
    }
    let digest = given::digest(&args.image, cx)?;
    let mut tally = Tally::new(&policy, digest);
    for Given { path, found } in results {
        cx.interrupt.check()?;
        let source = path.to_string_lossy();
        match given::bytes(&path, MAX_RESULT as u64) {
            Ok(bytes) => tally.add(&source, &bytes),
            Err(error) if found => tally.cannot_read(&source, &error.to_string()),
            Err(error) => {
                let message = format!("cannot read the result {}", path.display());
                return Err(Failure::input(error).context(message));
            }
        }
    }
    let report = Report::new(&args.image, digest, tally.decide());
    cx.ui.result(args.output, &report)?;
    for doubt in report.doubts() {
        cx.ui.warn(&doubt);
    }
    if report.verdict == Outcome::Verified {
        if !report.objecting().is_empty() {
            cx.ui.warn(&format!("other bytes came out for {}", report.objecting()));
        }
        if !report.missing().is_empty() {
            cx.ui.warn(&format!("not all could be read: {}", report.missing()));
        }
        return Ok(Status::Success);
    }
    Ok(Status::Negative)
}

/// The policy in `path`; its key files are relative to it.
fn read_policy(path: &Path) -> Result<Policy, Failure> {
    let text = given::text(path, MAX_POLICY, "the policy")?;
    let mut file = |name: &str| {
        let path = path.parent().unwrap_or(Path::new("")).join(name);
        let bytes = given::bytes(&path, MAX_POLICY).map_err(|error| error.to_string())?;
        String::from_utf8(bytes).map_err(|_| "it is not text".to_owned())
    };
    Policy::read(&text, &mut file).map_err(|error| {
        let hint = error.hint.clone();
        let place = format!("{}:{}:{}: {}", path.display(), error.line, error.column, error.problem);
        Failure::input(place).hint(hint)
    })
}

/// A result to read.
struct Given {
    path: PathBuf,
    /// Whether it was found in a directory, and not named.
    found: bool,
}

/// The files that `given` names; of directories, in byte order, those whose names end like results do. Says how many others
/// there are.
fn results(given: &[PathBuf], cx: &Context) -> Result<Vec<Given>, Failure> {
    let mut all = Vec::new();
    for path in given {
        if !path.is_dir() {
            all.push(Given { path: path.clone(), found: false });
            continue;
        }
        let cannot =
            |error: io::Error| Failure::input(error).context(format!("cannot read {}", path.display()));
        let (mut inside, mut others) = (Vec::new(), 0_usize);
        for entry in fs::read_dir(path).map_err(cannot)? {
            let path = entry.map_err(cannot)?.path();
            let ends = |end: &str| path.extension().is_some_and(|found| found.eq_ignore_ascii_case(end));
            match ends("json") || ends("link") {
                true => inside.push(Given { path, found: true }),
                false => others += 1,
            }
        }
        match others {
            0 => {}
            1 => cx.ui.note(&format!("1 other file in {} was passed over", path.display())),
            _ => cx.ui.note(&format!("{others} other files in {} were passed over", path.display())),
        }
        inside.sort_by(|a, b| a.path.cmp(&b.path));
        all.extend(inside);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_looks_like_a_line_of_ours() {
        assert_eq!(one_line("a\nverified: x\t\x1b[2J"), "a\\nverified: x\\t\\u{1b}[2J");
    }
}
