//! Many processes and threads on one store.

use std::process::Stdio;

use selfsame_image::Digest;
use selfsame_image::tree::Content;
use selfsame_store::Store;
use selfsame_testkit::{Numbers, scratch};

use crate::{as_child, assert_clean, child};

const BLOBS: u64 = 60;

/// What every process puts, in an order of its own.
fn work(dir: &std::path::Path, seed: u64) {
    let mut numbers = Numbers(seed);
    for _ in 0..3 {
        // Opened again and again, so that sweeping meets the others at work.
        let store = Store::open(dir).unwrap();
        let batch = store.batch();
        for _ in 0..40 {
            let n = u64::try_from(numbers.below(BLOBS as usize)).unwrap();
            let bytes = Numbers(n).bytes(2000);
            let content = Content::of(&bytes);
            match numbers.below(4) {
                0 => drop(store.put(&bytes).unwrap()),
                1 => drop(batch.put(&bytes).unwrap()),
                2 => store
                    .record_put("n", &Digest::of(&n.to_le_bytes()), content.digest.to_string().as_bytes())
                    .unwrap(),
                _ => {
                    // As a download does it: take the partial, then look again whether somebody was faster.
                    if let Some(mut partial) = store.partial(&content).unwrap()
                        && !store.contains(&content.digest)
                    {
                        let have = usize::try_from(partial.have()).unwrap();
                        partial.append(&bytes[have..]).unwrap();
                        partial.finish().unwrap();
                    }
                }
            }
            if let Some(read) = store.read(&content.digest).unwrap() {
                assert_eq!(read, bytes);
            }
        }
        batch.commit().unwrap();
    }
}

#[test]
fn processes_and_threads_do_not_disturb_each_other() {
    if let Some(dir) = child() {
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let dir = &dir;
                scope.spawn(move || work(dir, u64::from(std::process::id()) * 2 + thread));
            }
        });
        return;
    }
    let dir = scratch();
    let name = "processes::processes_and_threads_do_not_disturb_each_other";
    let children: Vec<_> =
        (0..8).map(|_| as_child(name, dir.path(), &[]).stdout(Stdio::null()).spawn().unwrap()).collect();
    for mut process in children {
        assert!(process.wait().unwrap().success());
    }
    let store = Store::open(dir.path()).unwrap();
    let stat = store.stat().unwrap();
    assert!(stat.blobs > BLOBS / 2 && stat.blobs <= BLOBS, "{stat:?}");
    assert_eq!((stat.tmp, stat.partials, stat.damaged), (0, 0, 0));
    assert_clean(&store);
    for n in 0..BLOBS {
        let digest = Digest::of(&Numbers(n).bytes(2000)).to_string();
        if let Some(record) = store.record_get("n", &Digest::of(&n.to_le_bytes())).unwrap() {
            assert_eq!(record, digest.as_bytes());
        }
    }
}
