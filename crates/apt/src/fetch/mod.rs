//! Fetching files whose size and digest are known, from mirrors that nobody has to trust.
//!
//! - Bytes get a name in the store only after their digest and size were right. A mirror can delay, never change.
//! - Size limits hold for every read; stalls, rates and the whole have limits too.
//! - What was received stays in the store's `partial/` and is not fetched again, after a cut, an error or a crash.
//! - Mirrors take turns. One that lies, stalls, breaks off or does not have a file is named, and dropped for that file;
//!   one that does so too often is dropped altogether.
//! - No redirection leads from HTTPS to HTTP, none to anything else, and there are at most five.

mod attempt;
mod config;
mod error;
mod hosts;
mod http;
mod objects;
mod progress;
mod proxy;
mod schedule;
mod transfer;
mod unpinned;
mod url;

use std::collections::BTreeSet;
use std::time::Duration;

use selfsame_image::digest::Digest;
use selfsame_image::tree::Content;
use selfsame_store::Store;

pub use config::{FetchConfig, Roots, Secret};
pub use error::{Failure, FetchError, Reason, Tried};
pub use objects::{Body, Present};
pub use progress::{Progress, Silent, Warning};

use attempt::Job;
use hosts::Hosts;
use http::Client;
use schedule::Run;

use crate::mirrors::{Mirror, Scheme};

/// Bytes a `Release` or `InRelease` file may have: the limit of apt.
pub const RELEASE_LIMIT: u64 = 10_000_000;

/// Threads of one fetch at most, however many mirrors there are.
const WORKERS: usize = 16;

/// A file to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// What it is, for messages: `linux-image-amd64 6.1.170-1`.
    pub what: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Where it may be below a mirror, the best first: a `by-hash` path and the plain one. Not percent-encoded.
    pub paths: Vec<String>,
}

/// Fetches files. Keeps connections open between calls; threads may share it.
#[derive(Debug)]
pub struct Fetcher {
    config: FetchConfig,
    client: Client,
    hosts: Hosts,
}

impl Fetcher {
    /// A fetcher with these limits.
    ///
    /// # Errors
    /// [`FetchError::BadProxy`] and [`FetchError::BadRoots`].
    pub fn new(config: FetchConfig) -> Result<Self, FetchError> {
        let client = Client::new(&config)?;
        let hosts = Hosts::new(config.per_host());
        Ok(Self { config, client, hosts })
    }

    /// Brings everything that is wanted into the store, and returns it in the order of `wants`.
    ///
    /// What is in the store with the right name and size is not fetched; its bytes are not looked at, that is done when
    /// they are used. After an error everything that did arrive is kept.
    ///
    /// # Errors
    /// [`FetchError::Incomplete`] with every mirror and its reason; [`FetchError::Deadline`];
    /// [`FetchError::Stopped`]; [`FetchError::Store`].
    pub fn fetch_all(
        &self,
        store: &Store,
        wants: &[Want],
        mirrors: &[Mirror],
        progress: &dyn Progress,
    ) -> Result<Vec<Content>, FetchError> {
        let contents: Vec<_> =
            wants.iter().map(|want| Content { size: want.size, digest: want.digest }).collect();
        let mut seen = BTreeSet::new();
        let mut missing = Vec::new();
        for (want, content) in wants.iter().zip(&contents) {
            check_paths(&want.what, &want.paths)?;
            if seen.insert(*content) && store.size(&content.digest) != Some(content.size) {
                missing.push(want);
            }
        }
        if missing.is_empty() {
            return Ok(contents);
        }
        if mirrors.is_empty() {
            return Err(FetchError::NoMirror { missing: missing.len() });
        }
        progress
            .started(missing.len() as u64, missing.iter().fold(0, |sum, want| want.size.saturating_add(sum)));
        // Large ones first, so that the last minute is not spent on one connection.
        missing.sort_by_key(|want| std::cmp::Reverse(want.size));
        let jobs: Vec<_> =
            missing.iter().enumerate().map(|(number, want)| Job::new(want, number, mirrors.len())).collect();
        let workers = self.workers(mirrors).min(jobs.len());
        Run::new(self, store, mirrors, progress, jobs).finish(workers, wants.len())?;
        Ok(contents)
    }

    /// As many as there may be connections to the mirrors together.
    fn workers(&self, mirrors: &[Mirror]) -> usize {
        let hosts: BTreeSet<&str> = mirrors.iter().map(Mirror::host).collect();
        let files = usize::from(mirrors.iter().any(|mirror| mirror.scheme() == Scheme::File));
        let remote = hosts.len() - files;
        (remote * self.config.per_host() + 2 * files).clamp(1, WORKERS)
    }

    /// The pause before the next try, after `spent` of them.
    fn pause_after(&self, spent: u32) -> Duration {
        let factor = 1u32.checked_shl(spent.saturating_sub(1)).unwrap_or(u32::MAX);
        self.config.pause.saturating_mul(factor).min(self.config.max_pause)
    }
}

fn check_paths(what: &str, paths: &[String]) -> Result<(), FetchError> {
    if paths.is_empty() {
        return Err(FetchError::NoPath { what: what.to_owned() });
    }
    match paths.iter().find(|path| !url::is_safe(path)) {
        Some(path) => {
            Err(FetchError::BadPath { what: what.to_owned(), path: path.chars().take(200).collect() })
        }
        None => Ok(()),
    }
}
