//! Parallel work whose result does not depend on the number of threads.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::mpsc;
use std::sync::{Condvar, Mutex, Once};

/// Applies `f` on `jobs` threads and hands the results to `each` in input order, on the calling thread.
///
/// At most `4 * jobs` items are between input and `each` at any time, so memory is bounded however slow `each` is.
/// The first error of `each` stops the work and is returned. A panic in `f` is passed on.
pub fn map_ordered<T: Send, U: Send, E>(
    jobs: NonZero<usize>,
    items: impl Iterator<Item = T> + Send,
    f: impl Fn(T) -> U + Sync,
    mut each: impl FnMut(U) -> Result<(), E>,
) -> Result<(), E> {
    if jobs.get() == 1 {
        return items.map(f).try_for_each(each);
    }
    let window = jobs.get().saturating_mul(4) as u64;
    let input = Mutex::new(items.enumerate());
    let gate = Gate { done: Mutex::new(Some(0)), moved: Condvar::new() };
    std::thread::scope(|scope| {
        let (send, receive) = mpsc::channel();
        // Opens the gate for good however this scope ends, so that no worker waits for ever.
        let _open = OpenOnDrop(&gate);
        for _ in 0..jobs.get() {
            let send = send.clone();
            let (input, gate, f) = (&input, &gate, &f);
            scope.spawn(move || {
                // What this thread was to hand on would be waited for, and the others behind it.
                let _open = OpenOnPanic(gate);
                loop {
                    let next = input.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next();
                    let Some((index, item)) = next else { break };
                    if !gate.wait(index as u64, window) || send.send((index as u64, f(item))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(send);
        let mut early = BTreeMap::new();
        let mut due = 0;
        for (index, result) in receive {
            early.insert(index, result);
            while let Some(result) = early.remove(&due) {
                each(result)?;
                due += 1;
                gate.advance(due);
            }
        }
        Ok(())
    })
}

/// Has the allocator keep what threads give back to it, up to 64 MiB at the end of each of its arenas, as long as this process
/// runs.
///
/// Codecs ask for a few MiB for each block. The C library of GNU gives such memory back to the kernel at once, which then has
/// to clear it again for the next block: 5 % of the time of xz. Its limits follow the largest piece that was ever freed,
/// but none above 32 MiB, and it keeps twice that (mallopt(3), M_MMAP_THRESHOLD). Nothing happens with other C libraries, with
/// limits that its own variables set, or where there is no room.
pub fn keep_memory() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let mut piece = Vec::<u8>::new();
        // Never touched: it is room for addresses only.
        let _ = piece.try_reserve_exact((32 << 20) - (64 << 10));
        drop(std::hint::black_box(piece));
    });
}

/// Does two things at the same time. A panic in one of them is passed on.
pub fn both<T: Send, U>(first: impl FnOnce() -> T + Send, second: impl FnOnce() -> U) -> (T, U) {
    std::thread::scope(|scope| {
        let first = scope.spawn(first);
        let second = second();
        (first.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), second)
    })
}

struct Gate {
    /// How many results were handed on; `None` when nobody takes results any more.
    done: Mutex<Option<u64>>,
    moved: Condvar,
}

impl Gate {
    /// Waits until `index` lies inside the window; false when the work was stopped.
    fn wait(&self, index: u64, window: u64) -> bool {
        let done = self.done.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let done = self
            .moved
            .wait_while(done, |done| done.is_some_and(|done| index >= done + window))
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        done.is_some()
    }

    /// Says how many results were handed on. An open gate stays open: results from before a panic are handed on after it.
    fn advance(&self, due: u64) {
        let mut done = self.done.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(done) = &mut *done {
            *done = due;
        }
        self.moved.notify_all();
    }
}

struct OpenOnPanic<'a>(&'a Gate);

impl Drop for OpenOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            drop(OpenOnDrop(self.0));
        }
    }
}

struct OpenOnDrop<'a>(&'a Gate);

impl Drop for OpenOnDrop<'_> {
    fn drop(&mut self) {
        *self.0.done.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = None;
        self.0.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn squares(jobs: usize) -> Vec<u64> {
        let mut out = Vec::new();
        let jobs = NonZero::new(jobs).unwrap();
        map_ordered(
            jobs,
            0..500u64,
            |n| n * n,
            |square| {
                out.push(square);
                Ok::<(), ()>(())
            },
        )
        .unwrap();
        out
    }

    #[test]
    fn job_count_changes_nothing() {
        let serial = squares(1);
        assert_eq!(serial.len(), 500);
        for jobs in [2, 3, 8, 60] {
            assert_eq!(squares(jobs), serial, "jobs = {jobs}");
        }
    }

    #[test]
    fn a_panic_is_passed_on_and_nothing_waits_for_ever() {
        for jobs in [1, 2, 7] {
            for (at, in_items) in [(3, false), (900, false), (3, true), (900, true)] {
                let run = || {
                    let items = (0..1000u64).inspect(|n| assert!(!in_items || *n != at, "told"));
                    let f = |n: u64| assert!(in_items || n != at, "told");
                    map_ordered(NonZero::new(jobs).unwrap(), items, f, |()| Ok::<(), ()>(()))
                };
                assert!(std::panic::catch_unwind(run).is_err(), "{jobs}, {at}, {in_items}");
            }
        }
    }

    #[test]
    fn an_open_gate_stays_open() {
        let gate = Gate { done: Mutex::new(Some(0)), moved: Condvar::new() };
        assert!(gate.wait(7, 8));
        drop(OpenOnDrop(&gate));
        gate.advance(1);
        assert!(!gate.wait(1_000_000, 8), "what comes after a panic closed the gate again");
    }

    #[test]
    fn the_first_error_stops_endless_work() {
        let jobs = NonZero::new(3).unwrap();
        let mut seen = 0;
        let result = map_ordered(
            jobs,
            0..,
            |n: u64| n,
            |n| {
                seen = n;
                if n == 40 { Err("enough") } else { Ok(()) }
            },
        );
        assert_eq!((result, seen), (Err("enough"), 40));
    }
}
