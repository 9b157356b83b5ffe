//! `selfsame snapshot verify`

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::SystemTime;

use selfsame_apt::date;
use selfsame_apt::openpgp::{Fingerprint, KeyProblem, Keyring};
use selfsame_apt::snapshot::load_snapshot;
use selfsame_build::snapshots::{Kept, Turn};
use selfsame_store::Store;
use serde::Serialize;

use crate::commands::Context;
use crate::failure::{Failure, Status};
use crate::ui::{Output, Present};

/// Check kept snapshots again, from the store alone
///
/// All signatures, dates and digests are checked as of the time at which the snapshot was taken; nothing that was recorded
/// is believed. Keys that expired since do not matter and are named; a key that is known as compromised by now does. Needs
/// no network, and holds however late it is.
///
/// What speaks for each suite is printed, from weak to strong: signed; monotonic (newer than what was seen before); fresh
/// (so many mirrors had it); coexisted (all suites were there at the same time).
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selfsame snapshot verify
  selfsame snapshot verify debian 20260711T101637Z --json")]
pub struct Args {
    /// Those of this archive only
    archive: Option<String>,
    /// The one of this name only
    serial: Option<String>,
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
    signers: Vec<Fingerprint>,
    /// Which of these speak for it: `signed`, `monotonic`, `fresh`, `coexisted`.
    ranks: Vec<&'static str>,
    /// How many mirrors had it, of how many that were asked.
    mirrors: (usize, usize),
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
                suite.since.iter().try_for_each(|key| writeln!(to, "    since then: {key}"))?;
            }
        }
        Ok(())
    }
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    let store = Store::open(cx.settings.store(args.store.as_ref())?)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let mut snapshots = Vec::new();
    let _turn = Turn::take(&store)?;
    for kept in super::kept(&store, args.archive.as_deref(), args.serial.as_deref())? {
        let keys = kept.spec.read_keyring(&store)?;
        let context = || format!("snapshot {} {}", kept.snapshot.archive, kept.snapshot.serial);
        load_snapshot(&kept.spec, &kept.snapshot, &keys, &store)
            .map_err(|error| Failure::from(error).context(context()))?;
        snapshots.push(verified(&kept, &keys, now));
    }
    cx.ui.result(args.output, &Report { snapshots })?;
    Ok(Status::Success)
}

fn verified(kept: &Kept, keys: &Keyring, now: i64) -> Verified {
    let snapshot = &kept.snapshot;
    let suites = snapshot.suites.iter().zip(&kept.evidence).map(|(suite, evidence)| {
        let all = [
            (true, "signed"),
            (evidence.novelty == "newer", "monotonic"),
            (evidence.agreeing > 1, "fresh"),
            (true, "coexisted"),
        ];
        let problem = |key: &Fingerprint| -> Option<(Fingerprint, KeyProblem)> {
            keys.problem(key, now).map(|problem| (*key, problem))
        };
        Suite {
            suite: suite.suite.clone(),
            date: date::serial(suite.date),
            signers: suite.signers.clone(),
            ranks: all.into_iter().filter(|(holds, _)| *holds).map(|(_, rank)| rank).collect(),
            mirrors: (evidence.agreeing, evidence.asked),
            since: suite
                .signers
                .iter()
                .filter_map(problem)
                .map(|(key, problem)| format!("key {key} {problem}"))
                .collect(),
        }
    });
    Verified {
        archive: snapshot.archive.clone(),
        serial: snapshot.serial.clone(),
        at: date::serial(snapshot.at),
        suites: suites.collect(),
    }
}
