//! `selfsame snapshot show`

use std::io::{self, Write};
use std::path::PathBuf;

use selfsame_apt::date;
use selfsame_apt::snapshot::{Elsewhere, Thin, read_signed, signed_text};
use selfsame_build::snapshots::{Holder, Kept, Seen, SuiteEvidence, elsewhere, evidence, holders};
use selfsame_image::Digest;
use selfsame_image::tree::Content;
use selfsame_store::Store;
use serde::Serialize;

use crate::commands::Context;
use crate::failure::{Failure, Status};
use crate::ui::{Output, Present, binary_size};

/// Show all that is known of a snapshot
///
/// Its suites with their dates, signers and indexes, what speaks for them, who else has them, how the store keeps each file,
/// and which locks need it. Nothing is checked: `snapshot verify` does that.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selfsame snapshot show debian 20260711T101637Z
  selfsame snapshot show debian 20260711T101637Z --json")]
pub struct Args {
    /// The archive
    archive: String,
    /// Name of the snapshot
    serial: String,
    /// Directory of the store [default: SELFSAME_STORE, else selfsame in the user's cache directory]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

/// What `snapshot show` gives. The JSON form is an interface that scripts rely on.
#[derive(Clone, Debug, Serialize)]
struct Report {
    /// More than one if recipes ask for other suites or keys of this archive.
    snapshots: Vec<Shown>,
}

#[derive(Clone, Debug, Serialize)]
struct Shown {
    archive: String,
    serial: String,
    /// When it was taken, as `20260711T101637Z`.
    at: String,
    /// How many keys must have signed each suite.
    threshold: usize,
    suites: Vec<Suite>,
    /// Paths of the locks that need it.
    locks: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Suite {
    /// What speaks for it. Of a signed file that is gone `text_sha256` is empty, and nothing of others can be compared.
    #[serde(flatten)]
    known: SuiteEvidence,
    /// How the signed file is kept: `whole`, `difference` or `missing`.
    kept: &'static str,
    /// Others that have another text of the same date.
    forks: Vec<Seen>,
    indexes: Vec<Index>,
}

#[derive(Clone, Debug, Serialize)]
struct Index {
    path: String,
    size: u64,
    sha256: String,
    /// How it is kept: `whole`, `difference` or `missing`.
    kept: &'static str,
}

impl Present for Report {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        for one in &self.snapshots {
            writeln!(to, "{} {}, taken {}", one.archive, one.serial, one.at)?;
            for suite in &one.suites {
                suite.text(to)?;
            }
            one.locks.iter().try_for_each(|path| writeln!(to, "  needed by {path}"))?;
        }
        Ok(())
    }
}

impl Suite {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        let Self { known, kept, forks, indexes } = self;
        writeln!(to, "  {} ({}) of {}", known.suite, known.codename, known.date)?;
        writeln!(to, "    InRelease {} {} ({kept})", known.sha256, binary_size(known.size))?;
        for Index { path, size, sha256, kept } in indexes {
            writeln!(to, "    {path} {sha256} {} ({kept})", binary_size(*size))?;
        }
        writeln!(to, "    signed by {}", known.signers.join(" and "))?;
        let mirrors = &known.mirrors;
        writeln!(to, "    {} ({} of {} mirrors)", known.ranks.join(", "), mirrors.agreeing, mirrors.asked)?;
        mirrors.agreed.iter().try_for_each(|name| writeln!(to, "    on {name}"))?;
        mirrors.others.iter().try_for_each(|other| writeln!(to, "    not: {other}"))?;
        super::verify::logged(&known.elsewhere, to)?;
        forks
            .iter()
            .try_for_each(|fork| writeln!(to, "    FORK: {} has another text: {}", fork.source, fork.sha256))
    }
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    let store = Store::open(cx.settings.store(args.store.as_ref())?)?;
    let all = elsewhere(&store)?;
    let holders = holders(&store)?;
    let mut snapshots = Vec::new();
    for kept in super::kept(&store, Some(&args.archive), Some(&args.serial))? {
        snapshots.push(shown(&kept, &store, &all, &holders)?);
    }
    cx.ui.result(args.output, &Report { snapshots })?;
    Ok(Status::Success)
}

fn shown(kept: &Kept, store: &Store, all: &Elsewhere, holders: &[Holder]) -> Result<Shown, Failure> {
    let mut texts = Vec::new();
    for suite in &kept.snapshot.suites {
        // What cannot be read is shown as it is; `verify` is there to complain.
        let file = read_signed(store, &suite.in_release.digest).ok().flatten();
        texts.push(file.and_then(|file| signed_text(&file)));
    }
    let known = evidence(kept, &texts, all);
    let mut suites = Vec::new();
    for ((state, text), known) in kept.snapshot.suites.iter().zip(&texts).zip(known.suites) {
        let mut forks = Vec::new();
        if let Some(text) = text {
            let seen = all.of(&kept.spec.identity(), &state.codename, state.date);
            forks.extend(seen.iter().filter(|one| one.text != *text).map(|one| Seen::of(one, "nothing")));
        }
        let mut indexes = Vec::new();
        for index in &state.indexes {
            let Content { size, digest } = index.packed;
            let (path, sha256) = (index.path.clone(), digest.to_string());
            indexes.push(Index { path, size, sha256, kept: form(store, &digest)? });
        }
        suites.push(Suite { known, kept: form(store, &state.in_release.digest)?, forks, indexes });
    }
    let needs = |holder: &&Holder| {
        kept.snapshot.suites.iter().any(|suite| holder.needs.contains(&suite.in_release.digest))
    };
    Ok(Shown {
        archive: kept.snapshot.archive.clone(),
        serial: kept.snapshot.serial.clone(),
        at: date::serial(kept.snapshot.at),
        threshold: kept.spec.threshold,
        suites,
        locks: holders.iter().filter(needs).map(|holder| holder.path.display().to_string()).collect(),
    })
}

/// How the store keeps a file.
fn form(store: &Store, digest: &Digest) -> Result<&'static str, Failure> {
    if store.contains(digest) {
        return Ok("whole");
    }
    let thin = Thin::find(store, digest).map_err(Failure::environment)?;
    Ok(if thin.is_some() { "difference" } else { "missing" })
}
