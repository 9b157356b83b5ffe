//! Which locks need snapshots of a store: those that were made with it and are still there.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use selfsame_image::Digest;
use selfsame_store::{Store, StoreError};

use super::CollectError;
use crate::lock::Lock;

/// Kind of the records of locks: the path of one each.
const KIND: &str = "lock";

/// Remembers that the lock at `path`, an absolute one, was made with what `store` has.
pub fn hold(store: &Store, path: &Path) -> Result<(), StoreError> {
    let bytes = path.as_os_str().as_bytes();
    let key = Digest::of(bytes);
    match store.record_get(KIND, &key)? {
        Some(_) => Ok(()),
        None => store.record_put(KIND, &key, bytes),
    }
}

/// A lock that was made with a store, and what it needs of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Where the lock is.
    pub path: PathBuf,
    /// Digests of its signed files and indexes.
    pub needs: BTreeSet<Digest>,
}

/// The locks that were made with `store` and are still there, by path.
pub fn holders(store: &Store) -> Result<Vec<Holder>, CollectError> {
    look(store, |_| Ok(()))
}

/// Digests of the signed files and indexes of locks that were made with `store`. Locks that are gone are forgotten.
pub(super) fn held(store: &Store, keep: bool) -> Result<BTreeSet<Digest>, CollectError> {
    let gone = |key: &Digest| if keep { Ok(()) } else { store.record_remove(KIND, key) };
    Ok(look(store, gone)?.into_iter().flat_map(|holder| holder.needs).collect())
}

fn look(
    store: &Store,
    gone: impl Fn(&Digest) -> Result<(), StoreError>,
) -> Result<Vec<Holder>, CollectError> {
    let mut holders = Vec::new();
    for key in store.record_keys(KIND)? {
        let Some(bytes) = store.record_get(KIND, &key)? else { continue };
        let path = PathBuf::from(OsStr::from_bytes(&bytes));
        let unreadable = |problem: String| CollectError::Lock { path: path.clone(), problem };
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let lock: Lock = text.parse().map_err(|error| unreadable(format!("{error}")))?;
                let mut needs = BTreeSet::new();
                for suite in lock.archives.iter().flat_map(|archive| &archive.suites) {
                    needs.insert(suite.in_release.sha256);
                    needs.extend(suite.indexes.iter().map(|index| index.file.sha256));
                }
                holders.push(Holder { path, needs });
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => gone(&key)?,
            Err(error) => return Err(unreadable(error.to_string())),
        }
    }
    holders.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(holders)
}
