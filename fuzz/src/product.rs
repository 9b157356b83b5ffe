//! Readers of what a recipe, a lock, a store, a rebuilder and a client say.

use std::fs;
use std::path::Path;

use selfsame_apt::snapshot::ArchiveSpec;
use selfsame_build::lock::{Lock, Request};
use selfsame_build::{pull, recipe as recipes, record, resolve};
use selfsame_image::Digest;
use selfsame_image::tree::Content;
use selfsame_release::dsse::{IN_TOTO, seal};
use selfsame_release::{MAX_RESULT, Policy, PublicKey, Rebuild, SecretKey, Tally};
use selfsame_serve::{Catalogue, Found, Look, Offer, Part, Site, TagPart, Upstream, part};
use selfsame_store::{Depth, Store};

use super::structure::{halves, text};

/// A key of the tests, and its public half.
const SECRET: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIAICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC\n-----END PRIVATE KEY-----\n";
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEAgTl3Dqh9F19Wo1Rmw0x+zMuNipG07jeiXfYPW4/Js5Q=\n-----END PUBLIC KEY-----\n";

pub(crate) fn recipe(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let dir = Path::new("/recipe");
    let Ok(recipe) = recipes::parse(dir, text) else { return };
    let _request = Request::of(&recipe);
    for name in recipe.archives.keys() {
        for serial in [Some("20260711T101637Z"), None] {
            if let Some(pinned) = recipes::with_serial(text, name, serial) {
                let _again = recipes::parse(dir, &pinned).expect("a recipe with another serial is one");
            }
        }
    }
}

pub(crate) fn lock(bytes: &[u8]) {
    let Some(Ok(lock)) = text(bytes).map(str::parse::<Lock>) else { return };
    assert_eq!(lock.to_string().parse(), Ok(lock.clone()), "what a lock is written as is that lock");
    let _facts = (lock.digest(), pull::packages(&lock), record::package_list(&lock));
}

/// What the pinned apt prints.
pub(crate) fn simulation(bytes: &[u8]) {
    let Some(Ok(steps)) = text(bytes).map(resolve::simulated_steps) else { return };
    assert!(steps.iter().all(|step| !step.contains('\n')), "a step is a line");
}

/// A policy, and what may be in a key file.
pub(crate) fn policy(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let _keys = (PublicKey::from_pem(text), SecretKey::from_pem(text).map(|key| key.public()));
    if let Ok(policy) = Policy::read(text, &mut |_| Ok(PUBLIC.to_owned())) {
        assert!((1..=policy.operators.len()).contains(&policy.threshold), "it can be met");
    }
}

/// What a rebuilder says.
pub(crate) fn statement(bytes: &[u8]) {
    let Ok(rebuild) = Rebuild::read(bytes) else { return };
    assert_eq!(
        Rebuild::read(rebuild.statement().as_bytes()),
        Ok(rebuild),
        "and the same when it says it again"
    );
}

/// What is signed, or not: as it is, and in an envelope that somebody who counts did sign.
pub(crate) fn result(bytes: &[u8]) {
    if bytes.len() > MAX_RESULT {
        return;
    }
    let text = "threshold = 1\n[[operator]]\nname = \"one\"\nkeys = [\"one.pub\"]\n";
    let policy = Policy::read(text, &mut |_| Ok(PUBLIC.to_owned())).expect("a policy");
    let secret = SecretKey::from_pem(SECRET).expect("a key");
    let mut tally = Tally::new(&policy, Digest::of(b"iso"));
    tally.add("as it is", bytes);
    tally.add("signed", seal(IN_TOTO, bytes, &secret).as_bytes());
    let decision = tally.decide();
    let said = decision.votes.len() + decision.bad.len() + decision.contradicting.len();
    assert!(said + decision.refused.len() >= 1, "nothing is dropped in silence");
}

/// A directory, if possible in memory: a store waits for the disk.
fn scratch() -> tempfile::TempDir {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    dir.expect("a directory can be made")
}

/// Files of a store that somebody else wrote: the first byte says which.
pub(crate) fn store(bytes: &[u8]) {
    let Some((&kind, file)) = bytes.split_first() else { return };
    let dir = scratch();
    let store = Store::open(dir.path()).expect("a store can be made");
    let key = Digest::of(b"key");
    let blob = store.path(&key);
    let fan = blob.strip_prefix(store.root().join("blobs")).expect("blobs lie in the store");
    let place = match kind % 5 {
        0 => store.root().join("cache/fuzz").join(fan),
        1 => store.root().join("records/fuzz").join(fan),
        2 => blob.clone(),
        3 => store.root().join("layout"),
        _ => store.root().join("partial").join(key.to_string()),
    };
    fs::create_dir_all(place.parent().expect("it lies in a directory")).expect("it can be made");
    fs::write(&place, file).expect("it can be written");
    if let Ok(Some(payload)) = store.cache_get("fuzz", &key) {
        assert!(file.ends_with(&payload) && payload.len() < file.len(), "it is what was written");
    }
    if let Ok(Some(payload)) = store.record_get("fuzz", &key) {
        assert!(file.ends_with(&payload) && payload.len() < file.len(), "it is what was written");
    }
    assert!(!matches!(store.read(&key), Ok(Some(_))), "nothing else has this digest");
    let _partial = store.partial(&Content { size: 1000, digest: key });
    let _problems = store.check(Depth::Bytes);
    let _stat = store.stat();
    let _again = Store::open(dir.path());
}

struct Nowhere;

impl Upstream for Nowhere {
    fn offers(&self) -> Result<Vec<Offer>, String> {
        Ok(Vec::new())
    }

    fn bring(&self, _: &ArchiveSpec, _: &str, _: Content) -> Result<(), String> {
        Err("there is nothing".to_owned())
    }
}

thread_local! {
    static SITE: (tempfile::TempDir, Catalogue) = {
        let dir = scratch();
        let store = Store::open(dir.path().join("store")).expect("a store can be made");
        let root = dir.path().join("tag");
        fs::create_dir_all(root.join("dists/bookworm")).expect("it can be made");
        fs::write(root.join("dists/bookworm/InRelease"), "text\n").expect("it can be written");
        let tag = TagPart {
            archive: "debian".to_owned(),
            serial: "20260711T101637Z".to_owned(),
            date: 1_783_765_000,
            root,
            files: [("dists/bookworm/InRelease".to_owned(), Content::of(b"text\n"))].into(),
        };
        (dir, Catalogue::new(store, vec![tag], Nowhere).expect("it can be read"))
    };
}

/// What a client asks for: a range, a zero, and a path.
pub(crate) fn request(bytes: &[u8]) {
    let (range, path) = halves(bytes);
    if let Some(range) = text(range) {
        for size in [0, 1, 10, u64::MAX] {
            if let Part::Bytes(range) = part(range, size) {
                assert!(range.start < range.end && range.end <= size, "{range:?} of {size}");
            }
        }
    }
    let Some(path) = text(path) else { return };
    let found = SITE.with(|(_, site)| match site.look(path) {
        Look::Now(found) => found,
        Look::Later(work) => work(),
    });
    match found {
        Found::File(served) => assert_eq!(served.digest, Digest::of(b"text\n"), "the only file there is"),
        Found::Redirect(to) => assert!(to.starts_with("/debian/20260711T101637Z/") && to.is_ascii(), "{to}"),
        _ => {}
    }
}
