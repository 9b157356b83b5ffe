//! Snapshots that a store keeps, and the log of all that was seen.

mod collect;
mod compare;
mod elsewhere;
mod evidence;
mod hold;
mod import;

use std::num::NonZero;

use selfsame_apt::openpgp::Keyring;
use selfsame_apt::snapshot::{
    ArchiveSpec, Evidence, FromSource, History, Novelty, Snapshot, Thin, ThinError,
};
use selfsame_image::Digest;
use selfsame_image::tree::Content;
use selfsame_store::{Store, StoreError};
use serde::{Deserialize, Serialize};

use crate::recipe::{Keys, Recipe};
use crate::resolve::{ArchiveError, keys};

pub use collect::{CollectError, Collected, Rules, Turn, collect};
pub use compare::{Comparison, compare};
pub use elsewhere::elsewhere;
pub use evidence::{ArchiveEvidence, EvidenceFile, Mirrors, Seen, SuiteEvidence, evidence, ranks};
pub use hold::{Holder, hold, holders};
pub use import::{Fork, ImportError, Imported, Importer, Newer};

/// Kind of the store's records of snapshots.
const KIND: &str = "snapshot";
/// Kind of the records of single lines of the history: lines are added and never changed, whoever else adds one.
const SEEN: &str = "seen";

/// A snapshot, and what is needed to judge it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Kept {
    /// What was asked for, and whose signatures count.
    pub spec: ArchiveSpec,
    /// The state.
    pub snapshot: Snapshot,
    /// What spoke for each suite when it was fetched, besides its signatures.
    pub evidence: Vec<KeptEvidence>,
}

/// [`selfsame_apt::snapshot::SuiteEvidence`], as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct KeptEvidence {
    /// The suite.
    pub suite: String,
    /// How many mirrors were asked.
    pub asked: usize,
    /// How many of them had this very state.
    pub agreeing: usize,
    /// Which ones; empty in what earlier versions kept.
    #[serde(default)]
    pub agreed: Vec<String>,
    /// Whether an older state had been seen before, so that this one is known to be newer: `first`, `newer` or `known`.
    pub novelty: String,
    /// What the other mirrors had.
    pub others: Vec<String>,
}

/// Why what is kept cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeptError {
    /// A record that another version of this program wrote, or nobody.
    #[error("record {key} of kind {kind} cannot be read: {problem}")]
    Unreadable {
        /// Kind of the record.
        kind: &'static str,
        /// Its key.
        key: Digest,
        /// What is wrong.
        problem: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Kept {
    /// What was fetched, with its evidence in words.
    pub fn new(spec: ArchiveSpec, snapshot: Snapshot, evidence: &Evidence) -> Self {
        let evidence = evidence.suites.iter().map(|one| KeptEvidence {
            suite: one.suite.clone(),
            asked: one.asked,
            agreeing: one.agreeing,
            agreed: one.agreed.clone(),
            novelty: match one.novelty {
                Some(Novelty::Newer) => "newer",
                Some(Novelty::Known) => "known",
                Some(Novelty::First) | None => "first",
            }
            .to_owned(),
            others: one.others.iter().map(FromSource::to_string).collect(),
        });
        Self { evidence: evidence.collect(), spec, snapshot }
    }

    /// The key of the record: what was asked for, whose signatures count, and the digests of the signed files.
    fn key(&self) -> Digest {
        let Self { spec, snapshot, .. } = self;
        let spec = serde_json::to_string(spec).expect("names and numbers are always JSON");
        let mut text = format!("{} {}\n{spec}\n", snapshot.archive, snapshot.serial);
        for suite in &snapshot.suites {
            text += &format!("{} {}\n", suite.suite, suite.in_release.digest);
        }
        Digest::of(text.as_bytes())
    }

    /// Keeps it; its blobs are in the store already. Of one that is kept the time and the novelty stay, which say when it
    /// was new; a larger number of mirrors that agree takes the place of a smaller one.
    pub fn keep(&self, store: &Store) -> Result<(), KeptError> {
        let key = self.key();
        let mut kept = Self::read(store, &key)?.unwrap_or_else(|| self.clone());
        for (old, new) in kept.evidence.iter_mut().zip(&self.evidence) {
            if new.agreeing > old.agreeing {
                *old = KeptEvidence { novelty: old.novelty.clone(), ..new.clone() };
            }
        }
        let bytes = serde_json::to_vec(&kept).expect("names and numbers are always JSON");
        store.record_put(KIND, &key, &bytes)?;
        // The directory of the record, too, if one that was killed had just made it.
        Ok(store.sync()?)
    }

    fn read(store: &Store, key: &Digest) -> Result<Option<Self>, KeptError> {
        let Some(bytes) = store.record_get(KIND, key)? else { return Ok(None) };
        let unreadable = |error: serde_json::Error| KeptError::Unreadable {
            kind: KIND,
            key: *key,
            problem: error.to_string(),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(unreadable)
    }

    /// All that `store` keeps, by archive and serial.
    pub fn all(store: &Store) -> Result<Vec<Self>, KeptError> {
        let mut all = Vec::new();
        for key in store.record_keys(KIND)? {
            all.extend(Self::read(store, &key)?);
        }
        let name = |kept: &Self| (kept.snapshot.archive.clone(), kept.snapshot.serial.clone(), kept.key());
        all.sort_by_key(name);
        Ok(all)
    }
}

/// Makes the files `wanted` again that are kept as differences, so that they can be read like all others.
pub(crate) fn restore(store: &Store, wanted: impl IntoIterator<Item = Content>) -> Result<(), ThinError> {
    let jobs = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    wanted.into_iter().try_for_each(|content| Thin::restore(store, &content, jobs).map(drop))
}

/// All that `store` remembers to have seen.
pub fn history(store: &Store) -> Result<History, KeptError> {
    let mut lines = Vec::new();
    for key in store.record_keys(SEEN)? {
        lines.extend(store.record_get(SEEN, &key)?.map(|line| (key, line)));
    }
    let text: String =
        lines.iter().map(|(_, line)| format!("{}\n", String::from_utf8_lossy(line).trim_end())).collect();
    History::parse(&text).map_err(|error| {
        let key = lines.get(error.line - 1).map_or(Digest::of(b""), |(key, _)| *key);
        let problem = "it contradicts another one, or is no line of a history".to_owned();
        KeptError::Unreadable { kind: SEEN, key, problem }
    })
}

/// Adds `snapshot` of the archive `spec`, which was accepted, to what `store` remembers.
pub fn remember(store: &Store, spec: &ArchiveSpec, snapshot: &Snapshot) -> Result<(), StoreError> {
    let archive = spec.identity();
    // Files that were there already may be what a run left that was killed: nobody knows whether they are on the disk.
    store.sync()?;
    for suite in &snapshot.suites {
        let digest = suite.in_release.digest;
        let line = format!("{archive} {} {} {digest}\n", suite.codename, suite.date);
        let key = Digest::of(line.as_bytes());
        if store.record_get(SEEN, &key)?.is_none() {
            store.record_put(SEEN, &key, line.as_bytes())?;
        }
    }
    Ok(())
}

/// The archive `name` of `recipe`, and its keys, which are put into `store` if they are the recipe's own: so that what they
/// signed can be checked without the recipe.
///
/// # Panics
/// If the recipe has no such archive.
pub fn describe(recipe: &Recipe, name: &str, store: &Store) -> Result<(ArchiveSpec, Keyring), ArchiveError> {
    let archive = &recipe.archives[name];
    let first = archive.suites.first().map_or("", String::as_str);
    let (keyring, mut spec) = keys::terms(recipe, name, first)?;
    for suite in &archive.suites[1..] {
        keys::terms(recipe, name, suite)?;
    }
    if let Keys::File { file, .. } = &archive.keys {
        spec.keyring = Some(keys::keep(recipe, name, file, store)?);
    }
    Ok((spec, keyring))
}
