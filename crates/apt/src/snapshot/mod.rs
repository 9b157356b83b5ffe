//! Snapshots: one state of one archive, with Debian's own signatures, that can be checked again without a network.
//!
//! [`fetch_snapshot`] brings `InRelease` files and indexes into the store and says what they are; [`load_snapshot`] checks
//! all of it again as of the time that was recorded, years later and offline. Nothing in between is believed: not the
//! mirrors, not the store, not the lock that holds the [`Snapshot`].

mod accept;
mod content;
mod elsewhere;
mod fetch;
mod history;
mod load;
mod online;
mod spec;
mod state;
mod thin;
mod transport;

pub use accept::{Accepted, Refused, SIGNING_SLACK, accept};
pub use elsewhere::{
    Collected, Disagreement, Elsewhere, NotASource, SIGNED_WITHIN, Sighting, Uncollected, check_source,
    judge_collected,
};
pub use fetch::{Evidence, Fetched, FromSource, SuiteEvidence, Terms, fetch_snapshot};
pub use history::{Contradiction, History, NotAHistory, Novelty};
pub use load::{Loaded, LoadedSuite, load_snapshot, read_signed, signed_text};
pub use online::Online;
pub use spec::{ArchiveSpec, BadSpec};
pub use state::{IndexRef, Snapshot, SuiteState};
pub use thin::{Thin, ThinError};
pub use transport::{Transport, TransportError, Want};

use selfsame_image::tree::Content;
use selfsame_store::StoreError;

use crate::date;
use crate::openpgp::KeyringError;
use crate::packages::{IndexError, UnpackError};

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The description of the archive cannot be used.
    #[error("archive {archive}")]
    Spec {
        /// Name of the archive.
        archive: String,
        /// What is wrong with it.
        source: BadSpec,
    },
    /// The keyring of the archive cannot be used.
    #[error("keyring of {archive}")]
    Keyring {
        /// Name of the archive.
        archive: String,
        /// What is wrong with it.
        source: KeyringError,
    },
    /// No source gave an acceptable `InRelease` file.
    #[error("no source has an acceptable InRelease of {suite}{}", FromSource::list(.failures))]
    NoSource {
        /// The suite.
        suite: String,
        /// What each source gave.
        failures: Vec<FromSource>,
    },
    /// Two different files with the same date, both signed. Both are in the store as evidence.
    #[error("{suite} of {} exists twice, both signed: {first:?} and {second:?}", date::serial(*.date))]
    Equivocation {
        /// The suite.
        suite: String,
        /// Their common date.
        date: i64,
        /// One of them.
        first: Content,
        /// The other.
        second: Content,
    },
    /// Too few sources have the newest state.
    #[error("{have} of {need} needed sources have {suite} of {}", date::serial(*.date))]
    NotAgreed {
        /// The suite.
        suite: String,
        /// Date of the newest state.
        date: i64,
        /// How many sources have it.
        have: usize,
        /// How many must.
        need: usize,
    },
    /// The newest state is too old.
    #[error("{suite} is of {}, older than the {max_age} seconds allowed", date::serial(*.date))]
    TooOld {
        /// The suite.
        suite: String,
        /// Its date.
        date: i64,
        /// Allowed age in seconds.
        max_age: i64,
    },
    /// It contradicts what was seen before.
    #[error("{suite} contradicts what was seen before")]
    Contradiction {
        /// The suite.
        suite: String,
        /// How.
        source: Contradiction,
    },
    /// It contradicts what others saw.
    #[error("{suite} contradicts what was seen elsewhere")]
    Elsewhere {
        /// The suite.
        suite: String,
        /// How.
        source: Disagreement,
    },
    /// The archive changed while it was read, each time.
    #[error("{what} changed or vanished during each of {attempts} attempts")]
    Moving {
        /// What was changed last, by path.
        what: String,
        /// How often it was tried.
        attempts: usize,
        /// What was there instead, as far as that is known.
        source: Option<TransportError>,
    },
    /// Another state than the one asked for.
    #[error("the archive is at {have}, not at {want}")]
    WrongSerial {
        /// The state asked for.
        want: String,
        /// The state that is there.
        have: String,
    },
    /// The suite has no such component.
    #[error("{suite} has no component {component}; it has {}", .known.join(", "))]
    NoComponent {
        /// The suite.
        suite: String,
        /// The component asked for.
        component: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The suite is not made for the architecture.
    #[error("{suite} has no architecture {architecture}; it has {}", .known.join(", "))]
    NoArchitecture {
        /// The suite.
        suite: String,
        /// The architecture asked for.
        architecture: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The `Release` file does not list an index that it should.
    #[error("{suite} lists no index {path} in a known form")]
    NoIndex {
        /// The suite.
        suite: String,
        /// Path without the ending of the form.
        path: String,
    },
    /// Files could not be fetched.
    #[error("cannot fetch the indexes of {archive}")]
    Fetch {
        /// Name of the archive.
        archive: String,
        /// What went wrong.
        source: TransportError,
    },
    /// A file that must be in the store is not.
    #[error("{what} ({content:?}) is not in the store")]
    NotStored {
        /// What it is.
        what: String,
        /// Its name.
        content: Content,
    },
    /// A file that is kept as a difference from an earlier one cannot be read.
    #[error("{what}")]
    Thin {
        /// What it is.
        what: String,
        /// Why not.
        source: Box<ThinError>,
    },
    /// The store failed.
    #[error("store")]
    Store(#[from] StoreError),
    /// An index is not what is signed.
    #[error("index {path} of {suite}")]
    Unpack {
        /// The suite.
        suite: String,
        /// Path of the index.
        path: String,
        /// What is wrong.
        source: Box<UnpackError>,
    },
    /// An index is signed, but cannot be used.
    #[error("index {path} of {suite}")]
    Index {
        /// The suite.
        suite: String,
        /// Path of the index.
        path: String,
        /// What is wrong.
        source: Box<IndexError>,
    },
    /// A recorded `InRelease` file is not acceptable as of the recorded time.
    #[error("InRelease of {suite} as of {}", date::serial(*.at))]
    Refused {
        /// The suite.
        suite: String,
        /// The recorded time.
        at: i64,
        /// Why.
        source: Box<Refused>,
    },
    /// What is recorded is not what the signed files say.
    #[error("recorded {what} of {archive} is {recorded}, the signed files say {signed}")]
    Mismatch {
        /// Name of the archive or suite.
        archive: String,
        /// What differs.
        what: &'static str,
        /// What is recorded.
        recorded: String,
        /// What is signed.
        signed: String,
    },
}

#[cfg(test)]
mod tests;
