//! Putting and getting, when nothing goes wrong.

use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};

use selfsame_image::Digest;
use selfsame_image::ReadAt;
use selfsame_image::tree::{Content, Contents};
use selfsame_store::{Store, StoreError};

use crate::assert_clean;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

fn everything(source: &(dyn ReadAt + Send)) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(source.size().unwrap()).unwrap()];
    source.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn what_was_put_comes_back_under_its_digest() {
    let (_dir, store) = store();
    for bytes in [&b""[..], b"hello", &vec![7; 3 << 20]] {
        let content = Content::of(bytes);
        assert_eq!(store.read(&content.digest).unwrap(), None);
        assert!(store.open_verified(&content.digest).unwrap().is_none());
        assert!(!store.contains(&content.digest));
        assert_eq!(store.put(bytes).unwrap(), content.digest);
        assert_eq!(store.put(bytes).unwrap(), content.digest, "again");
        assert_eq!(store.read(&content.digest).unwrap().as_deref(), Some(bytes));
        assert_eq!(store.size(&content.digest), Some(content.size));
        let mut read = Vec::new();
        store.open_verified(&content.digest).unwrap().unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read, bytes);
        assert_eq!(everything(&*Contents::open(&store, &content).unwrap()), bytes);
        let mode = std::fs::metadata(store.path(&content.digest)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o444);
    }
    let hello = store.path(&Digest::of(b"hello"));
    let below = hello.strip_prefix(store.root()).unwrap().to_str().unwrap();
    assert_eq!(below, "blobs/2c/f24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
    assert_eq!(store.stat().unwrap().blobs, 3);
    assert_clean(&store);
}

#[test]
fn a_writer_hashes_and_keeps_only_what_was_expected() {
    let (_dir, store) = store();
    let mut writer = store.writer().unwrap();
    for _ in 0..1000 {
        writer.write_all(&[5; 333]).unwrap();
    }
    let content = Content::of(&vec![5; 333_000]);
    assert_eq!(writer.finish(Some(content)).unwrap(), content);

    let mut writer = store.writer().unwrap();
    writer.write_all(b"other").unwrap();
    let error = writer.finish(Some(content)).unwrap_err();
    assert!(matches!(error, StoreError::Mismatch { expected, found }
        if expected == content && found == Content::of(b"other")));
    drop(store.writer().unwrap());
    let stat = store.stat().unwrap();
    assert_eq!((stat.blobs, stat.tmp), (1, 0));
}

#[test]
fn contents_that_are_not_there_are_not_found_and_wrong_sizes_are_refused() {
    let (_dir, store) = store();
    let content = Content::of(b"x");
    let error = Contents::open(&store, &content).err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    store.put(b"x").unwrap();
    let error = Contents::open(&store, &Content { size: 2, ..content }).err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
}

#[test]
fn a_batch_is_seen_at_its_commit_and_not_before() {
    let (_dir, store) = store();
    store.put(b"known").unwrap();
    let batch = store.batch();
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let batch = &batch;
            scope.spawn(move || {
                for n in 0..50u8 {
                    // Half of them are the same in all threads.
                    batch.put(&[n, if n % 2 == 0 { 0 } else { thread }]).unwrap();
                }
            });
        }
    });
    let mut writer = batch.writer().unwrap();
    writer.write_all(b"streamed").unwrap();
    let streamed = writer.finish(None).unwrap();
    batch.put(b"known").unwrap();
    assert_eq!(store.stat().unwrap().blobs, 1);
    batch.commit().unwrap();
    assert_eq!(store.stat().unwrap().blobs, 1 + 25 + 4 * 25 + 1);
    assert_eq!(store.read(&streamed.digest).unwrap().unwrap(), b"streamed");
    assert_clean(&store);

    let dropped = store.batch();
    dropped.put(b"dropped").unwrap();
    drop(dropped);
    let stat = store.stat().unwrap();
    assert_eq!((stat.blobs, stat.tmp), (127, 0));
}

#[test]
fn records_are_found_by_kind_and_key_and_replaced_whole() {
    let (_dir, store) = store();
    let [a, b] = [Digest::of(b"a"), Digest::of(b"b")];
    assert_eq!(store.record_get("stage", &a).unwrap(), None);
    assert_eq!(store.record_keys("stage").unwrap(), []);
    store.record_put("stage", &a, b"one\n\0two").unwrap();
    store.record_put("stage", &b, b"").unwrap();
    store.record_put("deb", &a, b"other kind").unwrap();
    assert_eq!(store.record_get("stage", &a).unwrap().unwrap(), b"one\n\0two");
    assert_eq!(store.record_get("stage", &b).unwrap().unwrap(), b"");
    store.record_put("stage", &a, b"new").unwrap();
    assert_eq!(store.record_get("stage", &a).unwrap().unwrap(), b"new");
    assert_eq!(store.record_get("deb", &a).unwrap().unwrap(), b"other kind");
    let mut keys = [a, b];
    keys.sort();
    assert_eq!(store.record_keys("stage").unwrap(), keys);
    for bad in ["", "../x", "A", "a/b"] {
        assert!(matches!(store.record_put(bad, &a, b""), Err(StoreError::BadName { .. })));
        assert!(matches!(store.record_get(bad, &a), Err(StoreError::BadName { .. })));
    }
    assert_eq!(store.stat().unwrap().records, 3);
    assert_clean(&store);
}

#[test]
fn a_partial_goes_on_where_it_was_left() {
    let (dir, store) = store();
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let content = Content::of(&bytes);
    let mut partial = store.partial(&content).unwrap().unwrap();
    assert!(store.partial(&content).unwrap().is_none(), "one at a time");
    partial.append(&bytes[..40_000]).unwrap();
    drop(partial);
    assert_eq!(store.stat().unwrap().partial_bytes, 40_000);

    let again = Store::open(dir.path()).unwrap();
    let mut partial = again.partial(&content).unwrap().unwrap();
    assert_eq!(partial.have(), 40_000);
    assert!(matches!(partial.append(&bytes[..60_001]), Err(StoreError::TooLong { .. })));
    partial.append(&bytes[40_000..]).unwrap();
    assert_eq!(partial.finish().unwrap(), content);
    assert_eq!(store.read(&content.digest).unwrap().unwrap(), bytes);
    let mode = std::fs::metadata(store.path(&content.digest)).unwrap().permissions().mode();
    assert_eq!((mode & 0o7777, store.stat().unwrap().partials), (0o444, 0));
}

#[test]
fn a_wrong_partial_is_thrown_away_at_the_end() {
    let (_dir, store) = store();
    let content = Content::of(b"right");
    let mut partial = store.partial(&content).unwrap().unwrap();
    partial.append(b"wr").unwrap();
    partial.restart().unwrap();
    partial.append(b"wrong").unwrap();
    assert!(matches!(partial.finish(), Err(StoreError::Mismatch { .. })));
    let stat = store.stat().unwrap();
    assert_eq!((stat.blobs, stat.partials), (0, 0));

    std::fs::write(store.root().join(format!("partial/{}", content.digest)), "longer than it may be")
        .unwrap();
    let partial = store.partial(&content).unwrap().unwrap();
    assert_eq!(partial.have(), 0);
    drop(partial);
    assert_eq!(store.stat().unwrap().partials, 0, "an empty one leaves nothing");
}

#[test]
fn a_partial_whose_owner_died_just_before_the_rename_goes_on() {
    let (_dir, store) = store();
    let content = Content::of(b"whole");
    store.partial(&content).unwrap().unwrap().append(b"whole").unwrap();
    let path = store.root().join(format!("partial/{}", content.digest));
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o444)).unwrap();
    let partial = store.partial(&content).unwrap().unwrap();
    assert_eq!(partial.finish().unwrap(), content);
}

#[test]
fn partials_of_whole_blobs_are_swept_at_open() {
    let (dir, store) = store();
    for bytes in [&b"whole"[..], b"half"] {
        store.partial(&Content::of(bytes)).unwrap().unwrap().append(&bytes[..2]).unwrap();
    }
    store.put(b"whole").unwrap();
    let again = Store::open(dir.path()).unwrap();
    assert_eq!(again.stat().unwrap().partials, 1);
    assert_eq!(again.partial(&Content::of(b"half")).unwrap().unwrap().have(), 2);
}

#[test]
fn a_file_may_be_written_in_any_order_and_is_kept_whole_or_not_at_all() {
    let (dir, store) = store();
    let content = Content::of(b"head and tail");
    let fill = || {
        let blob = store.file().unwrap();
        blob.file().write_all_at(b"tail", 9).unwrap();
        blob.file().write_all_at(b"head and ", 0).unwrap();
        blob
    };
    let wrong = Content::of(b"head and hail");
    let error = fill().finish(Some(wrong)).unwrap_err();
    assert!(
        matches!(error, StoreError::Mismatch { expected, found } if expected == wrong && found == content)
    );
    drop(fill());
    assert!(!store.contains(&content.digest));
    assert_eq!(fill().finish(None).unwrap(), content);
    // Once more is no error, as with any blob.
    assert_eq!(fill().finish(Some(content)).unwrap(), content);
    assert_eq!(store.read(&content.digest).unwrap().unwrap(), b"head and tail");
    let mode = std::fs::metadata(store.path(&content.digest)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o444);
    drop(store);
    assert_eq!(std::fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
    assert_clean(&Store::open(dir.path()).unwrap());
}
