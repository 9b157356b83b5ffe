//! Giving a remote what it does not have.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use selfsame_image::digest::Digest;
use selfsame_image::tree::Content;
use selfsame_store::{Store, StoreError};

use super::{AT_ONCE, Remote, SecretKey, blob_name, crew, entry_name, signed};
use crate::fetch::{Body, Progress, Reason};

/// How often an object is tried, if the trouble may pass.
const TRIES: u32 = 3;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Blobs.
    pub blobs: Sent,
    /// Cache entries.
    pub entries: Sent,
}

/// What became of objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// How many were written.
    pub pushed: u64,
    /// Their length in bytes.
    pub bytes: u64,
    /// How many were there already.
    pub present: u64,
    /// How many this store does not have (any more).
    pub absent: u64,
}

/// Why not everything was pushed. What was is there, and is not pushed again.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The remote did not take an object.
    #[error("cannot push {what} to {remote}: it {reason}")]
    Remote {
        /// The object.
        what: String,
        /// The remote's address.
        remote: String,
        /// Why.
        reason: Reason,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// [`Progress::stop`].
    #[error("stopped")]
    Stopped,
}

/// One thing to push.
enum Object<'a> {
    Blob(&'a str, &'a Content),
    Entry(&'a SecretKey, &'a str, Digest),
}

/// Pushes `blobs` (each with what messages call it) and all cache entries of `kind`, signed with `secret`; no entries
/// without a key. `progress` is told of each object, as one byte.
pub fn push(
    remote: &Remote,
    store: &Store,
    blobs: &[(String, Content)],
    entries: Option<(&SecretKey, &str)>,
    progress: &dyn Progress,
) -> Result<Pushed, PushError> {
    let mut objects: Vec<Object<'_>> =
        blobs.iter().map(|(what, content)| Object::Blob(what, content)).collect();
    if let Some((secret, kind)) = entries {
        objects.extend(store.cache_keys(kind)?.into_iter().map(|key| Object::Entry(secret, kind, key)));
    }
    progress.started(objects.len() as u64, objects.len() as u64);
    let state = Mutex::new((Pushed::default(), None));
    crew::each(&objects, AT_ONCE, |object| {
        let result = if progress.stop() { Err(PushError::Stopped) } else { one(remote, store, object) };
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let (pushed, failed) = &mut *state;
        let sent = match object {
            Object::Blob(..) => &mut pushed.blobs,
            Object::Entry(..) => &mut pushed.entries,
        };
        match result {
            Ok(Done::Pushed(bytes)) => (sent.pushed, sent.bytes) = (sent.pushed + 1, sent.bytes + bytes),
            Ok(Done::Present) => sent.present += 1,
            Ok(Done::Absent) => sent.absent += 1,
            Err(error) => {
                failed.get_or_insert(error);
                return false;
            }
        }
        progress.advanced(1);
        true
    });
    let (pushed, failed) = state.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.map_or(Ok(pushed), Err)
}

enum Done {
    Pushed(u64),
    Present,
    Absent,
}

fn one(remote: &Remote, store: &Store, object: &Object<'_>) -> Result<Done, PushError> {
    match object {
        Object::Blob(what, content) => {
            if store.size(&content.digest) != Some(content.size) {
                return Ok(Done::Absent);
            }
            let name = blob_name(&content.digest);
            if present(remote, what, &name, content.size)? {
                return Ok(Done::Present);
            }
            tried(remote, what, || {
                // Looked at each time: what is damaged here shall not be damaged there.
                let file = match store.open_verified(&content.digest) {
                    Ok(Some(file)) => file,
                    Ok(None) => return Ok(Done::Absent),
                    Err(error) => return Err(Err(error)),
                };
                remote.fetcher.put_object(&remote.at, &name, Body::File(&file)).map_err(Ok)?;
                Ok(Done::Pushed(content.size))
            })
        }
        Object::Entry(secret, kind, key) => {
            let Some(payload) = store.cache_peek(kind, key)? else { return Ok(Done::Absent) };
            let (name, what) = (entry_name(&secret.public(), kind, key), format!("{kind} entry {key}"));
            let bytes = signed::seal(secret, kind, key, &payload);
            if present(remote, &what, &name, bytes.len() as u64)? {
                return Ok(Done::Present);
            }
            tried(remote, &what, || {
                remote.fetcher.put_object(&remote.at, &name, Body::Bytes(&bytes)).map_err(Ok)?;
                Ok(Done::Pushed(bytes.len() as u64))
            })
        }
    }
}

/// Whether the object is there, as long as it should be: some servers keep the beginning of what broke off.
fn present(remote: &Remote, what: &str, name: &str, size: u64) -> Result<bool, PushError> {
    let found = tried(remote, what, || remote.fetcher.find_object(&remote.at, name).map_err(Ok))?;
    Ok(found.is_some_and(|found| found.size.is_none_or(|found| found == size)))
}

/// Does `work`, again if that may help. Its error is one of the remote or of the store.
fn tried<T>(
    remote: &Remote,
    what: &str,
    work: impl Fn() -> Result<T, Result<Reason, StoreError>>,
) -> Result<T, PushError> {
    let mut tries = 1;
    loop {
        match work() {
            Ok(done) => return Ok(done),
            Err(Err(error)) => return Err(error.into()),
            Err(Ok(reason)) if tries == TRIES || !reason.may_pass() => {
                let (what, remote) = (what.to_owned(), remote.to_string());
                return Err(PushError::Remote { what, remote, reason });
            }
            Err(Ok(_)) => std::thread::sleep(Duration::from_millis(500 * u64::from(tries))),
        }
        tries += 1;
    }
}
