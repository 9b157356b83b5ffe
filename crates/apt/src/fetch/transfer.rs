//! Bytes from a mirror into the store, within limits.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use selfsame_store::Partial;

use crate::fetch::attempt::{Job, Stop};
use crate::fetch::error::Reason;
use crate::fetch::http::Reply;
use crate::fetch::schedule::Run;

/// Where bytes come from.
pub(crate) enum Source<'a> {
    /// A file that was opened at the first byte that is missing.
    File(File),
    Http {
        /// The body starts at the first byte of the file, whatever was asked for.
        whole: bool,
        reply: Box<Reply<'a>>,
    },
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Http { reply, .. } => reply.body.read(buffer),
        }
    }
}

/// Moves the body into the partial, and never reads more than one byte beyond the size.
pub(crate) fn transfer(
    run: &Run,
    job: &mut Job,
    at: usize,
    mut source: Source,
    partial: &mut Partial,
) -> Result<(), Stop> {
    let size = job.want.size;
    let config = &run.fetcher.config;
    let local = matches!(source, Source::File(_));
    // What is there is kept until the first byte of the other beginning is: an empty answer shall cost nothing.
    let mut anew = matches!(source, Source::Http { whole: true, .. });
    let mut meter = Meter::new(config.stall_timeout, config.min_rate);
    let mut buffer = vec![0; 1 << 16];
    loop {
        run.check()?;
        let have = if anew { 0 } else { partial.have() };
        let room = size.saturating_sub(have);
        let take = usize::try_from(room.saturating_add(1)).unwrap_or(usize::MAX).min(buffer.len());
        let truncated = Reason::Truncated { have: partial.have(), size };
        let read = match source.read(&mut buffer[..take]) {
            Ok(0) if room == 0 => return Ok(()),
            Ok(0) => return Err(truncated.into()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if local => return Err(Reason::Unreadable(error.kind()).into()),
            Err(error) => return Err(run.fetcher.client.body_reason(error, truncated).into()),
        };
        if anew || read as u64 > room {
            job.restart(partial)?;
            anew = false;
        }
        if read as u64 > room {
            return Err(Reason::TooLong { limit: size }.into());
        }
        partial.append(&buffer[..read])?;
        job.fed(at);
        job.tell(run, partial.have());
        if !local {
            meter.count(read as u64)?;
        }
    }
}

/// A file of a `file:` mirror and its size.
pub(crate) fn local_file(path: &Path) -> Result<(File, u64), Reason> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Reason::Missing { status: 404 },
        kind => Reason::Unreadable(kind),
    };
    // Looked at before it is opened: opening a named pipe would wait for a writer.
    let found = std::fs::metadata(path).map_err(unreadable)?;
    if !found.is_file() {
        return Err(Reason::Unreadable(io::ErrorKind::InvalidInput));
    }
    Ok((File::open(path).map_err(unreadable)?, found.len()))
}

/// Watches the rate.
pub(crate) struct Meter {
    span: Duration,
    minimum: u64,
    since: Instant,
    bytes: u64,
}

impl Meter {
    pub(crate) fn new(span: Duration, minimum: u64) -> Self {
        Self { span, minimum, since: Instant::now(), bytes: 0 }
    }

    /// Notes that `bytes` came.
    pub(crate) fn count(&mut self, bytes: u64) -> Result<(), Reason> {
        self.bytes = self.bytes.saturating_add(bytes);
        let passed = self.since.elapsed();
        if passed < self.span {
            return Ok(());
        }
        let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = self.bytes.saturating_mul(1000) / millis;
        if rate < self.minimum {
            return Err(Reason::TooSlow { rate, minimum: self.minimum });
        }
        *self = Self::new(self.span, self.minimum);
        Ok(())
    }
}
