//! The one kind of file whose digest nobody knows beforehand: `InRelease`.

use std::io::{self, Read};
use std::path::Path;
use std::time::Instant;

use crate::fetch::error::{FetchError, Reason, Tried};
use crate::fetch::http::Ask;
use crate::fetch::transfer::{Meter, local_file};
use crate::fetch::url::encoded;
use crate::fetch::{Fetcher, check_paths};
use crate::mirrors::{Mirror, Scheme};

impl Fetcher {
    /// The bytes of `path` below `mirror`, at most `max_bytes` of them ([`crate::fetch::RELEASE_LIMIT`]). Caches on the
    /// way are asked to look for something newer.
    ///
    /// Nothing says that these are the right bytes. Whoever calls checks their signature before believing any of them.
    ///
    /// # Errors
    /// [`FetchError::Unpinned`] with the reason.
    pub fn fetch_unpinned(&self, path: &str, mirror: &Mirror, max_bytes: u64) -> Result<Vec<u8>, FetchError> {
        check_paths(path, &[path.to_owned()])?;
        let deadline = self.config.deadline_total.and_then(|limit| Instant::now().checked_add(limit));
        let mut times = 0;
        loop {
            let reason = if self.config.offline && mirror.scheme() != Scheme::File {
                Reason::Offline
            } else {
                times += 1;
                match self.once(path, mirror, max_bytes, deadline, true) {
                    Ok(bytes) => return Ok(bytes),
                    Err(reason) => reason,
                }
            };
            let pause = match &reason {
                Reason::Busy { retry_after: Some(pause), .. } => *pause,
                _ => self.pause_after(times),
            };
            let in_time = pause <= self.config.max_pause
                && deadline.is_none_or(|deadline| Instant::now() + pause < deadline);
            if times > self.config.retries || !reason.may_pass() || !in_time {
                let tried = Box::new(Tried { mirror: mirror.clone(), times, reason });
                return Err(FetchError::Unpinned { path: path.to_owned(), tried });
            }
            std::thread::sleep(pause);
        }
    }

    /// One request. Caches on the way are asked to look for something newer if `fresh`.
    pub(super) fn once(
        &self,
        path: &str,
        mirror: &Mirror,
        limit: u64,
        deadline: Option<Instant>,
        fresh: bool,
    ) -> Result<Vec<u8>, Reason> {
        if let Some(directory) = mirror.directory() {
            return local(&directory.join(path), limit);
        }
        let permit = self.hosts.wait(mirror.host(), deadline).ok_or(Reason::Deadline)?;
        let url = format!("{mirror}/{}", encoded(path));
        let ask = Ask { url: &url, from: 0, etag: None, fresh, deadline };
        let mut reply = self.client.get(&self.hosts, permit, &ask)?;
        let status = reply.status;
        let refused = match status {
            200 => None,
            404 | 410 => Some(Reason::Missing { status }),
            429 | 503 | 509 => Some(Reason::Busy { status, retry_after: reply.retry_after }),
            _ => Some(Reason::Status { status }),
        };
        if let Some(reason) = refused {
            reply.discard();
            return Err(reason);
        }
        let announced = reply.length;
        if announced.is_some_and(|length| length > limit) {
            return Err(Reason::TooLong { limit });
        }
        let mut meter = Meter::new(self.config.stall_timeout, self.config.min_rate);
        let mut bytes = Vec::new();
        let mut buffer = [0; 1 << 14];
        loop {
            let have = bytes.len() as u64;
            let truncated = Reason::Truncated { have, size: announced.unwrap_or(limit) };
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(Reason::Deadline);
            }
            match reply.body.read(&mut buffer) {
                Ok(0) => return Ok(bytes),
                Ok(read) if have + read as u64 > limit => return Err(Reason::TooLong { limit }),
                Ok(read) => {
                    bytes.extend_from_slice(&buffer[..read]);
                    meter.count(read as u64)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.client.body_reason(error, truncated)),
            }
        }
    }
}

fn local(path: &Path, limit: u64) -> Result<Vec<u8>, Reason> {
    let (file, _) = local_file(path)?;
    let mut bytes = Vec::new();
    let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| Reason::Unreadable(error.kind()))?;
    if bytes.len() as u64 > limit { Err(Reason::TooLong { limit }) } else { Ok(bytes) }
}
