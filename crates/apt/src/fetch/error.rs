//! Why files could not be fetched, mirror by mirror.

use std::fmt;
use std::io;
use std::time::Duration;

use selfsame_image::digest::Digest;
use selfsame_store::StoreError;

use crate::mirrors::{BadMirror, Mirror};

/// Why one request to one mirror did not bring the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The mirror does not have the file under any of its names.
    #[error("not there (status {status})")]
    Missing {
        /// 404 or 410; 404 for a `file:` mirror.
        status: u16,
    },
    /// A status that is no answer to the question.
    #[error("answered with status {status}")]
    Status {
        /// The HTTP status.
        status: u16,
    },
    /// The mirror asks for a pause: 429, 503 or 509.
    #[error("asks to come back {} (status {status})", after(*retry_after))]
    Busy {
        /// The HTTP status.
        status: u16,
        /// When, from then on, if it said so.
        retry_after: Option<Duration>,
    },
    /// All bytes came and are others than those that were asked for.
    #[error("served other bytes: their SHA-256 is {found}")]
    WrongDigest {
        /// What came.
        found: Digest,
    },
    /// The mirror says that the file has another size.
    #[error("announced {announced} bytes instead of {expected}")]
    WrongSize {
        /// The size it gave.
        announced: u64,
        /// The size the file has.
        expected: u64,
    },
    /// More bytes came than the file has, or than are allowed.
    #[error("sent more than {limit} bytes")]
    TooLong {
        /// How many there may be.
        limit: u64,
    },
    /// The connection ended early.
    #[error("broke off after {have} of {size} bytes")]
    Truncated {
        /// Bytes of the file that are there now.
        have: u64,
        /// Bytes it has.
        size: u64,
    },
    /// Nothing came for too long.
    #[error("sent nothing for {} s", seconds(*.0))]
    Stalled(Duration),
    /// Too little came.
    #[error("sent {rate} bytes per second, below {minimum}")]
    TooSlow {
        /// Bytes per second over the last stall time.
        rate: u64,
        /// The lowest rate that is allowed.
        minimum: u64,
    },
    /// The mirror sent us from place to place.
    #[error("redirected more than {limit} times")]
    RedirectLoop {
        /// How many redirections are followed.
        limit: u32,
    },
    /// A redirection from HTTPS to HTTP.
    #[error("redirected from https to {to:?}")]
    Downgrade {
        /// Where to, shortened.
        to: String,
    },
    /// A redirection to something that is no HTTP URL.
    #[error("redirected to {to:?}, which is no place to go")]
    BadRedirect {
        /// Where to, shortened.
        to: String,
    },
    /// The host name is not known.
    #[error("the host is not known")]
    NoSuchHost,
    /// The connection could not be made or broke.
    #[error("the connection failed: {}", kind_words(*.0))]
    Connection(io::ErrorKind),
    /// The certificate or the handshake is not right.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// What came is not HTTP.
    #[error("does not speak HTTP: {0}")]
    Protocol(String),
    /// The proxy refused.
    #[error("the proxy failed: {0}")]
    Proxy(String),
    /// A file of a `file:` mirror cannot be read.
    #[error("cannot be read: {}", kind_words(*.0))]
    Unreadable(io::ErrorKind),
    /// A file below a `file:` address cannot be written.
    #[error("cannot be written: {}", kind_words(*.0))]
    Unwritable(io::ErrorKind),
    /// The network may not be used.
    #[error("not asked: offline")]
    Offline,
    /// The mirror has failed too often with other files.
    #[error("not asked: it failed too often with other files")]
    Dropped,
    /// The time for everything was over.
    #[error("the time was over")]
    Deadline,
}

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Only a lying or broken mirror does that. Not asked again for this file.
    Lie,
    /// It will not get better. Not asked again for this file.
    Final,
    /// It may pass.
    Passing,
    /// It asks for a pause, which is no offence.
    Busy,
}

impl Reason {
    /// What kind of failure it is.
    pub(crate) fn class(&self) -> Class {
        match self {
            Self::WrongDigest { .. }
            | Self::WrongSize { .. }
            | Self::TooLong { .. }
            | Self::RedirectLoop { .. }
            | Self::Downgrade { .. }
            | Self::BadRedirect { .. } => Class::Lie,
            Self::Busy { .. } => Class::Busy,
            Self::Status { status } if *status >= 500 || *status == 408 => Class::Passing,
            Self::Missing { .. }
            | Self::Status { .. }
            | Self::Unreadable(_)
            | Self::Unwritable(_)
            | Self::Tls(_) => Class::Final,
            Self::Offline | Self::Dropped | Self::Deadline => Class::Final,
            Self::Truncated { .. }
            | Self::Stalled(_)
            | Self::TooSlow { .. }
            | Self::NoSuchHost
            | Self::Connection(_)
            | Self::Protocol(_)
            | Self::Proxy(_) => Class::Passing,
        }
    }

    /// Whether asking again may help.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self.class(), Class::Passing | Class::Busy)
    }
}

fn after(pause: Option<Duration>) -> String {
    pause.map_or_else(|| "later".to_owned(), |pause| format!("in {} s", seconds(pause)))
}

/// Whole seconds, or tenths where that says more.
fn seconds(time: Duration) -> String {
    if time.subsec_millis() == 0 { time.as_secs().to_string() } else { format!("{:.1}", time.as_secs_f64()) }
}

fn kind_words(kind: io::ErrorKind) -> String {
    kind.to_string()
}

/// One mirror, and how it failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The mirror.
    pub mirror: Mirror,
    /// Number of requests to it; 0 if it was not asked.
    pub times: u32,
    /// Why the last of them failed.
    pub reason: Reason,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.mirror, self.reason)?;
        if self.times > 1 { write!(f, " (tried {} times)", self.times) } else { Ok(()) }
    }
}

/// One file that could not be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What it is, in the words of whoever wanted it.
    pub what: String,
    /// Its first path below the mirrors.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// Every mirror, in the order they were given.
    pub tried: Vec<Tried>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {} bytes)", self.what, self.path, self.size)?;
        self.tried.iter().try_for_each(|tried| write!(f, "\n    {tried}"))
    }
}

/// Why not everything could be fetched. What did arrive is in the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// At least one file could not be had from any mirror.
    #[error("could not fetch {missing} of {of} files{}", listed(failures))]
    Incomplete {
        /// The files that no mirror had. Not all that are missing: the work stops when going on is of no use.
        failures: Vec<Failure>,
        /// How many files are missing now.
        missing: usize,
        /// How many files were wanted.
        of: usize,
    },
    /// The time was over.
    #[error("{missing} of {of} files are missing after {} s{}", seconds(*limit), listed(failures))]
    Deadline {
        /// The time there was.
        limit: Duration,
        /// Files that had trouble before.
        failures: Vec<Failure>,
        /// How many files are missing now.
        missing: usize,
        /// How many files were wanted.
        of: usize,
    },
    /// It was told to stop: [`Progress::stop`](super::Progress::stop).
    #[error("stopped with {missing} of {of} files missing")]
    Stopped {
        /// How many files are missing now.
        missing: usize,
        /// How many files were wanted.
        of: usize,
    },
    /// There is no mirror to ask.
    #[error("{missing} files are missing and there is no mirror to ask")]
    NoMirror {
        /// How many files are missing.
        missing: usize,
    },
    /// A single file without a digest could not be had.
    #[error("could not fetch {path}\n    {tried}")]
    Unpinned {
        /// Its path below the mirror.
        path: String,
        /// The mirror, and how it failed.
        tried: Box<Tried>,
    },
    /// A path that could lead out of the mirror.
    #[error("{path:?} of {what} cannot be a path below a mirror")]
    BadPath {
        /// What was wanted.
        what: String,
        /// The path.
        path: String,
    },
    /// Something is wanted without a path.
    #[error("there is no path for {what}")]
    NoPath {
        /// What was wanted.
        what: String,
    },
    /// The URL of the proxy.
    #[error("the proxy cannot be used")]
    BadProxy(#[source] BadMirror),
    /// The certificates that were given.
    #[error("the certificates cannot be used: {0}")]
    BadRoots(String),
    /// The store failed, most likely because the disk is full.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn listed(failures: &[Failure]) -> String {
    failures.iter().map(|failure| format!("\n  {failure}")).collect()
}
