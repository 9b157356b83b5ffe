//! What speaks for a snapshot beyond its signatures: files that others collected, other services, and the file of evidence.

use std::fs;

use selfsame_store::Store;
use selfsame_testkit::archive::{Deb, Key, KeySpec, NOW, Sign, Suite, clearsign, collected, serve};
use serde_json::Value;

use crate::assert_says;
use crate::build::files_below;
use crate::scene::{Scene, suite};

const DAY: i64 = 86_400;

/// Takes over `file`, as one that `who` has.
fn import(scene: &Scene, file: &str, who: &str) -> Result<Value, String> {
    scene.world.write("collected", file);
    let run = scene.run(&["snapshot", "import", "r", "collected", "--from", who, "--json"]);
    match run.status {
        Some(0) => Ok(serde_json::from_str(&run.success()).unwrap()),
        _ => Err(run.failure(3)),
    }
}

/// As apt-swarm exports an `InRelease` file of one signature.
fn exported(in_release: &str) -> String {
    in_release.replacen("Hash: SHA256\n", "", 1)
}

/// Sightings in the store, and blobs that are signed files.
fn kept(scene: &Scene) -> (usize, usize) {
    let root = scene.world.root().join(scene.store());
    let store = Store::open(&root).unwrap();
    let files = files_below(&root.join("blobs")).into_iter().map(|path| fs::read(path).unwrap());
    let signed = files.filter(|file| file.starts_with(b"-----BEGIN PGP SIGNED")).count();
    (store.record_keys("elsewhere").unwrap().len(), signed)
}

#[test]
fn what_others_collected_is_taken_apart_and_only_what_pinned_keys_signed_counts() {
    let [key, stranger] = ["archive", "stranger"].map(Key::new);
    let scene = Scene::new(&["trixie"], &[&key], 1);
    let state = |date, version| suite("trixie", &key, date, version);
    scene.put(vec![state(NOW - 60, "1.0")]);
    scene.taken();
    let good = state(NOW - 60, "1.0");
    let old = state(NOW - DAY, "0.9");
    let by_stranger = suite("trixie", &stranger, NOW - 30, "6.6.6").in_release();
    let mut future = state(NOW + 4000 * DAY, "9");
    future.signatures = vec![Sign::new(&key, NOW)];
    let mut dated_back = state(NOW - 2 * DAY, "6.6.6");
    dated_back.signatures = vec![Sign::new(&key, NOW - 60)];
    let elsewhere = suite("sid", &key, NOW - 30, "1").in_release();
    let binary = Sign { binary: true, ..Sign::new(&key, NOW - 50) };
    let export = [
        exported(&good.in_release()),
        by_stranger,
        exported(&old.in_release()),
        collected(&good.release(), &[binary]),
        future.in_release(),
        dated_back.in_release(),
        elsewhere,
        exported(&good.in_release()),
        format!("{}trailing\n", old.in_release()),
    ]
    .concat();
    let report = import(&scene, &export, "apt-swarm").unwrap();
    for (name, count) in [
        ("messages", 9),
        ("new", 3),
        ("agreeing", 2),
        ("known", 1),
        ("ignored", 3),
        ("misdated", 1),
        ("future", 1),
        ("too_few", 0),
        ("unsure", 0),
    ] {
        assert_eq!(report[name], count, "{name}: {report}");
    }
    assert_eq!(report["newer"].as_array().unwrap().len(), 0);
    assert_eq!(kept(&scene), (3, 4), "the file, two other forms of it, and an old one");
    let text = scene.run(&["snapshot", "verify"]).success();
    let logged = "    logged elsewhere: 1 had its text with other signatures: apt-swarm\n";
    assert_says(&text, &[": signed, coexisted, logged (1 of 1 mirrors)\n", logged]);
}

#[test]
fn what_others_have_is_shown_and_outlives_the_snapshot() {
    let key = Key::new("archive");
    let scene = Scene::new(&["trixie"], &[&key], 1);
    let state = |date, version| suite("trixie", &key, date, version);
    scene.put(vec![state(NOW - 60, "1.0")]);
    scene.taken();
    let good = state(NOW - 60, "1.0").in_release();
    import(&scene, &exported(&good), "apt-swarm").unwrap();
    // The very file, from a directory; once more from standard input.
    scene.world.write("office/a/InRelease", good);
    scene.world.write("office/b/notes", "unsigned");
    let text = scene.run(&["snapshot", "import", "r", "office"]).success();
    assert_says(
        &text,
        &["2 messages: 1 recorded (1 seen here too), 0 known before", "  1 ignored: not signed"],
    );
    let text = scene.run(&["snapshot", "import", "r", "-"]).success();
    assert_says(&text, &["0 messages: 0 recorded"]);
    assert_eq!(kept(&scene), (2, 2));

    let text = scene.run(&["snapshot", "verify"]).success();
    let mirrors = "trixie of 20260115T115900Z: signed, coexisted, logged (1 of 1 mirrors)\n";
    assert_says(
        &text,
        &[
            mirrors,
            "    logged elsewhere: 1 had this file: office\n",
            "    logged elsewhere: 1 had its text with other signatures: apt-swarm\n",
        ],
    );
    let shown = scene.run(&["snapshot", "show", "fixture", "20260115T115900Z"]).success();
    assert_says(
        &shown,
        &[
            "  trixie (trixie) of 2026",
            "main/binary-amd64/Packages.xz ",
            "(whole)",
            "1 had this file: office",
        ],
    );
    // Names that are none, and files that are not there.
    let bad = scene.run(&["snapshot", "import", "r", "office", "--from", "a\nb"]).failure(2);
    assert_says(&bad, &["is not a name of a source", "--from NAME"]);
    assert_says(&scene.run(&["snapshot", "import", "r", "nothing"]).failure(3), &["cannot read nothing"]);
    // Nothing of it stands in the way of a newer state; the snapshot goes, the evidence stays.
    scene.put(vec![state(NOW - 30, "1.1")]);
    scene.taken();
    let text = scene.run(&["snapshot", "gc", "--older-than", "0"]).success();
    assert_says(&text, &["fixture 20260115T115900Z removed"]);
    assert_eq!(kept(&scene), (2, 3));
}

#[test]
fn what_the_store_does_not_have_any_more_is_not_called_a_fork() {
    let key = Key::new("archive");
    let scene = Scene::new(&["trixie"], &[&key], 1);
    let state = suite("trixie", &key, NOW - 60, "1.0");
    scene.put(vec![suite("trixie", &key, NOW - 60, "1.0")]);
    scene.taken();
    let root = scene.world.root().join(scene.store());
    for path in files_below(&root.join("blobs")) {
        fs::remove_file(path).unwrap();
    }
    let report = import(&scene, &exported(&state.in_release()), "x").unwrap();
    assert_eq!((&report["new"], &report["unsure"], &report["agreeing"]), (&1.into(), &1.into(), &0.into()));
    // The file itself needs no comparing.
    let report = import(&scene, &state.in_release(), "x").unwrap();
    assert_eq!((&report["new"], &report["unsure"], &report["agreeing"]), (&1.into(), &0.into(), &1.into()));
    let shown = scene.run(&["snapshot", "show", "fixture", "20260115T115900Z"]).success();
    assert_says(&shown, &["1 had this file: x", "Packages.xz", "(missing)"]);
}

#[test]
fn what_is_dressed_up_as_signed_leaves_no_trace() {
    let key = Key::new("archive");
    let scene = Scene::new(&["trixie"], &[&key], 1);
    let good = suite("trixie", &key, NOW - 60, "1.0").in_release();
    let fake = "Origin: Evil\nSuite: x\nCodename: trixie\n";
    let begin = "-----BEGIN PGP SIGNATURE-----\n";
    for (what, file) in [
        ("text before", format!("{fake}{good}")),
        ("text after", format!("{good}{fake}")),
        ("empty line after", format!("{good}\n")),
        ("unsigned message first", format!("-----BEGIN PGP SIGNED MESSAGE-----\n\n{fake}{good}")),
        ("text between", good.replacen(begin, &format!("{fake}{begin}"), 1)),
        ("field as a header", good.replacen("Hash: SHA256\n", "Hash: SHA256\nOrigin: Evil\n", 1)),
        ("text between two", format!("{good}{fake}{good}")),
        ("changed", good.replacen("Label: Fixture", "Label: Other", 1)),
    ] {
        let report = import(&scene, &file, "x").unwrap();
        assert_eq!((&report["messages"], &report["ignored"]), (&1.into(), &1.into()), "{what}: {report}");
        assert_eq!(kept(&scene), (0, 0), "{what}");
    }
    assert_eq!(import(&scene, &good.repeat(2), "x").unwrap()["new"], 1);
}

#[test]
fn signatures_of_one_text_count_together() {
    let [a, b] = ["a", "b"].map(Key::new);
    let scene = Scene::new(&["trixie"], &[&a, &b], 2);
    let text = suite("trixie", &a, NOW - 60, "1.0").release();
    let [by_a, by_b] = [&a, &b].map(|key| exported(&clearsign(&text, &[Sign::new(key, NOW)])));
    let report = import(&scene, &by_a.repeat(2), "x").unwrap();
    assert_eq!((&report["new"], &report["too_few"]), (&0.into(), &1.into()), "{report}");
    assert_eq!(kept(&scene), (0, 0));
    let report = import(&scene, &[by_a, by_b].concat(), "x").unwrap();
    assert_eq!((&report["new"], &report["too_few"]), (&2.into(), &0.into()), "{report}");
}

#[test]
fn a_mirror_that_stands_still_is_found_out_by_what_others_saw() {
    let key = Key::new("archive");
    let scene = Scene::new(&["trixie"], &[&key], 1);
    let state = |date, version| suite("trixie", &key, date, version);
    scene.put(vec![state(NOW - 2 * DAY, "1.0")]);
    scene.taken();
    let report = import(&scene, &state(NOW - 60, "1.1").in_release(), "a friend").unwrap();
    assert_eq!(report["newer"][0]["date"], "20260115T115900Z", "{report}");
    scene.refused(
        4,
        &[
            "trixie contradicts what was seen elsewhere",
            "20260113T120000Z is older than 20260115T115900Z, which was seen by a friend",
            "hint: these mirrors stand still",
        ],
    );
    // What is kept is as good as it was.
    scene.run(&["snapshot", "verify"]).success();
    // Whoever wants it names it.
    let recipe = scene.world.root().join("r/selfsame.toml");
    let text = fs::read_to_string(&recipe).unwrap();
    fs::write(&recipe, format!("{text}serial = \"20260113T120000Z\"\n")).unwrap();
    scene.run(&["snapshot", "create", "r"]).success();
    fs::write(&recipe, text).unwrap();
    // The mirror is itself again.
    scene.put(vec![state(NOW - 60, "1.1")]);
    let verified = scene.taken();
    assert_says(&verified, &["20260115T115900Z: signed, monotonic, coexisted, logged"]);
    // On an empty machine too.
    scene.forget();
    import(&scene, &state(NOW - 60, "1.1").in_release(), "a friend").unwrap();
    scene.put(vec![state(NOW - 2 * DAY, "1.0")]);
    scene.refused(4, &["was seen by a friend"]);
    scene.put(vec![state(NOW - 30, "1.2")]);
    scene.taken();
}

#[test]
fn two_stories_are_found_by_an_import_and_both_are_kept() {
    let key = Key::new("archive");
    let scene = Scene::new(&["trixie"], &[&key], 1);
    let state = |date, version| suite("trixie", &key, date, version);
    scene.put(vec![state(NOW - 60, "1.0")]);
    scene.taken();
    let other = state(NOW - 60, "6.6.6").in_release();
    for _ in 0..2 {
        let message = import(&scene, &other, "a friend").unwrap_err();
        assert_says(
            &message,
            &[
                "an archive's keys signed two texts of one date",
                "fixture trixie of 20260115T115900Z: ",
                " at this store, ",
                " at a friend",
                "both files are in the store",
            ],
        );
        assert_eq!(kept(&scene), (1, 2));
    }
    let message = scene.run(&["snapshot", "verify"]).failure(3);
    assert_says(&message, &["snapshot fixture 20260115T115900Z", "a friend has another text, also signed"]);
    let shown = scene.run(&["snapshot", "show", "fixture", "20260115T115900Z"]).success();
    assert_says(&shown, &["    FORK: a friend has another text: "]);
    scene.refused(3, &["trixie contradicts what was seen elsewhere", "a friend has another text"]);
    // A later state is not to blame.
    scene.put(vec![state(NOW - 30, "1.1")]);
    scene.run(&["snapshot", "create", "r"]).success();
    scene.run(&["snapshot", "verify", "fixture", "20260115T115930Z"]).success();
    // Two stories in one import, of a date that was never seen here.
    scene.forget();
    let both = [state(NOW - 60, "1.0").in_release(), other].concat();
    assert_says(&import(&scene, &both, "x").unwrap_err(), &[" at x, "]);
    assert_eq!(kept(&scene), (2, 2));
    scene.put(vec![state(NOW - 60, "1.0")]);
    scene.refused(3, &["x has another text"]);
}

#[test]
fn other_services_are_asked_for_the_same_files() {
    let key = Key::new("archive");
    let scene = Scene::new(&["trixie"], &[&key], 1);
    let state = |date, version| suite("trixie", &key, date, version);
    let against = |url: &str| scene.run(&["snapshot", "verify", "--against", url]);
    // Another store with the same state, and an older one.
    for (date, version) in [(NOW - DAY, "0.9"), (NOW - 60, "1.0")] {
        scene.put(vec![state(date, version)]);
        scene.taken();
    }
    let service = scene.service(&["--offline"]);
    scene.forget();
    scene.taken();
    let address = format!("{}/{{archive}}/{{serial}}", service.url());
    let text = against(&address).success();
    assert_says(
        &text,
        &[
            "signed, coexisted, logged (1 of 1 mirrors)",
            &format!("logged elsewhere: 1 had this file: {address}"),
            " has the same file\n",
        ],
    );
    // It is remembered when nobody answers any more.
    drop(service);
    assert_says(&scene.run(&["snapshot", "verify"]).success(), &["coexisted, logged"]);
    assert_says(&against(&address).failure(4), &["cannot ask http://127.0.0.1:"]);
    assert_says(&against("gopher://x/{serial}").failure(2), &["only http:, https: and file: are spoken"]);

    // One that has a later name for it, as services do that name a state by when they took it.
    let root = scene.world.root();
    let here = format!("file:{}/files", root.display());
    let put = |serial: &str, file: &str| {
        scene.world.write(format!("files/{serial}/dists/trixie/InRelease"), file);
    };
    assert_says(&against(&here).success(), &[" has no such snapshot\n"]);
    put("20260115T115900Z", &state(NOW - DAY, "0.9").in_release());
    assert_says(&against(&here).success(), &[" has the state of 20260114T120000Z instead\n"]);
    put("20260115T175900Z", &state(NOW - 60, "1.0").in_release());
    assert_says(&against(&here).success(), &[" has the same file\n"]);
    // Other signatures; rubbish; a lie.
    let at = "20260115T115900Z";
    put(at, &clearsign(&state(NOW - 60, "1.0").release(), &[Sign::new(&key, NOW - 40)]));
    assert_says(&against(&here).success(), &[" has the same text with other signatures\n"]);
    put(at, "rubbish");
    let web = serve(&root.join("files"));
    let json = scene.run(&["snapshot", "verify", "--json", "--against", &web.url()]).success();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["snapshots"][0]["suites"][0]["against"][0]["found"], "refused", "{json}");
    put(at, &suite("trixie", &Key::new("stranger"), NOW - 60, "6.6.6").in_release());
    assert_says(&against(&web.url()).success(), &["has something else: ", "is not in the keyring"]);
    put(at, &state(NOW - 60, "6.6.6").in_release());
    let message = against(&web.url()).failure(3);
    assert_says(&message, &["has another text, also signed", "both files are in the store"]);
    scene.run(&["snapshot", "verify"]).failure(3);
}

#[test]
fn evidence_is_written_beside_a_lock_and_depends_on_no_clock() {
    let key = Key::new("archive");
    let scene = Scene::new(&["trixie"], &[&key], 1);
    let state = || suite("trixie", &key, NOW - 60, "1.0");
    let words = ["snapshot", "verify", "--lock", "r", "--evidence", "r/evidence.json"];
    assert_says(&scene.run(&words).failure(3), &["there is no lock r/selfsame.lock"]);
    scene.write_lock(&scene.lock(&[state()]));
    let message = scene.run(&words).failure(3);
    assert_says(&message, &["the store has no snapshot of fixture 20260115T115900Z, which the lock names"]);
    scene.put(vec![suite("trixie", &key, NOW - DAY, "0.9")]);
    scene.taken();
    scene.put(vec![state()]);
    scene.taken();
    import(&scene, &state().in_release(), "office").unwrap();
    scene.run(&words).success();
    let path = scene.world.root().join("r/evidence.json");
    let first = fs::read_to_string(&path).unwrap();
    let json: Value = serde_json::from_str(&first).unwrap();
    assert_eq!((&json["format"], json["archives"].as_array().unwrap().len()), (&1.into(), 1));
    let one = &json["archives"][0]["suites"][0];
    assert_eq!(json["archives"][0]["serial"], "20260115T115900Z");
    assert_eq!(one["ranks"], serde_json::json!(["signed", "monotonic", "coexisted", "logged"]));
    assert_eq!(
        (&one["elsewhere"][0]["source"], &one["elsewhere"][0]["same"]),
        (&"office".into(), &"file".into())
    );
    let agreed = one["mirrors"]["agreed"][0].as_str().unwrap();
    assert!(agreed.ends_with("/m"), "{agreed}");
    assert_eq!(one["signers"], serde_json::json!([key.fingerprint()]));
    scene.run(&words).success();
    assert_eq!(fs::read_to_string(&path).unwrap(), first);
    assert_eq!(fs::read_dir(scene.world.root().join("r")).unwrap().count(), 4, "nothing is left over");
    // A refusal leaves the earlier file.
    import(&scene, &suite("trixie", &key, NOW - 60, "6.6.6").in_release(), "x").unwrap_err();
    scene.run(&words).failure(3);
    assert_eq!(fs::read_to_string(&path).unwrap(), first);
    assert_says(&scene.run(&["snapshot", "verify", "fixture", "--lock", "r"]).failure(2), &["--lock"]);
}

/// A store of ten years ago: what was taken then, with a key that has expired since, is good for ever, and so is what others
/// saw of it.
#[test]
fn ten_years_later_it_is_as_good_and_expired_keys_are_named() {
    use selfsame_apt::fetch::{FetchConfig, Fetcher, Silent};
    use selfsame_apt::mirrors::Mirror;
    use selfsame_apt::snapshot::{Online, Terms, fetch_snapshot};
    use selfsame_build::snapshots::{Importer, Kept, describe, remember};

    let then = NOW - 3652 * DAY;
    let spec =
        KeySpec { created: then - DAY, lifetime: Some(90 * 86_400), subkey: None, ..KeySpec::new("old") };
    let key = Key::from_spec(&spec);
    let scene = Scene::new(&["trixie"], &[&key], 1);
    let state = Suite { valid_until: Some(then + DAY), ..suite("trixie", &key, then, "1.0") };
    let in_release = state.in_release();
    scene.put(vec![state.with(Deb::new("more", "1"))]);
    let root = scene.world.root();
    let signed = fs::read(root.join("m/dists/trixie/InRelease")).unwrap();
    assert_ne!(signed, in_release.as_bytes());
    let store = Store::open(root.join(scene.store())).unwrap();
    let recipe = selfsame_build::recipe::load(&root.join("r")).unwrap();
    let described = describe(&recipe, "fixture", &store).unwrap();
    let fetcher = Fetcher::new(FetchConfig::default()).unwrap();
    let online =
        Online { fetcher: &fetcher, mirrors: &[Mirror::of_directory(&root.join("m"))], progress: &Silent };
    let fetched =
        fetch_snapshot(&described.0, &described.1, &online, &store, &Terms::new(then + 3600)).unwrap();
    remember(&store, &described.0, &fetched.snapshot).unwrap();
    let archives = [described];
    let mut importer = Importer::new(&store, &archives, then + 3600).unwrap();
    importer.take(&signed, "a friend").unwrap();
    assert_eq!(importer.finish().agreeing, 1);
    Kept::new(archives[0].0.clone(), fetched.snapshot, &fetched.evidence).keep(&store).unwrap();
    drop(store);

    fs::remove_dir_all(root.join("m")).unwrap();
    fs::remove_dir_all(root.join("r")).unwrap();
    let text = scene.run(&["snapshot", "verify"]).success();
    assert_says(
        &text,
        &[
            "fixture 20160116T120000Z: good as of 20160116T130000Z\n",
            "signed, coexisted, logged (1 of 1 mirrors)",
            &format!("    since then: key {} had expired at 20160414T120000Z\n", key.fingerprint()),
        ],
    );
}
