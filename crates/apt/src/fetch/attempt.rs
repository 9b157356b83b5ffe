//! One request for one file to one mirror.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::Path;
use std::time::Instant;

use selfsame_image::tree::Content;
use selfsame_store::{Partial, StoreError};

use crate::fetch::Want;
use crate::fetch::error::Reason;
use crate::fetch::hosts::Permit;
use crate::fetch::http::{Ask, Reply};
use crate::fetch::schedule::Run;
use crate::fetch::transfer::{Source, local_file, transfer};
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
    /// It was taken up to see whether a suspected mirror works again.
    pub(crate) probe: bool,
    /// Not to be taken up before.
    pub(crate) not_before: Option<Instant>,
    /// Where the bytes that are there came from.
    fed_by: BTreeSet<Feeder>,
    /// Bytes of different mirrors must not be joined: they did not fit once.
    unmixed: bool,
    /// How many bytes the last attempt left.
    left: u64,
    /// The most bytes that were there, since mixing was given up if it was.
    most: u64,
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
    /// It was asked for a range and sent another one.
    no_ranges: bool,
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
        Self::Failed { reason, progressed: false }
    }
}

impl<'w> Job<'w> {
    pub(crate) fn new(want: &'w Want, number: usize, mirrors: usize) -> Self {
        Self {
            want,
            number,
            tries: vec![Try::default(); mirrors],
            probe: false,
            not_before: None,
            fed_by: BTreeSet::new(),
            unmixed: false,
            left: 0,
            most: 0,
            told: 0,
        }
    }

    fn content(&self) -> Content {
        Content { size: self.want.size, digest: self.want.digest }
    }

    /// Tells how many bytes are there, if they were never that many.
    pub(crate) fn tell(&mut self, run: &Run, have: u64) {
        self.most = self.most.max(have);
        if have > self.told {
            run.progress.advanced(have - self.told);
            self.told = have;
        }
    }

    /// Whether the bytes that are there can only be completed by this mirror.
    pub(crate) fn sticks_to(&self, mirror: usize) -> bool {
        self.unmixed && self.fed_by.contains(&Feeder::Mirror(mirror))
    }

    /// Notes that mirror number `at` sent some of the bytes.
    pub(crate) fn fed(&mut self, at: usize) {
        self.fed_by.insert(Feeder::Mirror(at));
    }

    /// Forgets what is there.
    pub(crate) fn restart(&mut self, partial: &mut Partial) -> Result<(), StoreError> {
        self.fed_by.clear();
        partial.restart()
    }
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
    } else if partial.have() != job.left {
        // Somebody else was at it before, or in between.
        job.fed_by.insert(Feeder::EarlierRun);
    }
    if job.unmixed && job.fed_by.iter().any(|feeder| *feeder != Feeder::Mirror(at)) {
        job.restart(&mut partial)?;
    }
    job.tell(run, partial.have());
    if partial.have() == content.size && content.size > 0 {
        return seal(job, partial).map(|()| Got::Already);
    }
    let before = job.most;
    job.tries[at].times += 1;
    let result = open(run, job, at, permit, &mut partial)
        .and_then(|source| transfer(run, job, at, source, &mut partial));
    job.left = partial.have();
    match result {
        Ok(()) => seal(job, partial).map(|()| Got::Delivered),
        Err(Stop::Failed { reason, .. }) => {
            // Measured from the most that was there before, so that this cannot go on for ever.
            let progressed = job.most - before >= (content.size / 20).max(1 << 16);
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
                if !job.unmixed {
                    (job.unmixed, job.most) = (true, 0);
                }
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
                None => run.fetcher.hosts.wait(mirror.host(), run.deadline).ok_or(Reason::Deadline)?,
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
                _ => return accept(job, at, reply, partial.have()),
            }
        }
        job.tries[at].next_path += 1;
    }
    Err(Reason::Missing { status: missing }.into())
}

fn open_file(path: &Path, size: u64, from: u64) -> Result<File, Reason> {
    let (mut file, found) = local_file(path)?;
    if found != size {
        return Err(Reason::WrongSize { announced: found, expected: size });
    }
    file.seek(SeekFrom::Start(from)).map_err(|error| Reason::Unreadable(error.kind()))?;
    Ok(file)
}

fn ask<'a>(
    run: &Run<'a, '_>,
    mirror: &Mirror,
    path: &str,
    known: &Try,
    from: u64,
    permit: Permit<'a>,
) -> Result<Reply<'a>, Reason> {
    let from = if known.no_ranges { 0 } else { from };
    let url = format!("{mirror}/{}", encoded(path));
    let ask = Ask { url: &url, from, etag: known.etag.as_deref(), fresh: false, deadline: run.deadline };
    run.fetcher.client.get(&run.fetcher.hosts, permit, &ask)
}

/// Looks whether the answer is the rest of the file, or the whole of it if the mirror does not do ranges.
fn accept<'a>(job: &mut Job, at: usize, reply: Reply<'a>, have: u64) -> Result<Source<'a>, Stop> {
    let size = job.want.size;
    let wrong_size = |announced| Stop::from(Reason::WrongSize { announced, expected: size });
    match reply.status {
        200 => {
            if let Some(announced) = reply.length.filter(|length| *length != size) {
                return Err(wrong_size(announced));
            }
        }
        206 if have > 0 => match reply.range {
            Some((first, total)) if first == have => {
                if let Some(announced) = total.filter(|total| *total != size) {
                    return Err(wrong_size(announced));
                }
            }
            _ => {
                job.tries[at].no_ranges = true;
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
    Ok(Source::Http { whole: reply.status == 200, reply: Box::new(reply) })
}
