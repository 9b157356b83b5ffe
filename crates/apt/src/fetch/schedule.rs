//! Which file is asked for where and when.
//!
//! Workers take jobs from one list. Each time a job is taken up it makes one request to one mirror and goes back to the
//! list if that did not bring the file, so that waiting costs no thread and one bad file does not hold up the others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use selfsame_store::{Store, StoreError};

use crate::fetch::Fetcher;
use crate::fetch::attempt::{Got, Job, Stop, attempt};
use crate::fetch::error::{Class, Failure, FetchError, Reason, Tried};
use crate::fetch::hosts::Permit;
use crate::fetch::progress::{Progress, Warning};
use crate::mirrors::{Mirror, Scheme};

/// When this many files cannot be had the rest is left for another time.
const ENOUGH_FAILURES: usize = 10;

/// How long a worker sleeps at most before it looks again. Permits may also be freed by another call.
const NAP: Duration = Duration::from_millis(50);

/// One call of `fetch_all`.
pub(crate) struct Run<'a, 'w> {
    pub(crate) fetcher: &'a Fetcher,
    pub(crate) store: &'a Store,
    pub(crate) mirrors: &'a [Mirror],
    pub(crate) progress: &'a dyn Progress,
    pub(crate) deadline: Option<Instant>,
    state: Mutex<State<'w>>,
    changed: Condvar,
    /// Set when the run ends early: transfers stop at the next chance, their bytes stay for the next run.
    aborted: AtomicBool,
}

struct State<'w> {
    waiting: Vec<Job<'w>>,
    running: usize,
    mirrors: Vec<Standing>,
    failures: Vec<Failure>,
    done: usize,
    end: Option<End>,
}

enum End {
    GaveUp,
    Deadline,
    Stopped,
    Store(StoreError),
}

/// How a mirror has behaved.
///
/// A mirror with too many failures is dropped if there are others. The last one is only suspected: from then on it gets
/// one request at a time with growing pauses, and is dropped when those run out. So a short break of the network is
/// survived, and a long one does not cost a time limit for each file.
#[derive(Clone, Debug, Default)]
struct Standing {
    /// Wrong bytes, sizes and redirections, ever.
    lies: u32,
    /// Files it does not have or does not give, since the last success.
    refusals: u32,
    /// Failures that might have passed, since the last success.
    troubles: u32,
    /// Requests that were made under suspicion and failed.
    probes: u32,
    in_flight: u32,
    dropped: bool,
    paused_until: Option<Instant>,
}

impl Standing {
    fn offences(&self) -> u32 {
        self.lies + self.refusals + self.troubles
    }
}

/// What a worker does next.
enum Choice<'a> {
    Go {
        position: usize,
        mirror: usize,
        permit: Option<Permit<'a>>,
    },
    /// No mirror is left for the job at this place in the list.
    Hopeless(usize),
    Nap,
}

impl<'a, 'w> Run<'a, 'w> {
    pub(crate) fn new(
        fetcher: &'a Fetcher,
        store: &'a Store,
        mirrors: &'a [Mirror],
        progress: &'a dyn Progress,
        waiting: Vec<Job<'w>>,
    ) -> Self {
        let state = State {
            waiting,
            running: 0,
            mirrors: vec![Standing::default(); mirrors.len()],
            failures: Vec::new(),
            done: 0,
            end: None,
        };
        Self {
            fetcher,
            store,
            mirrors,
            progress,
            deadline: fetcher.config.deadline_total.and_then(|limit| Instant::now().checked_add(limit)),
            state: Mutex::new(state),
            changed: Condvar::new(),
            aborted: AtomicBool::new(false),
        }
    }

    /// Fetches everything. `of` is the number of files that were wanted, for messages.
    pub(crate) fn finish(&self, workers: usize, of: usize) -> Result<(), FetchError> {
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| self.work());
            }
        });
        let mut guard = self.lock();
        let state = &mut *guard;
        let missing = state.waiting.len() + state.failures.len();
        let mut failures = std::mem::take(&mut state.failures);
        // What was not given up but had trouble says why the rest is missing.
        let had_trouble = |job: &&Job| job.tries.iter().any(|known| known.last.is_some());
        let room = ENOUGH_FAILURES.saturating_sub(failures.len());
        for job in state.waiting.iter().filter(had_trouble).take(room) {
            failures.push(self.failure(&state.mirrors, job));
        }
        failures.sort_by(|a, b| a.path.cmp(&b.path));
        match state.end.take() {
            Some(End::Store(error)) => Err(error.into()),
            Some(End::Stopped) => Err(FetchError::Stopped { missing, of }),
            Some(End::Deadline) => {
                let limit = self.fetcher.config.deadline_total.unwrap_or_default();
                Err(FetchError::Deadline { limit, failures, missing, of })
            }
            Some(End::GaveUp) | None if missing > 0 => Err(FetchError::Incomplete { failures, missing, of }),
            Some(End::GaveUp) | None => Ok(()),
        }
    }

    /// Whether a transfer may go on.
    pub(crate) fn check(&self) -> Result<(), Stop> {
        if self.progress.stop() {
            self.end(&mut self.lock(), End::Stopped);
        }
        if self.aborted.load(Ordering::Relaxed) {
            return Err(Stop::Aborted);
        }
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(Reason::Deadline.into()),
            _ => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<'w>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some((mut job, mirror, permit)) = self.next() {
            let result = attempt(self, &mut job, mirror, permit);
            for warning in self.settle(job, mirror, result) {
                self.progress.warning(&warning);
            }
            self.changed.notify_all();
        }
        self.changed.notify_all();
    }

    /// Waits for something to do; `None` when everything is over.
    fn next(&self) -> Option<(Job<'w>, usize, Option<Permit<'a>>)> {
        let mut state = self.lock();
        loop {
            if state.end.is_some() || (state.waiting.is_empty() && state.running == 0) {
                return None;
            }
            if self.progress.stop() {
                self.end(&mut state, End::Stopped);
                continue;
            }
            let now = Instant::now();
            if self.deadline.is_some_and(|deadline| now >= deadline) {
                self.end(&mut state, End::Deadline);
                continue;
            }
            if state.mirrors.iter().all(|standing| standing.dropped) {
                self.end(&mut state, End::GaveUp);
                continue;
            }
            match self.choose(&state, now) {
                Choice::Go { position, mirror, permit } => {
                    let mut job = state.waiting.remove(position);
                    job.probe = self.is_suspect(&state.mirrors[mirror]);
                    state.running += 1;
                    state.mirrors[mirror].in_flight += 1;
                    return Some((job, mirror, permit));
                }
                Choice::Hopeless(position) => {
                    let job = state.waiting.remove(position);
                    self.give_up(&mut state, &job);
                }
                Choice::Nap => {
                    state = self.changed.wait_timeout(state, NAP).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    fn end(&self, state: &mut State, end: End) {
        state.end.get_or_insert(end);
        self.aborted.store(true, Ordering::Relaxed);
    }

    fn usable(&self, state: &State, job: &Job, mirror: usize) -> bool {
        let reachable = !self.fetcher.config.offline || self.mirrors[mirror].scheme() == Scheme::File;
        reachable && !job.tries[mirror].given_up && !state.mirrors[mirror].dropped
    }

    /// The first job that can be taken up now, at the mirror that was asked for it least, in rotation.
    fn choose(&self, state: &State, now: Instant) -> Choice<'a> {
        let due = |time: Option<Instant>| time.is_none_or(|time| time <= now);
        let count = self.mirrors.len();
        for (position, job) in state.waiting.iter().enumerate() {
            let mut usable: Vec<usize> = (0..count)
                .map(|step| (job.number + step) % count)
                .filter(|mirror| self.usable(state, job, *mirror))
                .collect();
            if usable.is_empty() {
                return Choice::Hopeless(position);
            }
            if !due(job.not_before) {
                continue;
            }
            match usable.iter().copied().find(|mirror| job.sticks_to(*mirror)) {
                Some(mirror) => usable = vec![mirror],
                None => usable.sort_by_key(|mirror| job.tries[*mirror].times),
            }
            for mirror in usable {
                let standing = &state.mirrors[mirror];
                let crowded = self.is_suspect(standing) && standing.in_flight > 0;
                if crowded || !due(job.tries[mirror].not_before) || !due(standing.paused_until) {
                    continue;
                }
                if self.mirrors[mirror].scheme() == Scheme::File {
                    return Choice::Go { position, mirror, permit: None };
                }
                if let Some(permit) = self.fetcher.hosts.try_take(self.mirrors[mirror].host()) {
                    return Choice::Go { position, mirror, permit: Some(permit) };
                }
            }
        }
        Choice::Nap
    }

    /// Notes that no mirror has the file, and ends the run if the others would fare no better.
    fn give_up(&self, state: &mut State<'w>, job: &Job) {
        let failure = self.failure(&state.mirrors, job);
        let passing =
            failure.tried.iter().any(|tried| matches!(tried.reason.class(), Class::Passing | Class::Busy));
        let nobody_works = state.mirrors.iter().all(|standing| standing.dropped || standing.troubles > 0);
        state.failures.push(failure);
        if (passing && nobody_works) || state.failures.len() >= ENOUGH_FAILURES {
            self.end(state, End::GaveUp);
        }
    }

    /// Books the result of an attempt.
    fn settle(&self, mut job: Job<'w>, mirror: usize, result: Result<Got, Stop>) -> Vec<Warning> {
        let mut state = self.lock();
        let state = &mut *state;
        state.running -= 1;
        state.mirrors[mirror].in_flight -= 1;
        let mut warnings = Vec::new();
        match result {
            Ok(got) => {
                state.done += 1;
                if got == Got::Delivered {
                    let standing = &mut state.mirrors[mirror];
                    (standing.refusals, standing.troubles, standing.probes) = (0, 0, 0);
                }
                return warnings;
            }
            Err(Stop::Store(error)) => self.end(state, End::Store(error)),
            Err(Stop::Aborted) => {}
            Err(Stop::Busy) => job.not_before = Some(Instant::now() + NAP),
            Err(Stop::Mixed { bytes }) => {
                warnings.push(Warning::Mixed { what: job.want.what.clone(), bytes })
            }
            Err(Stop::Failed { reason: Reason::Deadline, .. }) => self.end(state, End::Deadline),
            Err(Stop::Failed { reason, progressed }) => {
                self.blame(state, &mut job, mirror, reason, progressed, &mut warnings);
            }
        }
        state.waiting.push(job);
        warnings
    }

    /// Books a failure on the file and on the mirror.
    fn blame(
        &self,
        state: &mut State,
        job: &mut Job,
        mirror: usize,
        reason: Reason,
        progressed: bool,
        warnings: &mut Vec<Warning>,
    ) {
        let config = &self.fetcher.config;
        let class = reason.class();
        let known = &mut job.tries[mirror];
        let standing = &mut state.mirrors[mirror];
        let now = Instant::now();
        known.given_up = match class {
            Class::Lie | Class::Final => true,
            Class::Passing | Class::Busy => {
                known.spent += u32::from(!progressed);
                known.spent > config.retries
            }
        };
        let usual = self.fetcher.pause_after(known.spent);
        match &reason {
            Reason::Busy { retry_after, .. } => {
                let pause = retry_after.unwrap_or(usual);
                known.given_up |= pause > config.max_pause;
                let until = now + pause.min(config.max_pause);
                if standing.paused_until.is_none_or(|already| already < until) && !pause.is_zero() {
                    warnings.push(Warning::Paused { mirror: self.mirrors[mirror].clone(), pause });
                }
                standing.paused_until = standing.paused_until.max(Some(until));
            }
            _ if class == Class::Passing && !progressed => known.not_before = Some(now + usual),
            _ => {}
        }
        match class {
            Class::Lie => standing.lies += 1,
            Class::Final => standing.refusals += 1,
            Class::Passing if progressed => {}
            Class::Passing => {
                standing.troubles += 1;
                if job.probe {
                    standing.probes += 1;
                    standing.paused_until = Some(now + self.fetcher.pause_after(standing.probes));
                }
            }
            Class::Busy => {}
        }
        let what = job.want.what.clone();
        let again = !known.given_up;
        known.last = Some(reason.clone());
        warnings.push(Warning::Failed { what, mirror: self.mirrors[mirror].clone(), reason, again });
        warnings.extend(self.drop_if_hopeless(state, mirror));
    }

    /// Drops a mirror that has failed too often.
    fn drop_if_hopeless(&self, state: &mut State, mirror: usize) -> Option<Warning> {
        let config = &self.fetcher.config;
        let others = (0..self.mirrors.len()).any(|other| other != mirror && self.is_candidate(state, other));
        let standing = &mut state.mirrors[mirror];
        let limit = config.offences.max(1);
        let hopeless = standing.lies >= limit || standing.probes > config.retries;
        if standing.dropped || !(hopeless || (others && standing.offences() >= limit)) {
            return None;
        }
        standing.dropped = true;
        Some(Warning::Dropped { mirror: self.mirrors[mirror].clone(), offences: standing.offences() })
    }

    /// Whether a mirror has failed so often that it is asked for one file at a time only.
    fn is_suspect(&self, standing: &Standing) -> bool {
        standing.troubles >= self.fetcher.config.offences.max(1)
    }

    /// Whether a mirror can be asked for anything at all.
    fn is_candidate(&self, state: &State, mirror: usize) -> bool {
        let reachable = !self.fetcher.config.offline || self.mirrors[mirror].scheme() == Scheme::File;
        reachable && !state.mirrors[mirror].dropped
    }

    /// Every mirror, and why it did not bring the file.
    fn failure(&self, standings: &[Standing], job: &Job) -> Failure {
        let offline = self.fetcher.config.offline;
        let mut tried = Vec::new();
        for ((mirror, known), standing) in self.mirrors.iter().zip(&job.tries).zip(standings) {
            let reason = match &known.last {
                Some(reason) => reason.clone(),
                None if standing.dropped => Reason::Dropped,
                None if offline && mirror.scheme() != Scheme::File => Reason::Offline,
                None => continue,
            };
            tried.push(Tried { mirror: mirror.clone(), times: known.times, reason });
        }
        let path = job.want.paths.first().cloned().unwrap_or_default();
        Failure { what: job.want.what.clone(), path, size: job.want.size, tried }
    }
}
