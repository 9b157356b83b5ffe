//! Tags: of each archive the part that one lock needs, with the archive's own signatures, to be kept as long as the image.
//!
//! `InRelease` files and indexes are the archive's, byte for byte, and whole: an index names packages that the tag does not
//! have, so that apt chooses from it what it would choose from the archive. Stock apt takes such a part as it is.

mod export;

use std::collections::{BTreeMap, BTreeSet};

use selfsame_apt::fetch::{Failure, FetchError, Reason};
use selfsame_apt::packages::unpack;
use selfsame_apt::release::Release;
use selfsame_apt::snapshot::accept;
use selfsame_apt::sources::{self, SourceId, SourcesError};
use selfsame_image::tree::Content;
use selfsame_store::{Store, StoreError};

use crate::event::Observer;
use crate::fetch::{self, Source, Wanted};
use crate::lock::{ArchiveState, Lock, Request as Asked, SuiteState};
use crate::recipe::Recipe;
use crate::resolve::archives::{date, packed, wanted_index};
use crate::resolve::{ArchiveError, keys};
use crate::snapshots;

pub use export::{ExportError, LOCK, SUMS, export};

/// What a tag is made of.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The recipe, which says whose signatures count.
    pub recipe: &'a Recipe,
    /// What is needed.
    pub lock: &'a Lock,
    /// Where everything is kept, and looked for first.
    pub store: &'a Store,
    /// Where the rest comes from.
    pub source: &'a dyn Source,
    /// Whether to add the sources of all packages, and the indexes that name them.
    pub sources: bool,
    /// Who is told what happens.
    pub observer: &'a dyn Observer,
}

/// The files of a tag, all of them in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tag {
    /// By path: the archive's name, then the path below the archive's root.
    pub files: BTreeMap<String, Content>,
}

/// Why there is no tag.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TagError {
    /// The lock answers another recipe.
    #[error("the lock is stale: {}", changes.join("; "))]
    Stale {
        /// What changed.
        changes: Vec<String>,
    },
    /// The lock names an index that its signed file does not.
    #[error("archive {archive}, suite {suite}: the lock's index {path} is not the one that is signed")]
    Unsigned {
        /// The archive.
        archive: String,
        /// The suite.
        suite: String,
        /// The index.
        path: String,
    },
    /// A `Sources` index cannot be used.
    #[error("archive {archive}: index {path}")]
    Sources {
        /// The archive.
        archive: String,
        /// The index.
        path: String,
        /// Why not.
        source: SourcesError,
    },
    /// No index has the sources of these packages.
    #[error("archive {archive} has no source of {}", packages.join(", "))]
    NoSource {
        /// The archive.
        archive: String,
        /// Source packages with their versions.
        packages: Vec<String>,
    },
    /// An archive could not be believed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A file could not be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Brings everything that belongs to a tag into the store, and checks the signatures of the locked states once more.
pub fn collect(request: &Request<'_>) -> Result<Tag, TagError> {
    let changes = Asked::of(request.recipe).changes_since(&request.lock.request);
    if !changes.is_empty() {
        return Err(TagError::Stale { changes });
    }
    let mut tag = Tag::default();
    for archive in &request.lock.archives {
        Part { request, archive }.collect(&mut tag)?;
    }
    for package in &request.lock.packages {
        tag.files.insert(format!("{}/{}", package.archive, package.path), package.file.into());
    }
    fetch::packages(request.lock, |_| true, request.store, request.source, request.observer)?;
    Ok(tag)
}

/// The part of one archive.
struct Part<'a> {
    request: &'a Request<'a>,
    archive: &'a ArchiveState,
}

impl Part<'_> {
    fn collect(&self, tag: &mut Tag) -> Result<(), TagError> {
        let mut wanted = Vec::new();
        let mut source_indexes = Vec::new();
        for state in &self.archive.suites {
            let (suite, release) = (&state.suite, self.release(state)?);
            tag.files.insert(self.path(&in_release(suite)), state.in_release.into());
            for index in &state.indexes {
                let content = Content::from(index.file);
                if release.sha256.get(&index.path) != Some(&content) {
                    let (archive, suite) = (self.archive.name.clone(), suite.clone());
                    return Err(TagError::Unsigned { archive, suite, path: index.path.clone() });
                }
                wanted.push(wanted_index(&self.archive.name, suite, &release, &index.path, content));
            }
            let components = &self.request.recipe.archives[&self.archive.name].components;
            for component in components.iter().filter(|_| self.request.sources) {
                let plain = format!("{component}/source/Sources");
                // A component without sources lists no such index.
                if let Some((path, content)) = packed(&release, &plain) {
                    wanted.push(wanted_index(&self.archive.name, suite, &release, &path, content));
                    source_indexes.push((path, content, release.sha256.get(&plain).copied()));
                }
            }
        }
        self.bring(&wanted)?;
        // Under both names: apt asks for the one by digest, debootstrap for the plain one.
        for one in &wanted {
            tag.files.extend(one.paths.iter().map(|path| (self.path(path), one.content)));
        }
        if self.request.sources {
            let sources = self.sources(&source_indexes)?;
            self.bring(&sources)?;
            tag.files.extend(sources.iter().map(|one| (self.path(&one.paths[0]), one.content)));
        }
        Ok(())
    }

    fn path(&self, path: &str) -> String {
        format!("{}/{path}", self.archive.name)
    }

    /// What the signed file of a suite says, which is checked as of the time that the lock names.
    fn release(&self, state: &SuiteState) -> Result<Release, TagError> {
        let (name, suite) = (&self.archive.name, &state.suite);
        let content = Content::from(state.in_release);
        let what = format!("InRelease of {suite}");
        let wanted = Wanted { what, archive: name.clone(), paths: vec![in_release(suite)], content };
        self.bring(&[wanted]).map_err(|error| match error {
            // Mirrors have one state at a time, and this is not it.
            TagError::Fetch(FetchError::Incomplete { ref failures, .. }) if is_another(failures) => {
                let (archive, suite, date) = (name.clone(), suite.clone(), date(state.date));
                ArchiveError::MovedOn { archive, suite, date }.into()
            }
            error => error,
        })?;
        let bytes = self.request.store.read(&content.digest)?.unwrap_or_default();
        let (keys, spec) = keys::terms(self.request.recipe, name, suite)?;
        let accepted = accept(&bytes, &spec, suite, &keys, state.verified_at);
        let refused = |source| {
            let (archive, suite, source) = (name.clone(), suite.clone(), Box::new(source));
            ArchiveError::Refused { archive, suite, source }
        };
        Ok(accepted.map_err(refused)?.release)
    }

    /// The files of all source packages that the lock's packages of this archive were built from.
    fn sources(&self, indexes: &[(String, Content, Option<Content>)]) -> Result<Vec<Wanted>, TagError> {
        let archive = || self.archive.name.clone();
        let of_archive =
            self.request.lock.packages.iter().filter(|package| package.archive == self.archive.name);
        let mut missing: BTreeSet<SourceId> =
            of_archive.filter_map(|package| source_id(&package.source)).collect();
        let mut wanted = Vec::new();
        for (path, content, plain) in indexes {
            let bytes = self.request.store.read(&content.digest)?.unwrap_or_default();
            let text = unpack(&bytes, content, plain.as_ref());
            let text = text.map_err(|source| ArchiveError::Unpack {
                archive: archive(),
                path: path.clone(),
                source,
            })?;
            let found = sources::find(&text, &missing).map_err(|source| TagError::Sources {
                archive: archive(),
                path: path.clone(),
                source,
            })?;
            for (id, files) in found {
                wanted.extend(files.into_iter().map(|file| Wanted {
                    what: format!("source {} {}", id.0, id.1),
                    archive: archive(),
                    paths: vec![file.path],
                    content: file.content,
                }));
                missing.remove(&id);
            }
        }
        if missing.is_empty() {
            return Ok(wanted);
        }
        let packages = missing.into_iter().map(|(name, version)| format!("{name} {version}")).collect();
        Err(TagError::NoSource { archive: archive(), packages })
    }

    /// Brings what the store does not have, or has damaged.
    fn bring(&self, wanted: &[Wanted]) -> Result<(), TagError> {
        let Request { store, source, observer, .. } = *self.request;
        snapshots::restore(store, wanted.iter().map(|one| one.content))
            .map_err(|source| ArchiveError::Thin { archive: self.archive.name.clone(), source })?;
        let missing = |one: &&Wanted| !matches!(store.open_verified(&one.content.digest), Ok(Some(_)));
        let missing: Vec<_> = wanted.iter().filter(missing).cloned().collect();
        Ok(fetch::bring(&missing, store, source, observer)?)
    }
}

/// Whether a mirror had another file in the place of one of these.
fn is_another(failures: &[Failure]) -> bool {
    let another = |reason: &Reason| matches!(reason, Reason::WrongDigest { .. } | Reason::WrongSize { .. });
    failures.iter().flat_map(|file| &file.tried).any(|tried| another(&tried.reason))
}

fn in_release(suite: &str) -> String {
    format!("dists/{suite}/InRelease")
}

/// Name and version out of `name (= version)`, the form of the lock.
fn source_id(text: &str) -> Option<SourceId> {
    let (name, version) = text.split_once(" (= ")?;
    Some((name.to_owned(), version.strip_suffix(')')?.to_owned()))
}
