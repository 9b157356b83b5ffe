//! Taking a snapshot.

use std::num::NonZero;

use selfsame_image::tree::Content;
use selfsame_store::Store;

use super::state::{self, Listed};
use super::transport::{Transport, TransportError, Want};
use super::{
    Accepted, ArchiveSpec, Contradiction, Elsewhere, History, IndexRef, Novelty, Refused, Snapshot,
    SnapshotError, SuiteState, Thin, accept,
};
use crate::date;
use crate::openpgp::Keyring;
use crate::packages::{Index, unpack};
use crate::release::{MAX_SIZE, Release};

/// How often an archive that changes while it is read is read again.
const ATTEMPTS: usize = 3;

/// On which terms a snapshot is taken.
#[derive(Clone, Debug)]
pub struct Terms<'a> {
    /// Now, in seconds since 1970-01-01 UTC: the time as of which everything is judged, now and later.
    pub at: i64,
    /// How many sources must have the newest state of each suite. With 1, one is believed.
    pub agreeing: usize,
    /// How many sources are asked at most.
    pub asked: usize,
    /// The largest age of a suite in seconds. Without it, a mirror may stand still for ever where there is no
    /// `Valid-Until`, as in Debian's stable.
    pub max_age: Option<i64>,
    /// The state that is wanted, by its serial.
    pub serial: Option<String>,
    /// What was seen before.
    pub history: Option<&'a History>,
    /// What others saw.
    pub elsewhere: Option<&'a Elsewhere>,
    /// The serial that is wanted although others saw a newer state.
    pub in_spite: Option<String>,
    /// Whether a state may be older than what was seen, here or by others. Two of one date are refused all the same.
    pub even_older: bool,
}

impl Terms<'_> {
    /// One source, no history, any age.
    pub fn new(at: i64) -> Self {
        let (max_age, serial, history, elsewhere, in_spite) = (None, None, None, None, None);
        let even_older = false;
        Self { at, agreeing: 1, asked: 1, max_age, serial, history, elsewhere, in_spite, even_older }
    }
}

/// A snapshot and what is known about it beyond its signatures.
#[derive(Debug)]
pub struct Fetched {
    /// What goes into the lock.
    pub snapshot: Snapshot,
    /// What speaks for it.
    pub evidence: Evidence,
}

/// What speaks for a snapshot, besides that all its suites were there at the same time.
#[derive(Debug)]
pub struct Evidence {
    /// By suite, in the order of the [`ArchiveSpec`].
    pub suites: Vec<SuiteEvidence>,
}

/// What speaks for one suite.
#[derive(Debug)]
pub struct SuiteEvidence {
    /// The suite.
    pub suite: String,
    /// How many sources were asked.
    pub asked: usize,
    /// How many of them have this state.
    pub agreeing: usize,
    /// Their names, the one that was used first.
    pub agreed: Vec<String>,
    /// What the others have: something older, or nothing.
    pub others: Vec<FromSource>,
    /// How it fits to what was seen before, if that is known.
    pub novelty: Option<Novelty>,
}

/// What a source gave that was not used.
#[derive(Debug)]
#[non_exhaustive]
pub enum FromSource {
    /// An older state.
    Stale {
        /// Name of the source.
        source: String,
        /// Date of its state.
        date: i64,
    },
    /// Nothing.
    Nothing {
        /// Name of the source.
        source: String,
        /// Why.
        reason: TransportError,
    },
    /// A file that is refused.
    Refused {
        /// Name of the source.
        source: String,
        /// Why.
        reason: Box<Refused>,
    },
}

impl FromSource {
    pub(super) fn list(all: &[Self]) -> String {
        all.iter().map(|one| format!("; {one}")).collect()
    }
}

impl std::fmt::Display for FromSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (source, mut cause): (_, Option<&dyn std::error::Error>) = match self {
            Self::Stale { source, date } => {
                return write!(f, "{source} has the one of {}", date::serial(*date));
            }
            Self::Nothing { source, reason } => (source, Some(reason)),
            Self::Refused { source, reason } => (source, Some(&**reason)),
        };
        f.write_str(source)?;
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// An acceptable `InRelease` file of one source.
struct Candidate {
    position: usize,
    source: String,
    bytes: Vec<u8>,
    accepted: Accepted,
}

/// The `InRelease` file that was chosen for a suite.
struct Chosen {
    source: usize,
    content: Content,
    accepted: Accepted,
    evidence: SuiteEvidence,
}

/// Brings one state of an archive into the store.
///
/// Every `InRelease` file is judged as of `terms.at`; of those that pass, the newest is taken. All are read again
/// after the last: if one has changed, or an index is gone, the archive is just being updated, and everything is read anew.
pub fn fetch_snapshot(
    spec: &ArchiveSpec,
    keys: &Keyring,
    transport: &dyn Transport,
    store: &Store,
    terms: &Terms<'_>,
) -> Result<Fetched, SnapshotError> {
    spec.check().map_err(|source| SnapshotError::Spec { archive: spec.name.clone(), source })?;
    let taking = Taking { spec, keys, transport, store, terms };
    let mut changed = (String::new(), None);
    for _ in 0..ATTEMPTS {
        match taking.attempt()? {
            Attempt::Done(fetched) => return Ok(fetched),
            Attempt::Changed(what, why) => changed = (what, why),
        }
    }
    let (what, source) = changed;
    Err(SnapshotError::Moving { what, attempts: ATTEMPTS, source })
}

enum Attempt {
    Done(Fetched),
    /// What changed or vanished, and what is there instead, as far as that is known.
    Changed(String, Option<TransportError>),
}

struct Taking<'a> {
    spec: &'a ArchiveSpec,
    keys: &'a Keyring,
    transport: &'a dyn Transport,
    store: &'a Store,
    terms: &'a Terms<'a>,
}

impl Taking<'_> {
    fn attempt(&self) -> Result<Attempt, SnapshotError> {
        let suites = &self.spec.suites;
        let chosen = suites.iter().map(|suite| self.choose(suite)).collect::<Result<Vec<_>, _>>()?;
        for (suite, chosen) in suites.iter().zip(&chosen) {
            let again = self.transport.in_release(chosen.source, &path(suite), MAX_SIZE);
            match again {
                Ok(bytes) if Content::of(&bytes) == chosen.content => {}
                Ok(_) => return Ok(Attempt::Changed(path(suite), None)),
                Err(reason) => {
                    let source = self.transport.sources().swap_remove(chosen.source);
                    let failures = vec![FromSource::Nothing { source, reason }];
                    return Err(SnapshotError::NoSource { suite: suite.clone(), failures });
                }
            }
        }
        self.judge_elsewhere(&chosen)?;
        let mut listed = Vec::new();
        for (suite, chosen) in suites.iter().zip(&chosen) {
            listed.push(state::select(self.spec, suite, &chosen.accepted.release)?);
        }
        let all: Vec<_> = suites.iter().zip(&chosen).zip(&listed).collect();
        let wants: Vec<_> = all
            .iter()
            .flat_map(|((suite, chosen), listed)| {
                let by_hash = chosen.accepted.release.acquire_by_hash;
                listed.iter().map(move |index| want(suite, index, by_hash))
            })
            .collect();
        match self.transport.pinned(self.store, &wants) {
            Ok(()) => {}
            Err(TransportError::Missing { path }) => return Ok(Attempt::Changed(path, None)),
            Err(TransportError::Replaced { path, source }) => {
                let why = TransportError::Replaced { path: path.clone(), source };
                return Ok(Attempt::Changed(path, Some(why)));
            }
            Err(source) => {
                return Err(SnapshotError::Fetch { archive: self.spec.name.clone(), source });
            }
        }
        let mut states = Vec::new();
        for ((suite, chosen), listed) in all {
            states.push(self.state(suite, chosen, listed)?);
        }
        let serial = state::serial(&states);
        if let Some(want) = self.terms.serial.as_ref().filter(|&want| *want != serial) {
            return Err(SnapshotError::WrongSerial { want: want.clone(), have: serial });
        }
        let snapshot =
            Snapshot { archive: self.spec.name.clone(), serial, at: self.terms.at, suites: states };
        let suites = chosen.into_iter().map(|chosen| chosen.evidence).collect();
        Ok(Attempt::Done(Fetched { snapshot, evidence: Evidence { suites } }))
    }

    /// Asks the sources for a suite and takes the newest state that is acceptable.
    fn choose(&self, suite: &str) -> Result<Chosen, SnapshotError> {
        let (asked, good, mut others) = self.ask(suite);
        let Some(newest) = good.iter().map(|candidate| candidate.accepted.release.date).max() else {
            return Err(SnapshotError::NoSource { suite: suite.to_owned(), failures: others });
        };
        let mut taken: Option<(usize, Content, Accepted)> = None;
        let mut agreed = Vec::new();
        for Candidate { position, source, bytes, accepted } in good {
            let date = accepted.release.date;
            if date < newest {
                others.push(FromSource::Stale { source, date });
                continue;
            }
            self.store.put(&bytes)?;
            let content = Content::of(&bytes);
            agreed.push(source);
            match &taken {
                Some((_, first, _)) if *first != content => {
                    let (suite, first) = (suite.to_owned(), *first);
                    return Err(SnapshotError::Equivocation { suite, date, first, second: content });
                }
                Some(_) => {}
                None => taken = Some((position, content, accepted)),
            }
        }
        let (source, content, accepted) = taken.expect("the newest of a list is in it");
        let agreeing = agreed.len();
        let novelty = self.judge_age(suite, &content, &accepted, agreeing)?;
        let evidence = SuiteEvidence { suite: suite.to_owned(), asked, agreeing, agreed, others, novelty };
        Ok(Chosen { source, content, accepted, evidence })
    }

    /// How many sources were asked, what was acceptable, and what was not.
    fn ask(&self, suite: &str) -> (usize, Vec<Candidate>, Vec<FromSource>) {
        let (mut good, mut others) = (Vec::new(), Vec::new());
        let sources: Vec<_> = self.transport.sources().into_iter().take(self.terms.asked.max(1)).collect();
        let asked = sources.len();
        for (position, source) in sources.into_iter().enumerate() {
            match self.transport.in_release(position, &path(suite), MAX_SIZE) {
                Err(reason) => others.push(FromSource::Nothing { source, reason }),
                Ok(bytes) => match accept(&bytes, self.spec, suite, self.keys, self.terms.at) {
                    Ok(accepted) => good.push(Candidate { position, source, bytes, accepted }),
                    Err(reason) => others.push(FromSource::Refused { source, reason: Box::new(reason) }),
                },
            }
        }
        (asked, good, others)
    }

    /// Whether the newest state that was found is new enough, and agreed on.
    fn judge_age(
        &self,
        suite: &str,
        content: &Content,
        accepted: &Accepted,
        agreeing: usize,
    ) -> Result<Option<Novelty>, SnapshotError> {
        let (date, suite) = (accepted.release.date, suite.to_owned());
        let need = self.terms.agreeing;
        if agreeing < need {
            return Err(SnapshotError::NotAgreed { suite, date, have: agreeing, need });
        }
        if let Some(max_age) = self.terms.max_age.filter(|&max_age| self.terms.at - date > max_age) {
            return Err(SnapshotError::TooOld { suite, date, max_age });
        }
        let Some(history) = self.terms.history else {
            return Ok(None);
        };
        match history.check(&self.spec.identity(), codename(accepted), date, &content.digest) {
            Ok(novelty) => Ok(Some(novelty)),
            Err(Contradiction::Rollback { .. }) if self.terms.even_older => Ok(None),
            Err(source) => Err(SnapshotError::Contradiction { suite, source }),
        }
    }

    /// Whether what others saw leaves these states the newest, and the only ones of their dates.
    fn judge_elsewhere(&self, chosen: &[Chosen]) -> Result<(), SnapshotError> {
        let Some(elsewhere) = self.terms.elsewhere else {
            return Ok(());
        };
        let newest = chosen.iter().map(|one| one.accepted.release.date).max().unwrap_or_default();
        let wanted = self.terms.even_older || self.terms.in_spite.as_ref() == Some(&date::serial(newest));
        let identity = self.spec.identity();
        let archive = identity.as_str();
        for (suite, one) in self.spec.suites.iter().zip(chosen) {
            let Chosen { accepted, content, .. } = one;
            let (name, dated) = (codename(accepted), accepted.release.date);
            let disagrees = |source| SnapshotError::Elsewhere { suite: suite.clone(), source };
            let only = elsewhere.check_fork((archive, name), dated, &accepted.text, &content.digest);
            only.map_err(disagrees)?;
            if !wanted {
                elsewhere.check_newest(archive, name, dated).map_err(disagrees)?;
            }
        }
        Ok(())
    }

    /// Reads every index once, so that nothing unreadable gets into a lock.
    fn state(&self, suite: &str, chosen: &Chosen, listed: &[Listed]) -> Result<SuiteState, SnapshotError> {
        let mut indexes = Vec::new();
        for index in listed {
            let (plain, _) = read_index(self.store, suite, index)?;
            indexes.push(IndexRef { path: index.path.clone(), packed: index.packed, plain });
        }
        Ok(SuiteState {
            suite: suite.to_owned(),
            codename: codename(&chosen.accepted).to_owned(),
            date: chosen.accepted.release.date,
            in_release: chosen.content,
            signers: chosen.accepted.signers.clone(),
            indexes,
        })
    }
}

/// Reads an index from the store, checks it and parses it; also says what its plain form is.
pub(super) fn read_index(
    store: &Store,
    suite: &str,
    index: &Listed,
) -> Result<(Content, Index), SnapshotError> {
    let (suite, path) = (suite.to_owned(), index.path.clone());
    let text = match store.read(&index.packed.digest)? {
        Some(packed) => unpack(&packed, &index.packed, index.plain.as_ref()).map_err(|source| {
            let (suite, path) = (suite.clone(), path.clone());
            SnapshotError::Unpack { suite, path, source: Box::new(source) }
        })?,
        None => thin_index(store, &suite, index)?,
    };
    let plain = index.plain.unwrap_or_else(|| Content::of(&text));
    let unusable = |source| SnapshotError::Index { suite, path, source: Box::new(source) };
    Ok((plain, Index::parse(text).map_err(unusable)?))
}

/// What an index holds that is thin. Where only its compressed form is signed, that is made again.
fn thin_index(store: &Store, suite: &str, index: &Listed) -> Result<Vec<u8>, SnapshotError> {
    let what = || format!("index {} of {suite}", index.path);
    let missing = || SnapshotError::NotStored { what: what(), content: index.packed };
    let thin = |source| SnapshotError::Thin { what: what(), source: Box::new(source) };
    let text = Thin::plain(store, &index.packed).map_err(thin)?.ok_or_else(missing)?;
    match index.plain {
        Some(plain) if Content::of(&text) == plain => {}
        Some(_) => return Err(missing()),
        None => drop(Thin::restore(store, &index.packed, NonZero::<usize>::MIN).map_err(thin)?),
    }
    Ok(text)
}

/// The codename of an accepted file; [`crate::release::Release`] has this or a suite name.
pub(super) fn codename(accepted: &Accepted) -> &str {
    codename_of(&accepted.release)
}

pub(super) fn codename_of(release: &Release) -> &str {
    release.codename.as_deref().or(release.suite.as_deref()).unwrap_or_default()
}

fn path(suite: &str) -> String {
    format!("dists/{suite}/InRelease")
}

fn want(suite: &str, index: &Listed, by_hash: bool) -> Want {
    let dists = format!("dists/{suite}");
    let plain = format!("{dists}/{}", index.path);
    let paths = match by_hash {
        true => vec![state::by_hash(&dists, &index.path, &index.packed), plain],
        false => vec![plain],
    };
    Want { what: format!("{suite} {}", index.path), content: index.packed, paths }
}
