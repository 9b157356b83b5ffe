//! The cache: what can be made again, kept under a kind and a key as long as there is room.
//!
//! Entries have the form of records (`sealed`), so nothing damaged is used. Unlike records they are not synced, a damaged
//! one counts as missing and is removed, and the oldest go when there are too many.

use std::fs::{File, FileTimes};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use selfsame_image::digest::Digest;

use crate::Store;
use crate::check::Fault;
use crate::error::{Item, StoreError};
use crate::fs::{self, Opened, failed};
use crate::sealed::Form;

/// An entry whose time of last use is older than this gets a new one when it is used.
const TOUCHED_AFTER: Duration = Duration::from_secs(3600);

/// What [`Store::cache_trim`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// Entries that were removed.
    pub removed: u64,
    /// Their length in bytes.
    pub removed_bytes: u64,
    /// Length in bytes of the entries that stay.
    pub kept_bytes: u64,
}

impl Store {
    /// Keeps `bytes` as the cache entry of `kind` for `key`. An entry that is there already is replaced as a whole.
    ///
    /// # Errors
    /// [`StoreError::BadName`] as for records, and what the system says, a full disk included.
    pub fn cache_put(&self, kind: &str, key: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        let sealed = self.seal(Form::Cached, kind, key, bytes)?;
        sealed.unfinished.place(&sealed.path)
    }

    /// The cache entry of `kind` for `key`; `None` if there is none, or a damaged one, which is removed.
    pub fn cache_get(&self, kind: &str, key: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(match self.cache_read(kind, key)? {
            Found::Whole(file, bytes) => {
                touch(&file);
                Some(bytes)
            }
            Found::Missing | Found::Damaged => None,
        })
    }

    /// Reads an entry; a damaged one is removed.
    fn cache_read(&self, kind: &str, key: &Digest) -> Result<Found, StoreError> {
        let path = self.sealed_path(Form::Cached, kind, key)?;
        let mut file = match fs::open_regular(&path)? {
            Opened::File(file) => file,
            Opened::Missing | Opened::NotAFile => return Ok(Found::Missing),
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed("read", &path))?;
        let Some(payload) = Form::Cached.open(kind, key, bytes) else {
            if fs::is_same_file(&file, &path) {
                // If it cannot be removed, the next one to look at it does not use it either.
                let _ = std::fs::remove_file(&path);
            }
            return Ok(Found::Damaged);
        };
        Ok(Found::Whole(file, payload))
    }

    /// As [`Store::cache_get`], for whoever only copies it: that is no use of the entry.
    pub fn cache_peek(&self, kind: &str, key: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(match self.cache_read(kind, key)? {
            Found::Whole(_, bytes) => Some(bytes),
            Found::Missing | Found::Damaged => None,
        })
    }

    /// Keys of all entries of `kind`, sorted. Their bytes are not looked at.
    pub fn cache_keys(&self, kind: &str) -> Result<Vec<Digest>, StoreError> {
        fs::check_name("cache kind", kind)?;
        fs::digests_below(&self.dir("cache").join(kind))
    }

    /// Whether there is a cache entry of `kind` for `key`. Its bytes are not looked at.
    pub fn cache_contains(&self, kind: &str, key: &Digest) -> bool {
        self.sealed_path(Form::Cached, kind, key).is_ok_and(|path| path.is_file())
    }

    /// Removes the entries of all kinds that were not used for the longest time, until at most `limit` bytes are left, and
    /// those that were not used since `since`. The time of last use is known to the hour.
    pub fn cache_trim(&self, limit: u64, since: Option<SystemTime>) -> Result<Trimmed, StoreError> {
        self.trim(limit, since, true)
    }

    /// What [`Store::cache_trim`] would do.
    pub fn cache_excess(&self, limit: u64, since: Option<SystemTime>) -> Result<Trimmed, StoreError> {
        self.trim(limit, since, false)
    }

    fn trim(&self, limit: u64, since: Option<SystemTime>, remove: bool) -> Result<Trimmed, StoreError> {
        let mut entries = Vec::new();
        for kind in fs::sorted_names(&self.dir("cache"))? {
            self.cache_entries(&kind, &mut |path| {
                // Gone meanwhile is as good as never there.
                if let Ok(found) = std::fs::symlink_metadata(&path) {
                    let used = found.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    entries.push((used, found.size(), path));
                }
            })?;
        }
        entries.sort();
        let mut trimmed =
            Trimmed { kept_bytes: entries.iter().map(|(_, size, _)| size).sum(), ..Trimmed::default() };
        for (used, size, path) in entries {
            if trimmed.kept_bytes <= limit && since.is_none_or(|since| used >= since) {
                break;
            }
            if remove {
                std::fs::remove_file(&path).or_else(fs::missing_is_fine).map_err(failed("remove", &path))?;
            }
            trimmed.removed += 1;
            trimmed.removed_bytes += size;
            trimmed.kept_bytes -= size;
        }
        Ok(trimmed)
    }

    /// Looks at one entry for [`Store::check`], which is no use of it. A damaged one is removed.
    pub(crate) fn cache_check(&self, kind: &str, key: &Digest) -> Result<(), StoreError> {
        match self.cache_read(kind, key)? {
            Found::Whole(..) | Found::Missing => Ok(()),
            Found::Damaged => {
                let item = Item::Cached { kind: kind.to_owned(), key: *key };
                Err(StoreError::Damaged { item, fault: Fault::Record, moved_to: None })
            }
        }
    }

    fn cache_entries(&self, kind: &str, each: &mut dyn FnMut(PathBuf)) -> Result<(), StoreError> {
        let dir = self.dir("cache").join(kind);
        for outer in fs::sorted_names(&dir)? {
            let dir = dir.join(outer);
            fs::sorted_names(&dir)?.into_iter().for_each(|inner| each(dir.join(inner)));
        }
        Ok(())
    }
}

/// What is at the place of an entry.
enum Found {
    Whole(File, Vec<u8>),
    Missing,
    Damaged,
}

/// Marks an entry as used now. The mark only says what to remove first, so that it may fail.
fn touch(file: &File) {
    let old = |time: SystemTime| time.elapsed().is_ok_and(|age| age > TOUCHED_AFTER);
    if file.metadata().and_then(|found| found.modified()).is_ok_and(old) {
        let _ = file.set_times(FileTimes::new().set_modified(SystemTime::now()));
    }
}
