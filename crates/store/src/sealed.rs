//! Files that say what they are: records and cache entries.
//!
//! ```text
//! selfsame <form> 1 <kind> <key> <SHA-256 of the payload> <length of the payload>\n
//! <payload>
//! ```
//! A reader makes the header from what it asked for and what it found and compares the two, so that every bit of the
//! file is covered, and a file under another one's name is noticed.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use selfsame_image::digest::Digest;

use crate::Store;
use crate::error::StoreError;
use crate::fs::{self, Unfinished, failed_writing};

/// What a file is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    Record,
    Cached,
}

impl Form {
    /// The directory of the store, and what a kind of it is called in messages.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Record => ("records", "record kind"),
            Self::Cached => ("cache", "cache kind"),
        }
    }

    fn header(self, kind: &str, key: &Digest, payload: &[u8]) -> String {
        let form = match self {
            Self::Record => "record",
            Self::Cached => "cache",
        };
        format!("selfsame {form} 1 {kind} {key} {} {}\n", Digest::of(payload), payload.len())
    }

    /// The payload of a file, if it is what is kept as `kind` for `key`, and whole.
    pub(crate) fn open(self, kind: &str, key: &Digest, mut file: Vec<u8>) -> Option<Vec<u8>> {
        let start = file.iter().position(|byte| *byte == b'\n')? + 1;
        if file[..start] != *self.header(kind, key, &file[start..]).as_bytes() {
            return None;
        }
        file.drain(..start);
        Some(file)
    }
}

/// A sealed file that has no name yet.
pub(crate) struct Sealed {
    pub(crate) file: File,
    pub(crate) unfinished: Unfinished,
    /// Length in bytes, header and all.
    pub(crate) size: u64,
    /// Where it belongs. The directory of its kind is there.
    pub(crate) path: PathBuf,
}

impl Store {
    /// Where the file is, or would be.
    pub(crate) fn sealed_path(&self, form: Form, kind: &str, key: &Digest) -> Result<PathBuf, StoreError> {
        let (dir, what) = form.words();
        fs::check_name(what, kind)?;
        Ok(self.dir(dir).join(kind).join(fs::fan_out(key)))
    }

    /// Writes a file that is still to get its name.
    pub(crate) fn seal(
        &self,
        form: Form,
        kind: &str,
        key: &Digest,
        bytes: &[u8],
    ) -> Result<Sealed, StoreError> {
        let path = self.sealed_path(form, kind, key)?;
        let header = form.header(kind, key, bytes);
        let size = (header.len() + bytes.len()) as u64;
        let unfinished = Unfinished::new(self.inner.sessions.path(Some(size))?);
        let mut file = fs::create_new(unfinished.path(), Some(size))?;
        let written = file.write_all(header.as_bytes()).and_then(|()| file.write_all(bytes));
        written.map_err(failed_writing("write", unfinished.path(), Some(size)))?;
        fs::make_dir(&self.dir(form.words().0).join(kind))?;
        Ok(Sealed { file, unfinished, size, path })
    }
}
