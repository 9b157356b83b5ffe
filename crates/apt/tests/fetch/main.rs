//! Fetching from mirrors that fail, stall and lie.

mod faults;
mod good;
mod lies;
mod limits;
mod resume;
mod server;
mod tls;
mod unpinned;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use selfsame_apt::fetch::{FetchConfig, FetchError, Fetcher, Progress, Reason, Want, Warning};
use selfsame_apt::mirrors::Mirror;
use selfsame_image::Digest;
use selfsame_image::tree::Content;
use selfsame_store::{Depth, Store};
use selfsame_testkit::{Numbers, scratch};

/// Short pauses, so that tests that need some are quick; long limits, so that tests that need none do not meet them on a
/// machine under load.
fn config() -> FetchConfig {
    FetchConfig {
        stall_timeout: Duration::from_secs(20),
        min_rate: 0,
        pause: Duration::from_millis(5),
        max_pause: Duration::from_secs(5),
        ..FetchConfig::default()
    }
}

/// As [`config`], for mirrors that stall.
fn impatient() -> FetchConfig {
    FetchConfig { stall_timeout: Duration::from_millis(300), min_rate: 1000, retries: 0, ..config() }
}

/// A store in a directory of its own, and files to fetch into it.
struct World {
    _dir: tempfile::TempDir,
    store: Store,
    files: BTreeMap<String, Vec<u8>>,
    wants: Vec<Want>,
    heard: Heard,
}

impl World {
    /// One file per size, called `pool/f0_1+b1.deb` and so on.
    fn new(sizes: &[usize]) -> Self {
        let dir = scratch();
        let store = Store::open(dir.path().join("store")).unwrap();
        let mut numbers = Numbers(sizes.len() as u64);
        let mut files = BTreeMap::new();
        let mut wants = Vec::new();
        for (number, size) in sizes.iter().enumerate() {
            let bytes = numbers.bytes(*size);
            let path = format!("pool/f{number}_1+b1.deb");
            let Content { size, digest } = Content::of(&bytes);
            wants.push(Want { what: format!("file {number}"), size, digest, paths: vec![path.clone()] });
            // What the server sees: encoded.
            files.insert(path.replace('+', "%2B"), bytes);
        }
        Self { _dir: dir, store, files, wants, heard: Heard::default() }
    }

    fn fetch_with(&self, config: FetchConfig, mirrors: &[Mirror]) -> Result<Vec<Content>, FetchError> {
        Fetcher::new(config).unwrap().fetch_all(&self.store, &self.wants, mirrors, &self.heard)
    }

    fn fetch(&self, mirrors: &[Mirror]) -> Result<Vec<Content>, FetchError> {
        self.fetch_with(config(), mirrors)
    }

    /// The first file.
    fn file(&self) -> &[u8] {
        self.files.values().next().unwrap()
    }

    fn total(&self) -> u64 {
        self.wants.iter().map(|want| want.size).sum()
    }

    /// Everything is there, right, and nothing else is.
    fn assert_complete(&self) {
        for want in &self.wants {
            let bytes = self.store.read(&want.digest).unwrap().unwrap();
            assert_eq!(Digest::of(&bytes), want.digest);
        }
        assert_eq!(self.store.check(Depth::Bytes).unwrap(), []);
        let stat = self.store.stat().unwrap();
        assert_eq!((stat.partials, stat.tmp), (0, 0));
        assert_eq!(self.heard.advanced(), self.heard.started(), "progress ends at its total");
    }

    /// The one reason each mirror has in an error about one file.
    fn reasons(error: &FetchError) -> Vec<Reason> {
        match error {
            FetchError::Incomplete { failures, .. } => match &failures[..] {
                [failure] => failure.tried.iter().map(|tried| tried.reason.clone()).collect(),
                _ => panic!("{error}"),
            },
            _ => panic!("{error}"),
        }
    }
}

/// Notes what it is told.
#[derive(Debug, Default)]
struct Heard {
    figures: Mutex<(u64, u64)>,
    warnings: Mutex<Vec<Warning>>,
}

impl Heard {
    fn started(&self) -> u64 {
        self.figures.lock().unwrap().0
    }

    fn advanced(&self) -> u64 {
        self.figures.lock().unwrap().1
    }

    fn warnings(&self) -> Vec<Warning> {
        self.warnings.lock().unwrap().clone()
    }

    /// Mirrors that failed and why, in the order of events.
    fn failed(&self) -> Vec<(Mirror, Reason)> {
        let failed = |warning| match warning {
            Warning::Failed { mirror, reason, .. } => Some((mirror, reason)),
            _ => None,
        };
        self.warnings().into_iter().filter_map(failed).collect()
    }
}

impl Progress for Heard {
    fn started(&self, _: u64, bytes: u64) {
        *self.figures.lock().unwrap() = (bytes, 0);
    }

    fn advanced(&self, bytes: u64) {
        self.figures.lock().unwrap().1 += bytes;
    }

    fn warning(&self, warning: &Warning) {
        self.warnings.lock().unwrap().push(warning.clone());
    }
}
