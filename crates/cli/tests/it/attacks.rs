//! Attacks S4, S5, S8, S10, S12, S13 and S14 of `docs/attacks.md` on the program: each is refused and named, and leaves
//! nothing that would stand in the way of an honest state.

use std::fs;

use selfsame_apt::date::serial;
use selfsame_build::lock::{Lock, Package};
use selfsame_build::snapshots::Kept;
use selfsame_image::tree::Content;
use selfsame_store::Store;
use selfsame_testkit::archive::{
    Archive, Behaviour, Deb, Key, KeySpec, NOW, Revocation, Server, Sign, Suite, certificate, serve,
};

use crate::assert_says;
use crate::build::{Recipe, builds_here, shared};
use crate::scene::{Scene, suite};

const DAY: i64 = 86_400;
const INDEX: &str = "dists/trixie/main/binary-amd64/Packages.xz";

#[test]
fn s4_what_was_valid_when_it_was_locked_is_good_for_ever() {
    let key = Key::new("archive");
    let scene = Scene::new(&["trixie"], &[&key], 1);
    let over = || Suite { valid_until: Some(NOW + DAY), ..suite("trixie", &key, NOW - 60, "1.0") };
    scene.put(vec![over()]);
    scene.refused(4, &["it is not current", "Release file was valid until 20260116T120000Z"]);
    scene.write_lock(&scene.lock(&[over()]));
    scene.tagged();
    // As of a later time it is not.
    let mut late = scene.lock(&[over()]);
    late.archives[0].suites[0].verified_at = NOW + 2 * DAY;
    scene.write_lock(&late);
    scene.no_tag(4, &["Release file was valid until 20260116T120000Z, which is before 20260117T120000Z"]);
    scene.put(vec![suite("trixie", &key, NOW - 30, "1.1")]);
    scene.taken();
}

#[test]
fn what_was_seen_cannot_be_got_around_nor_spoilt() {
    let key = Key::new("archive");
    let mut scene = Scene::new(&["trixie"], &[&key], 1);
    scene.put(vec![suite("trixie", &key, NOW - 60, "1.0")]);
    scene.taken();
    // Older states can be asked for, a second one of the same date cannot.
    scene.put(vec![suite("trixie", &key, NOW - 60, "1.1")]);
    scene.refused(3, &["have the same date 20260115T115900Z"]);
    if builds_here() {
        let message = scene.run(&["lock", "r", "--allow-older"]).failure(3);
        assert_says(&message, &["have the same date 20260115T115900Z"]);
        scene.put(vec![suite("trixie", &key, NOW - DAY, "0.9")]);
        let message = scene.run(&["lock", "r", "--allow-older"]).failure(4);
        assert!(!message.contains("seen before"), "{message}");
    }
    // A name that is no word would make the list of what was seen unreadable.
    let odd = Suite { codename: "trixie 13".to_owned(), ..suite("trixie", &key, NOW - 40, "1.2") };
    scene.put(vec![odd]);
    scene.refused(3, &["trixie 13", "is not one word"]);
    scene.put(vec![suite("trixie", &key, NOW - 30, "1.2")]);
    scene.taken();
    // What somebody else's archive of the same name has says nothing of this one.
    let other = Key::new("somebody");
    let theirs = scene.recipe.replace(&key.fingerprint(), &other.fingerprint());
    assert!(theirs != scene.recipe);
    scene.recipe = theirs;
    scene.world.write("r/keys.pgp", other.certificate());
    scene.mirrors(&[format!("file:{}/m", scene.world.root().display())]);
    scene.put(vec![suite("trixie", &other, NOW - DAY, "1.0")]);
    scene.taken();
}

#[test]
fn s5_an_index_of_another_state_is_refused() {
    let key = Key::new("archive");
    let scene = Scene::new(&["trixie"], &[&key], 1);
    let other = suite("trixie", &key, NOW - DAY, "0.9").indexes().remove("main/binary-amd64/Packages");
    let other = other.unwrap().xz;
    for by_hash in [false, true] {
        let now = || Suite { by_hash, ..suite("trixie", &key, NOW - 60, "1.0") };
        let right = now().indexes().remove("main/binary-amd64/Packages").unwrap().xz;
        scene.put(vec![now()]);
        scene.world.write(format!("m/{INDEX}"), &other);
        if by_hash {
            let digest = Content::of(&right).digest;
            let by_hash = format!("m/dists/trixie/main/binary-amd64/by-hash/SHA256/{digest}");
            scene.world.write(by_hash, &other);
        }
        scene.refused(4, &[" changed or vanished during each of 3 attempts", " that is signed", "/m: "]);
        // Nor does a tag mix the two.
        scene.write_lock(&scene.lock(&[now()]));
        scene.no_tag(3, &["index main/binary-amd64/Packages.xz of trixie", "/m: "]);
        let mut mixed = scene.lock(&[now()]);
        mixed.archives[0].suites[0].indexes[0].file = Content::of(&other).into();
        scene.write_lock(&mixed);
        scene
            .no_tag(3, &["suite trixie: the lock's index main/binary-amd64/Packages.xz is not a signed one"]);
        scene.put(vec![now()]);
        scene.taken();
        scene.forget();
    }
}

#[test]
fn s5_suites_of_different_times_are_refused() {
    let key = Key::new("archive");
    let scene = Scene::new(&["trixie", "trixie-updates"], &[&key], 1);
    let both = |date: i64, updates: i64| {
        vec![suite("trixie", &key, date, "1.0"), suite("trixie-updates", &key, updates, "1.1")]
    };
    scene.put(both(NOW - 60, NOW - 60));
    scene.taken();
    scene.put(both(NOW - 30, NOW - DAY));
    let older = "20260114T120000Z is older than 20260115T115900Z, which was seen before";
    scene.refused(3, &["trixie-updates contradicts what was seen before", older]);
    scene.put(both(NOW - 30, NOW - 30));
    scene.taken();
    // Who knows nothing sees it where the suite has an end, or another mirror has the newer one.
    scene.forget();
    let mut ended = both(NOW - 30, NOW - DAY);
    ended[1].valid_until = Some(NOW + 6 * DAY);
    scene.put(ended);
    scene.refused(4, &["no source has an acceptable InRelease of trixie-updates", "it is not current"]);
    scene.put(both(NOW - 30, NOW - DAY));
    let root = scene.world.root();
    fs::rename(root.join("m"), root.join("stale")).unwrap();
    scene.mirrors(&["stale", "m"].map(|name| format!("file:{}/{name}", root.display())));
    scene.put(both(NOW - 30, NOW - 30));
    let text = scene.run(&["snapshot", "create", "r"]).success();
    assert!(
        text.contains("trixie-updates") && text.contains("/stale has the one of 20260114T120000Z"),
        "{text}"
    );
    // One suite in the place of another.
    scene.forget();
    scene.mirrors(&[format!("file:{}/m", root.display())]);
    let mut exchanged = both(NOW - 30, NOW - 30);
    exchanged[1].codename = "trixie".to_owned();
    scene.put(exchanged);
    scene.refused(3, &["InRelease of trixie-updates", "it is the file of codename trixie"]);
    scene.put(both(NOW - 30, NOW - 30));
    scene.taken();
}

#[test]
fn s8_a_key_counts_as_it_was_when_it_signed() {
    let spec = || KeySpec::new("old");
    // Keys are made 365 days before `NOW`.
    let expired = || KeySpec { lifetime: Some(364 * 86_400), ..spec() };
    let revoked = |reason, at| KeySpec { revoked: Some(Revocation { reason, at }), ..spec() };
    let good = Key::new("good");
    for (what, spec, signed, dated, refusal) in [
        ("good", spec(), NOW, NOW - 60, ""),
        ("expired since", expired(), NOW - 2 * DAY, NOW - 2 * DAY - 60, ""),
        ("expired before", expired(), NOW, NOW - 60, " had expired at 20260114T120000Z"),
        ("expired, dated back", expired(), NOW - 2 * DAY, NOW - 60, "it is dated 20260115T115900Z, but "),
        ("compromised since", revoked(Some(2), NOW + DAY), NOW, NOW - 60, " is revoked"),
        ("revoked, nobody says why", revoked(None, NOW + DAY), NOW, NOW - 60, " is revoked"),
        ("retired before", revoked(Some(3), NOW - DAY), NOW, NOW - 60, " was retired at 20260114T120000Z"),
        ("retired since", revoked(Some(3), NOW + DAY), NOW, NOW - 60, ""),
    ] {
        let key = Key::from_spec(&spec);
        let scene = Scene::new(&["trixie"], &[&key, &good], 1);
        let mut state = suite("trixie", &key, dated, "1.0");
        state.signatures = vec![Sign::new(&key, signed)];
        scene.put(vec![state]);
        if refusal.is_empty() {
            let text = scene.taken();
            assert!(text.contains(": signed, "), "{what}: {text}");
            assert_eq!(text.contains("since then: key "), what != "good", "{what}: {text}");
        } else {
            scene.refused(3, &["no source has an acceptable InRelease of trixie; ", "/m: ", refusal]);
        }
        scene.put(vec![suite("trixie", &good, NOW - 30, "1.1")]);
        scene.taken();
        // The thief of an expired key may date back the file too, but not behind what was seen.
        let mut old = suite("trixie", &key, NOW - 3 * DAY, "6.6.6");
        old.signatures.push(Sign::new(&good, NOW - 3 * DAY));
        scene.put(vec![old]);
        scene.refused(3, &["20260112T120000Z is older than 20260115T115930Z, which was seen before"]);
    }
}

#[test]
fn s8_enough_different_keys_that_are_trusted_must_have_signed() {
    let [a, b, known, stranger] = ["a", "b", "known", "stranger"].map(Key::new);
    let [by_a, by_b, by_known, by_stranger] = [&a, &b, &known, &stranger].map(|key| Sign::new(key, NOW));
    let scene = Scene::new(&["trixie"], &[&a, &b], 2);
    scene.world.write("r/keys.pgp", certificate(&[&a, &b, &known]));
    let again = Sign { by_primary: true, ..by_a };
    for (signatures, words) in [
        (vec![by_stranger], &["0 of 2 needed signatures by trusted keys", "is not in the keyring"][..]),
        (vec![by_known], &["0 of 2 needed signatures by trusted keys", "which is not trusted here"]),
        (vec![by_a], &["1 of 2 needed signatures by trusted keys"]),
        (vec![by_a, by_a], &["1 of 2 needed signatures by trusted keys"]),
        (vec![by_a, again], &["1 of 2 needed signatures by trusted keys"]),
        (vec![by_a, by_known, by_stranger], &["1 of 2 needed", "not trusted here", "not in the keyring"]),
    ] {
        scene.put(vec![Suite { signatures, ..suite("trixie", &a, NOW - 60, "6.6.6") }]);
        scene.refused(3, words);
        scene.put(vec![Suite { signatures: vec![by_b, by_a], ..suite("trixie", &a, NOW - 60, "1.0") }]);
        scene.taken();
        scene.forget();
    }
    // A key that the recipe names twice is one.
    let scene = Scene::new(&["trixie"], &[&a, &a], 2);
    scene.put(vec![Suite { signatures: vec![by_a, again], ..suite("trixie", &a, NOW - 60, "1.0") }]);
    scene.refused(3, &["threshold 2 cannot be met by 1 keys of trixie"]);
}

/// What is changed in a good `Release` file before it is signed, and how it is refused.
#[rustfmt::skip]
const RELEASES: &[(&str, &str, i32, &str)] = &[
    ("SHA256:", "MD5Sum:", 3, "Release file has only weak digests (MD5Sum); SHA256 is needed"),
    ("SHA256:", "SHA1:", 3, "Release file has only weak digests (SHA1); SHA256 is needed"),
    ("SHA256:", "SHA3:", 3, "Release file has no field SHA256"),
    ("SHA256:", "SHA256: \nSHA256:", 3, "field SHA256 is given twice"),
    ("Packages.gz", "Packages.xz", 3, "main/binary-amd64/Packages.xz is listed as "),
    (" main/binary-amd64/Packages.gz", " ../Packages.gz", 3, "\"../Packages.gz\" is not a path inside an archive"),
    (" main/binary-amd64/Packages.gz", " main/../../x", 3, "\"main/../../x\" is not a path inside an archive"),
    (" main/binary-amd64/Packages.gz", " /etc/passwd", 3, "\"/etc/passwd\" is not a path inside an archive"),
    (" main/binary-amd64/Packages.xz", "0 main/binary-amd64/Packages.xz", 4, " that is signed"),
    (" main/binary-amd64/Packages\n", "0 main/binary-amd64/Packages\n", 3, "index main/binary-amd64/Packages.xz of trixie"),
    ("Components: main", "Components: contrib", 3, "trixie has no component main; it has contrib"),
    ("Architectures: amd64", "Architectures: arm64", 3, "trixie has no architecture amd64; it has arm64"),
    ("Codename: trixie", "Codename: sid", 3, "it is the file of codename sid and suite stable"),
    ("Codename: trixie", "Codename: trixie\nCodename: sid", 3, "field Codename is given twice"),
    ("main/", "contrib/", 3, "trixie lists no index main/binary-amd64/Packages in a known form"),
];

/// Changes the text of a `Packages` file.
type Edit = fn(String) -> String;

/// The same for a `Packages` file.
#[rustfmt::skip]
const INDEXES: &[(Edit, &str)] = &[
    (|text| text.replace("Filename: pool", "Filename: ../pool"), "\"../pool/main/h/hello/hello_1.0_amd64.deb\" is not a path"),
    (|text| text.replace("Filename: pool", "Filename: /pool"), "\"/pool/main/h/hello/hello_1.0_amd64.deb\" is not a path"),
    (|text| text.replace("Package: ", "Package: ../"), "\"../hello\" is not a package name"),
    (|text| text.replace("SHA256:", "SHA1:"), "no field SHA256"),
    (|text| text.replace("Size: ", "Size: -"), "is not a size in bytes"),
    (|text| text.replace("Size: ", "Size: 1\nSize: "), "field Size is given twice"),
    (|text| format!("{text}{}", text.replace("Size: ", "Size: 1")), "as different files"),
];

#[test]
fn s10_weak_doubled_and_wrong_entries_are_refused() {
    let key = Key::new("archive");
    let scene = Scene::new(&["trixie"], &[&key], 1);
    let good = || suite("trixie", &key, NOW - 60, "1.0");
    for &(from, to, status, words) in RELEASES {
        scene.put(vec![good()]);
        let text = good().release();
        assert!(text.contains(from), "{from}");
        scene.sign(&good(), &text.replace(from, to));
        scene.refused(status, &["trixie", words]);
        scene.put(vec![good()]);
        scene.taken();
        scene.forget();
    }
    for &(index, words) in INDEXES {
        scene.put(vec![Suite { index, ..good() }]);
        scene.refused(3, &["index main/binary-amd64/Packages.xz of trixie", words]);
        scene.put(vec![good()]);
        scene.taken();
        scene.forget();
    }
}

/// An archive of twelve packages, served.
struct Many {
    scene: Scene,
    server: Server,
}

/// The package that the mirror lies about.
const SEVENTH: &str = "/pool/main/p/p7/p7_1.0_amd64.deb";

impl Many {
    fn new() -> Self {
        let scene = Scene::with_lock(12);
        let server = serve(&scene.world.root().join("m"));
        scene.mirrors(&[server.url()]);
        Self { scene, server }
    }

    fn seventh(&self) -> Vec<u8> {
        fs::read(self.scene.world.root().join("m").join(&SEVENTH[1..])).unwrap()
    }

    /// The seventh package with a bit changed.
    fn lie(&self) -> Vec<u8> {
        let mut lie = self.seventh();
        *lie.last_mut().unwrap() ^= 1;
        lie
    }

    /// Whether the store has bytes that nobody signed.
    fn has_lie(&self) -> bool {
        let store = Store::open(self.scene.world.root().join(self.scene.store())).unwrap();
        store.contains(&Content::of(&self.lie()).digest)
    }
}

#[test]
fn s12_a_mirror_that_lies_for_one_package_of_many_is_named() {
    let many = Many::new();
    let (scene, server) = (&many.scene, &many.server);
    let elsewhere = tempfile::tempdir().unwrap();
    let other = serve(elsewhere.path());
    let place = |bytes: &[u8]| fs::write(elsewhere.path().join("x.deb"), bytes).unwrap();
    let size = many.seventh().len();
    place(&many.lie());
    let wrong = format!("served other bytes: their SHA-256 is {}", Content::of(&many.lie()).digest);
    for (behaviour, status, word) in [
        (Behaviour::Lie(many.lie()), 3, wrong.clone()),
        (Behaviour::Lie(vec![0; size + 1]), 3, format!("announced {} bytes instead of {size}", size + 1)),
        (Behaviour::Endless, 4, format!("sent more than {size} bytes")),
        (Behaviour::Redirect(format!("{}/x.deb", other.url())), 3, wrong),
        (
            Behaviour::Redirect("file:///etc/passwd".to_owned()),
            4,
            "redirected to \"file:///etc/passwd\"".to_owned(),
        ),
        (Behaviour::Redirect(SEVENTH.to_owned()), 4, "redirected more than 5 times".to_owned()),
    ] {
        server.set(SEVENTH, behaviour);
        let words = ["p7 1.0", &SEVENTH[1..], &server.url(), &word];
        scene.no_tag(status, &words);
        if builds_here() {
            let message = scene.run(&["build", "r", "--until", "fetch"]).failure(status);
            assert_says(&message, &words);
        }
        assert!(!many.has_lie());
        server.set_times(SEVENTH, 0, Behaviour::Hangup);
        scene.tagged();
        scene.forget();
    }
    // Who sends elsewhere, where the right bytes are, does no harm.
    place(&many.seventh());
    server.set(SEVENTH, Behaviour::Redirect(format!("{}/x.deb", other.url())));
    scene.tagged();
}

#[test]
fn s12_nothing_of_a_lying_mirror_is_passed_on() {
    let many = Many::new();
    let (scene, server) = (&many.scene, &many.server);
    scene.taken();
    let mirror = format!("fixture={}", server.url());
    let service = scene.service(&["--mirror", &mirror]);
    let path = format!("/fixture/{}{SEVENTH}", serial(NOW - 60));
    for (behaviour, word) in [
        (Behaviour::Lie(many.lie()), "served other bytes"),
        (Behaviour::Endless, "sent more than"),
        (Behaviour::Redirect("file:///etc/passwd".to_owned()), "redirected to"),
    ] {
        server.set(SEVENTH, behaviour);
        let (status, _, body) = service.get(&path);
        let body = String::from_utf8_lossy(&body);
        assert!(status == 502 && body.contains(&server.url()) && body.contains(word), "{body}");
    }
    assert!(!many.has_lie());
    server.set_times(SEVENTH, 0, Behaviour::Hangup);
    assert_eq!(service.get(&path).2, many.seventh());
}

/// A hook that asks for a package that nobody pinned, and does not mind if that fails.
const UPDATE: &str = "#!/bin/sh\napt-get -o Acquire::Retries=0 update; apt-get install -y hello || :\n";

#[test]
fn s13_a_source_that_nobody_pinned_gives_nothing() {
    if !builds_here() {
        return;
    }
    let shared = shared();
    let world = Recipe::with_hook().write();
    let recipe = fs::read_to_string(world.root().join("r/selfsame.toml")).unwrap();
    world.write("r/selfsame.toml", format!("{recipe}\n[files]\noverlay = \"files\"\n"));
    world.write("r/hook", UPDATE);
    // An address and a name: the build is over at the first attempt, whoever makes it.
    for host in ["192.0.2.1", "mirror.example"] {
        let source = format!(
            "Types: deb\nURIs: http://{host}/debian\nSuites: trixie\nComponents: main\nTrusted: yes\n"
        );
        world.write("r/files/etc/apt/sources.list.d/more.sources", source);
        let message = shared.build(&world, &[]).failure(3);
        assert_says(&message, &["stage customise: hook hook tried to reach the network", "builds have no"]);
    }
    // A directory of this machine is not there for a build.
    let key = Key::new("somebody");
    Archive { suites: vec![suite("trixie", &key, NOW - 60, "6.6.6")] }.write(&world.root().join("m"));
    let source = format!("deb [trusted=yes] file:{}/m trixie main\n", world.root().display());
    fs::remove_file(world.root().join("r/files/etc/apt/sources.list.d/more.sources")).unwrap();
    world.write("r/files/etc/apt/sources.list.d/more.list", source);
    world.write("r/hook", UPDATE.replace(" || :", ""));
    let message = shared.build(&world, &[]).failure(3);
    assert_says(
        &message,
        &["stage customise: hook hook ended with exit status 100", "Unable to locate package hello"],
    );
    assert!(!world.root().join("out").exists());
    shared.assert_clean();
}

#[test]
fn s13_a_package_that_no_signed_index_has_gets_into_no_tag() {
    let many = Many::new();
    let (scene, good) =
        (&many.scene, fs::read_to_string(many.scene.world.root().join("r/selfsame.lock")).unwrap());
    let evil = Deb::new("p7", "6.6.6").bytes();
    let content = Content::of(&evil);
    scene.world.write("m/pool/evil.deb", &evil);
    let lock = || good.parse::<Lock>().unwrap();
    let changed = |change: fn(&mut Package)| {
        let mut lock = lock();
        change(lock.packages.iter_mut().find(|package| package.name == "p7").unwrap());
        lock
    };
    let mut other = changed(|package| package.path = "pool/evil.deb".to_owned());
    other.packages.iter_mut().find(|package| package.name == "p7").unwrap().file = content.into();
    let unlisted = "archive fixture: no signed index has p7 ";
    for (lock, words) in [
        (other, &[unlisted, "at pool/evil.deb"][..]),
        (changed(|package| package.version = "2.0".to_owned()), &[unlisted, "p7 2.0"]),
        (changed(|package| package.architecture = "all".to_owned()), &[unlisted]),
        (changed(|package| package.source = "q (= 1.0)".to_owned()), &[unlisted]),
        (changed(|package| package.archive = "../../x".to_owned()), &["archive \"../../x\" is not locked"]),
    ] {
        scene.write_lock(&lock);
        scene.no_tag(3, words);
    }
    scene.write_lock(&lock());
    scene.tagged();
}

#[test]
fn s14_another_days_state_is_not_taken_for_the_locked_one() {
    let key = Key::new("archive");
    let scene = Scene::new(&["trixie"], &[&key], 1);
    let day = || suite("trixie", &key, NOW - DAY, "1.0");
    scene.write_lock(&scene.lock(&[day()]));
    scene.put(vec![suite("trixie", &key, NOW - 60, "1.0")]);
    let gone = "the state of 2026-01-14T12:00:00Z that the lock names is not served any more";
    scene.no_tag(4, &["archive fixture, suite trixie: ", gone]);
    // A lock that calls the one by the name of the other.
    let mut lock = scene.lock(&[day()]);
    lock.archives[0].serial = serial(NOW - 60);
    scene.write_lock(&lock);
    scene.no_tag(3, &["the state is called 20260115T115900Z, and its newest suite is of 20260114T120000Z"]);
    lock.archives[0].suites[0].date = NOW - 60;
    scene.write_lock(&lock);
    scene.put(vec![day()]);
    scene.no_tag(3, &["what is recorded as 2026-01-15T11:59:00Z is the state of 2026-01-14T12:00:00Z"]);
    scene.write_lock(&scene.lock(&[day()]));
    scene.tagged();
}

#[test]
fn s14_a_snapshot_under_another_name_is_refused() {
    let key = Key::new("archive");
    let scene = Scene::new(&["trixie"], &[&key], 1);
    scene.put(vec![suite("trixie", &key, NOW - DAY, "1.0")]);
    scene.taken();
    let store = Store::open(scene.world.root().join(scene.store())).unwrap();
    let kept = Kept::all(&store).unwrap().remove(0);
    let forge = |date: i64| {
        let mut forged = kept.clone();
        forged.snapshot.serial = serial(NOW);
        forged.snapshot.suites[0].date = date;
        for key in store.record_keys("snapshot").unwrap() {
            store.record_remove("snapshot", &key).unwrap();
        }
        forged.keep(&store).unwrap();
    };
    let name = serial(NOW);
    for (date, what) in [(NOW - DAY, "recorded serial of fixture"), (NOW, "recorded date of trixie")] {
        forge(date);
        let message = scene.run(&["snapshot", "verify"]).failure(3);
        let words = format!("{what} is {name}, the signed files say 20260114T120000Z");
        assert_says(&message, &["snapshot fixture 20260115T120000Z", &words]);
        let service = scene.service(&["--offline"]);
        let (status, _, body) = service.get(&format!("/fixture/{name}/dists/trixie/InRelease"));
        let body = String::from_utf8_lossy(&body);
        assert!(status == 502 && body.contains(what), "{body}");
        if builds_here() {
            let recipe = fs::read_to_string(scene.world.root().join("r/selfsame.toml")).unwrap();
            scene.world.write("r/selfsame.toml", format!("{recipe}serial = \"{name}\"\n"));
            let message = scene.run(&["lock", "r"]).failure(3);
            assert_says(
                &message,
                &["archive fixture, suite trixie: what is recorded as ", "is the state of "],
            );
            scene.world.write("r/selfsame.toml", recipe);
        }
    }
    scene.forget();
    scene.taken();
}

#[test]
fn s14_a_mirror_that_has_another_state_than_the_named_one_is_refused() {
    if !builds_here() {
        return;
    }
    let key = Key::new("archive");
    let scene = Scene::new(&["trixie"], &[&key], 1);
    scene.put(vec![suite("trixie", &key, NOW - DAY, "1.0")]);
    scene.taken();
    let recipe = fs::read_to_string(scene.world.root().join("r/selfsame.toml")).unwrap();
    scene.world.write("r/selfsame.toml", format!("{recipe}serial = \"20260114T120000Z\"\n"));
    // The record is there, its signed file was lost, and the mirror has the next day's.
    let store = Store::open(scene.world.root().join(scene.store())).unwrap();
    let content = Kept::all(&store).unwrap()[0].snapshot.suites[0].in_release;
    fs::remove_file(store.path(&content.digest)).unwrap();
    scene.put(vec![suite("trixie", &key, NOW - 60, "1.1")]);
    let message = scene.run(&["lock", "r"]).failure(4);
    assert_says(&message, &["suite trixie: the state of 2026-01-14T12:00:00Z", "is not served any more"]);
    assert!(!scene.world.root().join("r/selfsame.lock").exists());
    scene.world.write("r/selfsame.toml", recipe);
    scene.run(&["snapshot", "create", "r"]).success();
}
