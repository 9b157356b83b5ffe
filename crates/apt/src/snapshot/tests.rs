use std::cell::RefCell;
use std::path::PathBuf;

use selfsame_store::Store;
use selfsame_testkit::archive::{
    Archive, Deb, Digests, Key, KeySpec, NOW, Revocation, Sign, Suite, certificate, clearsign,
};
use tempfile::TempDir;

use super::*;
use crate::openpgp::Keyring;

const DAY: i64 = 86_400;

/// A few directories as mirrors, and something that happens before each `InRelease` is read.
struct Directories {
    roots: Vec<PathBuf>,
    before: RefCell<Box<dyn FnMut(usize)>>,
    reads: RefCell<usize>,
}

impl Directories {
    fn new(roots: &[&TempDir]) -> Self {
        let roots = roots.iter().map(|root| root.path().to_owned()).collect();
        Self { roots, before: RefCell::new(Box::new(|_| ())), reads: RefCell::new(0) }
    }
}

impl Transport for Directories {
    fn sources(&self) -> Vec<String> {
        (0..self.roots.len()).map(|position| format!("mirror {position}")).collect()
    }

    fn in_release(&self, source: usize, path: &str, max: u64) -> Result<Vec<u8>, TransportError> {
        let mut reads = self.reads.borrow_mut();
        *reads += 1;
        (self.before.borrow_mut())(*reads);
        let bytes = std::fs::read(self.roots[source].join(path));
        let bytes = bytes.map_err(|_| TransportError::Missing { path: path.to_owned() })?;
        assert!(bytes.len() as u64 <= max);
        Ok(bytes)
    }

    fn pinned(&self, store: &Store, wants: &[Want]) -> Result<(), TransportError> {
        for want in wants {
            let files = self.roots.iter().flat_map(|root| want.paths.iter().map(|path| root.join(path)));
            let right = |bytes: &Vec<u8>| Content::of(bytes) == want.content;
            let Some(bytes) = files.filter_map(|file| std::fs::read(file).ok()).find(right) else {
                return Err(TransportError::Missing { path: want.paths[0].clone() });
            };
            store.put(&bytes).unwrap();
        }
        Ok(())
    }
}

fn key() -> Key {
    Key::new("archive")
}

fn spec() -> ArchiveSpec {
    ArchiveSpec {
        name: "fixture".to_owned(),
        mirrors: vec!["file:/nowhere".to_owned()],
        suites: vec!["trixie".to_owned()],
        components: vec!["main".to_owned()],
        architectures: vec!["amd64".to_owned()],
        keyring: None,
        fingerprints: vec![key().fingerprint().parse().unwrap()],
        threshold: 1,
    }
}

fn keyring() -> Keyring {
    Keyring::from_bytes(certificate(&[&key()]).as_bytes()).unwrap()
}

fn written(suites: Vec<Suite<'_>>) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    Archive { suites }.write(dir.path());
    dir
}

fn hello(key: &Key) -> Suite<'_> {
    Suite::new("trixie", key).with(Deb::new("hello", "1.0"))
}

struct Setup {
    _dir: TempDir,
    store: Store,
}

fn setup() -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    Setup { _dir: dir, store }
}

fn terms() -> Terms<'static> {
    Terms::new(NOW + 5)
}

fn fetch(mirrors: &[&TempDir], spec: &ArchiveSpec, terms: &Terms<'_>) -> Result<Fetched, String> {
    fetch_snapshot(spec, &keyring(), &Directories::new(mirrors), &setup().store, terms)
        .map_err(|error| message(&error))
}

fn message(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", message(source)),
        None => error.to_string(),
    }
}

/// Fetches one suite that was changed; returns the message, or nothing if all is well.
fn refused(change: impl FnOnce(&mut Suite<'_>)) -> String {
    let key = key();
    let mut suite = hello(&key);
    change(&mut suite);
    fetch(&[&written(vec![suite])], &spec(), &terms()).err().unwrap_or_default()
}

#[test]
fn a_snapshot_is_taken_and_checked_again_offline() {
    let key = key();
    let mut security = Suite::new("trixie-security", &key).with(Deb::new("hello", "1.1"));
    security.date = Some(NOW - 30);
    security.valid_until = Some(NOW + 7 * DAY);
    security.components = Some("updates/main".to_owned());
    security.by_hash = false;
    let mirror = written(vec![hello(&key), security]);
    let spec = ArchiveSpec { suites: vec!["trixie".to_owned(), "trixie-security".to_owned()], ..spec() };
    let setup = setup();
    let fetched =
        fetch_snapshot(&spec, &keyring(), &Directories::new(&[&mirror]), &setup.store, &terms()).unwrap();
    let snapshot = fetched.snapshot;
    assert_eq!((snapshot.archive.as_str(), snapshot.at), ("fixture", NOW + 5));
    assert_eq!(snapshot.serial, "20260115T115930Z");
    assert_eq!(snapshot.suites[1].codename, "trixie-security");
    assert_eq!(snapshot.suites[0].signers, spec.fingerprints);
    assert_eq!(snapshot.suites[0].indexes[0].path, "main/binary-amd64/Packages.xz");
    assert!(fetched.evidence.suites.iter().all(|suite| (suite.asked, suite.agreeing) == (1, 1)));

    // The mirror is gone, the lock was written and read, and ten years have passed: nobody asks what time it is.
    drop(mirror);
    let text = serde_json::to_string(&(&spec, &snapshot)).unwrap();
    let (spec, again): (ArchiveSpec, Snapshot) = serde_json::from_str(&text).unwrap();
    assert_eq!(again, snapshot);
    let loaded = load_snapshot(&spec, &again, &keyring(), &setup.store).unwrap();
    let versions: Vec<_> =
        loaded.indexes().flat_map(|index| index.find("hello")).map(|one| one.version_text()).collect();
    assert_eq!(versions, ["1.0", "1.1"]);
    assert_eq!(loaded.suites[0].release.codename.as_deref(), Some("trixie"));
    for (path, content) in snapshot.files() {
        assert!(setup.store.contains(&content.digest), "{path}");
    }
    let paths: Vec<_> = snapshot.files().into_keys().collect();
    assert_eq!(paths[0], "dists/trixie-security/InRelease");
    assert_eq!(paths[5].rsplit_once('/').unwrap().0, "dists/trixie/main/binary-amd64/by-hash/SHA256");
    assert_eq!(snapshot.blobs().count(), 4);
}

#[test]
fn every_form_of_index_is_read() {
    for (forms, expected) in [
        (vec!["", ".xz", ".gz"], "Packages.xz"),
        (vec!["", ".gz"], "Packages.gz"),
        (vec![""], "Packages"),
        (vec![".xz"], "Packages.xz"),
    ] {
        let key = key();
        let mirror = written(vec![Suite { forms, ..hello(&key) }]);
        let setup = setup();
        let transport = Directories::new(&[&mirror]);
        let fetched = fetch_snapshot(&spec(), &keyring(), &transport, &setup.store, &terms()).unwrap();
        let index = &fetched.snapshot.suites[0].indexes[0];
        assert_eq!(index.path, format!("main/binary-amd64/{expected}"));
        assert_eq!(index.packed == index.plain, expected == "Packages");
        let loaded = load_snapshot(&spec(), &fetched.snapshot, &keyring(), &setup.store).unwrap();
        assert_eq!(loaded.indexes().map(crate::packages::Index::len).sum::<usize>(), 1);
    }
}

#[test]
fn an_index_of_its_own_for_all_is_used_where_there_is_one() {
    let key = key();
    let both = |extra: &str| {
        let mut suite = hello(&key).with(Deb::new("data", "1").set("Architecture", "all"));
        suite.architectures = "amd64 all".to_owned();
        suite.extra = extra.to_owned();
        let fetched = fetch(&[&written(vec![suite])], &spec(), &terms()).unwrap();
        fetched.snapshot.suites[0].indexes.iter().map(|index| index.path.clone()).collect::<Vec<_>>()
    };
    assert_eq!(both(""), ["main/binary-amd64/Packages.xz", "main/binary-all/Packages.xz"]);
    assert_eq!(both("No-Support-for-Architecture-all: Packages\n"), ["main/binary-amd64/Packages.xz"]);
}

/// A change to a suite, and the end of the message that refuses it.
#[rustfmt::skip]
/// A way to spoil something, and the words it is refused with.
type Spoiled<T> = (fn(&mut T), &'static str);
/// The same for a suite.
type SpoiledSuite = (fn(&mut Suite<'_>), &'static str);

const WRONG: &[SpoiledSuite] = &[
    (
        |suite| suite.codename = "sid".to_owned(),
        "; mirror 0: it is the file of codename sid and suite stable",
    ),
    (|suite| suite.date = None, "its text is refused: Release file has no field Date"),
    (
        |suite| suite.date = Some(NOW + 3600),
        "it is not current: Release file is dated 20260115T130000Z, which is after 20260115T120005Z",
    ),
    (
        |suite| suite.valid_until = Some(NOW + 4),
        "it is not current: Release file was valid until 20260115T120004Z, which is before 20260115T120005Z",
    ),
    (
        |suite| suite.digests = Digests::WeakOnly,
        "Release file has only weak digests (MD5Sum); SHA256 is needed",
    ),
    (|suite| suite.digests = Digests::None, "its text is refused: Release file has no field SHA256"),
    (
        |suite| suite.extra = "Codename: trixie\n".to_owned(),
        "Release file is malformed: line 9 (byte 157): field Codename is given twice",
    ),
    (
        |suite| suite.extra = "\nOrigin: Other\n".to_owned(),
        "its text is refused: Release file is not one paragraph",
    ),
    (
        |suite| suite.signatures.clear(),
        ": not a cleartext-signed file as archives publish them: line 19: base64 is malformed",
    ),
    (|suite| suite.components = Some("contrib".to_owned()), "trixie has no component main; it has contrib"),
    (
        |suite| suite.architectures = "arm64 i386".to_owned(),
        "trixie has no architecture amd64; it has arm64, i386",
    ),
    (|suite| suite.forms = vec![], "trixie lists no index main/binary-amd64/Packages in a known form"),
    (|suite| suite.packages.clear(), "trixie has no component main; it has "),
    (
        |suite| suite.packages.get_mut("main").unwrap()[0] = Deb::new("hello", "x"),
        "index main/binary-amd64/Packages.xz of trixie: byte 15: field Version: \"x\" is not a version: upstream part does not start with a digit",
    ),
];

#[test]
fn one_thing_wrong_one_refusal() {
    assert_eq!(refused(|_| ()), "");
    for (change, expected) in WRONG {
        let message = refused(change);
        assert!(message.ends_with(expected), "{message}");
    }
}

#[test]
fn a_suite_may_be_asked_for_by_its_role() {
    let stable = ArchiveSpec { suites: vec!["stable".to_owned()], ..spec() };
    let key = key();
    let mirror = written(vec![Suite { path: "stable".to_owned(), ..hello(&key) }]);
    let fetched = fetch(&[&mirror], &stable, &terms()).unwrap();
    assert_eq!(fetched.snapshot.suites[0].codename, "trixie");
}

#[test]
fn a_stolen_key_that_has_expired_cannot_sign_todays_state() {
    let expired = KeySpec { lifetime: Some(u32::try_from(364 * DAY).unwrap()), ..KeySpec::new("archive") };
    let key = Key::from_spec(&expired);
    let keys = Keyring::from_bytes(certificate(&[&key]).as_bytes()).unwrap();
    let verdict = |signed: i64, dated: i64| {
        let mut suite = hello(&key);
        suite.date = Some(dated);
        suite.signatures = vec![Sign::new(&key, signed)];
        let mirror = written(vec![suite]);
        let fetched = fetch_snapshot(&spec(), &keys, &Directories::new(&[&mirror]), &setup().store, &terms());
        fetched.err().map(|error| message(&error)).unwrap_or_default()
    };
    assert_eq!(verdict(NOW - 2 * DAY, NOW - 2 * DAY - 60), "");
    assert!(verdict(NOW, NOW - 60).ends_with("had expired at 20260114T120000Z"));
    // Dated back to when the key was good, over a file that says when it was really made.
    let message = verdict(NOW - 2 * DAY, NOW - 60);
    assert!(message.contains("it is dated 20260115T115900Z, but "), "{message}");
    assert!(message.ends_with(" signed at 20260113T120000Z"), "{message}");
}

#[test]
fn altered_indexes_never_pass() {
    let key = key();
    let mirror = written(vec![hello(&key)]);
    let dists = mirror.path().join("dists/trixie/main/binary-amd64");
    let by_hash = dists.join("by-hash/SHA256");
    let moving = |mirror: &TempDir| fetch(&[mirror], &spec(), &terms()).unwrap_err();
    // One of the two places is enough.
    std::fs::write(dists.join("Packages.xz"), "altered").unwrap();
    assert!(fetch(&[&mirror], &spec(), &terms()).is_ok());
    std::fs::remove_dir_all(by_hash).unwrap();
    assert!(moving(&mirror).ends_with(" changed or vanished during each of 3 attempts"));
    // The index of another state beside this InRelease.
    let other = written(vec![Suite::new("trixie", &key).with(Deb::new("hello", "0.9"))]);
    let index = "dists/trixie/main/binary-amd64/Packages.xz";
    std::fs::copy(other.path().join(index), mirror.path().join(index)).unwrap();
    assert!(moving(&mirror).ends_with(" changed or vanished during each of 3 attempts"));
}

#[test]
fn signed_sizes_hold_for_what_is_unpacked() {
    let key = key();
    let suite = hello(&key);
    let release = suite.release();
    let index = suite.indexes().remove("main/binary-amd64/Packages").unwrap();
    let plain = format!("{:>8} main/binary-amd64/Packages\n", index.plain.len());
    let mirror = written(vec![suite]);
    for (size, expected) in [
        (index.plain.len() - 1, "decompresses to more than"),
        (index.plain.len() + 1, "plain bytes are Content"),
    ] {
        let text = release.replace(&plain, &format!("{size:>8} main/binary-amd64/Packages\n"));
        assert_ne!(text, release);
        let signed = clearsign(&text, &[Sign::new(&key, NOW)]);
        std::fs::write(mirror.path().join("dists/trixie/InRelease"), signed).unwrap();
        let message = fetch(&[&mirror], &spec(), &terms()).unwrap_err();
        assert!(message.starts_with("index main/binary-amd64/Packages.xz of trixie: "), "{message}");
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn the_newest_of_several_mirrors_is_taken_and_the_others_are_named() {
    let key = key();
    let newest = written(vec![hello(&key)]);
    let stale = {
        let mut suite = Suite::new("trixie", &key).with(Deb::new("hello", "0.9"));
        suite.date = Some(NOW - 30 * DAY);
        written(vec![suite])
    };
    let empty = tempfile::tempdir().unwrap();
    let forged = written(vec![hello(&key)]);
    let path = forged.path().join("dists/trixie/InRelease");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("Label: Fixture", "Label: Other")).unwrap();
    let mirrors = [&stale, &newest, &empty, &forged, &newest];
    let terms = Terms { asked: 5, agreeing: 2, ..terms() };
    let fetched = fetch(&mirrors, &spec(), &terms).unwrap();
    let evidence = &fetched.evidence.suites[0];
    assert_eq!((evidence.asked, evidence.agreeing), (5, 2));
    let mut others: Vec<_> = evidence.others.iter().map(ToString::to_string).collect();
    others.sort();
    assert_eq!(others[0], "mirror 0 has the one of 20251216T120000Z");
    assert_eq!(others[1], "mirror 2: dists/trixie/InRelease is not there");
    assert!(
        others[2].starts_with("mirror 3: its signatures are refused: the signature by "),
        "{}",
        others[2]
    );
    assert_eq!(fetched.snapshot.serial, "20260115T115900Z");
    let too_few = fetch(&mirrors, &spec(), &Terms { agreeing: 3, ..terms.clone() }).unwrap_err();
    assert_eq!(too_few, "2 of 3 needed sources have trixie of 20260115T115900Z");
    let frozen = Terms { max_age: Some(7 * DAY), ..terms.clone() };
    assert!(fetch(&mirrors, &spec(), &frozen).is_ok());
    assert_eq!(
        fetch(&[&stale], &spec(), &Terms { agreeing: 1, ..frozen }).unwrap_err(),
        "trixie is of 20251216T120000Z, older than the 604800 seconds allowed"
    );
    // Without other mirrors and without a limit, nothing tells that this one stands still.
    assert!(fetch(&[&stale], &spec(), &Terms { agreeing: 1, ..terms }).is_ok());
}

#[test]
fn two_stories_of_the_same_date_are_refused_and_kept() {
    let key = key();
    let first = written(vec![hello(&key)]);
    let second = written(vec![Suite::new("trixie", &key).with(Deb::new("hello", "6.6.6"))]);
    let setup = setup();
    let mirrors = Directories::new(&[&first, &second]);
    let terms = Terms { asked: 2, ..terms() };
    let error = fetch_snapshot(&spec(), &keyring(), &mirrors, &setup.store, &terms).unwrap_err();
    let SnapshotError::Equivocation { first, second, .. } = &error else { panic!("{error}") };
    assert!(setup.store.contains(&first.digest) && setup.store.contains(&second.digest));
    assert!(error.to_string().starts_with("trixie of 20260115T115900Z exists twice, both signed: "));
}

#[test]
fn a_history_notices_going_back() {
    let key = key();
    let mirror = written(vec![hello(&key)]);
    let mut history = History::default();
    let with = |history: &History| {
        let history = history.clone();
        fetch(&[&mirror], &spec(), &Terms { history: Some(&history), ..terms() })
            .map(|fetched| fetched.evidence.suites[0].novelty)
    };
    assert_eq!(with(&history), Ok(Some(Novelty::First)));
    let digest = Content::of(&std::fs::read(mirror.path().join("dists/trixie/InRelease")).unwrap()).digest;
    history.add(&spec().identity(), "trixie", NOW - DAY, selfsame_image::Digest::of(b"old")).unwrap();
    assert_eq!(with(&history), Ok(Some(Novelty::Newer)));
    history.add(&spec().identity(), "trixie", NOW - 60, digest).unwrap();
    assert_eq!(with(&history), Ok(Some(Novelty::Known)));
    history.add(&spec().identity(), "trixie", NOW, selfsame_image::Digest::of(b"new")).unwrap();
    assert_eq!(
        with(&history).unwrap_err(),
        "trixie contradicts what was seen before: 20260115T115900Z is older than 20260115T120000Z, which was seen before"
    );
}

#[test]
fn the_state_that_was_asked_for() {
    let key = key();
    let mirror = written(vec![hello(&key)]);
    let of = |serial: &str| Terms { serial: Some(serial.to_owned()), ..terms() };
    assert!(fetch(&[&mirror], &spec(), &of("20260115T115900Z")).is_ok());
    assert_eq!(
        fetch(&[&mirror], &spec(), &of("20260114T000000Z")).unwrap_err(),
        "the archive is at 20260115T115900Z, not at 20260114T000000Z"
    );
}

#[test]
fn an_archive_that_changes_is_read_anew() {
    let key = key();
    let mirror = written(vec![hello(&key)]);
    let root = mirror.path().to_owned();
    let update = move |minute: i64| {
        let key = Key::new("archive");
        let mut suite = Suite::new("trixie", &key).with(Deb::new("hello", &format!("2.{minute}")));
        suite.date = Some(NOW - 60 + minute);
        Archive { suites: vec![suite] }.write(&root);
    };
    // Changed once, between the two looks at InRelease: the second attempt has the new state, whole.
    let transport = Directories::new(&[&mirror]);
    let once = update.clone();
    *transport.before.borrow_mut() = Box::new(move |read| {
        if read == 2 {
            once(1)
        }
    });
    let setup = setup();
    let fetched = fetch_snapshot(&spec(), &keyring(), &transport, &setup.store, &terms()).unwrap();
    assert_eq!(fetched.snapshot.serial, "20260115T115901Z");
    assert_eq!(*transport.reads.borrow(), 4);
    let loaded = load_snapshot(&spec(), &fetched.snapshot, &keyring(), &setup.store).unwrap();
    assert_eq!(loaded.indexes().next().unwrap().find("hello").next().unwrap().version_text(), "2.1");
    // Changed every time: no mixture, an error.
    let transport = Directories::new(&[&mirror]);
    *transport.before.borrow_mut() = Box::new(move |read| update(i64::try_from(read).unwrap() + 2));
    let error = fetch_snapshot(&spec(), &keyring(), &transport, &setup.store, &terms()).unwrap_err();
    assert_eq!(error.to_string(), "dists/trixie/InRelease changed or vanished during each of 3 attempts");
}

/// A change to a lock, and the start of the message that refuses it.
#[rustfmt::skip]
const CHANGED: &[Spoiled<Snapshot>] = &[
    (|lock| lock.archive.push('x'), "recorded archive of fixture is fixturex, the signed files say fixture"),
    (|lock| lock.serial.replace_range(14..15, "1"), "recorded serial of fixture is 20260115T115901Z, the signed files say 20260115T115900Z"),
    (|lock| lock.at -= 3600, "InRelease of trixie as of 20260115T110005Z: its signatures are refused: "),
    (|lock| lock.suites[0].date += 1, "recorded date of trixie is 20260115T115901Z, "),
    (|lock| lock.suites[0].codename.push('x'), "recorded codename of trixie is trixiex, "),
    (|lock| lock.suites[0].signers.clear(), "recorded signers of trixie is [], "),
    (|lock| lock.suites[0].in_release.size += 1, "recorded size of InRelease of trixie is "),
    (|lock| lock.suites[0].in_release.digest.0[0] ^= 1, "InRelease of trixie (Content "),
    (|lock| lock.suites[0].in_release = lock.suites[1].in_release, "InRelease of trixie as of 20260115T120005Z: it is the file of codename sid and suite stable"),
    (|lock| lock.suites.swap(0, 1), "recorded list of suites of fixture is "),
    (|lock| drop(lock.suites.pop()), "recorded list of suites of fixture is "),
    (|lock| drop(lock.suites[0].indexes.pop()), "recorded list of indexes of trixie is , "),
    (|lock| lock.suites[0].indexes[0].path.push('x'), "recorded list of indexes of trixie is "),
    (|lock| lock.suites[0].indexes = lock.suites[1].indexes.clone(), "recorded list of indexes of trixie is "),
    (|lock| lock.suites[0].indexes[0].plain.size += 1, "recorded plain form of an index of trixie is "),
];

#[test]
fn a_changed_lock_is_noticed() {
    let key = key();
    let mirror = written(vec![hello(&key), Suite::new("sid", &key)]);
    let spec = ArchiveSpec { suites: vec!["trixie".to_owned(), "sid".to_owned()], ..spec() };
    let (setup, transport) = (setup(), Directories::new(&[&mirror]));
    let good = fetch_snapshot(&spec, &keyring(), &transport, &setup.store, &terms()).unwrap().snapshot;
    for (change, expected) in CHANGED {
        let mut snapshot = good.clone();
        change(&mut snapshot);
        assert_ne!(snapshot, good);
        let message = message(&load_snapshot(&spec, &snapshot, &keyring(), &setup.store).unwrap_err());
        assert!(message.starts_with(expected), "{message}");
    }
    // The keyring learned since that the key was compromised.
    let revocation = Some(Revocation { reason: Some(2), at: NOW + 100 * DAY });
    let revoked = Key::from_spec(&KeySpec { revoked: revocation, ..KeySpec::new("archive") });
    let keys = Keyring::from_bytes(certificate(&[&revoked]).as_bytes()).unwrap();
    let message = message(&load_snapshot(&spec, &good, &keys, &setup.store).unwrap_err());
    assert!(message.ends_with(" is revoked"), "{message}");
}

#[test]
fn keyrings_come_from_the_store_or_from_debian() {
    let setup = setup();
    assert_eq!(spec().read_keyring(&setup.store).unwrap().fingerprints().len(), 12);
    let bytes = certificate(&[&key()]).into_bytes();
    let content = Content::of(&bytes);
    let own = ArchiveSpec { keyring: Some(content), ..spec() };
    let missing = own.read_keyring(&setup.store).unwrap_err().to_string();
    assert_eq!(missing, format!("keyring of fixture ({content:?}) is not in the store"));
    setup.store.put(&bytes).unwrap();
    assert_eq!(own.read_keyring(&setup.store).unwrap().fingerprints(), own.fingerprints);
    setup.store.put(b"no keyring").unwrap();
    let bad = ArchiveSpec { keyring: Some(Content::of(b"no keyring")), ..spec() };
    assert!(
        message(&bad.read_keyring(&setup.store).unwrap_err())
            .starts_with("keyring of fixture: keyring packet 1")
    );
    let text = serde_json::to_string(&own).unwrap();
    assert_eq!(serde_json::from_str::<ArchiveSpec>(&text).unwrap(), own);
}

#[test]
fn descriptions_are_checked_before_anything_is_fetched() {
    let good = spec();
    assert_eq!(good.check(), Ok(()));
    let change = |change: &dyn Fn(&mut ArchiveSpec)| {
        let mut spec = good.clone();
        change(&mut spec);
        spec.check().unwrap_err().to_string()
    };
    for (change_one, expected) in [
        ((|spec: &mut ArchiveSpec| spec.suites.clear()) as fn(&mut ArchiveSpec), "no suite given"),
        (|spec| spec.components.clear(), "no component given"),
        (|spec| spec.architectures.clear(), "no architecture given"),
        (|spec| spec.suites.push("trixie".to_owned()), "suite trixie is given twice"),
        (|spec| spec.suites.push("../x".to_owned()), "suite \"../x\" is not a name"),
        (|spec| spec.components.push("a/b".to_owned()), "component \"a/b\" is not a name"),
        (|spec| spec.architectures.push(String::new()), "architecture \"\" is not a name"),
        (|spec| spec.threshold = 0, "threshold 0 cannot be met by 1 keys of trixie"),
        (|spec| spec.threshold = 2, "threshold 2 cannot be met by 1 keys of trixie"),
        (
            |spec| {
                spec.fingerprints.clear();
                spec.suites = vec!["stable".to_owned()];
            },
            "no fingerprints given, and \"stable\" is not a codename of Debian whose keys are known",
        ),
    ] {
        assert_eq!(change(&change_one), expected);
    }
    let doubled = ArchiveSpec { fingerprints: good.fingerprints.repeat(2), threshold: 2, ..good.clone() };
    assert_eq!(doubled.check().unwrap_err().to_string(), "threshold 2 cannot be met by 1 keys of trixie");
    let debian = ArchiveSpec { fingerprints: vec![], threshold: 3, ..good.clone() };
    assert_eq!(debian.check(), Ok(()));
    let text = serde_json::to_string(&debian).unwrap();
    assert!(!text.contains("fingerprints"));
    assert_eq!(serde_json::from_str::<ArchiveSpec>(&text).unwrap(), debian);
    assert!(serde_json::from_str::<ArchiveSpec>(&text.replace("threshold", "treshold")).is_err());
}
