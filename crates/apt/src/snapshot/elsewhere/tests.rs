use selfsame_testkit::archive::{Deb, Key, KeySpec, NOW, Sign, Suite, certificate, clearsign, collected};

use super::*;

const DAY: i64 = 86_400;

fn spec(key: &Key) -> ArchiveSpec {
    ArchiveSpec {
        name: "fixture".to_owned(),
        mirrors: Vec::new(),
        suites: vec!["trixie".to_owned()],
        components: vec!["main".to_owned()],
        architectures: vec!["amd64".to_owned()],
        keyring: None,
        fingerprints: vec![key.fingerprint().parse().unwrap()],
        threshold: 1,
    }
}

/// What is said of a file, three years later.
fn judged(key: &Key, file: &str) -> Result<Collected, String> {
    let keys = Keyring::from_bytes(certificate(&[key]).as_bytes()).unwrap();
    let judged = judge_collected(file.as_bytes(), &spec(key), "trixie", &keys, NOW + 3 * 365 * DAY);
    judged.map_err(|error| match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    })
}

#[test]
fn a_file_is_judged_as_of_its_own_date() {
    let key = Key::new("archive");
    let by = |key, at| vec![Sign::new(key, at)];
    let suite = |change: &dyn Fn(&mut Suite<'_>)| {
        let mut suite = Suite::new("trixie", &key).with(Deb::new("hello", "1"));
        change(&mut suite);
        judged(&key, &suite.in_release()).map(|found| found.signers.len())
    };
    assert_eq!(suite(&|_| ()), Ok(1));
    assert_eq!(suite(&|suite| suite.valid_until = Some(NOW + DAY)), Ok(1), "it is over by now");
    assert_eq!(suite(&|suite| suite.signatures[0].lifetime = Some(3600)), Ok(1), "so is its signature");
    assert_eq!(suite(&|suite| suite.signatures[0].created = NOW + DAY - 60), Ok(1));
    for (at, lifetime) in [(NOW + DAY, None), (NOW - 3700, None), (NOW - 100, Some(40))] {
        let message = suite(&|suite| {
            (suite.signatures[0].created, suite.signatures[0].lifetime) = (at, lifetime);
        });
        assert!(message.unwrap_err().starts_with("it is dated 20260115T115900Z, but signed at "), "{at}");
    }
    let stranger = Key::new("stranger");
    let sign = Sign::new(&stranger, NOW);
    let release = Suite::new("trixie", &key).release();
    let message = judged(&key, &clearsign(&release, &[sign])).unwrap_err();
    assert!(message.contains("is not in the keyring"), "{message}");
    assert_eq!(
        suite(&|suite| suite.codename = "sid".to_owned()).unwrap_err(),
        "it is the file of codename sid"
    );
    let message = suite(&|suite| suite.date = Some(NOW + 4 * 365 * DAY)).unwrap_err();
    assert!(message.starts_with("it is not of the past: "), "{message}");
    assert!(suite(&|suite| suite.date = None).unwrap_err().starts_with("its text is refused: "));
    // A key that expired since counts, one that had expired does not.
    let old = Key::from_spec(&KeySpec { lifetime: Some(364 * 86_400), ..KeySpec::new("archive") });
    let mut suite = Suite::new("trixie", &old);
    (suite.date, suite.signatures) = (Some(NOW - 2 * DAY), by(&old, NOW - 2 * DAY));
    assert!(judged(&old, &suite.in_release()).is_ok());
    (suite.date, suite.signatures) = (Some(NOW - 60), by(&old, NOW));
    assert!(judged(&old, &suite.in_release()).unwrap_err().contains("had expired"));
}

#[test]
fn detached_signatures_are_of_the_same_text() {
    let key = Key::new("archive");
    let release = Suite::new("trixie", &key).with(Deb::new("hello", "1")).release();
    let sign = Sign::new(&key, NOW);
    let binary = Sign { binary: true, ..sign };
    let whole = judged(&key, &clearsign(&release, &[sign])).unwrap();
    assert_eq!(whole.form, Form::InRelease);
    for sign in [sign, binary] {
        let found = judged(&key, &collected(&release, &[sign])).unwrap();
        assert_eq!((found.form, found.text), (Form::Detached, whole.text));
    }
    // A binary signature without the last newline is none of either form; nor is one of another text.
    assert!(judged(&key, &clearsign(&release, &[binary])).is_err());
    assert!(judged(&key, &collected(&release, &[binary]).replace("Label: Fixture", "Label: Other")).is_err());
    // Newlines at the end make no other text.
    let longer = collected(&release, &[sign]).replacen(
        "\n-----BEGIN PGP SIGNATURE",
        "\n\n-----BEGIN PGP SIGNATURE",
        1,
    );
    let found = judged(&key, &longer).unwrap();
    assert_eq!((found.form, found.text), (Form::InRelease, whole.text));
    // No change passes but with the same text.
    let good = collected(&release, &[binary]);
    for at in (0..good.len()).step_by(7) {
        let mut bad = good.clone().into_bytes();
        bad[at] ^= 1;
        if let Ok(bad) = String::from_utf8(bad)
            && let Ok(found) = judged(&key, &bad)
        {
            assert_eq!(found.text, whole.text);
        }
    }
}

fn sighting(date: i64, text: &[u8], source: &str) -> Sighting {
    Sighting {
        archive: "debian".to_owned(),
        codename: "sid".to_owned(),
        date,
        text: Digest::of(text),
        file: Digest::of(&[text, b" signed"].concat()),
        form: Form::Detached,
        source: source.to_owned(),
    }
}

#[test]
fn newer_states_and_other_texts_are_told() {
    let mut all = Elsewhere::default();
    let (here, [a, b]) = (("debian", "sid"), [b"a", b"b"].map(|text| Digest::of(text)));
    assert_eq!(all.check_newest("debian", "sid", 1), Ok(()));
    assert!(all.add(sighting(5, b"a", "somebody")));
    assert!(!all.add(sighting(5, b"a", "somebody")) && all.add(sighting(5, b"a", "another one")));
    assert_eq!((all.iter().count(), all.of("debian", "sid", 5).len()), (2, 2));
    assert_eq!(all.check_newest("debian", "sid", 5), Ok(()));
    assert_eq!(
        all.check_newest("debian", "sid", 4).unwrap_err().to_string(),
        "19700101T000004Z is older than 19700101T000005Z, which was seen by another one"
    );
    assert_eq!(all.check_newest("other", "sid", 4), Ok(()));
    assert_eq!(all.check_fork(here, 5, &a, &a), Ok(()));
    assert_eq!(all.check_fork(here, 4, &b, &b), Ok(()));
    let message = all.check_fork(here, 5, &b, &b).unwrap_err().to_string();
    assert!(
        message.starts_with("of 19700101T000005Z another one has another text, also signed: "),
        "{message}"
    );
    // Both stories are kept, and contradict everybody.
    assert!(all.add(sighting(5, b"b", "liar")));
    assert!(all.check_fork(here, 5, &a, &a).is_err() && all.check_fork(here, 5, &b, &b).is_err());
}

#[test]
fn lines_are_read_as_they_were_written() {
    let one = sighting(5, b"a", "who ever it is");
    let line = one.to_string();
    assert_eq!(Sighting::parse(&line), Some(one));
    let changed = [
        "".to_owned(),
        line.replace("debian ", ""),
        line.replace(" 5 ", " five "),
        line.replace("detached", "attached"),
        line.replace(" who ever it is", ""),
        line.replace(" who ever", "  who ever"),
        format!("{line}\n"),
        format!("{line}\x1b[2J"),
        line.replace("debian", ""),
    ];
    for bad in changed {
        assert_eq!(Sighting::parse(&bad), None, "{bad:?}");
    }
    for (name, good) in [("a", true), ("", false), (" a", false), ("a\tb", false), (&"x".repeat(201), false)]
    {
        assert_eq!(check_source(name).is_ok(), good, "{name:?}");
    }
}
