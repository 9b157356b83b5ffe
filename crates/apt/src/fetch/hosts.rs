//! How many connections a host sees.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Counts connections by host.
#[derive(Debug)]
pub(crate) struct Hosts {
    limit: usize,
    used: Mutex<BTreeMap<String, usize>>,
    freed: Condvar,
}

/// The right to one connection to a host. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    hosts: &'a Hosts,
    host: String,
}

impl Hosts {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, used: Mutex::new(BTreeMap::new()), freed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, used: &mut BTreeMap<String, usize>, host: &str) -> Option<Permit<'_>> {
        let count = used.entry(host.to_owned()).or_default();
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        Some(Permit { hosts: self, host: host.to_owned() })
    }

    /// A permit, if there is one just now.
    pub(crate) fn try_take(&self, host: &str) -> Option<Permit<'_>> {
        self.take(&mut self.lock(), host)
    }

    /// A permit, as soon as there is one; `None` at the deadline. Nobody may hold another permit while waiting.
    pub(crate) fn wait(&self, host: &str, deadline: Option<Instant>) -> Option<Permit<'_>> {
        let mut used = self.lock();
        loop {
            if let Some(permit) = self.take(&mut used, host) {
                return Some(permit);
            }
            used = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => self.freed.wait(used).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => return None,
                Some(left) => self.freed.wait_timeout(used, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if let Some(count) = self.hosts.lock().get_mut(&self.host) {
            *count = count.saturating_sub(1);
        }
        self.hosts.freed.notify_all();
    }
}
