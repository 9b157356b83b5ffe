//! Fetch: everything the lock names comes into the store, checked, before anything is done with it.

use selfsame_apt::fetch::FetchError;
use selfsame_image::tree::Content;
use selfsame_store::Store;

use crate::event::{Event, Observer, Stage};
use crate::lock::{Lock, Package};

/// A file of an archive that is known by size and digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What it is, for messages.
    pub what: String,
    /// Name of the archive in the recipe.
    pub archive: String,
    /// Paths below the archive's base URL where it may be, in order.
    pub paths: Vec<String>,
    /// Its size and digest.
    pub content: Content,
}

/// Where files of archives come from.
pub trait Source: Sync {
    /// Brings `wanted` into `store`; all of them are there when it returns without error.
    fn fetch(&self, wanted: &[Wanted], store: &Store, observer: &dyn Observer) -> Result<(), FetchError>;
}

/// Brings those packages of the lock into the store that are `needed`.
pub(crate) fn packages(
    lock: &Lock,
    needed: impl Fn(&Package) -> bool,
    store: &Store,
    source: &dyn Source,
    observer: &dyn Observer,
) -> Result<(), FetchError> {
    let wanted: Vec<Wanted> = lock
        .packages
        .iter()
        .filter(|package| needed(package))
        .map(|package| Wanted {
            what: format!("{} {}", package.name, package.version),
            archive: package.archive.clone(),
            paths: vec![package.path.clone()],
            content: package.file.into(),
        })
        .collect();
    bring_missing(&wanted, store, source, observer)
}

/// Brings those of `wanted` into the store that it lacks.
pub(crate) fn bring_missing(
    wanted: &[Wanted],
    store: &Store,
    source: &dyn Source,
    observer: &dyn Observer,
) -> Result<(), FetchError> {
    // Bytes are looked at before they are used: a damaged blob is put aside by the store, and fetched again.
    let there = |one: &Wanted| matches!(store.open_verified(&one.content.digest), Ok(Some(_)));
    let missing: Vec<Wanted> = wanted.iter().filter(|one| !there(one)).cloned().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let amount = missing.iter().map(|one| one.content.size).sum();
    observer.on(Event::Total { stage: Stage::Fetch, amount });
    source.fetch(&missing, store, observer)
}
