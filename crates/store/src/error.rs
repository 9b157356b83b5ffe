//! Why the store could not do something, with paths and figures.

use std::fmt;
use std::io;
use std::path::PathBuf;

use selfsame_image::digest::Digest;
use selfsame_image::tree::Content;

/// Something the store keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A blob, by the digest its bytes should have.
    Blob(Digest),
    /// A record.
    Record {
        /// Its kind.
        kind: String,
        /// Its key.
        key: Digest,
    },
    /// A cache entry.
    Cached {
        /// Its kind.
        kind: String,
        /// Its key.
        key: Digest,
    },
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blob(digest) => write!(f, "blob {digest}"),
            Self::Record { kind, key } => write!(f, "{kind} record {key}"),
            Self::Cached { kind, key } => write!(f, "{kind} cache entry {key}"),
        }
    }
}

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The disk is full, the quota is used up, or there are no inodes left.
    #[error("no space left to write {}{}", path.display(), space(*needed, *free))]
    Full {
        /// The file that could not be written.
        path: PathBuf,
        /// Bytes that were still to be written by this call, where the store knows it.
        needed: Option<u64>,
        /// Bytes the file system had left, where it tells.
        free: Option<u64>,
        /// What the system said.
        source: io::Error,
    },
    /// A newer program made the store.
    #[error("{}: the store has layout {found}, this program knows layouts up to {known}", path.display())]
    NewerLayout {
        /// The layout file.
        path: PathBuf,
        /// Layout of the store.
        found: u32,
        /// Newest layout this program knows.
        known: u32,
    },
    /// The layout file says nothing that a store would say.
    #[error("{}: {found:?} does not name a store layout", path.display())]
    BadLayout {
        /// The layout file.
        path: PathBuf,
        /// Its first 100 bytes.
        found: String,
    },
    /// The directory is not empty and not a store.
    #[error("{} is not a store: it holds {found:?} and no layout file", path.display())]
    NotAStore {
        /// The directory.
        path: PathBuf,
        /// The first name in it that a store does not have.
        found: String,
    },
    /// The name of a record kind or work directory.
    #[error("{name:?} cannot name a {what}: it needs 1 to 100 of a-z 0-9 . _ - and no dot in front")]
    BadName {
        /// What it was to be the name of.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// What is stored is not what was stored. It has been moved to `damaged/` if that was possible.
    #[error("{item} is damaged: {fault}{}", aside(moved_to.as_ref()))]
    Damaged {
        /// What is damaged.
        item: Item,
        /// In which way.
        fault: super::Fault,
        /// Where the damaged file is now; `None` if it could not be moved or has been replaced by another process.
        moved_to: Option<PathBuf>,
    },
    /// The bytes that were written are not those that were announced. Nothing was kept.
    #[error("expected {} bytes with SHA-256 {}, got {} bytes with {}", expected.size, expected.digest, found.size, found.digest)]
    Mismatch {
        /// What was announced.
        expected: Content,
        /// What was written.
        found: Content,
    },
    /// More bytes were written than were announced. Nothing was kept.
    #[error("expected {} bytes with SHA-256 {}, got more", expected.size, expected.digest)]
    TooLong {
        /// What was announced.
        expected: Content,
    },
}

fn space(needed: Option<u64>, free: Option<u64>) -> String {
    match (needed, free) {
        (Some(needed), Some(free)) => format!(": {needed} bytes needed, {free} free"),
        (Some(needed), None) => format!(": {needed} bytes needed"),
        (None, Some(free)) => format!(": {free} bytes free"),
        (None, None) => String::new(),
    }
}

fn aside(moved_to: Option<&PathBuf>) -> String {
    moved_to.map(|path| format!("; moved to {}", path.display())).unwrap_or_default()
}

impl From<StoreError> for io::Error {
    /// Keeps the kind of the cause, so that a full disk stays `StorageFull` behind `io::Write`. The store's error
    /// is the inner error and can be had again by downcast.
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::Io { source, .. } | StoreError::Full { source, .. } => source.kind(),
            StoreError::Damaged { .. } | StoreError::Mismatch { .. } | StoreError::TooLong { .. } => {
                io::ErrorKind::InvalidData
            }
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}
