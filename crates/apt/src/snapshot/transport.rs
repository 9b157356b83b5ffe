//! How files get here. What is right about them is decided elsewhere.

use std::error::Error;

use selfsame_image::tree::Content;
use selfsame_store::Store;

/// A file whose content is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// What it is, for messages.
    pub what: String,
    /// Size and digest.
    pub content: Content,
    /// Where it may be below a mirror, the best first.
    pub paths: Vec<String>,
}

/// Brings files from the mirrors of one archive.
pub trait Transport {
    /// Names of the sources that can be asked for `InRelease` files, for messages, the preferred one first.
    fn sources(&self) -> Vec<String>;

    /// The bytes of `path` at the source of that position, at most `max` of them. Nothing says that they are right.
    fn in_release(&self, source: usize, path: &str, max: u64) -> Result<Vec<u8>, TransportError>;

    /// Brings all of `wants` into the store, from any source.
    fn pinned(&self, store: &Store, wants: &[Want]) -> Result<(), TransportError>;
}

/// Why a file could not be brought.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// It is not there. An index that is gone means that the archive has moved on.
    #[error("{path} is not there")]
    Missing {
        /// Its path.
        path: String,
    },
    /// Where it should be is another file, or none: the archive has moved on, or a mirror lies.
    #[error("no mirror has the {path} that is signed")]
    Replaced {
        /// Its path.
        path: String,
        /// What the mirrors have.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Something else.
    #[error("cannot fetch {path}")]
    Failed {
        /// Its path.
        path: String,
        /// What went wrong.
        source: Box<dyn Error + Send + Sync>,
    },
}
