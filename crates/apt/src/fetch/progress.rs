//! What a fetch tells while it runs.

use std::time::Duration;

use crate::fetch::error::Reason;
use crate::mirrors::Mirror;

/// Receives what happens, from several threads at once. Must not block: the download waits for it.
pub trait Progress: Sync {
    /// `files` are not in the store and will be fetched; together they have `bytes`.
    fn started(&self, files: u64, bytes: u64) {
        let _ = (files, bytes);
    }

    /// `bytes` more are here. What an earlier run left counts, what has to be fetched a second time does not, so that
    /// the sum ends at the figure given to [`Progress::started`].
    fn advanced(&self, bytes: u64) {
        let _ = bytes;
    }

    /// Whether the fetch shall end now. Asked often; what arrived stays for the next run.
    fn stop(&self) -> bool {
        false
    }

    /// Something went wrong that need not stop the work.
    fn warning(&self, warning: &Warning) {
        let _ = warning;
    }
}

/// Nobody listens.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Progress for Silent {}

/// Something that went wrong on the way. Facts, not sentences.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// A mirror did not deliver a file.
    Failed {
        /// The file, in the words of whoever wanted it.
        what: String,
        /// The mirror.
        mirror: Mirror,
        /// Why.
        reason: Reason,
        /// Whether this mirror will be asked for this file again.
        again: bool,
    },
    /// A mirror failed too often and is not asked any more.
    Dropped {
        /// The mirror.
        mirror: Mirror,
        /// How often it failed without a success in between, lies ever.
        offences: u32,
    },
    /// A mirror is left alone for a while, because it asked for that.
    Paused {
        /// The mirror.
        mirror: Mirror,
        /// For how long it asked, or the usual pause.
        pause: Duration,
    },
    /// Bytes from several mirrors, or from an earlier run, did not fit together, and nobody can say whose fault it was.
    /// The file is fetched again from one mirror.
    Mixed {
        /// The file.
        what: String,
        /// How many bytes were thrown away.
        bytes: u64,
    },
}
