//! One request for one file to one mirror.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use selfsame_image::tree::Content;
use selfsame_store::{Partial, StoreError};

use crate::fetch::Want;
use crate::fetch::error::Reason;
use crate::fetch::hosts::Permit;
use crate::fetch::http::{Ask, Reply};
use crate::fetch::schedule::Run;
use crate::fetch::url::encoded;
use crate::mirrors::Mirror;

/// A file on its way.
#[derive(Debug)]
pub(crate) struct Job<'w> {
    pub(crate) want: &'w Want,
    /// Place in the rotation of mirrors.
    pub(crate) number: usize,
    /// What is known of each mirror, for this file.
    pub(crate) tries: Vec<Try>,
    /// Not to be taken up before.
    pub(crate) not_before: Option<Instant>,
    /// Where the bytes that are there came from.
    fed_by: BTreeSet<Feeder>,
    /// Bytes of different mirrors must not be joined: they did not fit once.
    unmixed: bool,
    /// Bytes that progress has been told of.
    told: u64,
}

/// What is known of one mirror, for one file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Try {
    /// Requests so far.
    pub(crate) times: u32,
    /// Retries used up.
    pub(crate) spent: u32,
    /// It will not be asked again for this file.
    pub(crate) given_up: bool,
    /// It may be asked again from then on.
    pub(crate) not_before: Option<Instant>,
    /// Why the last request failed.
    pub(crate) last: Option<Reason>,
    /// Entity tag of what it sent.
    etag: Option<String>,
    /// The first path it may have.
    next_path: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Feeder {
    EarlierRun,
    Mirror(usize),
}

/// How an attempt ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    /// The mirror sent the rest.
    Delivered,
    /// It was there already: from an earlier run, or another process was faster.
    Already,
}

/// How an attempt ended otherwise.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Another process or thread has the partial.
    Busy,
    /// The whole run ends.
    Aborted,
    /// Bytes of different origin did not fit and have been thrown away.
    Mixed {
        bytes: u64,
    },
    Failed {
        reason: Reason,
        /// A good part of the file came all the same.
        progressed: bool,
    },
    Store(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Self {
        Self::Failed {
            reason,
            progressed: false,
        }
    }
}

impl<'w> Job<'w> {
    pub(crate) fn new(want: &'w Want, number: usize, mirrors: usize) -> Self {
        Self {
            want,
            number,
            tries: vec![Try::default(); mirrors],
            not_before: None,
            fed_by: BTreeSet::new(),
            unmixed: false,
            told: 0,
        }
    }

    fn content(&self) -> Content {
        Content {
            size: self.want.size,
            digest: self.want.digest,
        }
    }

    /// Tells how many bytes are there, if they were never that many.
    fn tell(&mut self, run: &Run, have: u64) {
        if have > self.told {
            run.progress.advanced(have - self.told);
            self.told = have;
        }
    }

    /// Forgets what is there.
    fn restart(&mut self, partial: &mut Partial) -> Result<(), StoreError> {
        self.fed_by.clear();
        partial.restart()
    }
}

/// A body and what was said about it.
enum Source<'a> {
    File(File),
    Http(Box<Reply<'a>>),
}

/// Asks mirror number `at` for what is missing of the file.
pub(crate) fn attempt<'a>(
    run: &Run<'a, '_>,
    job: &mut Job,
    at: usize,
    permit: Option<Permit<'a>>,
) -> Result<Got, Stop> {
    let content = job.content();
    let Some(mut partial) = run.store.partial(&content)? else {
        return Err(Stop::Busy);
    };
    if run.store.size(&content.digest) == Some(content.size) {
        job.tell(run, content.size);
        return Ok(Got::Already);
    }
    if partial.have() == 0 {
        job.fed_by.clear();
    } else if job.fed_by.is_empty() {
        job.fed_by.insert(Feeder::EarlierRun);
    }
    if job.unmixed && job.fed_by.iter().any(|feeder| *feeder != Feeder::Mirror(at)) {
        job.restart(&mut partial)?;
    }
    job.tell(run, partial.have());
    if partial.have() == content.size && content.size > 0 {
        return seal(job, partial).map(|()| Got::Already);
    }
    let before = partial.have();
    job.tries[at].times += 1;
    let body = open(run, job, at, permit, &mut partial)?;
    let result = transfer(run, job, at, body, &mut partial);
    let gained = partial.have().saturating_sub(before);
    match result {
        Ok(()) => seal(job, partial).map(|()| Got::Delivered),
        Err(Stop::Failed { reason, .. }) => {
            let progressed = gained >= (content.size / 20).max(1 << 16);
            Err(Stop::Failed { reason, progressed })
        }
        Err(other) => Err(other),
    }
}

/// Makes the file a blob. If its bytes are wrong and came from one mirror alone, that one is to blame.
fn seal(job: &mut Job, partial: Partial) -> Result<(), Stop> {
    let bytes = partial.have();
    match partial.finish() {
        Ok(_) => Ok(()),
        Err(StoreError::Mismatch { found, .. }) => {
            let feeders = std::mem::take(&mut job.fed_by);
            if feeders.len() > 1 || feeders.contains(&Feeder::EarlierRun) {
                job.unmixed = true;
                return Err(Stop::Mixed { bytes });
            }
            Err(Reason::WrongDigest { found: found.digest }.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// Opens the file at the mirror, at the first byte that is missing.
fn open<'a>(
    run: &Run<'a, '_>,
    job: &mut Job,
    at: usize,
    permit: Option<Permit<'a>>,
    partial: &mut Partial,
) -> Result<Source<'a>, Stop> {
    let mirror = &run.mirrors[at];
    let mut permit = permit;
    let mut missing = 404;
    while let Some(path) = job.want.paths.get(job.tries[at].next_path) {
        if let Some(directory) = mirror.directory() {
            match open_file(&directory.join(path), job.want.size, partial.have()) {
                Err(Reason::Missing { .. }) => {}
                other => return Ok(Source::File(other?)),
            }
        } else {
            let permit = match permit.take() {
                Some(permit) => permit,
                None => run
                    .fetcher
                    .hosts
                    .wait(mirror.host(), run.deadline)
                    .ok_or(Reason::Deadline)?,
            };
            let reply = ask(run, mirror, path, &job.tries[at], partial.have(), permit)?;
            match reply.status {
                404 | 410 => {
                    missing = reply.status;
                    reply.discard();
                }
                416 if partial.have() > 0 => {
                    // What is there is longer than what the mirror has. One of the two is wrong; ask from the start.
                    reply.discard();
                    job.restart(partial)?;
                    continue;
                }
                _ => return accept(job, at, reply, partial).map(|reply| Source::Http(Box::new(reply))),
            }
        }
        job.tries[at].next_path += 1;
    }
    // Paths that were not there may be there when a mirror is asked again after other trouble; start over then.
    job.tries[at].next_path = 0;
    Err(Reason::Missing { status: missing }.into())
}

fn open_file(path: &Path, size: u64, from: u64) -> Result<File, Reason> {
    let (mut file, found) = local_file(path)?;
    if found != size {
        return Err(Reason::WrongSize {
            announced: found,
            expected: size,
        });
    }
    file.seek(SeekFrom::Start(from))
        .map_err(|error| Reason::Unreadable(error.kind()))?;
    Ok(file)
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

fn ask<'a>(
    run: &Run<'a, '_>,
    mirror: &Mirror,
    path: &str,
    known: &Try,
    from: u64,
    permit: Permit<'a>,
) -> Result<Reply<'a>, Reason> {
    let url = format!("{mirror}/{}", encoded(path));
    let ask = Ask {
        url: &url,
        from,
        etag: known.etag.as_deref(),
        fresh: false,
        deadline: run.deadline,
    };
    run.fetcher.client.get(&run.fetcher.hosts, permit, &ask)
}

/// Looks whether the answer is the rest of the file, or the whole of it if the mirror does not do ranges.
fn accept<'a>(job: &mut Job, at: usize, reply: Reply<'a>, partial: &mut Partial) -> Result<Reply<'a>, Stop> {
    let size = job.want.size;
    let wrong_size = |announced| {
        Stop::from(Reason::WrongSize {
            announced,
            expected: size,
        })
    };
    match reply.status {
        200 => {
            job.restart(partial)?;
            if let Some(announced) = reply.length.filter(|length| *length != size) {
                return Err(wrong_size(announced));
            }
        }
        206 if partial.have() > 0 => match reply.range {
            Some((first, total)) if first == partial.have() => {
                if let Some(announced) = total.filter(|total| *total != size) {
                    return Err(wrong_size(announced));
                }
            }
            _ => {
                job.restart(partial)?;
                return Err(Reason::Protocol("another range than the one asked for".to_owned()).into());
            }
        },
        status @ (429 | 503 | 509) => {
            let retry_after = reply.retry_after;
            reply.discard();
            return Err(Reason::Busy { status, retry_after }.into());
        }
        status => {
            reply.discard();
            return Err(Reason::Status { status }.into());
        }
    }
    job.tries[at].etag.clone_from(&reply.etag);
    Ok(reply)
}

/// Moves the body into the partial, and never reads more than one byte beyond the size.
fn transfer(run: &Run, job: &mut Job, at: usize, source: Source, partial: &mut Partial) -> Result<(), Stop> {
    let size = job.want.size;
    let mut buffer = vec![0; 1 << 16];
    let (mut body, mut meter): (Box<dyn Read>, _) = match source {
        Source::File(file) => (Box::new(file), None),
        Source::Http(reply) => {
            let reply = *reply;
            let config = &run.fetcher.config;
            (
                Box::new(Held(reply)),
                Some(Meter::new(config.stall_timeout, config.min_rate)),
            )
        }
    };
    loop {
        run.check()?;
        let room = size - partial.have();
        let take = usize::try_from(room.saturating_add(1))
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let read = match body.read(&mut buffer[..take]) {
            Ok(0) if room == 0 => return Ok(()),
            Ok(0) => {
                return Err(Reason::Truncated {
                    have: partial.have(),
                    size,
                }
                .into());
            }
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                if meter.is_none() {
                    return Err(Reason::Unreadable(error.kind()).into());
                }
                let truncated = Reason::Truncated {
                    have: partial.have(),
                    size,
                };
                return Err(run.fetcher.client.body_reason(error, truncated).into());
            }
        };
        if read as u64 > room {
            job.restart(partial)?;
            return Err(Reason::TooLong { limit: size }.into());
        }
        partial.append(&buffer[..read])?;
        job.fed_by.insert(Feeder::Mirror(at));
        job.tell(run, partial.have());
        if let Some(meter) = &mut meter {
            meter.count(read as u64)?;
        }
    }
}

/// The body of a reply, with the permit for its connection.
struct Held<'a>(Reply<'a>);

impl Read for Held<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.body.read(buffer)
    }
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
        Self {
            span,
            minimum,
            since: Instant::now(),
            bytes: 0,
        }
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
            return Err(Reason::TooSlow {
                rate,
                minimum: self.minimum,
            });
        }
        *self = Self::new(self.span, self.minimum);
        Ok(())
    }
}
