//! `selfsame snapshot verify`

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use selfsame_apt::date;
use selfsame_apt::fetch::Fetcher;
use selfsame_apt::openpgp::{Fingerprint, KeyProblem, Keyring};
use selfsame_apt::snapshot::{Elsewhere, SnapshotError, load_snapshot};
use selfsame_build::snapshots::{ArchiveEvidence, EvidenceFile, Kept, Seen, Turn, elsewhere, evidence};
use selfsame_image::Digest;
use selfsame_store::Store;
use serde::Serialize;

use super::against::{Answer, Service};
use crate::commands::build::{no_lock, read_lock};
use crate::commands::{Context, recipe_dir};
use crate::failure::{Failure, Status};
use crate::replace::replace;
use crate::source::config;
use crate::ui::{Output, Present};

/// Check kept snapshots again, from the store alone
///
/// All signatures, dates and digests are checked as of the time at which the snapshot was taken; nothing that was recorded
/// is believed. Keys that expired since do not matter and are named; a key that is known as compromised by now does. Needs
/// no network, and holds however late it is.
///
/// What speaks for each suite is printed, from weak to strong: signed; monotonic (newer than what was seen before); fresh
/// (so many mirrors had it); coexisted (all suites were there at the same time); logged (others have it: `snapshot import`
/// and --against say so). Another signed text of the same date is refused, whoever has it.
///
/// With --against, a service that keeps states of archives by their time is asked for the same files. {archive} and {serial}
/// in its address stand for name and serial; without {serial} it is put at the end.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selfsame snapshot verify
  selfsame snapshot verify debian 20260711T101637Z --json
  selfsame snapshot verify --against http://127.0.0.1:8042/{archive}/{serial}
  selfsame snapshot verify --lock my-image --evidence my-image/selfsame.evidence.json")]
pub struct Args {
    /// Those of this archive only
    archive: Option<String>,
    /// The one of this name only
    serial: Option<String>,
    /// Those that the lock of this recipe names only, and all of them
    #[arg(long, value_name = "RECIPE", conflicts_with = "archive")]
    lock: Option<PathBuf>,
    /// Compare with what this service has; may be given more than once
    #[arg(long, value_name = "URL")]
    against: Vec<String>,
    /// Write what speaks for the snapshots to this file, as JSON
    #[arg(long, value_name = "FILE")]
    evidence: Option<PathBuf>,
    /// Directory of the store [default: SELFSAME_STORE, else selfsame in the user's cache directory]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// What `snapshot verify` gives. The JSON form is an interface that scripts rely on.
#[derive(Clone, Debug, Serialize)]
struct Report {
    snapshots: Vec<Verified>,
}

/// A snapshot that passed.
#[derive(Clone, Debug, Serialize)]
struct Verified {
    archive: String,
    serial: String,
    /// As of when it was judged, as `20260711T101637Z`.
    at: String,
    suites: Vec<Suite>,
}

#[derive(Clone, Debug, Serialize)]
struct Suite {
    suite: String,
    date: String,
    signers: Vec<String>,
    /// Which of these speak for it: `signed`, `monotonic`, `fresh`, `coexisted`, `logged`.
    ranks: Vec<&'static str>,
    /// How many mirrors had it, of how many that were asked.
    mirrors: (usize, usize),
    /// Who else has it.
    elsewhere: Vec<Seen>,
    /// What the services said that were asked now.
    against: Vec<Answer>,
    /// Keys whose signatures would not count if they were made now, and why.
    since: Vec<String>,
}

impl Present for Report {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        for one in &self.snapshots {
            writeln!(to, "{} {}: good as of {}", one.archive, one.serial, one.at)?;
            for suite in &one.suites {
                let (agreeing, asked) = suite.mirrors;
                let ranks = suite.ranks.join(", ");
                writeln!(to, "  {} of {}: {ranks} ({agreeing} of {asked} mirrors)", suite.suite, suite.date)?;
                logged(&suite.elsewhere, to)?;
                for answer in &suite.against {
                    writeln!(to, "    {} {}", answer.against, answer.says)?;
                }
                suite.since.iter().try_for_each(|key| writeln!(to, "    since then: {key}"))?;
            }
        }
        Ok(())
    }
}

/// Prints who else has a file, and who its text only.
pub(super) fn logged(elsewhere: &[Seen], to: &mut dyn Write) -> io::Result<()> {
    for (same, what) in [("file", "this file"), ("text", "its text with other signatures")] {
        let by: BTreeSet<&str> =
            elsewhere.iter().filter(|seen| seen.same == same).map(|seen| seen.source.as_str()).collect();
        if !by.is_empty() {
            let names: Vec<_> = by.iter().copied().collect();
            writeln!(to, "    logged elsewhere: {} had {what}: {}", by.len(), names.join(", "))?;
        }
    }
    Ok(())
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    let store = Store::open(cx.settings.store(args.store.as_ref())?)?;
    let services = args.against.iter().map(|url| Service::new(url)).collect::<Result<Vec<_>, _>>()?;
    // Who asks nobody needs no network, nor settings for it that can be read.
    let fetcher = match services.is_empty() {
        true => None,
        false => Some(Fetcher::new(config(&cx.settings, false)).map_err(Failure::environment)?),
    };
    let now = super::now();
    let _turn = Turn::take(&store)?;
    let mut all = elsewhere(&store)?;
    let (mut snapshots, mut archives) = (Vec::new(), Vec::new());
    for kept in chosen(args, &store)? {
        let context = || format!("snapshot {} {}", kept.snapshot.archive, kept.snapshot.serial);
        let keys = kept.spec.read_keyring(&store)?;
        let loaded = load_snapshot(&kept.spec, &kept.snapshot, &keys, &store)
            .map_err(|error| Failure::from(error).context(context()))?;
        let texts: Vec<Digest> = loaded.suites.iter().map(|suite| suite.text).collect();
        let mut answers = Vec::new();
        for part in kept.snapshot.suites.iter().zip(&texts) {
            let mut said = Vec::new();
            for (service, fetcher) in services.iter().zip(fetcher.iter().cycle()) {
                said.push(service.ask(fetcher, (&store, &mut all), (&kept, &keys), part)?);
            }
            answers.push(said);
        }
        one_story(&kept, &texts, &all).map_err(|error| Failure::from(error).context(context()))?;
        let known = evidence(&kept, &texts.into_iter().map(Some).collect::<Vec<_>>(), &all);
        snapshots.push(verified(&kept, &known, answers, &keys, now));
        archives.push(known);
    }
    if let Some(path) = &args.evidence {
        write(path, &EvidenceFile { format: 1, archives })?;
    }
    cx.ui.result(args.output, &Report { snapshots })?;
    Ok(Status::Success)
}

/// The snapshots that are asked for.
fn chosen(args: &Args, store: &Store) -> Result<Vec<Kept>, Failure> {
    let all = super::kept(store, args.archive.as_deref(), args.serial.as_deref())?;
    let Some(recipe) = &args.lock else { return Ok(all) };
    let (directory, _) = recipe_dir::find(recipe)?;
    let lock = read_lock(&directory)?.ok_or_else(|| no_lock(&directory))?;
    let mut chosen = Vec::new();
    for state in &lock.archives {
        let wanted: BTreeSet<_> = state.suites.iter().map(|suite| suite.in_release.sha256).collect();
        let fits = |one: &&Kept| {
            let has: BTreeSet<_> = one.snapshot.suites.iter().map(|suite| suite.in_release.digest).collect();
            one.snapshot.archive == state.name && has.is_superset(&wanted)
        };
        let found: Vec<_> = all.iter().filter(fits).cloned().collect();
        if found.is_empty() {
            let what =
                format!("the store has no snapshot of {} {}, which the lock names", state.name, state.serial);
            return Err(Failure::input(what).hint(
                "`selfsame snapshot create` takes one of the present state, `lock --update` makes the lock name it",
            ));
        }
        chosen.extend(found);
    }
    Ok(chosen)
}

/// Whether nobody has another text of the date of one of the suites.
fn one_story(kept: &Kept, texts: &[Digest], all: &Elsewhere) -> Result<(), SnapshotError> {
    let archive = kept.spec.identity();
    for (suite, text) in kept.snapshot.suites.iter().zip(texts) {
        let file = &suite.in_release.digest;
        all.check_fork((&archive, &suite.codename), suite.date, text, file)
            .map_err(|source| SnapshotError::Elsewhere { suite: suite.suite.clone(), source })?;
    }
    Ok(())
}

fn verified(
    kept: &Kept,
    known: &ArchiveEvidence,
    answers: Vec<Vec<Answer>>,
    keys: &Keyring,
    now: i64,
) -> Verified {
    let suites =
        kept.snapshot.suites.iter().zip(&known.suites).zip(answers).map(|((suite, known), against)| {
            let problem = |key: &Fingerprint| -> Option<(Fingerprint, KeyProblem)> {
                keys.problem(key, now).map(|problem| (*key, problem))
            };
            let since = suite.signers.iter().filter_map(problem);
            Suite {
                suite: suite.suite.clone(),
                date: date::serial(suite.date),
                signers: known.signers.clone(),
                ranks: known.ranks.clone(),
                mirrors: (known.mirrors.agreeing, known.mirrors.asked),
                elsewhere: known.elsewhere.clone(),
                against,
                since: since.map(|(key, problem)| format!("key {key} {problem}")).collect(),
            }
        });
    Verified {
        archive: known.archive.clone(),
        serial: known.serial.clone(),
        at: known.at.clone(),
        suites: suites.collect(),
    }
}

/// Writes the evidence.
fn write(path: &Path, file: &EvidenceFile) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(file).expect("names and numbers are always JSON");
    text.push('\n');
    replace(path, &text)
        .map_err(|error| Failure::environment(error).context(format!("cannot write {}", path.display())))
}
