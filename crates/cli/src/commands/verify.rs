//! `selfsame verify`

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use selfsame_image::Digest;
use selfsame_release::{Decision, MAX_RESULT, Outcome, Policy, Refusal, Tally, Vote};
use serde::Serialize;

use super::{Context, given};
use crate::failure::{Failure, Status};
use crate::ui::{Output, Present, harmless};

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
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selfsame verify live.iso --policy policy.toml results/
  selfsame verify live.iso --policy policy.toml alice.json bob.json --json

A policy:
  threshold = 2
  [[operator]]
  name = \"Alice\"
  keys = [\"alice.pem\"]
  [[operator]]
  name = \"Example University\"
  keys = [\"uni-2025.pem\", \"uni-2026.pem\"]

Exit status: 0 verified, 1 not verified: too few rebuilt it, or one got other bytes.")]
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
    image: PathBuf,
    /// 64 lower-case hexadecimal digits.
    sha256: String,
    /// `verified`, `disputed` (an operator got other bytes) or `below-threshold`.
    verdict: Outcome,
    threshold: usize,
    votes: Vec<Counted>,
    /// Operators that got other bytes.
    bad: Vec<String>,
    /// Operators that said both good and bad.
    contradicting: Vec<String>,
    not_counted: Vec<NotCounted>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Counted {
    operator: String,
    result: String,
    key: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct NotCounted {
    result: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    operator: Option<String>,
    /// `malformed`, `unknown-key`, `bad-signature`, `other-image`, `bad`, `counted`, `contradicts` or `too-many`.
    reason: &'static str,
    message: String,
}

impl Report {
    fn new(image: &Path, digest: Digest, decision: Decision) -> Self {
        let counted =
            |vote: Vote| Counted { operator: vote.operator, result: vote.source, key: vote.key.to_string() };
        let refused = |refusal: Refusal| NotCounted {
            result: refusal.source,
            operator: refusal.operator,
            reason: refusal.reason.name(),
            message: refusal.reason.to_string(),
        };
        Self {
            image: image.to_owned(),
            sha256: digest.to_string(),
            verdict: decision.outcome,
            threshold: decision.threshold,
            votes: decision.votes.into_iter().map(counted).collect(),
            bad: decision.bad,
            contradicting: decision.contradicting,
            not_counted: decision.refused.into_iter().map(refused).collect(),
        }
    }

    /// Who says something against the image.
    fn objecting(&self) -> String {
        let names = self.bad.iter().chain(&self.contradicting);
        names.map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

impl Present for Report {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        writeln!(to, "{}  {}", self.sha256, one_line(&self.image.to_string_lossy()))?;
        for Counted { operator, result, key } in &self.votes {
            writeln!(to, "counted: {}: {operator}, key {key}", one_line(result))?;
        }
        for NotCounted { result, operator, message, .. } in &self.not_counted {
            let by = operator.as_ref().map_or(String::new(), |operator| format!("{operator}, "));
            writeln!(to, "not counted: {}: {by}{}", one_line(result), one_line(message))?;
        }
        for operator in &self.contradicting {
            writeln!(to, "contradiction: {operator} says both good and bad")?;
        }
        let operators = match self.votes.len() {
            1 => "1 operator".to_owned(),
            count => format!("{count} operators"),
        };
        let built = format!("{operators} built these bytes");
        let (needed, objecting) = (self.threshold, self.objecting());
        match self.verdict {
            Outcome::Verified => write!(to, "verified: {built}, {needed} needed")?,
            Outcome::BelowThreshold => write!(to, "not verified: {built}, {needed} needed")?,
            Outcome::Disputed => write!(to, "not verified: {built}")?,
        }
        match objecting.as_str() {
            "" => writeln!(to),
            names => writeln!(to, ", but other bytes came out for {names}"),
        }
    }
}

/// A name of somebody's choice, which cannot look like a line of ours.
fn one_line(text: &str) -> String {
    harmless(text).replace('\n', "\\n").replace('\t', "\\t")
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    let policy = read_policy(&args.policy)?;
    let results = results(&args.results)?;
    let digest = given::digest(&args.image, cx)?;
    let mut tally = Tally::new(&policy, digest);
    for path in results {
        cx.interrupt.check()?;
        let bytes = given::bytes(&path, MAX_RESULT as u64).map_err(|error| {
            Failure::input(error).context(format!("cannot read the result {}", path.display()))
        })?;
        tally.add(&path.to_string_lossy(), &bytes);
    }
    let report = Report::new(&args.image, digest, tally.decide());
    cx.ui.result(args.output, &report)?;
    if report.verdict == Outcome::Verified {
        if !report.objecting().is_empty() {
            cx.ui.warn(&format!("other bytes came out for {}", report.objecting()));
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

/// The files that `given` names; of directories, in byte order, those whose names end like results do.
fn results(given: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for path in given {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let cannot =
            |error: io::Error| Failure::input(error).context(format!("cannot read {}", path.display()));
        let mut inside = Vec::new();
        for entry in fs::read_dir(path).map_err(cannot)? {
            let path = entry.map_err(cannot)?.path();
            if path.extension().is_some_and(|extension| extension == "json" || extension == "link") {
                inside.push(path);
            }
        }
        inside.sort();
        found.extend(inside);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_looks_like_a_line_of_ours() {
        assert_eq!(one_line("a\nverified: x\t\x1b[2J"), "a\\nverified: x\\t\\u{1b}[2J");
    }
}
