//! A full disk: a typed error with figures, nothing half, and everything readable still.

use std::io::Read;

use selfsame_image::Digest;
use selfsame_image::tree::Content;
use selfsame_store::{Store, StoreError};
use selfsame_testkit::{Numbers, skip};

use crate::{as_child, assert_clean, child};

/// Runs `test` on a tmpfs of its own, in a mount namespace that goes away with the process.
fn on_small_disk(test: &str, options: &str) {
    let dir = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o {options} tmpfs '{}' && exec \"$0\" \"$@\"", dir.path().display());
    for how in [&["-m"][..], &["-U", "-r", "-m"]] {
        let probe = std::process::Command::new("unshare").args(how).arg("true").output();
        if probe.is_ok_and(|output| output.status.success()) {
            let wrapper: Vec<&str> =
                ["unshare"].iter().chain(how).chain(&["sh", "-c", &mount]).copied().collect();
            let output = as_child(test, dir.path(), &wrapper).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            return;
        }
    }
    skip("this machine forbids mount namespaces");
}

fn is_full(error: &StoreError, at_least: u64) -> bool {
    matches!(error, StoreError::Full { needed: Some(needed), free: Some(_), .. } if *needed >= at_least)
}

#[test]
fn a_full_disk_is_said_with_figures_and_leaves_the_store_readable() {
    let Some(dir) = child() else {
        on_small_disk("space::a_full_disk_is_said_with_figures_and_leaves_the_store_readable", "size=1m");
        return;
    };
    let store = Store::open(&dir).unwrap();
    let mut numbers = Numbers(6);
    let kept = numbers.bytes(200_000);
    let digest = store.put(&kept).unwrap();
    store.record_put("stage", &digest, b"kept").unwrap();

    let error = store.put(&numbers.bytes(2_000_000)).unwrap_err();
    assert!(is_full(&error, 2_000_000), "{error}");
    assert!(error.to_string().contains(": 2000000 bytes needed, "), "{error}");

    let mut writer = store.writer().unwrap().announce(3_000_000);
    let error = (0..300).find_map(|_| writer.append(&[1; 10_000]).err()).unwrap();
    assert!(is_full(&error, 2_000_000), "{error}");
    assert!(matches!(writer.finish(None), Err(StoreError::Full { .. })), "a failed writer cannot finish");
    let mut writer = store.writer().unwrap();
    let error = std::io::copy(&mut std::io::repeat(3).take(3_000_000), &mut writer).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    drop(writer);

    let batch = store.batch();
    let error = (0..100).find_map(|_| batch.put(&numbers.bytes(50_000)).err()).unwrap();
    assert!(is_full(&error, 1), "{error}");
    drop(batch);

    let large = Content { size: 4_000_000, digest: Digest::of(b"never whole") };
    let mut partial = store.partial(&large).unwrap().unwrap();
    let error = (0..500).find_map(|_| partial.append(&[2; 10_000]).err()).unwrap();
    assert!(is_full(&error, 3_000_000), "{error}");
    let had = partial.have();
    drop(partial);

    // Now the disk is as full as it gets. What is there can be read, a new process can open the store.
    let again = Store::open(&dir).unwrap();
    assert_eq!(again.read(&digest).unwrap().unwrap(), kept);
    assert_eq!(again.record_get("stage", &digest).unwrap().unwrap(), b"kept");
    assert_clean(&again);
    assert_eq!(again.partial(&large).unwrap().unwrap().have(), had);
    let stat = again.stat().unwrap();
    assert_eq!((stat.blobs, stat.records, stat.tmp), (1, 1, 0));

    // With room again, everything works again.
    again.partial(&large).unwrap().unwrap().restart().unwrap();
    store.put(&numbers.bytes(300_000)).unwrap();
    assert_clean(&store);
}

#[test]
fn a_disk_without_inodes_is_said_and_leaves_the_store_readable() {
    let Some(dir) = child() else {
        on_small_disk(
            "space::a_disk_without_inodes_is_said_and_leaves_the_store_readable",
            "size=8m,nr_inodes=40",
        );
        return;
    };
    let store = Store::open(&dir).unwrap();
    let mut put = Vec::new();
    let error = loop {
        let bytes = vec![u8::try_from(put.len()).unwrap(); 10];
        match store.put(&bytes) {
            Ok(digest) => put.push((digest, bytes)),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert!(put.len() > 5);
    let again = Store::open(&dir).unwrap();
    assert_clean(&again);
    for (digest, bytes) in put {
        assert_eq!(again.read(&digest).unwrap().unwrap(), bytes);
    }
    assert_eq!(again.stat().unwrap().tmp, 0);
}
