//! Taking from a remote what one build wants, as long as that is worth the time.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use selfsame_image::digest::Digest;
use selfsame_image::tree::Content;
use selfsame_store::Store;

use super::{AT_ONCE, PublicKey, Remote, Untrusted, blob_name, crew, entry_name, signed};
use crate::fetch::{FetchError, Progress, Reason, Want};

/// After so many failures without a success in between, or so many lies, a remote is left alone.
const PATIENCE: u32 = 3;
/// How many objects may fail in all: a server that answers in between is no better.
const ALL_PATIENCE: u64 = 10;

/// Bytes that a signed entry may have: the stored form of 1 MiB of files, and its header.
const LARGEST_ENTRY: u64 = 2 << 20;

/// A remote, as long as one build uses it. Threads may share it.
pub struct Pull<'a> {
    remote: &'a Remote,
    trusted: Option<PublicKey>,
    warn: &'a (dyn Fn(String) + Sync),
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pulled: Pulled,
    /// Entries that are not there.
    missed: BTreeSet<Digest>,
    troubles: u32,
    lies: u32,
    dropped: bool,
}

/// What came from a remote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulled {
    /// Blobs.
    pub blobs: Counts,
    /// Cache entries.
    pub entries: Counts,
}

/// What became of the objects that were asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How many came, and were what they should be.
    pub pulled: u64,
    /// Their length in bytes.
    pub bytes: u64,
    /// How many the remote does not have.
    pub missing: u64,
    /// How many were not what they should be.
    pub refused: u64,
    /// How many may be there, but could not be had: the remote was out of order.
    pub failed: u64,
}

/// Why an object did not come.
enum Failure {
    Missing,
    Trouble(Reason),
    Lie(String),
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Missing { .. } => Self::Missing,
            reason @ (Reason::WrongDigest { .. } | Reason::WrongSize { .. } | Reason::TooLong { .. }) => {
                Self::Lie(format!("it {reason}"))
            }
            reason => Self::Trouble(reason),
        }
    }
}

impl From<Untrusted> for Failure {
    fn from(fault: Untrusted) -> Self {
        Self::Lie(fault.to_string())
    }
}

impl<'a> Pull<'a> {
    /// Takes blobs from `remote`, and cache entries if `trusted` signed them: none if no key is trusted. Objects that lie,
    /// and the end of the remote's use, are told to `warn`.
    pub fn new(remote: &'a Remote, trusted: Option<PublicKey>, warn: &'a (dyn Fn(String) + Sync)) -> Self {
        Self { remote, trusted, warn, state: Mutex::default() }
    }

    /// What came so far.
    pub fn pulled(&self) -> Pulled {
        self.lock().pulled
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings those of `wants` into `store` that the remote has; messages call them by the text beside them.
    ///
    /// # Errors
    /// [`FetchError::Stopped`] and [`FetchError::Store`]; whatever the remote does is none.
    pub fn blobs(
        &self,
        store: &Store,
        wants: &[(String, Content)],
        progress: &dyn Progress,
    ) -> Result<(), FetchError> {
        let failed = Mutex::new(None);
        crew::each(wants, AT_ONCE / 2, |(what, content)| {
            if self.lock().dropped {
                return false;
            }
            let want = Want {
                what: what.clone(),
                size: content.size,
                digest: content.digest,
                paths: vec![blob_name(&content.digest)],
            };
            let at = std::slice::from_ref(&self.remote.at);
            let result = match self.remote.fetcher.fetch_all(store, &[want], at, &Quiet(progress)) {
                Ok(_) => Ok(content.size),
                Err(FetchError::Incomplete { failures, .. }) => {
                    let tried = failures.into_iter().flat_map(|failure| failure.tried).next();
                    Err(tried.map_or(Failure::Missing, |tried| tried.reason.into()))
                }
                Err(error) => {
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    return false;
                }
            };
            self.settle(result, what, |pulled| &mut pulled.blobs, || {})
        });
        failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    /// Brings those cache entries of `kind` for `keys` into `store` that it has not and the remote has, until `stop` says
    /// that it is enough. What went wrong costs time and nothing else.
    pub fn entries(&self, store: &Store, kind: &str, keys: &[Digest], stop: &(dyn Fn() -> bool + Sync)) {
        let Some(trusted) = &self.trusted else { return };
        let wanted = {
            let state = self.lock();
            let missing = |key: &&Digest| !state.missed.contains(key) && !store.cache_contains(kind, key);
            keys.iter().filter(missing).copied().collect::<Vec<_>>()
        };
        crew::each(&wanted, AT_ONCE, |key| {
            if stop() || self.lock().dropped {
                return false;
            }
            let result = self.entry(trusted, kind, key).inspect(|payload| {
                // A cache that cannot be written is only slower.
                let _ = store.cache_put(kind, key, payload);
            });
            let result = result.map(|payload| payload.len() as u64);
            self.settle(
                result,
                &format!("{kind} entry {key}"),
                |pulled| &mut pulled.entries,
                || {
                    self.lock().missed.insert(*key);
                },
            )
        });
    }

    fn entry(&self, trusted: &PublicKey, kind: &str, key: &Digest) -> Result<Vec<u8>, Failure> {
        let name = entry_name(trusted, kind, key);
        let get = || self.remote.fetcher.get_object(&self.remote.at, &name, LARGEST_ENTRY);
        let object = match get() {
            // A server may close a connection that was idle just when it is used again.
            Err(Reason::Connection(_) | Reason::Protocol(_)) => get()?,
            other => other?,
        };
        Ok(signed::open(trusted, kind, key, object.ok_or(Failure::Missing)?)?)
    }

    /// Books how an object fared; false if the remote is not to be asked any more.
    fn settle(
        &self,
        result: Result<u64, Failure>,
        what: &str,
        of: impl Fn(&mut Pulled) -> &mut Counts,
        missed: impl Fn(),
    ) -> bool {
        let remote = &self.remote;
        if result.is_err() {
            // Whatever it was, it is not asked for again.
            missed();
        }
        let mut state = self.lock();
        let mut text = None;
        match result {
            Ok(bytes) => {
                let counts = of(&mut state.pulled);
                (counts.pulled, counts.bytes) = (counts.pulled + 1, counts.bytes + bytes);
                state.troubles = 0;
            }
            Err(Failure::Missing) => {
                of(&mut state.pulled).missing += 1;
            }
            Err(Failure::Lie(fault)) => {
                of(&mut state.pulled).refused += 1;
                state.lies += 1;
                text = Some(format!("remote {remote}: {what} is not used: {fault}"));
            }
            Err(Failure::Trouble(reason)) => {
                of(&mut state.pulled).failed += 1;
                state.troubles += 1;
                let all = state.pulled.blobs.failed + state.pulled.entries.failed;
                if reason == Reason::Offline || state.troubles >= PATIENCE || all >= ALL_PATIENCE {
                    text = Some(format!("remote {remote} is not used any more: {what}: {reason}"));
                    state.troubles = PATIENCE;
                }
            }
        }
        let was = state.dropped;
        state.dropped |= state.troubles >= PATIENCE || state.lies >= PATIENCE;
        if state.lies >= PATIENCE && !was {
            text = text.map(|text| text + "; the remote is not used any more");
        }
        let dropped = state.dropped;
        drop(state);
        // Requests that were on their way when it was dropped are not told of.
        if let Some(text) = text.filter(|_| !was) {
            (self.warn)(text);
        }
        !dropped
    }
}

impl std::fmt::Debug for Pull<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pull from {}", self.remote)
    }
}

/// Keeps the fetcher's own words about a mirror from the user: what is missing on a remote is no trouble.
struct Quiet<'a>(&'a dyn Progress);

impl Progress for Quiet<'_> {
    fn advanced(&self, bytes: u64) {
        self.0.advanced(bytes);
    }

    fn stop(&self) -> bool {
        self.0.stop()
    }
}
