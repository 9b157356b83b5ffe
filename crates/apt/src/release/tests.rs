use selfsame_image::Digest;

use super::*;

const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn good() -> String {
    format!(
        "Origin: Debian\nLabel: Debian\nSuite: oldstable\nVersion: 12.15\nCodename: bookworm\n\
         Date: Sat, 11 Jul 2026 10:16:37 UTC\nValid-Until: Sat, 18 Jul 2026 10:16:37 UTC\nAcquire-By-Hash: yes\n\
         No-Support-for-Architecture-all: Packages\nArchitectures: all amd64\nComponents: updates/main contrib\n\
         MD5Sum:\n d41d8cd98f00b204e9800998ecf8427e 0 main/x\n\
         SHA256:\n {EMPTY}        0 main/x\n {EMPTY} 17 main/binary-amd64/Packages.xz"
    )
}

#[test]
fn a_release_as_debian_writes_it() {
    let release = Release::parse(good().as_bytes()).unwrap();
    assert_eq!(release.origin.as_deref(), Some("Debian"));
    assert_eq!(release.codename.as_deref(), Some("bookworm"));
    assert_eq!((release.date, release.valid_until), (1_783_764_997, Some(1_784_369_797)));
    assert_eq!(release.architectures, ["all", "amd64"]);
    assert!(release.acquire_by_hash && !release.has_separate_all());
    assert!(
        release.has_component("main")
            && release.has_component("contrib")
            && !release.has_component("updates")
    );
    assert!(release.is("bookworm") && release.is("oldstable") && !release.is("stable"));
    let digest: Digest = EMPTY.parse().unwrap();
    let listed: Vec<_> = release.sha256.iter().map(|(path, content)| (path.as_str(), *content)).collect();
    assert_eq!(
        listed,
        [
            ("main/binary-amd64/Packages.xz", Content { size: 17, digest }),
            ("main/x", Content { size: 0, digest })
        ]
    );
}

#[test]
fn backports_have_the_priority_that_apt_gives_them() {
    let priority = |more: &str| {
        let text = good().replace("Origin: Debian\n", &format!("Origin: Debian\n{more}"));
        Release::parse(text.as_bytes()).unwrap().default_priority()
    };
    assert_eq!(priority(""), 500);
    assert_eq!(priority("NotAutomatic: yes\nButAutomaticUpgrades: yes\n"), 100);
    assert_eq!(priority("NotAutomatic: yes\n"), 1);
    assert_eq!(priority("NotAutomatic: no\nButAutomaticUpgrades: yes\n"), 500);
}

#[test]
fn time_of_use_is_the_callers() {
    let release = Release::parse(good().as_bytes()).unwrap();
    let date = release.date;
    assert_eq!(release.check_time(date - MAX_FUTURE), Ok(()));
    assert_eq!(
        release.check_time(date - MAX_FUTURE - 1).unwrap_err().to_string(),
        "Release file is dated 20260711T101637Z, which is after 20260711T101626Z"
    );
    assert_eq!(release.check_time(date + 7 * 86_400), Ok(()));
    assert_eq!(
        release.check_time(date + 7 * 86_400 + 1).unwrap_err().to_string(),
        "Release file was valid until 20260718T101637Z, which is before 20260718T101638Z"
    );
    let endless = good().replace("Valid-Until: Sat, 18 Jul 2026 10:16:37 UTC\n", "");
    assert_eq!(Release::parse(endless.as_bytes()).unwrap().check_time(i64::MAX), Ok(()));
}

fn error(text: &str) -> String {
    let error = Release::parse(text.as_bytes()).unwrap_err();
    let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
    format!("{error}{}", source.unwrap_or_default())
}

/// What is replaced in the good text, by what, and the message.
const CHANGES: &[(&str, &str, &str)] = &[
    ("Date: Sat, 11 Jul 2026 10:16:37 UTC\n", "", "Release file has no field Date"),
    (
        "Date: Sat",
        "Date: Sun",
        "field Date: \"Sun, 11 Jul 2026 10:16:37 UTC\" is not a date like \"Sat, 11 Jul 2026 10:16:37 UTC\"",
    ),
    (
        "Valid-Until: Sat, 18",
        "Valid-Until: soon, 18",
        "field Valid-Until: \"soon, 18 Jul 2026 10:16:37 UTC\" is not a date like \"Sat, 11 Jul 2026 10:16:37 UTC\"",
    ),
    (
        "Codename: bookworm\n",
        "Codename: bookworm\nCodename: sid\n",
        "Release file is malformed: line 6 (byte 80): field Codename is given twice",
    ),
    ("Suite: oldstable\nVersion: 12.15\nCodename: bookworm\n", "", "Release file has no field Codename"),
    ("SHA256:", "SHA1:", "Release file has only weak digests (MD5Sum, SHA1); SHA256 is needed"),
    ("By-Hash: yes", "By-Hash: maybe", "field Acquire-By-Hash at byte 159: \"maybe\" is not yes or no"),
    (
        "Label: Debian\n",
        "Label: Debian\n more\n",
        "field Label at byte 15: \"Debian\\n more\" is not one line of UTF-8",
    ),
    ("MD5Sum:", "\nMD5Sum:", "Release file is not one paragraph"),
    (
        "       0 main/x\n",
        "  0 ../main/x\n",
        "line 1 of SHA256: \"../main/x\" is not a path inside an archive: an empty, . or .. component",
    ),
    (
        "       0 main/x\n",
        "  0 /main/x\n",
        "line 1 of SHA256: \"/main/x\" is not a path inside an archive: an empty, . or .. component",
    ),
    (
        "       0 main/x\n",
        "  -1 main/x\n",
        "line 1 of SHA256: \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855   -1 main/x\" is not digest, size and name",
    ),
    (
        "       0 main/x\n",
        "  +1 main/x\n",
        "line 1 of SHA256: \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855   +1 main/x\" is not digest, size and name",
    ),
    (
        "       0 main/x\n",
        "  18446744073709551616 x\n",
        "line 1 of SHA256: \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855   1844674407370\" is not digest, size and name",
    ),
    (
        " 17 main/binary-amd64/Packages.xz",
        " 17",
        "line 2 of SHA256: \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 17\" is not digest, size and name",
    ),
    (
        " 17 main/binary-amd64/Packages.xz",
        " 17 main/x",
        "main/x is listed as Content { size: 0, digest: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 } and as Content { size: 17, digest: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 }",
    ),
];

#[test]
fn one_change_one_refusal() {
    for (from, to, message) in CHANGES {
        let text = good().replacen(from, to, 1);
        assert_ne!(text, good(), "{from}");
        assert_eq!(error(&text), *message);
    }
    let short = good().replacen(&format!("{EMPTY} 17"), "abc 17", 1);
    assert_eq!(error(&short), "line 2 of SHA256: \"abc\" is not a SHA-256 digest of 64 hexadecimal digits");
    assert_eq!(error(""), "Release file is not one paragraph");
    let none = good().replace("MD5Sum:", "X-A:").replace("SHA256:", "X-B:");
    assert_eq!(error(&none), "Release file has no field SHA256");
    let long = format!("{}\n{}", good(), " x".repeat(5_000_000));
    assert!(error(&long).ends_with("is above the limit of 10000000"));
}

#[test]
fn the_same_said_twice_is_no_conflict() {
    let twice = good().replacen(" 17 main/binary-amd64/Packages.xz", " 0 main/x", 1);
    assert_eq!(Release::parse(twice.as_bytes()).unwrap().sha256.len(), 1);
}

#[test]
fn changed_bytes_never_panic() {
    let good = good().into_bytes();
    for at in 0..good.len() {
        for byte in [0, b'\n', b' ', b':', 0xff, good[at] ^ 1] {
            let mut bad = good.clone();
            bad[at] = byte;
            let _ = Release::parse(&bad);
        }
        let _ = Release::parse(&good[..at]);
    }
}
