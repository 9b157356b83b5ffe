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

/// Digests of the signed files and indexes of locks that were made with `store`. Locks that are gone are forgotten.
pub(super) fn held(store: &Store, keep: bool) -> Result<BTreeSet<Digest>, CollectError> {
    let mut digests = BTreeSet::new();
    for key in store.record_keys(KIND)? {
        let Some(bytes) = store.record_get(KIND, &key)? else { continue };
        let path = PathBuf::from(OsStr::from_bytes(&bytes));
        let unreadable = |problem: String| CollectError::Lock { path: path.clone(), problem };
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let lock: Lock = text.parse().map_err(|error| unreadable(format!("{error}")))?;
                let suites = lock.archives.iter().flat_map(|archive| &archive.suites);
                for suite in suites {
                    digests.insert(suite.in_release.sha256);
                    digests.extend(suite.indexes.iter().map(|index| index.file.sha256));
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if !keep {
                    store.record_remove(KIND, &key)?;
                }
            }
            Err(error) => return Err(unreadable(error.to_string())),
        }
    }
    Ok(digests)
}
