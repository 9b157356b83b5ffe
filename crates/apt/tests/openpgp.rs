//! Which signatures count (S8 of the reliability list), with gpgv beside us where it has an opinion.

mod support;

use selfsame_apt::openpgp::{Keyring, KeyringError, Policy, SignatureError, Verified, verify_inrelease};
use selfsame_testkit::archive::{
    BackSignature, Key, KeySpec, NOW, Revocation, Sign, SubkeySpec, certificate, clearsign,
};
use support::{fingerprint, gpgv, keyring, policy};

const TEXT: &str = "Origin: Fixture\nCodename: trixie";
const DAY: i64 = 86_400;

fn day(days: i64) -> u32 {
    u32::try_from(days * DAY).unwrap()
}

fn verify(keys: &[&Key], signs: &[Sign<'_>], policy: &Policy) -> Result<Verified, String> {
    verify_inrelease(clearsign(TEXT, signs).as_bytes(), &keyring(keys), policy)
        .map_err(|error| error.to_string())
}

/// One key, one signature by it: why it is refused, or nothing. gpgv must know every signature that we accept.
fn refused(spec: KeySpec, change: impl Fn(Sign<'_>) -> Sign<'_>) -> String {
    let key = Key::from_spec(&spec);
    let sign = change(Sign::new(&key, NOW));
    let verdict = verify(&[&key], &[sign], &policy(&[&key], 1));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.gpg");
    std::fs::write(&path, key.certificate()).unwrap();
    if let Some((status, _)) = gpgv(clearsign(TEXT, &[sign]).as_bytes(), &path) {
        assert!(verdict.is_err() || status.contains("VALIDSIG"), "{status}");
    }
    match verdict {
        Ok(verified) => {
            assert_eq!(verified.text, TEXT.as_bytes());
            assert_eq!(verified.signers(), [fingerprint(&key)]);
            String::new()
        }
        Err(message) => message.replace(&key.signing_fingerprint(), "K").replace(&key.fingerprint(), "P"),
    }
}

fn same(sign: Sign<'_>) -> Sign<'_> {
    sign
}

fn by_primary(sign: Sign<'_>) -> Sign<'_> {
    Sign { by_primary: true, ..sign }
}

fn key() -> KeySpec {
    KeySpec::new("archive")
}

fn with_subkey(change: impl Fn(&mut SubkeySpec)) -> KeySpec {
    let mut spec = key();
    change(spec.subkey.as_mut().unwrap());
    spec
}

const NONE_OF_1: &str = "0 of 1 needed signatures by trusted keys; ";

fn expect(cases: Vec<(&str, KeySpec, &str)>) {
    for (name, spec, reason) in cases {
        let expected = if reason.is_empty() { String::new() } else { format!("{NONE_OF_1}{reason}") };
        assert_eq!(refused(spec, same), expected, "{name}");
    }
}

#[rustfmt::skip]
#[test]
fn a_primary_key_must_have_been_valid_when_its_subkey_signed() {
    let extended = |lifetime, again| KeySpec {
        lifetime: Some(day(lifetime)),
        extended: Some((NOW - 300 * DAY, day(again))),
        ..key()
    };
    expect(vec![
        ("with subkey", key(), ""),
        ("primary only", KeySpec { subkey: None, ..key() }, ""),
        ("expired since", KeySpec { lifetime: Some(day(366)), ..key() }, ""),
        ("never expires", KeySpec { lifetime: None, ..key() }, ""),
        ("expired before", KeySpec { lifetime: Some(day(365)), ..key() }, "K had expired at 20260115T120000Z"),
        ("expired, then extended", extended(100, 500), ""),
        ("lasting, then shortened", extended(5000, 100), "K had expired at 20250425T120000Z"),
        ("made later", KeySpec { created: NOW + 1, ..key() }, "K did not exist before 20260115T120001Z"),
        ("without user id", KeySpec { bound: false, ..key() }, "K has no valid binding to a primary key"),
    ]);
}

#[rustfmt::skip]
#[test]
fn a_subkey_must_have_been_valid_when_it_signed() {
    let back = |back| with_subkey(move |sub| sub.back_signature = back);
    expect(vec![
        ("expired since", with_subkey(|sub| sub.lifetime = Some(day(366))), ""),
        ("expired before", with_subkey(|sub| sub.lifetime = Some(day(364))), "K had expired at 20260114T120000Z"),
        ("made later", with_subkey(|sub| sub.created = NOW + 2), "K did not exist before 20260115T120002Z"),
        ("not for signing", with_subkey(|sub| sub.may_sign = false), "K is not a signing key"),
        ("back signature hashed", back(BackSignature::Hashed), ""),
        ("no back signature", back(BackSignature::None), "K is not a signing key"),
        // The subkey could be somebody else's, taken over to be credited with their signatures.
        ("back signature forged", back(BackSignature::Forged), "K is not a signing key"),
    ]);
}

#[test]
fn revocations_end_a_key_for_ever_or_from_their_date_on() {
    let (before, after) = (NOW - DAY, NOW + DAY);
    let retired = |at| format!("{NONE_OF_1}K was retired at {at}");
    let revoked = format!("{NONE_OF_1}K is revoked");
    for (reason, at, expected) in [
        (None, after, revoked.clone()),
        (Some(0), after, revoked.clone()),
        (Some(2), after, revoked.clone()),
        (Some(2), before, revoked.clone()),
        (Some(77), after, revoked),
        (Some(1), after, String::new()),
        (Some(3), after, String::new()),
        (Some(1), before, retired("20260114T120000Z")),
        (Some(3), NOW, retired("20260115T120000Z")),
    ] {
        let revocation = Revocation { reason, at };
        assert_eq!(refused(KeySpec { revoked: Some(revocation), ..key() }, same), expected, "{revocation:?}");
        let spec = with_subkey(|sub| sub.revoked = Some(revocation));
        assert_eq!(refused(spec, same), expected, "subkey {revocation:?}");
    }
    // The primary goes on signing when its subkey is revoked, and the other way round it does not.
    let hard = Some(Revocation { reason: Some(2), at: before });
    assert_eq!(refused(with_subkey(|sub| sub.revoked = hard), by_primary), "");
    assert_eq!(refused(KeySpec { revoked: hard, ..key() }, by_primary), format!("{NONE_OF_1}P is revoked"));
}

#[test]
fn a_revocation_in_one_copy_of_a_certificate_holds_for_all() {
    let good = Key::new("archive");
    let revoked = Key::from_spec(&KeySpec { revoked: Some(Revocation { reason: None, at: NOW }), ..key() });
    assert_eq!(good.fingerprint(), revoked.fingerprint());
    for keys in [[&good, &revoked], [&revoked, &good]] {
        let error = verify(&keys, &[Sign::new(&good, NOW)], &policy(&[&good], 1)).unwrap_err();
        assert!(error.ends_with("is revoked"), "{error}");
        assert_eq!(keyring(&keys).fingerprints(), [fingerprint(&good)]);
    }
}

#[test]
fn the_time_of_judgement_is_given_and_not_read() {
    let at = |created, lifetime| refused(key(), move |sign| Sign { created, lifetime, ..sign });
    assert_eq!(at(NOW - 300 * DAY, None), "");
    assert_eq!(at(NOW + 15, None), "");
    assert_eq!(
        at(NOW + 16, None),
        format!("{NONE_OF_1}K signed at 20260115T120016Z, after the time 20260115T120005Z")
    );
    assert_eq!(at(NOW, Some(6)), "");
    assert_eq!(at(NOW, Some(5)), format!("{NONE_OF_1}K made a signature that ran out at 20260115T120005Z"));
    // Ten years on, judged as of then: nothing changes.
    let archive = Key::from_spec(&KeySpec { created: 1_000_000_000, lifetime: Some(day(400)), ..key() });
    let old = Sign::new(&archive, 1_000_000_000 + 300 * DAY);
    let policy = Policy { at: 1_000_000_000 + 301 * DAY, ..policy(&[&archive], 1) };
    let spec = KeySpec {
        created: 1_000_000_000,
        lifetime: Some(day(400)),
        subkey: Some(SubkeySpec { created: 1_000_000_000, lifetime: None, ..SubkeySpec::default() }),
        ..key()
    };
    let archive = Key::from_spec(&spec);
    let signed = Sign { key: &archive, ..old };
    let policy = Policy { primary_fingerprints: vec![fingerprint(&archive)], ..policy };
    assert!(verify(&[&archive], &[signed], &policy).is_ok());
}

#[test]
fn distinct_primaries_are_counted() {
    let (a, b, c) = (Key::new("a"), Key::new("b"), Key::new("c"));
    let [by_a, by_b, by_c] = [&a, &b, &c].map(|key| Sign::new(key, NOW));
    let keys = [&a, &b, &c];
    let trusted = |threshold| policy(&[&a, &b], threshold);
    assert!(verify(&keys, &[by_a, by_b], &trusted(2)).is_ok());
    assert!(verify(&keys, &[by_c, by_b, by_a], &trusted(2)).is_ok());
    let same = Sign { by_primary: true, ..by_a };
    for signs in [vec![by_a], vec![by_a, by_a], vec![by_a, same], vec![by_a, by_c]] {
        let error = verify(&keys, &signs, &trusted(2)).unwrap_err();
        assert!(error.starts_with("1 of 2 needed signatures by trusted keys"), "{error}");
        assert!(verify(&keys, &signs, &trusted(1)).is_ok());
    }
    // The certificate of b is missing.
    let error = verify(&[&a], &[by_a, by_b], &trusted(2)).unwrap_err();
    let expected = "1 of 2 needed signatures by trusted keys; B is not in the keyring";
    assert_eq!(error, expected.replace('B', &b.signing_fingerprint()));
    let doubled = Policy { primary_fingerprints: vec![fingerprint(&a); 2], ..trusted(2) };
    assert_eq!(
        verify(&keys, &[by_a, by_b], &doubled).unwrap_err(),
        "a threshold of 2 with 1 trusted keys cannot be judged"
    );
    for (threshold, primary_fingerprints) in [(0, vec![fingerprint(&a)]), (1, vec![])] {
        let policy = Policy { threshold, primary_fingerprints, at: NOW };
        assert!(verify(&keys, &[by_a], &policy).unwrap_err().ends_with("cannot be judged"));
    }
}

#[test]
fn the_subkeys_fingerprint_is_no_name_for_trust() {
    let key = Key::new("archive");
    let policy =
        Policy { primary_fingerprints: vec![key.signing_fingerprint().parse().unwrap()], ..policy(&[], 1) };
    let error = verify(&[&key], &[Sign::new(&key, NOW)], &policy).unwrap_err();
    assert!(error.ends_with("which is not trusted here"), "{error}");
}

/// Files made by GnuPG, see `fixtures/weak.sh`.
#[test]
fn weak_hashes_and_keys_do_not_count() {
    let read =
        |name: &str| std::fs::read(format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    for (file, key, reason) in [
        ("sha256", "rsa-3072", ""),
        ("sha1", "rsa-3072", "signed with the weak hash SHA1"),
        ("ripemd160", "rsa-3072", "signed with the weak hash RIPEMD160"),
        ("rsa-1024", "rsa-1024", "is of a weak kind"),
        ("dsa-2048", "dsa-2048", "is of a weak kind"),
    ] {
        let keys = Keyring::from_bytes(&read(&format!("{key}.key.asc"))).unwrap();
        let policy = Policy { primary_fingerprints: keys.fingerprints(), threshold: 1, at: NOW };
        match verify_inrelease(&read(&format!("{file}.asc")), &keys, &policy) {
            Ok(_) => assert_eq!(reason, "", "{file}"),
            Err(SignatureError::Threshold { uncounted, .. }) => {
                assert_eq!(uncounted.len(), 1);
                assert_eq!(uncounted[0].reason.to_string(), reason, "{file}");
            }
            Err(error) => panic!("{file}: {error}"),
        }
    }
}

#[test]
fn keyrings_are_read_in_every_usual_form() {
    let (a, b) = (Key::new("a"), Key::new("b"));
    let mut both = vec![fingerprint(&a), fingerprint(&b)];
    both.sort();
    let armored = certificate(&[&a]) + "\n\n" + &certificate(&[&b]);
    let binary = [b.certificate(), a.certificate()].concat();
    // GnuPG's own files have trust packets (type 12) between the others.
    let trust = [&[0xcc, 2, 0, 0][..], &a.certificate()].concat();
    for (name, bytes, expected) in [
        ("one block", certificate(&[&a, &b]).into_bytes(), both.clone()),
        ("two blocks", armored.clone().into_bytes(), both.clone()),
        ("two blocks with CRLF", armored.replace('\n', "\r\n").into_bytes(), both.clone()),
        ("binary", binary, both),
        ("with trust packets", trust, vec![fingerprint(&a)]),
    ] {
        assert_eq!(Keyring::from_bytes(&bytes).unwrap().fingerprints(), expected, "{name}");
    }
    let text_before = format!("Key of the archive:\n{}", certificate(&[&a]));
    assert!(Keyring::from_bytes(b"").is_err_and(|error| matches!(error, KeyringError::Empty)));
    assert!(Keyring::from_bytes(text_before.as_bytes()).is_err());
    assert!(Keyring::from_bytes(&vec![0; 5 << 20]).is_err_and(|e| matches!(e, KeyringError::TooLong { .. })));
    let secret = [0xc5, 1, 4];
    assert!(Keyring::from_bytes(&secret).is_err());
    let signature_first = [&a.certificate()[60..], &a.certificate()].concat();
    assert!(Keyring::from_bytes(&signature_first).is_err());
}

#[test]
fn changed_keyrings_never_panic_and_never_gain_a_key() {
    let key = Key::new("archive");
    let good = key.certificate();
    let file = clearsign(TEXT, &[Sign::new(&key, NOW)]);
    let policy = policy(&[&key], 1);
    let known = fingerprint(&key);
    for at in 0..good.len() {
        for byte in [0, 0xff, good[at] ^ 1, good[at] ^ 0x80] {
            let mut bad = good.clone();
            bad[at] = byte;
            let Ok(keys) = Keyring::from_bytes(&bad) else {
                continue;
            };
            if verify_inrelease(file.as_bytes(), &keys, &policy).is_ok() {
                assert_eq!(keys.fingerprints(), [known]);
            }
        }
        let _ = Keyring::from_bytes(&good[..at]);
    }
}
