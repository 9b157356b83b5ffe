//! Objects with immutable names in a directory, behind a web server or in a bucket: one request each, no retries.

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::fetch::Fetcher;
use crate::fetch::error::Reason;
use crate::fetch::url::encoded;
use crate::mirrors::{Mirror, Scheme};

/// An object that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present {
    /// Its length in bytes; `None` if the server does not say.
    pub size: Option<u64>,
}

/// What an object will have in it.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// A regular file that stands at its first byte.
    File(&'a File),
}

impl Fetcher {
    /// The bytes of the object `path` below `at`, at most `max_bytes`; `None` if there is none. Nothing says that these are
    /// the right bytes.
    pub fn get_object(&self, at: &Mirror, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, Reason> {
        self.may_reach(at)?;
        match self.once(path, at, max_bytes, self.limit(max_bytes), false) {
            Err(Reason::Missing { .. }) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Whether there is an object `path` below `at`.
    pub fn find_object(&self, at: &Mirror, path: &str) -> Result<Option<Present>, Reason> {
        self.may_reach(at)?;
        if let Some(directory) = at.directory() {
            return match std::fs::metadata(directory.join(path)) {
                Ok(found) => Ok(Some(Present { size: Some(found.len()) })),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(Reason::Unreadable(error.kind())),
            };
        }
        let _permit = self.hosts.wait(at.host(), None).ok_or(Reason::Deadline)?;
        match self.client.touch(&format!("{at}/{}", encoded(path)), None, self.time_for(0))? {
            (200, size) => Ok(Some(Present { size })),
            (404 | 410, _) => Ok(None),
            (status, _) => Err(refusal(status)),
        }
    }

    /// Writes `body` as the object `path` below `at`: an unconditional `PUT`, or a rename in a directory. An object that is
    /// there already is replaced as a whole.
    pub fn put_object(&self, at: &Mirror, path: &str, body: Body<'_>) -> Result<(), Reason> {
        self.may_reach(at)?;
        if let Some(directory) = at.directory() {
            return write_local(&directory.join(path), body)
                .map_err(|error| Reason::Unwritable(error.kind()));
        }
        let size = match body {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::File(file) => file.metadata().map_err(|error| Reason::Unreadable(error.kind()))?.len(),
        };
        let _permit = self.hosts.wait(at.host(), None).ok_or(Reason::Deadline)?;
        match self.client.touch(&format!("{at}/{}", encoded(path)), Some(body), self.time_for(size))? {
            (200 | 201 | 204, _) => Ok(()),
            (status, _) => Err(refusal(status)),
        }
    }

    fn may_reach(&self, at: &Mirror) -> Result<(), Reason> {
        if self.config.offline && at.scheme() != Scheme::File { Err(Reason::Offline) } else { Ok(()) }
    }

    /// How long an object of `size` bytes may take: a stall, and its bytes at the lowest rate that is allowed.
    fn time_for(&self, size: u64) -> Duration {
        2 * self.config.stall_timeout + Duration::from_secs(size / self.config.min_rate.max(1))
    }

    fn limit(&self, size: u64) -> Option<Instant> {
        Instant::now().checked_add(self.time_for(size))
    }
}

fn refusal(status: u16) -> Reason {
    match status {
        429 | 503 | 509 => Reason::Busy { status, retry_after: None },
        _ => Reason::Status { status },
    }
}

/// Copies under another name in the same directory, and renames: whoever serves the directory never shows half of it.
fn write_local(target: &Path, body: Body<'_>) -> io::Result<()> {
    let parent = target.parent().ok_or(io::ErrorKind::InvalidInput)?;
    std::fs::create_dir_all(parent)?;
    // Other machines write into the same directory, and have the same process ids.
    let mut random = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    let unfinished = parent.join(format!(".new-{:032x}", u128::from_le_bytes(random)));
    let mut to = File::create_new(&unfinished)?;
    let mut write = || {
        match body {
            Body::Bytes(bytes) => to.write_all(bytes)?,
            Body::File(mut file) => drop(io::copy(&mut file, &mut to)?),
        }
        to.sync_all()?;
        std::fs::rename(&unfinished, target)
    };
    write().inspect_err(|_| drop(std::fs::remove_file(&unfinished)))
}
