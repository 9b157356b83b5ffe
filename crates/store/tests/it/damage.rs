//! Bit rot and meddling: refused, named, moved away, and put right by the next put.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use selfsame_image::Digest;
use selfsame_image::tree::{Content, Contents};
use selfsame_store::{Depth, Fault, Item, Store, StoreError};
use selfsame_testkit::{Numbers, scratch};

use crate::assert_clean;

/// Writes through the read-only mode, as a broken disk would.
fn overwrite(path: &Path, bytes: &[u8]) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

fn flip(path: &Path, numbers: &mut Numbers) {
    let mut bytes = fs::read(path).unwrap();
    let at = numbers.below(bytes.len());
    bytes[at] ^= 1 << numbers.below(8);
    overwrite(path, &bytes);
}

fn record_path(store: &Store, kind: &str, key: &Digest) -> PathBuf {
    let hex = key.to_string();
    store.root().join(format!("records/{kind}/{}/{}", &hex[..2], &hex[2..]))
}

#[test]
fn every_flipped_bit_of_a_blob_is_refused_named_and_repaired_by_a_put() {
    let dir = scratch();
    let store = Store::open(dir.path()).unwrap();
    let mut numbers = Numbers(1);
    for round in 0..400 {
        let length = 1 + numbers.below(300);
        let bytes = numbers.bytes(length);
        let content = Content::of(&bytes);
        let digest = store.put(&bytes).unwrap();
        flip(&store.path(&digest), &mut numbers);
        let error = match round % 3 {
            0 => store.read(&digest).unwrap_err(),
            1 => store.open_verified(&digest).unwrap_err(),
            _ => {
                let error = Contents::open(&store, &content).err().unwrap();
                assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
                *error.into_inner().unwrap().downcast::<StoreError>().unwrap()
            }
        };
        let StoreError::Damaged { item: Item::Blob(named), moved_to: Some(aside), .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(*named, digest);
        assert!(error.to_string().starts_with(&format!("blob {digest} is damaged: its bytes have SHA-256 ")));
        assert!(aside.exists() && !store.contains(&digest));
        store.put(&bytes).unwrap();
        assert_eq!(store.read(&digest).unwrap().unwrap(), bytes);
    }
    assert_clean(&store);
}

#[test]
fn every_flipped_bit_of_a_record_is_refused_and_named() {
    let dir = scratch();
    let store = Store::open(dir.path()).unwrap();
    let mut numbers = Numbers(2);
    for _ in 0..400 {
        let length = numbers.below(100);
        let payload = numbers.bytes(length);
        let key = Digest::of(&payload);
        store.record_put("stage", &key, &payload).unwrap();
        let path = record_path(&store, "stage", &key);
        flip(&path, &mut numbers);
        let error = store.record_get("stage", &key).unwrap_err();
        assert!(error.to_string().starts_with(&format!("stage record {key} is damaged: ")), "{error}");
        assert_eq!(store.record_get("stage", &key).unwrap(), None, "missing from now on");
    }
    assert_clean(&store);
}

/// The partial, which a process that another test starts at this moment may still hold for an instant.
fn partial(store: &Store, content: &Content) -> selfsame_store::Partial {
    (0..200)
        .find_map(|_| {
            let partial = store.partial(content).unwrap();
            if partial.is_none() {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            partial
        })
        .unwrap()
}

#[test]
fn a_flipped_bit_of_a_partial_never_becomes_a_blob() {
    let dir = scratch();
    let store = Store::open(dir.path()).unwrap();
    let mut numbers = Numbers(3);
    for _ in 0..100 {
        let bytes = numbers.bytes(200);
        let content = Content::of(&bytes);
        partial(&store, &content).append(&bytes[..150]).unwrap();
        flip(&store.root().join(format!("partial/{}", content.digest)), &mut numbers);
        let mut partial = partial(&store, &content);
        partial.append(&bytes[150..]).unwrap();
        assert!(matches!(partial.finish(), Err(StoreError::Mismatch { .. })));
    }
    assert_eq!(store.stat().unwrap(), selfsame_store::Stat::default());
}

#[test]
fn a_check_finds_and_moves_all_that_is_damaged() {
    let dir = scratch();
    let store = Store::open(dir.path()).unwrap();
    let mut numbers = Numbers(4);
    let mut expected = Vec::new();
    for n in 0..60u8 {
        let digest = store.put(&[n; 40]).unwrap();
        store.record_put("stage", &digest, &[n]).unwrap();
        if n % 3 == 0 {
            flip(&store.path(&digest), &mut numbers);
            expected.push(store.path(&digest));
        }
        if n % 5 == 0 {
            flip(&record_path(&store, "stage", &digest), &mut numbers);
            expected.push(record_path(&store, "stage", &digest));
        }
    }
    expected.sort();
    assert_eq!(store.check(Depth::Names).unwrap(), []);
    let problems = store.check(Depth::Bytes).unwrap();
    let found: Vec<_> = problems.iter().map(|problem| store.root().join(&problem.path)).collect();
    assert_eq!(found, expected);
    assert!(problems.iter().all(|problem| problem.moved_to.as_ref().is_some_and(|path| path.exists())));
    assert_clean(&store);
    assert_eq!(store.stat().unwrap().damaged, 32);
}

/// Does something to the file of the first blob; the second is another one.
type Meddle = fn(&Path, &Path);

#[test]
fn meddling_is_refused_on_use_and_found_by_a_check() {
    let ways: [(&str, Meddle); 7] = [
        ("truncated", |path, _| overwrite(path, b"first bl")),
        ("empty", |path, _| overwrite(path, b"")),
        ("longer", |path, _| overwrite(path, b"first blob and more")),
        ("swapped", |path, other| fs::rename(other, path).unwrap()),
        ("linked to another blob", |path, other| {
            fs::remove_file(path).unwrap();
            symlink(other, path).unwrap();
        }),
        ("linked to a good copy", |path, other| {
            fs::rename(path, other).unwrap();
            symlink(other, path).unwrap();
        }),
        ("a directory", |path, _| {
            fs::remove_file(path).unwrap();
            fs::create_dir(path).unwrap();
        }),
    ];
    for (how, meddle) in ways {
        for by_check in [true, false] {
            let dir = scratch();
            let store = Store::open(dir.path()).unwrap();
            let [first, other] = [&b"first blob"[..], b"other blob"].map(|bytes| store.put(bytes).unwrap());
            meddle(&store.path(&first), &store.path(&other));
            if by_check {
                let problems = store.check(Depth::Bytes).unwrap();
                assert!(
                    problems.iter().any(|found| store.root().join(&found.path) == store.path(&first)),
                    "{how}"
                );
            } else {
                let error = store.read(&first).unwrap_err();
                assert!(
                    matches!(&error, StoreError::Damaged { item: Item::Blob(d), .. } if *d == first),
                    "{how}: {error}"
                );
            }
            assert!(!store.contains(&first), "{how}");
            assert_eq!(store.put(b"first blob").unwrap(), first);
            assert_eq!(store.read(&first).unwrap().unwrap(), b"first blob", "{how}");
        }
    }
}

#[test]
fn a_record_under_another_name_is_refused() {
    let dir = scratch();
    let store = Store::open(dir.path()).unwrap();
    let [a, b] = [Digest::of(b"a"), Digest::of(b"b")];
    store.record_put("stage", &a, b"a").unwrap();
    store.record_put("stage", &b, b"b").unwrap();
    store.record_put("deb", &a, b"a").unwrap();
    fs::rename(record_path(&store, "stage", &a), record_path(&store, "stage", &b)).unwrap();
    assert!(matches!(store.record_get("stage", &b), Err(StoreError::Damaged { fault: Fault::Record, .. })));
    fs::rename(record_path(&store, "deb", &a), record_path(&store, "stage", &a)).unwrap();
    assert!(matches!(store.record_get("stage", &a), Err(StoreError::Damaged { .. })));
}

#[test]
fn strangers_are_reported_and_left_alone() {
    let dir = scratch();
    let store = Store::open(dir.path()).unwrap();
    let blob = store.put(b"x").unwrap();
    let home = store.path(&blob);
    let hex = blob.to_string();
    let names = [
        store.root().join("blobs/README"),
        home.with_file_name("notes"),
        home.with_file_name(hex[2..].to_uppercase()),
        store.root().join("records/Loose File"),
    ];
    for name in &names {
        fs::write(name, "").unwrap();
    }
    let problems = store.check(Depth::Names).unwrap();
    assert_eq!(problems.len(), names.len());
    assert!(problems.iter().all(|problem| problem.fault == Fault::Stranger && problem.moved_to.is_none()));
    assert!(names.iter().all(|name| name.exists()));
}

#[test]
fn whatever_writes_a_blob_again_mends_one_that_is_damaged() {
    let dir = scratch();
    let store = Store::open(dir.path()).unwrap();
    let bytes = b"what it was";
    let content = Content::of(bytes);
    type Again = fn(&Store, &[u8]);
    let ways: [(&str, Again); 5] = [
        ("put", |store, bytes| {
            store.put(bytes).unwrap();
        }),
        ("writer", |store, bytes| {
            let mut writer = store.writer().unwrap();
            writer.append(bytes).unwrap();
            writer.finish(None).unwrap();
        }),
        ("file", |store, bytes| {
            let file = store.file().unwrap();
            file.file().write_all_at(bytes, 0).unwrap();
            file.finish(None).unwrap();
        }),
        ("partial", |store, bytes| {
            let mut partial = store.partial(&Content::of(bytes)).unwrap().unwrap();
            partial.append(bytes).unwrap();
            partial.finish().unwrap();
        }),
        ("batch", |store, bytes| {
            let batch = store.batch();
            batch.put(bytes).unwrap();
            batch.commit().unwrap();
        }),
    ];
    store.put(bytes).unwrap();
    let path = store.path(&content.digest);
    for (way, again) in ways {
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, b"what it Was").unwrap();
        again(&store, bytes);
        // As a file, for whoever hashes it anyway or was told that it is fresh.
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "{way}");
        assert_clean_but_for_the_aside(&store);
    }
}

/// What was damaged may lie aside.
fn assert_clean_but_for_the_aside(store: &Store) {
    let problems = store.check(Depth::Bytes).unwrap();
    assert!(problems.iter().all(|problem| problem.path.starts_with("damaged")), "{problems:?}");
}
