//! Debian's archive keys, and which of them sign which suite.
//!
//! The key files are exports (`gpg --export-options export-minimal`) of Debian's `debian-archive-keyring` package;
//! its copyright file says that the keys do not fall under any copyright.

use super::Fingerprint;

/// Armored keys of the releases since buster.
pub(super) const KEYS: [&str; 4] = [
    include_str!("../../keys/debian-10-buster.asc"),
    include_str!("../../keys/debian-11-bullseye.asc"),
    include_str!("../../keys/debian-12-bookworm.asc"),
    include_str!("../../keys/debian-13-trixie.asc"),
];

const AUTOMATIC_10: Fingerprint = Fingerprint::v4("80D15823B7FD1561F9F7BCDDDC30D7C23CBBABEE");
const AUTOMATIC_11: Fingerprint = Fingerprint::v4("1F89983E0081FDE018F3CC9673A4F27B8DD47936");
const AUTOMATIC_12: Fingerprint = Fingerprint::v4("B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8");
const AUTOMATIC_13: Fingerprint = Fingerprint::v4("04B54C3CDCA79751B16BC6B5225629DF75B188BD");
const SECURITY_10: Fingerprint = Fingerprint::v4("5E61B217265DA9807A23C5FF4DFAB270CAA96DFA");
const SECURITY_11: Fingerprint = Fingerprint::v4("AC530D520F2F3269F5E98313A48449044AAD5C5D");
const SECURITY_12: Fingerprint = Fingerprint::v4("05AB90340C0C5E797F44A8C8254CF3B5AEC0A8F0");
const SECURITY_13: Fingerprint = Fingerprint::v4("5E04A1E3223A19A20706E20F9904613D4CCE68C6");
const STABLE_10: Fingerprint = Fingerprint::v4("6D33866EDD8FFA41C0143AEDDCC9EFBF77E11517");
const STABLE_11: Fingerprint = Fingerprint::v4("A4285295FC7B1A81600062A9605C66F00D6C9793");
const STABLE_12: Fingerprint = Fingerprint::v4("4D64FEC119C2029067D6E791F8D2585B8783D481");
const STABLE_13: Fingerprint = Fingerprint::v4("41587F7DB8C774BCCF131416762F67A0B2C39DE4");

/// Primary fingerprints of the keys that may sign a suite of Debian's archives, by codename as in its `Codename`
/// field: `bookworm`, `bookworm-updates`, `bookworm-security`, `sid`, `rc-buggy`. Empty for an unknown one.
///
/// A release is signed by the automatic keys of its predecessor, its own and, once they exist, its successor's; a
/// stable release in addition by the release managers' key of that release. The security archive has keys of its own.
pub fn debian_fingerprints(codename: &str) -> &'static [Fingerprint] {
    if codename == "rc-buggy" {
        return debian_fingerprints("sid");
    }
    let (base, security) = match codename.split_once('-') {
        Some((base, "security")) => (base, true),
        Some((base, "updates" | "proposed-updates" | "backports" | "backports-sloppy" | "debug")) => {
            (base, false)
        }
        Some(_) => return &[],
        None => (codename, false),
    };
    match (base, security) {
        ("buster", false) => &[AUTOMATIC_10, AUTOMATIC_11, STABLE_10],
        ("buster", true) => &[SECURITY_10, SECURITY_11],
        ("bullseye", false) => &[AUTOMATIC_10, AUTOMATIC_11, AUTOMATIC_12, STABLE_11],
        ("bullseye", true) => &[SECURITY_10, SECURITY_11, SECURITY_12],
        ("bookworm", false) => &[AUTOMATIC_11, AUTOMATIC_12, AUTOMATIC_13, STABLE_12],
        ("bookworm", true) => &[SECURITY_11, SECURITY_12, SECURITY_13],
        ("trixie", false) => &[AUTOMATIC_12, AUTOMATIC_13, STABLE_13],
        ("trixie", true) => &[SECURITY_12, SECURITY_13],
        ("forky", false) => &[AUTOMATIC_12, AUTOMATIC_13],
        ("forky", true) => &[SECURITY_12, SECURITY_13],
        ("sid", false) => &[AUTOMATIC_10, AUTOMATIC_11, AUTOMATIC_12, AUTOMATIC_13],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_of_one_release_share_keys_and_security_has_its_own() {
        assert_eq!(debian_fingerprints("bookworm"), [AUTOMATIC_11, AUTOMATIC_12, AUTOMATIC_13, STABLE_12]);
        assert_eq!(debian_fingerprints("bookworm-updates"), debian_fingerprints("bookworm"));
        assert_eq!(debian_fingerprints("bookworm-security"), [SECURITY_11, SECURITY_12, SECURITY_13]);
        for unknown in ["", "jammy", "bookworm-", "bookworm-x", "stable", "sid-security", "security"] {
            assert!(debian_fingerprints(unknown).is_empty(), "{unknown}");
        }
    }
}
