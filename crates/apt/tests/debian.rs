//! Real Debian files, as apt fetched them on this machine: our verdict beside gpgv's and apt's.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use selfsame_apt::openpgp::{Keyring, Policy, debian_fingerprints, verify_inrelease};
use selfsame_apt::packages::{Index, closure, unpack};
use selfsame_apt::release::Release;
use selfsame_testkit::{oracle, skip};
use support::{apt_accepts, gpgv};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// InRelease files of Debian's archives in apt's lists, with their codenames. None where they may be missing.
fn lists() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir("/var/lib/apt/lists").into_iter().flatten();
    for path in entries.map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.ends_with("_InRelease") {
            continue;
        }
        let text = String::from_utf8(std::fs::read(&path).unwrap()).unwrap();
        let field =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
        if field("Origin: ") == "Debian" {
            found.push((path, field("Codename: ")));
        }
    }
    found.sort();
    if found.is_empty() {
        skip("apt has no lists: run apt-get update first");
    }
    found
}

/// Checks as of the file's own date, in whatever year the test runs.
fn policy(codename: &str, threshold: usize, text: &[u8]) -> Policy {
    let text = String::from_utf8_lossy(text);
    let date = text.lines().find_map(|line| line.strip_prefix("Date: ")).unwrap();
    let at = selfsame_apt::date::parse(date).unwrap() + 3600;
    Policy { primary_fingerprints: debian_fingerprints(codename).to_vec(), threshold, at }
}

#[test]
fn debians_files_verify_as_gpgv_says() {
    let keys = Keyring::debian();
    for (path, codename) in lists() {
        let file = std::fs::read(&path).unwrap();
        let verified = verify_inrelease(&file, &keys, &policy(&codename, 2, &file)).unwrap();
        let release = Release::parse(&verified.text).unwrap();
        assert_eq!(release.codename.as_ref(), Some(&codename));
        assert!(release.sha256.len() > 100 && release.acquire_by_hash);
        // Signed when it was made or soon after, never before.
        assert!(verified.signatures.iter().all(|one| (0..86_400).contains(&(one.created - release.date))));
        let (status, text) = gpgv(&file, Path::new(KEYRING)).expect("gpgv is there where apt is");
        let good =
            status.lines().filter(|line| line.contains("GOODSIG") || line.contains("EXPKEYSIG")).count();
        assert_eq!(verified.signatures.len(), good, "{status}");
        assert_eq!(verified.signers().len(), good);
        // gpgv ends the text with a newline, which is not signed.
        assert_eq!(String::from_utf8_lossy(&verified.text), String::from_utf8_lossy(text.trim_ascii_end()));
        for one in &verified.signatures {
            let expected = format!("VALIDSIG {}", one.key);
            assert!(
                status
                    .lines()
                    .any(|line| line.contains(&expected) && line.ends_with(&one.primary.to_string()))
            );
        }
        assert_eq!(apt_accepts(&file, Path::new(KEYRING)), Some(true));
    }
}

#[test]
fn other_suites_keys_and_changed_files_are_refused() {
    let keys = Keyring::debian();
    for (path, codename) in lists() {
        let file = std::fs::read(&path).unwrap();
        let other = if codename.ends_with("-security") { "bookworm" } else { "bookworm-security" };
        let error = verify_inrelease(&file, &keys, &policy(other, 1, &file)).unwrap_err().to_string();
        assert!(error.contains("which is not trusted here"), "{error}");
        let before = Policy { at: policy(&codename, 1, &file).at - 7200, ..policy(&codename, 1, &file) };
        assert!(verify_inrelease(&file, &keys, &before).unwrap_err().to_string().contains("after the time"));
        let text = String::from_utf8(file).unwrap();
        for (from, to) in
            [("Origin: Debian", "Origin: Debjan"), ("Acquire-By-Hash: yes\n", ""), (" 0 ", " 1 ")]
        {
            let bad = text.replacen(from, to, 1);
            let error = verify_inrelease(bad.as_bytes(), &keys, &policy(&codename, 1, text.as_bytes()));
            assert!(error.unwrap_err().to_string().ends_with("is not one of this text"));
        }
    }
}

#[test]
fn flipped_bits_of_real_files_are_refused() {
    let keys = Keyring::debian();
    for (path, codename) in lists() {
        let good = std::fs::read(&path).unwrap();
        let policy = policy(&codename, 1, &good);
        let text = verify_inrelease(&good, &keys, &policy).unwrap().text;
        let mut at = 0x2545_f491usize;
        for _ in 0..100 {
            at = at.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            let mut bad = good.clone();
            let position = (at >> 16) % bad.len();
            bad[position] ^= 1 << (at >> 8 & 7);
            // What passes says the same: a bit of the Hash header, of an issuer that is not signed.
            if let Ok(verified) = verify_inrelease(&bad, &keys, &policy) {
                assert!(verified.text == text, "{codename}: bit of byte {position}");
            }
        }
    }
}

/// The plain text of a suite's `main` index for amd64, as apt keeps it (re-packed with lz4).
fn packages(in_release: &Path) -> Option<Vec<u8>> {
    let name = in_release.to_str().unwrap().replace("InRelease", "main_binary-amd64_Packages");
    let list = ["", ".lz4", ".xz", ".gz"]
        .iter()
        .map(|form| format!("{name}{form}"))
        .find(|path| Path::new(path).is_file())?;
    let mut command = Command::new("/usr/lib/apt/apt-helper");
    let output = oracle(command.args(["cat-file", &list]))?;
    assert!(output.status.success(), "{output:?}");
    Some(output.stdout)
}

#[test]
fn debians_indexes_are_read_whole() {
    for (path, codename) in lists() {
        let Some(text) = packages(&path) else { continue };
        let file = std::fs::read(&path).unwrap();
        let verified = verify_inrelease(&file, &Keyring::debian(), &policy(&codename, 1, &file)).unwrap();
        let release = Release::parse(&verified.text).unwrap();
        let listed = release.sha256["main/binary-amd64/Packages"];
        assert_eq!(unpack(&text, &listed, Some(&listed)).unwrap(), text, "{codename}");
        let stanzas = text.split(|&byte| byte == b'\n').filter(|line| line.starts_with(b"Package: ")).count();
        let index = Index::parse(text).unwrap();
        assert_eq!(index.len(), stanzas);
        for package in index.packages() {
            for relations in [package.pre_depends(), package.depends(), package.provides()] {
                relations.unwrap_or_else(|error| panic!("{package:?}: {error}"));
            }
            assert!(!package.source().0.is_empty() && !package.stanza().is_empty());
        }
    }
}

/// Essential packages and apt itself: the set that a bootstrap needs, beside the one that apt chooses.
#[test]
fn the_bootstrap_set_is_apts() {
    let Some((path, _)) = lists().into_iter().find(|(_, codename)| codename == "bookworm") else {
        skip("apt has no lists of bookworm");
        return;
    };
    let Some(text) = packages(&path) else { return };
    let index = Index::parse(text).unwrap();
    let mut roots: Vec<_> =
        index.packages().filter(|package| package.essential()).map(|one| one.name()).collect();
    roots.push("apt");
    let ours: Vec<_> = closure(&[&index], "amd64", &roots)
        .unwrap()
        .iter()
        .map(|one| format!("{} {}", one.name(), one.version_text()))
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let lists = dir.path().join("lists");
    std::fs::create_dir_all(lists.join("partial")).unwrap();
    for entry in std::fs::read_dir("/var/lib/apt/lists").unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if name.contains("_dists_bookworm_") && !name.contains("dep11") {
            std::fs::copy(entry.path(), lists.join(name)).unwrap();
        }
    }
    std::fs::write(dir.path().join("status"), "").unwrap();
    let mut command = Command::new("apt-get");
    let dir = dir.path().display();
    for option in [
        format!("Dir::State={dir}"),
        format!("Dir::State::lists={dir}/lists"),
        format!("Dir::State::status={dir}/status"),
        format!("Dir::Cache={dir}/cache"),
        "APT::Install-Recommends=false".to_owned(),
        "Debug::NoLocking=true".to_owned(),
    ] {
        command.args(["-o", &option]);
    }
    let Some(output) = oracle(command.args(["--simulate", "install"]).args(&roots)) else { return };
    assert!(output.status.success(), "{output:?}");
    let mut theirs: Vec<_> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("Inst ")?.split_once(" ("))
        .map(|(name, rest)| format!("{name} {}", rest.split(' ').next().unwrap()))
        .collect();
    theirs.sort();
    assert_eq!(ours, theirs);
}

/// The built-in keys are those of the keyring that Debian installs, no more.
#[test]
fn built_in_keys_are_debians() {
    let removed = Path::new("/usr/share/keyrings/debian-archive-removed-keys.gpg");
    let (Ok(current), Ok(removed)) = (std::fs::read(KEYRING), std::fs::read(removed)) else {
        skip("debian-archive-keyring is not installed");
        return;
    };
    let installed = Keyring::from_bytes(&[current, removed].concat()).unwrap().fingerprints();
    let unknown: Vec<_> =
        Keyring::debian().fingerprints().into_iter().filter(|key| !installed.contains(key)).collect();
    assert_eq!(unknown, []);
}
