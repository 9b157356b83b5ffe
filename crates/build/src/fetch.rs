//! Fetch: everything the lock names comes into the store, checked, before anything is done with it.

use selfsame_apt::fetch::FetchError;
use selfsame_image::tree::Content;
use selfsame_store::Store;

use crate::event::{Event, Observer, Stage};
use crate::lock::{Lock, Package};
use crate::resolve::ArchiveError;

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

    /// The first `InRelease` file of `suite` that `verify` accepts, at most 10 MB, from the mirrors of `archive` in
    /// their order. Mirrors that fail, and those whose file is refused, are named to `observer`.
    fn in_release(
        &self,
        archive: &str,
        suite: &str,
        verify: &Verify<'_>,
        observer: &dyn Observer,
    ) -> Result<Vec<u8>, ArchiveError>;
}

/// Says whether the bytes of an `InRelease` file are to be believed.
pub type Verify<'a> = dyn Fn(&[u8]) -> Result<(), ArchiveError> + 'a;

/// Brings those packages of the lock into the store that are `needed`.
pub(crate) fn packages(
    lock: &Lock,
    needed: impl Fn(&Package) -> bool,
    store: &Store,
    source: &dyn Source,
    observer: &dyn Observer,
) -> Result<(), FetchError> {
    // Bytes are looked at before they are used: a damaged blob is put aside by the store, and fetched again.
    let missing: Vec<Wanted> = lock
        .packages
        .iter()
        .filter(|package| {
            needed(package) && !matches!(store.open_verified(&package.file.sha256), Ok(Some(_)))
        })
        .map(|package| Wanted {
            what: format!("{} {}", package.name, package.version),
            archive: package.archive.clone(),
            paths: vec![package.path.clone()],
            content: package.file.into(),
        })
        .collect();
    bring(&missing, store, source, observer)
}

/// Brings all of `missing` into the store.
pub(crate) fn bring(
    missing: &[Wanted],
    store: &Store,
    source: &dyn Source,
    observer: &dyn Observer,
) -> Result<(), FetchError> {
    if missing.is_empty() {
        return Ok(());
    }
    let amount = missing.iter().map(|wanted| wanted.content.size).sum();
    observer.on(Event::Total { stage: Stage::Fetch, amount });
    source.fetch(missing, store, observer)
}
