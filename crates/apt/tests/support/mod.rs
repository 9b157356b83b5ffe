//! What apt and gpgv say about a signed file.
#![allow(dead_code, reason = "each test file uses its part")]

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::path::Path;
use std::process::Command;

use selfsame_apt::openpgp::{Fingerprint, Keyring, Policy};
use selfsame_testkit::archive::{Key, NOW, certificate};
use selfsame_testkit::oracle;

/// A keyring of fixture keys.
pub(crate) fn keyring(keys: &[&Key]) -> Keyring {
    Keyring::from_bytes(certificate(keys).as_bytes()).unwrap()
}

/// Trusts fixture keys at the fixtures' time.
pub(crate) fn policy(keys: &[&Key], threshold: usize) -> Policy {
    Policy { primary_fingerprints: keys.iter().map(|key| fingerprint(key)).collect(), threshold, at: NOW + 5 }
}

/// The fingerprint of a fixture key.
pub(crate) fn fingerprint(key: &Key) -> Fingerprint {
    key.fingerprint().parse().unwrap()
}

/// What a program reads as its input.
pub(crate) fn input(text: &str) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.rewind().unwrap();
    file
}

/// Whether apt accepts the signatures of an InRelease file: its own method program decides, with gpgv below it.
pub(crate) fn apt_accepts(file: &[u8], keyring: &Path) -> Option<bool> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("InRelease");
    std::fs::write(&path, file).unwrap();
    let (path, keyring) = (path.display(), keyring.display());
    let words = format!(
        "601 Configuration\nConfig-Item: Debug::NoDropPrivs=true\nConfig-Item: Dir::Etc::Trusted=/nonexistent\n\
         Config-Item: Dir::Etc::TrustedParts=/nonexistent\n\n\
         600 URI Acquire\nURI: gpgv:{path}\nFilename: {path}\nSigned-By: {keyring}\n\n"
    );
    let output = oracle(Command::new("/usr/lib/apt/methods/gpgv").stdin(input(&words)))?;
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    let (good, bad) = (answer.contains("\n201 URI Done\n"), answer.contains("\n400 URI Failure\n"));
    assert!(good != bad, "{answer}");
    Some(good)
}

/// The status lines of gpgv for a signed file, and the text it returns.
pub(crate) fn gpgv(file: &[u8], keyring: &Path) -> Option<(String, Vec<u8>)> {
    let dir = tempfile::tempdir().unwrap();
    let (signed, text) = (dir.path().join("InRelease"), dir.path().join("text"));
    std::fs::write(&signed, file).unwrap();
    let mut command = Command::new("gpgv");
    command.args(["--status-fd", "1", "--ignore-time-conflict", "--output"]).arg(&text);
    command.arg("--keyring").arg(keyring).arg(&signed);
    let output = oracle(&mut command)?;
    let status = String::from_utf8_lossy(&output.stdout).into_owned();
    Some((status, std::fs::read(text).unwrap_or_default()))
}
