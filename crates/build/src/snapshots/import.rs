//! Taking over signed files that others collected.

use std::collections::{BTreeMap, BTreeSet};

use selfsame_apt::openpgp::{Fingerprint, Keyring};
use selfsame_apt::snapshot::{
    ArchiveSpec, Collected, Elsewhere, History, Sighting, ThinError, Uncollected, judge_collected,
    read_signed, signed_text,
};
use selfsame_image::Digest;
use selfsame_store::{Store, StoreError};
use serde::Serialize;

use super::{KeptError, elsewhere, history};

/// The most bytes of files that wait for further signatures.
const WAITING: usize = 256 << 20;

/// Why an import ends. What was recorded before is right and stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// More files than fit in memory have some of the signatures that are needed, and not all.
    #[error("more than {} bytes of files have fewer signatures than are needed", WAITING)]
    Waiting,
    /// What is kept cannot be read.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// A kept file cannot be made again.
    #[error(transparent)]
    Thin(#[from] ThinError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Two texts of one date, both signed by pinned keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Fork {
    /// The archive.
    pub archive: String,
    /// The codename.
    pub codename: String,
    /// Their date in seconds since 1970-01-01 UTC.
    pub date: i64,
    /// Digest of one file, and who has it; nobody: this store.
    pub one: (String, Option<String>),
    /// Digest of the other, and who has it.
    pub other: (String, String),
}

/// A state that others saw and that is newer than all that was seen here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Newer {
    /// The archive.
    pub archive: String,
    /// The codename.
    pub codename: String,
    /// Its date in seconds since 1970-01-01 UTC.
    pub date: i64,
    /// Who saw it.
    pub source: String,
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// How many messages there were.
    pub messages: u64,
    /// How many sightings are new.
    pub new: u64,
    /// How many of the new ones are of a file that this store saw itself, or of its text.
    pub agreeing: u64,
    /// How many were known from this source already.
    pub known: u64,
    /// How many were ignored: not signed by pinned keys, not of the recipe's suites, or not a signed file at all.
    pub ignored: u64,
    /// How many were signed long before or after they are dated.
    pub misdated: u64,
    /// How many are dated in the future.
    pub future: u64,
    /// How many have fewer signatures than the recipe asks for.
    pub too_few: u64,
    /// How many cannot be compared with what was seen here at their date, because the store does not have that file any more.
    pub unsure: u64,
    /// Archives that tell two stories.
    pub forks: BTreeSet<Fork>,
    /// What this store has not seen yet.
    pub newer: Vec<Newer>,
}

/// Files of one text that do not have enough signatures yet.
#[derive(Default)]
struct Waiting {
    signers: BTreeSet<Fingerprint>,
    files: Vec<(Sighting, Vec<u8>)>,
}

/// The name that a recipe gives to the archive of this [`ArchiveSpec::identity`].
fn name_of(identity: &str) -> &str {
    identity.split('@').next().unwrap_or(identity)
}

/// Takes over files, one after the other.
pub struct Importer<'a> {
    store: &'a Store,
    archives: &'a [(ArchiveSpec, Keyring)],
    now: i64,
    history: History,
    elsewhere: Elsewhere,
    waiting: BTreeMap<(usize, Digest), Waiting>,
    waiting_bytes: usize,
    done: Imported,
}

impl<'a> Importer<'a> {
    /// For the archives as described, at the time `now` in seconds since 1970-01-01 UTC.
    pub fn new(
        store: &'a Store,
        archives: &'a [(ArchiveSpec, Keyring)],
        now: i64,
    ) -> Result<Self, ImportError> {
        let (history, elsewhere) = (history(store)?, elsewhere(store)?);
        let (waiting, done) = (BTreeMap::new(), Imported::default());
        Ok(Self { store, archives, now, history, elsewhere, waiting, waiting_bytes: 0, done })
    }

    /// Takes over one message that `source` has; [`selfsame_apt::snapshot::check_source`] allows its name.
    ///
    /// Only what is signed by the pinned keys of one of the archives leaves a trace in the store.
    pub fn take(&mut self, file: &[u8], source: &str) -> Result<(), ImportError> {
        self.done.messages += 1;
        let (mut found, mut misdated, mut future) = (false, false, false);
        for (position, (spec, keys)) in self.archives.iter().enumerate() {
            for suite in &spec.suites {
                match judge_collected(file, spec, suite, keys, self.now) {
                    Ok(collected) => {
                        self.weigh(position, &collected, file, source)?;
                        found = true;
                        // The suite that follows may be the same one under its other name.
                        break;
                    }
                    Err(Uncollected::Misdated { .. }) => misdated = true,
                    Err(Uncollected::Time(_)) => future = true,
                    Err(_) => {}
                }
            }
        }
        match (found, misdated, future) {
            (true, ..) => {}
            (_, true, _) => self.done.misdated += 1,
            (_, _, true) => self.done.future += 1,
            _ => self.done.ignored += 1,
        }
        Ok(())
    }

    /// Records a file once its text has enough signatures.
    fn weigh(
        &mut self,
        position: usize,
        collected: &Collected,
        file: &[u8],
        source: &str,
    ) -> Result<(), ImportError> {
        let spec = &self.archives[position].0;
        let sighting = Sighting {
            archive: spec.identity(),
            codename: collected.codename().to_owned(),
            date: collected.release.date,
            text: collected.text,
            file: Digest::of(file),
            form: collected.form,
            source: source.to_owned(),
        };
        let counts = self.elsewhere.of(&sighting.archive, &sighting.codename, sighting.date);
        if collected.signers.len() >= spec.threshold || counts.iter().any(|one| one.text == sighting.text) {
            return self.record(sighting, file);
        }
        let waiting = self.waiting.entry((position, collected.text)).or_default();
        waiting.signers.extend(&collected.signers);
        if !waiting.files.iter().any(|(one, _)| *one == sighting) {
            waiting.files.push((sighting, file.to_vec()));
            self.waiting_bytes += file.len();
        }
        if waiting.signers.len() < spec.threshold {
            return if self.waiting_bytes > WAITING { Err(ImportError::Waiting) } else { Ok(()) };
        }
        for (sighting, file) in std::mem::take(&mut waiting.files) {
            self.waiting_bytes -= file.len();
            self.record(sighting, &file)?;
        }
        Ok(())
    }

    fn record(&mut self, sighting: Sighting, file: &[u8]) -> Result<(), ImportError> {
        let Sighting { archive, codename, date, text, .. } = sighting.clone();
        let fork = |digest: Digest, by: Option<&str>| Fork {
            archive: name_of(&archive).to_owned(),
            codename: codename.clone(),
            date,
            one: (digest.to_string(), by.map(str::to_owned)),
            other: (sighting.file.to_string(), sighting.source.clone()),
        };
        let known = self.elsewhere.of(&archive, &codename, date);
        if let Some(one) = known.iter().find(|one| one.text != text) {
            self.done.forks.insert(fork(one.file, Some(&one.source)));
        }
        let mut agrees = false;
        if let Some(seen) = self.history.at(&archive, &codename, date) {
            let here = match seen == sighting.file {
                true => Some(text),
                false => read_signed(self.store, &seen)?.and_then(|file| signed_text(&file)),
            };
            match here {
                Some(here) if here == text => agrees = true,
                Some(_) => drop(self.done.forks.insert(fork(seen, None))),
                None => self.done.unsure += 1,
            }
        }
        match elsewhere::add(self.store, &mut self.elsewhere, sighting, file)? {
            true => {
                self.done.new += 1;
                self.done.agreeing += u64::from(agrees);
            }
            false => self.done.known += 1,
        }
        Ok(())
    }

    /// What was done.
    pub fn finish(mut self) -> Imported {
        self.done.too_few = self.waiting.values().map(|one| one.files.len() as u64).sum();
        let mut newest: BTreeMap<(&str, &str), &Sighting> = BTreeMap::new();
        for one in self.elsewhere.iter() {
            // In order of their dates: the last one stays.
            newest.insert((&one.archive, &one.codename), one);
        }
        for ((archive, codename), one) in newest {
            if self.history.newest(archive, codename).is_some_and(|seen| seen < one.date) {
                self.done.newer.push(Newer {
                    archive: name_of(archive).to_owned(),
                    codename: codename.to_owned(),
                    date: one.date,
                    source: one.source.clone(),
                });
            }
        }
        self.done
    }
}
