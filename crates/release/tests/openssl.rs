//! An independent judge of keys and signatures: OpenSSL.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "oracles are programs that work on files"
)]

use std::fs;
use std::path::Path;
use std::process::Command;

use base64ct::{Base64, Encoding as _};
use selfsame_image::Digest;
use selfsame_release::dsse::{IN_TOTO, pae, seal};
use selfsame_release::{OnBad, Operator, Outcome, Policy, PublicKey, Rebuild, SecretKey, Tally, Wanted};
use selfsame_testkit::{oracle, oracle_text};

fn openssl(dir: &Path, arguments: &[&str]) -> Option<String> {
    oracle_text(Command::new("openssl").args(arguments).current_dir(dir))
}

/// A directory in which OpenSSL made `secret.pem` and `public.pem`.
fn keys() -> Option<(tempfile::TempDir, SecretKey, PublicKey)> {
    let dir = tempfile::tempdir().unwrap();
    openssl(dir.path(), &["genpkey", "-algorithm", "ed25519", "-out", "secret.pem"])?;
    openssl(dir.path(), &["pkey", "-in", "secret.pem", "-pubout", "-out", "public.pem"])?;
    let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
    let secret = SecretKey::from_pem(&read("secret.pem")).unwrap();
    let public = PublicKey::from_pem(&read("public.pem")).unwrap();
    Some((dir, secret, public))
}

fn result() -> Rebuild {
    let output = selfsame_release::Output {
        name: "x.iso".into(),
        published: Digest::of(b"iso"),
        built: Digest::of(b"iso"),
    };
    Rebuild {
        outputs: vec![output],
        lock: Digest::of(b"lock"),
        commit: None,
        epoch: 1,
        selfsame: "0.1.0".into(),
    }
}

#[test]
fn keys_of_openssl_are_read_and_named_by_their_der() {
    let Some((dir, secret, public)) = keys() else { return };
    assert_eq!(secret.public(), public);
    openssl(dir.path(), &["pkey", "-pubin", "-in", "public.pem", "-outform", "DER", "-out", "der"]).unwrap();
    assert_eq!(public.id().0, Digest::of(&fs::read(dir.path().join("der")).unwrap()));
    openssl(dir.path(), &["genpkey", "-algorithm", "ed448", "-out", "other.pem"]).unwrap();
    SecretKey::from_pem(&fs::read_to_string(dir.path().join("other.pem")).unwrap()).unwrap_err();
}

#[test]
fn openssl_accepts_what_we_sign() {
    let Some((dir, secret, _)) = keys() else { return };
    let statement = result().statement();
    let envelope: serde_json::Value =
        serde_json::from_str(&seal(IN_TOTO, statement.as_bytes(), &secret)).unwrap();
    let payload = Base64::decode_vec(envelope["payload"].as_str().unwrap()).unwrap();
    assert_eq!(payload, statement.as_bytes());
    let signature = Base64::decode_vec(envelope["signatures"][0]["sig"].as_str().unwrap()).unwrap();
    fs::write(dir.path().join("sig"), signature).unwrap();
    let verify = |message: &[u8]| {
        fs::write(dir.path().join("message"), message).unwrap();
        let verify = ["pkeyutl", "-verify", "-pubin", "-inkey", "public.pem", "-rawin", "-in", "message"];
        let mut command = Command::new("openssl");
        oracle(command.args(verify).args(["-sigfile", "sig"]).current_dir(dir.path()))
            .unwrap()
            .status
            .success()
    };
    assert!(verify(&pae(IN_TOTO, statement.as_bytes())));
    assert!(!verify(&pae("text/plain", statement.as_bytes())) && !verify(statement.as_bytes()));
}

#[test]
fn we_accept_what_openssl_signs() {
    let Some((dir, _, public)) = keys() else { return };
    let statement = result().statement();
    fs::write(dir.path().join("message"), pae(IN_TOTO, statement.as_bytes())).unwrap();
    let sign = ["pkeyutl", "-sign", "-inkey", "secret.pem", "-rawin", "-in", "message", "-out", "sig"];
    openssl(dir.path(), &sign).unwrap();
    let sig = Base64::encode_string(&fs::read(dir.path().join("sig")).unwrap());
    let envelope = serde_json::json!({
        "payloadType": IN_TOTO,
        "payload": Base64::encode_string(statement.as_bytes()),
        "signatures": [{ "sig": sig }],
    });
    let operator = Operator { name: "a".into(), keys: vec![public] };
    let policy =
        Policy { threshold: 1, bad: OnBad::Refuse, wanted: Wanted::default(), operators: vec![operator] };
    let mut tally = Tally::new(&policy, Digest::of(b"iso"));
    tally.add("openssl", envelope.to_string().as_bytes());
    assert_eq!(tally.decide().outcome, Outcome::Verified);
}
