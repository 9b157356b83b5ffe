//! Tags: of each archive the part that one lock needs, with the archive's own signatures, to be kept as long as the image.
//!
//! `InRelease` files and indexes are the archive's, byte for byte, and whole: an index names packages that the tag does not
//! have, so that apt chooses from it what it would choose from the archive. Stock apt takes such a part as it is.

mod export;

use std::collections::{BTreeMap, BTreeSet};

use selfsame_apt::fetch::FetchError;
use selfsame_apt::packages::{Index, unpack};
use selfsame_apt::release::Release;
use selfsame_apt::sources::{self, SourceId, SourcesError};
use selfsame_image::tree::Content;
use selfsame_store::{Store, StoreError};

use crate::event::Observer;
use crate::fetch::{self, Source, Wanted};
use crate::local::{self, LocalError};
use crate::lock::{ArchiveState, Lock, Package, Request as Asked, SuiteState};
use crate::recipe::Recipe;
use crate::resolve::ArchiveError;
use crate::resolve::archives::{packed, wanted_index};
use crate::resolve::in_release::InRelease;
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
    /// The lock names an index that its signed file does not, or that the recipe does not ask for.
    #[error(
        "archive {archive}, suite {suite}: the lock's index {path} is not a signed one that the recipe asks for"
    )]
    Unsigned {
        /// The archive.
        archive: String,
        /// The suite.
        suite: String,
        /// The index.
        path: String,
    },
    /// The lock names a package that no signed index has.
    #[error("archive {archive}: no signed index has {package} at {path} as the lock has it")]
    Unlisted {
        /// The archive.
        archive: String,
        /// Name and version of the package.
        package: String,
        /// Its path.
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
    /// A package of the recipe could not be had.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Brings everything that belongs to a tag into the store, and checks the locked states once more: signatures, dates, and
/// that each package is one of the signed indexes.
pub fn collect(request: &Request<'_>) -> Result<Tag, TagError> {
    let changes = Asked::of(request.recipe).changes_since(&request.lock.request);
    if !changes.is_empty() {
        return Err(TagError::Stale { changes });
    }
    let local = local::check(request.recipe, request.lock)?;
    let mut tag = Tag::default();
    for archive in &request.lock.archives {
        Part { request, archive }.collect(&mut tag)?;
    }
    for package in &request.lock.packages {
        tag.files.insert(format!("{}/{}", package.archive, package.path), package.file.into());
    }
    for state in &request.lock.local {
        tag.files.insert(format!("{}/Packages", state.name), state.index.into());
    }
    local::bring(&local, request.lock, |_| true, request.store)?;
    fetch::packages(request.lock, |_| true, request.store, request.source, request.observer)?;
    // What was there already may be what a run left that was killed.
    request.store.sync()?;
    Ok(tag)
}

/// An index that is signed.
struct Signed {
    path: String,
    content: Content,
    /// What it holds, if that is signed too.
    plain: Option<Content>,
}

/// The part of one archive.
struct Part<'a> {
    request: &'a Request<'a>,
    archive: &'a ArchiveState,
}

impl Part<'_> {
    fn collect(&self, tag: &mut Tag) -> Result<(), TagError> {
        let mut wanted = Vec::new();
        let (mut indexes, mut source_indexes) = (Vec::new(), Vec::new());
        let recipe = self.request.recipe;
        let components = &recipe.archives[&self.archive.name].components;
        let asked = |plain: &str| {
            let index = |one: &String| format!("{one}/binary-{}/Packages", recipe.packages.architecture);
            components.iter().any(|one| index(one) == plain)
        };
        for state in &self.archive.suites {
            let (suite, release) = (&state.suite, self.release(state)?);
            tag.files.insert(self.path(&in_release(suite)), state.in_release.into());
            for index in &state.indexes {
                let (path, content) = (&index.path, Content::from(index.file));
                let plain = [".xz", ".gz"].iter().find_map(|form| path.strip_suffix(form)).unwrap_or(path);
                if !asked(plain) || release.sha256.get(path) != Some(&content) {
                    let (archive, suite) = (self.archive.name.clone(), suite.clone());
                    return Err(TagError::Unsigned { archive, suite, path: path.clone() });
                }
                wanted.push(wanted_index(&self.archive.name, suite, &release, path, content));
                let plain = release.sha256.get(plain).copied();
                indexes.push(Signed { path: path.clone(), content, plain });
            }
            for component in components.iter().filter(|_| self.request.sources) {
                let plain = format!("{component}/source/Sources");
                // A component without sources lists no such index.
                if let Some((path, content)) = packed(&release, &plain) {
                    wanted.push(wanted_index(&self.archive.name, suite, &release, &path, content));
                    source_indexes.push(Signed { path, content, plain: release.sha256.get(&plain).copied() });
                }
            }
        }
        self.bring(&wanted)?;
        self.check_packages(&indexes)?;
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
        let in_release = InRelease {
            archive: &self.archive.name,
            suite: &state.suite,
            content: state.in_release.into(),
            date: state.date,
            at: state.verified_at,
        };
        let Request { recipe, store, source, observer, .. } = *self.request;
        Ok(in_release.accept(recipe, store, source, observer)?.release)
    }

    /// Whether each package of the lock is in a signed index: a tag shall prove that the archive published what is in it.
    fn check_packages(&self, signed: &[Signed]) -> Result<(), TagError> {
        let archive = || self.archive.name.clone();
        let mut indexes = Vec::new();
        for one in signed {
            let index = Index::parse(self.unpacked(one)?);
            let path = one.path.clone();
            indexes.push(index.map_err(|source| ArchiveError::Index { archive: archive(), path, source })?);
        }
        for package in self.packages() {
            if !indexes.iter().any(|index| package.is_listed(index)) {
                let (name, path) = (format!("{} {}", package.name, package.version), package.path.clone());
                return Err(TagError::Unlisted { archive: archive(), package: name, path });
            }
        }
        Ok(())
    }

    /// The lock's packages of this archive.
    fn packages(&self) -> impl Iterator<Item = &Package> {
        self.request.lock.packages.iter().filter(|package| package.archive == self.archive.name)
    }

    /// The text of an index that is in the store.
    fn unpacked(&self, Signed { path, content, plain }: &Signed) -> Result<Vec<u8>, TagError> {
        let bytes = self.request.store.read(&content.digest)?.unwrap_or_default();
        let (archive, path) = (self.archive.name.clone(), path.clone());
        let text = unpack(&bytes, content, plain.as_ref());
        Ok(text.map_err(|source| ArchiveError::Unpack { archive, path, source })?)
    }

    /// The files of all source packages that the lock's packages of this archive were built from.
    fn sources(&self, indexes: &[Signed]) -> Result<Vec<Wanted>, TagError> {
        let archive = || self.archive.name.clone();
        let mut missing: BTreeSet<SourceId> =
            self.packages().filter_map(|package| source_id(&package.source)).collect();
        let mut wanted = Vec::new();
        for index in indexes {
            let found = sources::find(&self.unpacked(index)?, &missing).map_err(|source| {
                let path = index.path.clone();
                TagError::Sources { archive: archive(), path, source }
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
        self.restore(&wanted.iter().map(|one| one.content).collect::<Vec<_>>())?;
        Ok(fetch::bring_missing(wanted, store, source, observer)?)
    }

    /// Makes those files again that the store has as differences.
    fn restore(&self, contents: &[Content]) -> Result<(), TagError> {
        let archive = || self.archive.name.clone();
        snapshots::restore(self.request.store, contents.iter().copied())
            .map_err(|source| ArchiveError::Thin { archive: archive(), source }.into())
    }
}

fn in_release(suite: &str) -> String {
    format!("dists/{suite}/InRelease")
}

/// Name and version out of `name (= version)`, the form of the lock.
fn source_id(text: &str) -> Option<SourceId> {
    let (name, version) = text.split_once(" (= ")?;
    Some((name.to_owned(), version.strip_suffix(')')?.to_owned()))
}
