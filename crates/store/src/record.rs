//! Records: small immutable facts under a kind and a key. They are written to last; `sealed` has their form.

use std::fs::{File, FileTimes};
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::SystemTime;

use selfsame_image::digest::Digest;

use crate::Store;
use crate::check::Fault;
use crate::error::{Item, StoreError};
use crate::fs::{self, Opened, failed, failed_writing};
use crate::sealed::{Form, Sealed};

impl Store {
    /// Keeps `bytes` as the record of `kind` for `key`, for good. A record that is there already is replaced as a whole.
    ///
    /// Blobs that the record refers to must have been put before (a [`crate::Batch`]: committed), so that no power cut
    /// leaves a record that points to nothing.
    ///
    /// # Errors
    /// [`StoreError::BadName`] unless `kind` is 1 to 100 of the characters `a-z 0-9 . _ -` and does not start with a dot.
    pub fn record_put(&self, kind: &str, key: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        let Sealed { file, unfinished, size, path } = self.seal(Form::Record, kind, key, bytes)?;
        fs::freeze(&file, unfinished.path())?;
        file.sync_all().map_err(failed_writing("sync", unfinished.path(), Some(size)))?;
        unfinished.place(&path)?;
        path.parent().map_or(Ok(()), fs::sync_dir)
    }

    /// The record of `kind` for `key`; `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it is not what was stored; it has then been moved away, and is missing from now on.
    pub fn record_get(&self, kind: &str, key: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.sealed_path(Form::Record, kind, key)?;
        let mut file = match fs::open_regular(&path)? {
            Opened::File(file) => file,
            Opened::Missing => return Ok(None),
            Opened::NotAFile => return Err(self.damaged_record(kind, key, path, Fault::NotAFile, None)),
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed("read", &path))?;
        match Form::Record.open(kind, key, bytes) {
            Some(payload) => Ok(Some(payload)),
            None => Err(self.damaged_record(kind, key, path, Fault::Record, Some(&file))),
        }
    }

    /// When the record was written, or marked as used by [`Store::record_touch`]; `None` if there is none.
    pub fn record_used(&self, kind: &str, key: &Digest) -> Result<Option<SystemTime>, StoreError> {
        let path = self.sealed_path(Form::Record, kind, key)?;
        match std::fs::symlink_metadata(&path).and_then(|found| found.modified()) {
            Ok(time) => Ok(Some(time)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("look at", &path)(error)),
        }
    }

    /// Marks the record as used now. The mark only says what to remove first, so that it may fail.
    pub fn record_touch(&self, kind: &str, key: &Digest) {
        if let Ok(path) = self.sealed_path(Form::Record, kind, key)
            && let Ok(file) = File::open(path)
        {
            let _ = file.set_times(FileTimes::new().set_modified(SystemTime::now()));
        }
    }

    /// Removes the record, if it is there. A power cut may undo it until [`Store::sync`].
    pub fn record_remove(&self, kind: &str, key: &Digest) -> Result<(), StoreError> {
        let path = self.sealed_path(Form::Record, kind, key)?;
        std::fs::remove_file(&path).or_else(fs::missing_is_fine).map_err(failed("remove", &path))
    }

    /// Keys of all records of `kind`, sorted. The records are not looked at.
    pub fn record_keys(&self, kind: &str) -> Result<Vec<Digest>, StoreError> {
        fs::check_name("record kind", kind)?;
        fs::digests_below(&self.dir("records").join(kind))
    }

    fn damaged_record(
        &self,
        kind: &str,
        key: &Digest,
        path: PathBuf,
        fault: Fault,
        seen: Option<&std::fs::File>,
    ) -> StoreError {
        let moved_to = self.move_aside(&path, &format!("record-{kind}-{key}"), seen);
        StoreError::Damaged { item: Item::Record { kind: kind.to_owned(), key: *key }, fault, moved_to }
    }
}
