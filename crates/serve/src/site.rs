//! What a server asks of that which it serves.

use std::fs::File;

use selfsame_image::Digest;

/// A set of files by path.
pub trait Site: Send + Sync + 'static {
    /// What is at `path`, which has no escapes and begins with a slash. Must not take long: what does is put off.
    fn look(&self, path: &str) -> Look;
}

/// An answer, or how to come by it.
pub enum Look {
    /// It is known.
    Now(Found),
    /// It takes reading of files or of the network: to be called where that holds up nobody else.
    Later(Box<dyn FnOnce() -> Found + Send>),
}

/// What is at a path.
#[derive(Debug)]
pub enum Found {
    /// A file.
    File(Served),
    /// A text that may be another one the next time.
    Text(String),
    /// It is at this path, with escapes; next time it may be elsewhere.
    Redirect(String),
    /// Nothing.
    Missing,
    /// Something, but it cannot be had now, for this reason.
    Failed(String),
}

/// A file that never changes: its path is part of a signed state.
#[derive(Debug)]
pub struct Served {
    /// The bytes.
    pub file: File,
    /// How many.
    pub size: u64,
    /// Their SHA-256.
    pub digest: Digest,
    /// Since when it is there, in seconds since 1970-01-01 UTC.
    pub modified: i64,
    /// Its kind, as in `Content-Type`.
    pub kind: &'static str,
}

impl std::fmt::Debug for Look {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Now(found) => f.debug_tuple("Now").field(found).finish(),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}
