//! Notices what does not come to an end.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Input;

/// What the threads are at.
#[derive(Default)]
pub(crate) struct Watchdog(Mutex<Vec<(Instant, &'static str, Input)>>);

impl Watchdog {
    fn all(&self) -> MutexGuard<'_, Vec<(Instant, &'static str, Input)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work` for a target with an input, and looks at the clock meanwhile.
    pub(crate) fn watch<T>(
        &self,
        target: &'static str,
        (name, input): (&str, &[u8]),
        work: impl FnOnce() -> T,
    ) -> T {
        self.all().push((Instant::now(), target, (name.to_owned(), input.to_vec())));
        let done = work();
        // Each thread is at one target.
        self.all().retain(|(_, other, _)| *other != target);
        done
    }

    /// What takes longer than `most`, if anything.
    pub(crate) fn hanging(&self, most: Duration) -> Option<(&'static str, Input)> {
        let all = self.all();
        let found = all.iter().find(|(since, ..)| since.elapsed() > most);
        found.map(|(_, target, input)| (*target, input.clone()))
    }
}
