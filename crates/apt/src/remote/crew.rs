//! Many small requests side by side: nearly all of their time is waiting.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Has `work` look at all `items`, `workers` at a time and about in their order, until one call of it says no.
pub(super) fn each<T: Sync>(items: &[T], workers: usize, work: impl Fn(&T) -> bool + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..workers.min(items.len()) {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if !work(item) {
                        next.store(items.len(), Ordering::Relaxed);
                        return;
                    }
                }
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn every_item_is_seen_once_until_somebody_says_no() {
        let seen = Mutex::new(Vec::new());
        let items: Vec<u32> = (0..100).collect();
        let note = |item: &u32| {
            seen.lock().unwrap().push(*item);
            true
        };
        each(&items, 8, note);
        let mut all = std::mem::take(&mut *seen.lock().unwrap());
        all.sort();
        assert_eq!(all, items);
        each(&items, 1, |item| note(item) && *item < 5);
        assert_eq!(*seen.lock().unwrap(), [0, 1, 2, 3, 4, 5]);
        each(&[], 8, note);
    }
}
