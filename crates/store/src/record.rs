//! Records: small immutable facts under a kind and a key.
//!
//! ```text
//! selfsame record 1 <kind> <key> <SHA-256 of the payload> <length of the payload>\n
//! <payload>
//! ```
//! A reader makes the header from what it asked for and what it found and compares the two, so that every bit of the
//! file is covered, and a record under another record's name is noticed.

use std::io::{Read, Write};
use std::path::PathBuf;

use selfsame_image::digest::Digest;

use crate::Store;
use crate::check::Fault;
use crate::error::{Item, StoreError};
use crate::fs::{self, Opened, Unfinished, failed, failed_writing};

impl Store {
    /// Keeps `bytes` as the record of `kind` for `key`, for good. A record that is there already is replaced as a whole.
    ///
    /// Blobs that the record refers to must have been put before (a [`crate::Batch`]: committed), so that no power cut
    /// leaves a record that points to nothing.
    ///
    /// # Errors
    /// [`StoreError::BadName`] unless `kind` is 1 to 100 of the characters `a-z 0-9 . _ -` and does not start with a dot.
    pub fn record_put(&self, kind: &str, key: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.record_path(kind, key)?;
        let header = header(kind, key, bytes);
        let size = (header.len() + bytes.len()) as u64;
        let unfinished = Unfinished::new(self.inner.sessions.path(Some(size))?);
        let mut file = fs::create_new(unfinished.path(), Some(size))?;
        let written = file.write_all(header.as_bytes()).and_then(|()| file.write_all(bytes));
        written.map_err(failed_writing("write", unfinished.path(), Some(size)))?;
        fs::freeze(&file, unfinished.path())?;
        file.sync_all().map_err(failed_writing("sync", unfinished.path(), Some(size)))?;
        fs::make_dir(&self.dir("records").join(kind))?;
        unfinished.place(&path)?;
        path.parent().map_or(Ok(()), fs::sync_dir)
    }

    /// The record of `kind` for `key`; `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it is not what was stored; it has then been moved away, and is missing from now on.
    pub fn record_get(&self, kind: &str, key: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.record_path(kind, key)?;
        let mut file = match fs::open_regular(&path)? {
            Opened::File(file) => file,
            Opened::Missing => return Ok(None),
            Opened::NotAFile => return Err(self.damaged_record(kind, key, path, Fault::NotAFile, None)),
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed("read", &path))?;
        match payload(kind, key, &bytes) {
            Some(payload) => Ok(Some(payload.to_vec())),
            None => Err(self.damaged_record(kind, key, path, Fault::Record, Some(&file))),
        }
    }

    /// Keys of all records of `kind`, sorted. The records are not looked at.
    pub fn record_keys(&self, kind: &str) -> Result<Vec<Digest>, StoreError> {
        fs::check_name("record kind", kind)?;
        let dir = self.dir("records").join(kind);
        let mut keys = Vec::new();
        for outer in fs::sorted_names(&dir)? {
            let inner = fs::sorted_names(&dir.join(&outer))?;
            keys.extend(inner.iter().filter_map(|name| crate::blob::digest_of_names(&outer, name)));
        }
        Ok(keys)
    }

    /// Where a record is, or would be.
    fn record_path(&self, kind: &str, key: &Digest) -> Result<PathBuf, StoreError> {
        fs::check_name("record kind", kind)?;
        Ok(self.dir("records").join(kind).join(fs::fan_out(key)))
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

fn header(kind: &str, key: &Digest, payload: &[u8]) -> String {
    format!("selfsame record 1 {kind} {key} {} {}\n", Digest::of(payload), payload.len())
}

/// The payload of a record file, if it is the record of `kind` for `key` and whole.
fn payload<'a>(kind: &str, key: &Digest, file: &'a [u8]) -> Option<&'a [u8]> {
    let end = file.iter().position(|byte| *byte == b'\n')?;
    let (found, payload) = file.split_at(end + 1);
    (found == header(kind, key, payload).as_bytes()).then_some(payload)
}
