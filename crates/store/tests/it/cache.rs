//! The cache: what is damaged is never used, and the oldest goes first.

use std::fs::{self, File, FileTimes};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use selfsame_image::digest::Digest;
use selfsame_store::{Depth, Fault, Store, Trimmed};

const KIND: &str = "blocks";

fn entry(dir: &Path, key: &Digest) -> PathBuf {
    let hex = key.to_string();
    dir.join("cache").join(KIND).join(&hex[..2]).join(&hex[2..])
}

#[test]
fn entries_come_back_as_they_were_put() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let key = Digest::of(b"key");
    assert_eq!(store.cache_get(KIND, &key).unwrap(), None);
    for bytes in [&b""[..], b"one", b"two\nlines\n"] {
        store.cache_put(KIND, &key, bytes).unwrap();
        assert_eq!(store.cache_get(KIND, &key).unwrap().as_deref(), Some(bytes));
        assert!(store.cache_contains(KIND, &key));
    }
    assert_eq!(store.cache_get("other", &key).unwrap(), None);
    let stat = store.stat().unwrap();
    assert_eq!((stat.cached, stat.tmp), (1, 0));
}

#[test]
fn of_a_thousand_damaged_entries_none_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let payload: Vec<u8> = (0..3000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let (key, other) = (Digest::of(b"key"), Digest::of(b"other"));
    store.cache_put(KIND, &key, &payload).unwrap();
    store.cache_put(KIND, &other, b"other payload").unwrap();
    let whole = fs::read(entry(dir.path(), &key)).unwrap();
    let swapped = fs::read(entry(dir.path(), &other)).unwrap();
    let mut used = 0;
    for number in 0..1000usize {
        let mut bytes = whole.clone();
        match number % 10 {
            // A file that was cut, one that grew, and the entry of another key.
            0 => bytes.truncate(number * whole.len() / 1000),
            1 => bytes.push(0),
            2 => bytes.clone_from(&swapped),
            _ => bytes[number * 7919 % whole.len()] ^= 1 << (number % 8),
        }
        fs::write(entry(dir.path(), &key), &bytes).unwrap();
        used += usize::from(store.cache_get(KIND, &key).unwrap().is_some());
        assert!(!entry(dir.path(), &key).exists(), "damage {number} is removed");
    }
    assert_eq!(used, 0);
}

#[test]
fn check_finds_and_removes_what_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (key, good) = (Digest::of(b"key"), Digest::of(b"good"));
    store.cache_put(KIND, &key, b"payload").unwrap();
    store.cache_put(KIND, &good, b"payload").unwrap();
    assert_eq!(store.check(Depth::Bytes).unwrap(), []);
    fs::write(entry(dir.path(), &key), "payload").unwrap();
    let problems = store.check(Depth::Bytes).unwrap();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].fault, Fault::Record);
    assert_eq!(store.check(Depth::Bytes).unwrap(), []);
    assert!(store.cache_contains(KIND, &good));
}

#[test]
fn the_entries_that_were_not_used_for_longest_go_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let keys: Vec<Digest> = (0..4u8).map(|n| Digest::of(&[n])).collect();
    let now = SystemTime::now();
    for (age, key) in (1u64..).zip(&keys) {
        store.cache_put(KIND, key, &[b'x'; 1000]).unwrap();
        let file = File::options().write(true).open(entry(dir.path(), key)).unwrap();
        file.set_times(FileTimes::new().set_modified(now - Duration::from_secs(age * 7200))).unwrap();
    }
    // The oldest is used and thereby the youngest.
    store.cache_get(KIND, &keys[3]).unwrap().unwrap();
    let size = fs::metadata(entry(dir.path(), &keys[0])).unwrap().len();
    let excess = store.cache_excess(2 * size, None).unwrap();
    let trimmed = store.cache_trim(2 * size, None).unwrap();
    assert_eq!(excess, trimmed);
    assert_eq!(trimmed, Trimmed { removed: 2, removed_bytes: 2 * size, kept_bytes: 2 * size });
    let left: Vec<bool> = keys.iter().map(|key| store.cache_contains(KIND, key)).collect();
    assert_eq!(left, [true, false, false, true]);
    assert_eq!(store.cache_trim(u64::MAX, None).unwrap().removed, 0);
    // Age counts for itself: the first is two hours old, the last was used just now.
    let hour = Some(now - Duration::from_secs(3600));
    assert_eq!(store.cache_trim(u64::MAX, hour).unwrap().removed, 1);
    assert!(!store.cache_contains(KIND, &keys[0]) && store.cache_contains(KIND, &keys[3]));
}
