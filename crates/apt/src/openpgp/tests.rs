use std::collections::BTreeSet;

use pgp::types::{KeyDetails, Timestamp};
use rpgpie::certificate::{Certificate, Checked};
use selfsame_testkit::archive::{Key, KeySpec, NOW, Revocation, SubkeySpec, certificate};

use super::*;

#[test]
fn built_in_keys_cover_the_tables() {
    let known = Keyring::debian().fingerprints();
    assert_eq!(known.len(), 12);
    for base in ["buster", "bullseye", "bookworm", "trixie", "forky", "sid", "rc-buggy"] {
        for suffix in ["", "-updates", "-security"] {
            let table = debian_fingerprints(&format!("{base}{suffix}"));
            assert!(table.iter().all(|fingerprint| known.contains(fingerprint)), "{base}{suffix}");
        }
    }
}

/// The keys that may sign at a time, by our rules and by those of rpgpie, which judges certificates on its own.
fn both(bytes: &str, at: i64) -> [BTreeSet<String>; 2] {
    let time = Timestamp::from_secs(u32::try_from(at).unwrap());
    let keyring = Keyring::from_bytes(bytes.as_bytes()).unwrap();
    let ours = keyring.keys().filter(|(_, key)| key.check(at).is_ok());
    let ours = ours.map(|(_, key)| key.fingerprint.to_string().to_lowercase()).collect();
    let mut theirs = BTreeSet::new();
    for certificate in Certificate::load(&mut bytes.as_bytes()).unwrap() {
        let keys = Checked::from(certificate).valid_signing_capable_component_keys_at(time);
        // It leaves the check that a key exists to its signature verifier.
        let made = keys.iter().map(|key| key.as_componentkey()).filter(|key| key.created_at() <= time);
        theirs.extend(made.map(|key| key.fingerprint().to_string()));
    }
    [ours, theirs]
}

#[test]
fn debians_keys_live_as_long_as_a_second_judge_says() {
    for bytes in debian::KEYS {
        for at in (1_540_000_000..2_100_000_000).step_by(90_000_001) {
            let [ours, theirs] = both(bytes, at);
            // Debian's automatic primaries carry direct signatures without key flags, which rpgpie reads as "may not
            // sign" and GnuPG ("SC" in its listings) and we do not.
            assert!(theirs.is_subset(&ours), "{at}: {theirs:?} {ours:?}");
            assert!(ours.len() <= theirs.len() + 2, "{at}: {theirs:?} {ours:?}");
            assert_eq!(ours.is_empty(), theirs.is_empty(), "{at}");
        }
    }
}

#[rustfmt::skip]
fn kinds_of_keys() -> Vec<(&'static str, KeySpec)> {
    let retired = Some(Revocation { reason: Some(3), at: NOW });
    let revoked = Some(Revocation { reason: Some(2), at: NOW });
    let spec = || KeySpec::new("a");
    let sub = |subkey| KeySpec { subkey: Some(subkey), ..spec() };
    vec![
        ("plain", spec()),
        ("no subkey", KeySpec { subkey: None, ..spec() }),
        ("short", KeySpec { lifetime: Some(86_400 * 400), ..spec() }),
        ("endless", KeySpec { lifetime: None, ..spec() }),
        ("retired", KeySpec { revoked: retired, ..spec() }),
        ("revoked", KeySpec { revoked, ..spec() }),
        ("short subkey", sub(SubkeySpec { lifetime: Some(86_400 * 400), ..SubkeySpec::default() })),
        ("late subkey", sub(SubkeySpec { created: NOW, ..SubkeySpec::default() })),
        ("retired subkey", sub(SubkeySpec { revoked: retired, ..SubkeySpec::default() })),
        ("revoked subkey", sub(SubkeySpec { revoked, ..SubkeySpec::default() })),
    ]
}

#[test]
fn fixture_keys_live_as_long_as_a_second_judge_says() {
    for (name, spec) in kinds_of_keys() {
        let bytes = certificate(&[&Key::from_spec(&spec)]);
        for days in [-400, -366, -364, -1, 1, 34, 36, 400] {
            let at = NOW + days * 86_400 + 1;
            let [ours, theirs] = both(&bytes, at);
            assert_eq!(ours, theirs, "{name} at {days} days");
        }
    }
}
