//! Archives: signatures first, then the indexes they name, then the packages those name. Nothing unsigned is parsed.

use selfsame_apt::fetch::FetchError;
use selfsame_apt::openpgp::{Fingerprint, KeyringError};
use selfsame_apt::packages::{Index, IndexError, Package, UnpackError, unpack};
use selfsame_apt::release::Release;
use selfsame_apt::snapshot::{Accepted, Refused, Snapshot, ThinError};
use selfsame_image::epoch::civil;
use selfsame_image::tree::Content;
use selfsame_store::StoreError;

use super::in_release::InRelease;
use super::universe::{Candidate, Universe};
use super::{LockRequest, keys};
use crate::fetch::{self, Wanted};
use crate::local::{self, Local, LocalError};
use crate::lock::{self, ArchiveState, LocalState, Lock, SuiteState};
use crate::recipe::{Archive, FilesError, Priority, Recipe};
use crate::snapshots::{self, Kept};

/// Why an archive could not be had, or not be believed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// A file could not be fetched from any mirror.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The keys of the recipe cannot be read.
    #[error("archive {archive}: the keys cannot be read")]
    KeyFile {
        /// The archive.
        archive: String,
        /// The file and why not.
        source: FilesError,
    },
    /// The keys of the recipe are no keys.
    #[error("archive {archive}: the keys are not usable")]
    Keys {
        /// The archive.
        archive: String,
        /// Why not.
        source: KeyringError,
    },
    /// No keys are known for this suite.
    #[error("archive {archive}: no Debian keys are built in for suite {suite}")]
    UnknownSuite {
        /// The archive.
        archive: String,
        /// The suite.
        suite: String,
    },
    /// The file is not signed as it must be, or is not the one that is wanted.
    #[error("archive {archive}, suite {suite}: InRelease is refused")]
    Refused {
        /// The archive.
        archive: String,
        /// The suite.
        suite: String,
        /// Why.
        source: Box<Refused>,
    },
    /// The mirrors no longer have the state that the lock names.
    #[error(
        "archive {archive}, suite {suite}: the state of {date} that the lock names is not served any more"
    )]
    MovedOn {
        /// The archive.
        archive: String,
        /// The suite.
        suite: String,
        /// `Date` of the locked state.
        date: String,
    },
    /// The mirror has a state from before the one of the last lock.
    #[error(
        "archive {archive}, suite {suite}: the state of {date} is older than that of {locked} in the lock"
    )]
    Older {
        /// The archive.
        archive: String,
        /// The suite.
        suite: String,
        /// `Date` of what the mirror has.
        date: String,
        /// `Date` of the locked state.
        locked: String,
    },
    /// The recipe names a snapshot that is not there.
    #[error("archive {archive}: the store has no snapshot {serial} of all its suites")]
    NoSnapshot {
        /// The archive.
        archive: String,
        /// Its name.
        serial: String,
    },
    /// A snapshot or a lock has another state than the one it is named for.
    #[error("archive {archive}, suite {suite}: what is recorded as {recorded} is the state of {signed}")]
    Misdated {
        /// The archive.
        archive: String,
        /// The suite.
        suite: String,
        /// The recorded name or date.
        recorded: String,
        /// What it should be.
        signed: String,
    },
    /// The recipe names a snapshot of which there are two.
    #[error("archive {archive}: the store has two different snapshots {serial}")]
    TwoSnapshots {
        /// The archive.
        archive: String,
        /// Their name.
        serial: String,
    },
    /// The suite lacks what is asked for.
    #[error("archive {archive}, suite {suite}: there is no index {path}")]
    NoIndex {
        /// The archive.
        archive: String,
        /// The suite.
        suite: String,
        /// Path of the index without the extension of its compression.
        path: String,
    },
    /// An index is not what the signature says.
    #[error("archive {archive}: index {path}")]
    Unpack {
        /// The archive.
        archive: String,
        /// The index.
        path: String,
        /// Why not.
        source: UnpackError,
    },
    /// An index cannot be read.
    #[error("archive {archive}: index {path}")]
    Index {
        /// The archive.
        archive: String,
        /// The index.
        path: String,
        /// Why not.
        source: IndexError,
    },
    /// A file that is kept as a difference cannot be made again.
    #[error("archive {archive}")]
    Thin {
        /// The archive.
        archive: String,
        /// Why not.
        source: ThinError,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Verifies all archives of the recipe and fetches what is missing; gives their states, and adds every package they have to `universe`.
pub(super) fn fetch(
    request: &LockRequest<'_>,
    universe: &mut Universe,
) -> Result<Vec<ArchiveState>, ArchiveError> {
    let mut states = Vec::new();
    for (name, archive) in &request.recipe.archives {
        let at = At { request, name, archive };
        let mut suites = Vec::new();
        for suite in &archive.suites {
            suites.push(at.suite(suite, universe)?);
        }
        let serial = serial_of(suites.iter().map(|suite| suite.date));
        states.push(ArchiveState { name: name.clone(), serial, suites });
    }
    Ok(states)
}

/// What apt makes of an archive that says nothing of itself.
const ORDINARY: u16 = 500;

/// Reads the recipe's own archives, and adds every package they have to `universe`.
pub(super) fn read_local(
    request: &LockRequest<'_>,
    universe: &mut Universe,
) -> Result<Vec<LocalState>, LocalError> {
    let mut states = Vec::new();
    for (name, asked) in &request.recipe.local {
        let Local { state, index, .. } = local::read(request.recipe, name, request.store)?;
        for package in index.packages() {
            universe.add(candidate(name, asked.priority.unwrap_or(ORDINARY), &package));
        }
        states.push(state);
    }
    Ok(states)
}

/// The name of a state whose suites have these dates.
fn serial_of(dates: impl Iterator<Item = i64>) -> String {
    selfsame_apt::date::serial(dates.max().unwrap_or(0))
}

pub(crate) fn date(seconds: i64) -> String {
    civil(u32::try_from(seconds).unwrap_or(0)).to_string()
}

struct At<'a> {
    request: &'a LockRequest<'a>,
    name: &'a str,
    archive: &'a Archive,
}

impl At<'_> {
    fn suite(&self, suite: &str, universe: &mut Universe) -> Result<SuiteState, ArchiveError> {
        let pinned = self.pinned(suite)?;
        let LockRequest { recipe, store, source, observer, .. } = *self.request;
        let Accepted { release, signers, .. } = pinned.accept(recipe, store, source, observer)?;
        let mut indexes = Vec::new();
        for component in &self.archive.components {
            indexes.push(self.index(suite, &release, component, universe)?);
        }
        indexes.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(SuiteState {
            suite: suite.to_owned(),
            codename: release.codename.clone().unwrap_or_default(),
            date: release.date,
            verified_at: pinned.at,
            in_release: pinned.content.into(),
            signers: signers.iter().map(Fingerprint::to_string).collect(),
            indexes,
        })
    }

    /// The state of `suite` that an older lock names, or a snapshot.
    fn pinned<'s>(&'s self, suite: &'s str) -> Result<InRelease<'s>, ArchiveError> {
        if let Some(state) = kept(self.request.recipe, self.request.old, self.name, suite) {
            return Ok(self.in_release(suite, state.in_release.into(), state.date, state.verified_at));
        }
        if let Some(serial) = &self.archive.serial {
            // Whoever names a snapshot wants that one, however old.
            return self.of_snapshot(suite, serial);
        }
        let taken = self.request.taken.get(self.name);
        let state =
            taken.and_then(|one| one.suites.iter().find(|state| state.suite == suite).zip(Some(one.at)));
        let latest =
            || ArchiveError::NoSnapshot { archive: self.name.to_owned(), serial: "latest".to_owned() };
        let (state, at) = state.ok_or_else(latest)?;
        Ok(self.in_release(suite, state.in_release, state.date, at))
    }

    fn in_release<'s>(&'s self, suite: &'s str, content: Content, date: i64, at: i64) -> InRelease<'s> {
        InRelease { archive: self.name, suite, content, date, at }
    }

    /// Makes a file again that the store has as a difference.
    fn restore(&self, content: Content) -> Result<(), ArchiveError> {
        snapshots::restore(self.request.store, [content])
            .map_err(|source| ArchiveError::Thin { archive: self.name.to_owned(), source })
    }

    /// The state of `suite` in the snapshot of this name.
    fn of_snapshot<'s>(&'s self, suite: &'s str, serial: &str) -> Result<InRelease<'s>, ArchiveError> {
        // Another recipe may have another archive of this name.
        let (_, spec) = keys::terms(self.request.recipe, self.name, suite)?;
        let named = |kept: &&Kept| kept.spec.identity() == spec.identity() && kept.snapshot.serial == serial;
        let mut found: Option<InRelease<'s>> = None;
        for Kept { snapshot, .. } in self.request.snapshots.iter().filter(named) {
            let Some(state) = snapshot.suites.iter().find(|state| state.suite == suite) else { continue };
            let signed = serial_of(snapshot.suites.iter().map(|state| state.date));
            if signed != serial {
                let (archive, recorded) = (self.name.to_owned(), serial.to_owned());
                return Err(ArchiveError::Misdated { archive, suite: suite.to_owned(), recorded, signed });
            }
            match &found {
                Some(other) if other.content != state.in_release => {
                    let (archive, serial) = (self.name.to_owned(), serial.to_owned());
                    return Err(ArchiveError::TwoSnapshots { archive, serial });
                }
                Some(_) => {}
                None => found = Some(self.in_release(suite, state.in_release, state.date, snapshot.at)),
            }
        }
        let missing =
            || ArchiveError::NoSnapshot { archive: self.name.to_owned(), serial: serial.to_owned() };
        found.ok_or_else(missing)
    }

    fn index(
        &self,
        suite: &str,
        release: &Release,
        component: &str,
        universe: &mut Universe,
    ) -> Result<lock::Index, ArchiveError> {
        let plain = format!("{component}/binary-{}/Packages", self.request.recipe.packages.architecture);
        let (path, content) = packed(release, &plain).ok_or_else(|| ArchiveError::NoIndex {
            archive: self.name.to_owned(),
            suite: suite.to_owned(),
            path: plain.clone(),
        })?;
        let wanted = wanted_index(self.name, suite, release, &path, content);
        self.restore(content)?;
        fetch::bring_missing(
            std::slice::from_ref(&wanted),
            self.request.store,
            self.request.source,
            self.request.observer,
        )?;
        let bytes = self.request.store.read(&content.digest)?.unwrap_or_default();
        let (archive, named) = (|| self.name.to_owned(), || path.clone());
        let text = unpack(&bytes, &content, release.sha256.get(&plain))
            .map_err(|source| ArchiveError::Unpack { archive: archive(), path: named(), source })?;
        let index = Index::parse(text).map_err(|source| ArchiveError::Index {
            archive: archive(),
            path: named(),
            source,
        })?;
        let priority = self.archive.priority.unwrap_or_else(|| release.default_priority());
        // Others are nothing to apt.
        let own = [self.request.recipe.packages.architecture.as_str(), "all"];
        for package in index.packages().filter(|package| own.contains(&package.architecture())) {
            universe.add(candidate(self.name, priority, &package));
        }
        Ok(lock::Index { path, file: content.into() })
    }
}

/// The state of `suite` of the archive `name` that an older lock names and the next one keeps: the recipe asks for the same.
fn kept<'a>(recipe: &Recipe, old: Option<&'a Lock>, name: &str, suite: &str) -> Option<&'a SuiteState> {
    let old = old?;
    let asked = lock::Request::of(recipe);
    // Which packages of a state win does not make it another state.
    let state = |asked: &lock::Request| {
        let archive = asked.archives.get(name)?.clone();
        Some(lock::ArchiveRequest { priority: None, ..archive })
    };
    if state(&asked) != state(&old.request) {
        return None;
    }
    let archive = old.archives.iter().find(|state| state.name == name)?;
    archive.suites.iter().find(|state| state.suite == suite)
}

/// The archives of `recipe` of which a snapshot must be taken for a lock: neither the recipe names one, nor does `old` name a
/// state that is kept.
pub fn to_take<'a>(recipe: &'a Recipe, old: Option<&Lock>) -> Vec<&'a str> {
    let pinned = |name: &str, archive: &Archive| {
        archive.serial.is_some()
            || archive.suites.iter().all(|suite| kept(recipe, old, name, suite).is_some())
    };
    let open = recipe.archives.iter().filter(|(name, archive)| !pinned(name, archive));
    open.map(|(name, _)| name.as_str()).collect()
}

/// Whether `snapshot` is in no suite from before the state that `floor` names: a mirror that is stale, or kept so by
/// somebody, could bring back packages with known holes, and all signatures would be right.
pub fn not_before(floor: &Lock, snapshot: &Snapshot) -> Result<(), ArchiveError> {
    for state in &snapshot.suites {
        match date_of(floor, &snapshot.archive, &state.suite) {
            Some(locked) if state.date < locked => {
                return Err(ArchiveError::Older {
                    archive: snapshot.archive.clone(),
                    suite: state.suite.clone(),
                    date: date(state.date),
                    locked: date(locked),
                });
            }
            _ => {}
        }
    }
    Ok(())
}

/// The index at `path` below the directory of `suite`, and where it may be.
pub(crate) fn wanted_index(
    archive: &str,
    suite: &str,
    release: &Release,
    path: &str,
    content: Content,
) -> Wanted {
    let mut paths = vec![format!("dists/{suite}/{path}")];
    if release.acquire_by_hash {
        // A path by digest names the same file before and after the archive is updated.
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        paths.insert(0, format!("dists/{suite}/{directory}/by-hash/SHA256/{}", content.digest));
    }
    Wanted { what: format!("index {path} of {suite}"), archive: archive.to_owned(), paths, content }
}

/// The form in which the index `plain` of a suite is fetched: xz, else gzip, else plain.
pub(crate) fn packed(release: &Release, plain: &str) -> Option<(String, Content)> {
    [".xz", ".gz", ""].iter().find_map(|extension| {
        let path = format!("{plain}{extension}");
        let content = *release.sha256.get(&path)?;
        Some((path, content))
    })
}

/// `Date` of the state of `suite` that `lock` names.
fn date_of(lock: &Lock, archive: &str, suite: &str) -> Option<i64> {
    let archive = lock.archives.iter().find(|state| state.name == archive)?;
    archive.suites.iter().find(|state| state.suite == suite).map(|state| state.date)
}

fn candidate(archive: &str, suite_priority: u16, package: &Package<'_>) -> Candidate {
    let stanza = String::from_utf8_lossy(package.stanza()).into_owned();
    let field = |name: &str| {
        let start = |line: &&str| {
            line.len() > name.len() && line.as_bytes()[name.len()] == b':' && line.starts_with(name)
        };
        stanza.lines().find(start).map_or("", |line| line[name.len() + 1..].trim()).to_owned()
    };
    let depends: Vec<String> =
        ["Pre-Depends", "Depends"].map(field).into_iter().filter(|text| !text.is_empty()).collect();
    let (source, version) = package.source();
    Candidate {
        name: package.name().to_owned(),
        version: package.version_text().to_owned(),
        architecture: package.architecture().to_owned(),
        archive: archive.to_owned(),
        suite_priority,
        path: package.filename().to_owned(),
        file: package.file().into(),
        source: format!("{source} (= {version})"),
        essential: package.essential(),
        priority: match package.priority() {
            "required" => Some(Priority::Required),
            "important" => Some(Priority::Important),
            "standard" => Some(Priority::Standard),
            _ => None,
        },
        depends: depends.join(", "),
        provides: field("Provides"),
        stanza,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_knows_the_date_of_each_of_its_suites() {
        let lock = lock::sample();
        assert_eq!(date_of(&lock, "debian", "bookworm"), Some(1_747_474_992));
        assert_eq!(date_of(&lock, "debian", "trixie"), None);
        assert_eq!(date_of(&lock, "other", "bookworm"), None);
    }
}
