//! Files that dress up unsigned text as signed (S9 of the reliability list): never accepted where apt refuses, and
//! what is returned is what was signed.

mod support;

use pgp::packet::PacketTrait;
use selfsame_apt::openpgp::{Form, Messages, verify_collected, verify_inrelease};
use selfsame_testkit::archive::{Deb, Key, NOW, Sign, Suite, certificate, clearsign};
use support::{apt_accepts, keyring, policy};

/// Marks a file that is to be accepted; everything else is a part of the error and its causes.
const ACCEPT: &str = "accept";

const WRONG_TEXT: &str = "not one of this text";
const DASH: &str = "starts with a dash";
const START: &str = "does not start";
const AFTER: &str = "after the end";
const HASH: &str = "not a Hash header";
const MISPLACED: &str = "does not belong here";

macro_rules! signed {
    () => {
        "-----BEGIN PGP SIGNED MESSAGE-----\n"
    };
}
macro_rules! begin {
    () => {
        "-----BEGIN PGP SIGNATURE-----\n"
    };
}
macro_rules! end {
    () => {
        "-----END PGP SIGNATURE-----\n"
    };
}
const FAKE: &str = "Origin: Evil\nSuite: x\nCodename: x\n";

/// One replacement in the good file: name, what is replaced, by what, and what is expected.
#[rustfmt::skip]
const REPLACED: &[(&str, &str, &str, &str)] = &[
    ("text after in the END line", end!(), "-----END PGP SIGNATURE-----Origin: Evil\n", "after the checksum"),
    ("text between text and signature", begin!(), concat!("Origin: Evil\n", begin!()), WRONG_TEXT),
    ("empty line before the signature", begin!(), concat!("\n", begin!()), WRONG_TEXT),
    ("message in the message", "Origin:", concat!(signed!(), "\nOrigin:"), DASH),
    ("END in the text", "Suite:", concat!(end!(), "Suite:"), DASH),
    ("block not closed", end!(), "", "not closed"),
    ("END of another kind", end!(), "-----END PGP MESSAGE-----\n", "after the checksum"),
    ("BEGIN in lower case", begin!(), "-----begin pgp signature-----\n", DASH),
    ("six dashes", signed!(), "------BEGIN PGP SIGNED MESSAGE------\n", START),
    ("blank after the first line", signed!(), "-----BEGIN PGP SIGNED MESSAGE----- \n", START),
    ("blank after BEGIN", begin!(), "-----BEGIN PGP SIGNATURE----- \n", DASH),
    ("blank after END", end!(), "-----END PGP SIGNATURE----- \n", "after the checksum"),
    ("other kind of message", signed!(), "-----BEGIN PGP MESSAGE-----\n", START),
    // Headers of the message and of the armor.
    ("no Hash header", "Hash: SHA256\n\n", "\n", ACCEPT),
    ("Hash header of another hash", "Hash: SHA256\n\n", "Hash: SHA1\n\n", ACCEPT),
    ("two Hash headers", "Hash: SHA256\n\n", "Hash: SHA512\nHash: SHA256\n\n", ACCEPT),
    ("field as a header", "Hash: SHA256\n\n", "Hash: SHA256\nOrigin: Evil\n\n", HASH),
    ("NotDashEscaped", "Hash: SHA256\n\n", "Hash: SHA256\nNotDashEscaped: x\n\n", HASH),
    ("Comment", "Hash: SHA256\n\n", "Comment: x\n\n", HASH),
    ("dash in a header", "Hash: SHA256\n\n", "Hash: SHA256\n- Hash: SHA256\n\n", HASH),
    ("Hash header with more", "Hash: SHA256\n\n", "Hash: SHA256 Origin: Evil\n\n", HASH),
    ("empty Hash header", "Hash: SHA256\n\n", "Hash: \n\n", HASH),
    ("blank line ends headers", "Hash: SHA256\n\n", "Hash: SHA256\n \n", HASH),
    ("tab line ends headers", "Hash: SHA256\n\n", "Hash: SHA256\n\t\n", HASH),
    ("no empty line after headers", "Hash: SHA256\n\n", "Hash: SHA256\n", HASH),
    ("two empty lines after headers", "Hash: SHA256\n\n", "Hash: SHA256\n\n\n", WRONG_TEXT),
    ("armor header", begin!(), concat!(begin!(), "Version: GnuPG v2\nComment: x\n"), ACCEPT),
    ("unknown armor header", begin!(), concat!(begin!(), "Origin: Evil\n"), "not an armor header"),
    ("no empty line in the armor", concat!(begin!(), "\n"), begin!(), "not an armor header"),
    // Line ends, escapes and characters.
    ("CRLF in one line", "Suite: stable", "Suite: stable\r", ACCEPT),
    ("one line dash-escaped", "Suite: stable", "- Suite: stable", ACCEPT),
    ("line dash-escaped twice", "Suite: stable", "- - Suite: stable", WRONG_TEXT),
    ("dash without blank", "Suite: stable", "-Suite: stable", DASH),
    ("dash and tab", "Suite: stable", "-\tSuite: stable", DASH),
    ("lone dash", "Suite: stable", "-\nSuite: stable", DASH),
    ("lone dash and blank", "Suite: stable", "- \nSuite: stable", DASH),
    ("two carriage returns", "Suite: stable", "Suite: stable\r\r", "control character 0x0d"),
    ("carriage return and blank", "Suite: stable", "Suite: stable\r ", "control character 0x0d"),
    ("carriage return in a line", "Suite: stable", "Suite: stable\rOrigin: Evil", "control character 0x0d"),
    ("NUL in the text", "Suite: stable", "Suite: stable\0", "control character 0x00"),
    ("form feed", "Suite: stable", "Suite: stable\x0c", "control character 0x0c"),
    ("vertical tab", "Suite: stable", "Suite: stable\x0bOrigin: Evil", "control character 0x0b"),
    ("escape", "Suite: stable", "Suite: stable\x1b[2J", "control character 0x1b"),
    ("delete", "Suite: stable", "Suite: stable\x7f", "control character 0x7f"),
    ("no-break space at a line end", "Suite: stable", "Suite: stable\u{a0}", WRONG_TEXT),
    ("next line character", "Suite: stable", "Suite: stable\u{85}Origin: Evil", WRONG_TEXT),
    ("line separator", "Suite: stable", "Suite: stable\u{2028}Origin: Evil", WRONG_TEXT),
    ("look-alike letter", "Origin", "\u{41e}rigin", WRONG_TEXT),
    ("lines swapped", "Origin: Fixture\nLabel: Fixture", "Label: Fixture\nOrigin: Fixture", WRONG_TEXT),
    ("one letter changed", "Suite: stable", "Suite: Stable", WRONG_TEXT),
    ("continuation joined", ":\n ", ": ", WRONG_TEXT),
    // Base64.
    ("checksum wrong", "\n=", "\n=AAAA\n=", "after the checksum"),
    ("not base64", concat!(begin!(), "\n"), concat!(begin!(), "\n!"), "base64"),
    ("blank in base64", concat!(begin!(), "\n"), concat!(begin!(), "\n "), "base64"),
];

type Case = (&'static str, Vec<u8>, &'static str);

struct Base {
    key: Key,
    other: Key,
    stranger: Key,
    text: String,
    signed: String,
}

fn base() -> Base {
    let key = Key::new("archive");
    let suite = Suite::new("trixie", &key).with(Deb::new("hello", "1"));
    let text = suite.release().trim_end().to_owned();
    let signed = suite.in_release();
    drop(suite);
    Base { key, other: Key::new("other"), stranger: Key::new("stranger"), text, signed }
}

impl Base {
    /// The good file with one replacement.
    fn with(&self, from: &str, to: &str) -> Vec<u8> {
        assert!(self.signed.contains(from), "{from:?}");
        self.signed.replacen(from, to, 1).into_bytes()
    }

    /// The good file up to the signature block, and the block.
    fn parts(&self) -> (&str, &str) {
        self.signed.split_at(self.signed.find(begin!()).unwrap())
    }

    /// The good file with each line of the text changed.
    fn lines(&self, change: impl Fn(&str) -> String) -> Vec<u8> {
        let (head, block) = self.parts();
        let (headers, text) = head.split_once("\n\n").unwrap();
        let text: String = text.lines().map(change).collect();
        format!("{headers}\n\n{text}{block}").into_bytes()
    }

    /// The good text with other packets in the signature block.
    fn packets(&self, packets: &[u8]) -> Vec<u8> {
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut block = String::from("\n");
        for line in packets.chunks(48) {
            for chunk in line.chunks(3) {
                let mut word = [0; 4];
                word[1..=chunk.len()].copy_from_slice(chunk);
                let bits = u32::from_be_bytes(word);
                let digit = |n: usize| char::from(DIGITS[(bits >> (18 - 6 * n) & 63) as usize]);
                block.extend((0..4).map(|n| if n > chunk.len() { '=' } else { digit(n) }));
            }
            block.push('\n');
        }
        let head = self.parts().0;
        format!("{head}{}{block}{}", begin!(), end!()).into_bytes()
    }

    /// The signature packet of the good file, or one over another text.
    fn packet(&self, key: &Key, more: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let packet = Sign::new(key, NOW).packet(&format!("{}{more}", self.text));
        packet.to_writer_with_header(&mut bytes).unwrap();
        bytes
    }

    fn signed_by(&self, signs: &[Sign<'_>]) -> Vec<u8> {
        clearsign(&self.text, signs).into_bytes()
    }
}

/// Text around, between and in front of the parts.
fn around(b: &Base) -> Vec<Case> {
    let good = b.signed.as_bytes();
    let (head, block) = b.parts();
    let text = |parts: &[&str]| parts.concat().into_bytes();
    let huge = [good, &vec![b'\n'; 10_000_000]].concat();
    let cases = [
        ("good", text(&[&b.signed]), ACCEPT),
        ("no newline at the end", text(&[b.signed.trim_end()]), ACCEPT),
        ("empty file", Vec::new(), START),
        ("unsigned Release", text(&[&b.text]), START),
        ("text before", text(&[FAKE, &b.signed]), START),
        ("text and empty line before", text(&[FAKE, "\n", &b.signed]), START),
        ("empty line before", text(&["\n", &b.signed]), START),
        ("byte order mark before", text(&["\u{feff}", &b.signed]), START),
        ("blank before", text(&[" ", &b.signed]), START),
        ("text after", text(&[&b.signed, FAKE]), AFTER),
        ("empty line after", text(&[&b.signed, "\n"]), AFTER),
        ("blank line after", text(&[&b.signed, " \n"]), AFTER),
        ("signed twice in a row", text(&[&b.signed, &b.signed]), AFTER),
        ("unsigned message first", text(&[signed!(), "\n", FAKE, &b.signed]), DASH),
        ("two signature blocks", text(&[head, block, block]), AFTER),
        ("text between two blocks", text(&[head, block, FAKE, block]), AFTER),
        ("key block after", text(&[&b.signed, &certificate(&[&b.key])]), AFTER),
        ("no signature block", text(&[head]), "no signature block"),
        ("above ten megabytes", huge, "above the limit"),
    ];
    cases.into()
}

/// Line ends and encodings of the whole file.
fn whole(b: &Base) -> Vec<Case> {
    let utf16: Vec<u8> = b.signed.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut latin1 = b.signed.clone().into_bytes();
    latin1[60] = 0xe9;
    let last = format!("{}\n{}", b.text.lines().last().unwrap(), begin!());
    let nul_after = [b.signed.as_bytes(), b"\0Origin: Evil\n"].concat();
    let cases = [
        ("CRLF everywhere", b.signed.replace('\n', "\r\n").into(), ACCEPT),
        ("CRLF in the text", b.lines(|line| format!("{line}\r\n")), ACCEPT),
        ("blanks at line ends", b.lines(|line| format!("{line} \t \n")), ACCEPT),
        ("all lines dash-escaped", b.lines(|line| format!("- {line}\n")), ACCEPT),
        ("carriage returns only", b.signed.replace('\n', "\r").into(), "control character 0x0d"),
        ("NUL and text after the end", nul_after, "control character 0x00"),
        ("UTF-16", utf16, "control character 0x00"),
        ("Latin-1", latin1, "not UTF-8"),
        ("last line missing", b.with(&last, begin!()), WRONG_TEXT),
    ];
    cases.into()
}

/// What is in the signature block.
fn packets(b: &Base) -> Vec<Case> {
    let good = b.packet(&b.key, "");
    let literal = [&[0xcb, 12, b'b', 0, 0, 0, 0, 0][..], b"Origin"].concat();
    let marker = [0xca, 3, b'P', b'G', b'P'];
    let unknown_critical = [0xc0 | 39, 1, 0];
    let mut zero_length = good.clone();
    zero_length[1] = 0;
    let joined = |parts: &[&[u8]]| b.packets(&parts.concat());
    let (head, block) = b.parts();
    let cases = [
        ("same packets, no checksum", joined(&[&good]), ACCEPT),
        ("same signature twice", joined(&[&good, &good]), ACCEPT),
        ("sixteen copies", b.packets(&good.repeat(16)), ACCEPT),
        ("seventeen copies", b.packets(&good.repeat(17)), "more than 16 packets"),
        ("literal data before", joined(&[&literal, &good]), MISPLACED),
        ("literal data after", joined(&[&good, &literal]), MISPLACED),
        ("marker before", joined(&[&marker, &good]), MISPLACED),
        ("unknown packet after", joined(&[&good, &unknown_critical]), "signature packet 2"),
        ("only literal data", joined(&[&literal]), MISPLACED),
        ("cut packet", joined(&[&good[..good.len() - 1]]), "signature packet 1"),
        ("packet of length zero", joined(&[&zero_length]), "signature packet 1"),
        ("zeros", joined(&[&[0; 40]]), "signature packet 1"),
        ("signature of another text", joined(&[&b.packet(&b.key, "x")]), WRONG_TEXT),
        ("wrong besides", joined(&[&good, &b.packet(&b.other, "x")]), WRONG_TEXT),
        ("empty block", b.with(block, concat!(begin!(), "\n", end!())), "base64"),
        ("packets in place of armor", [head.as_bytes(), &good].concat(), "not a cleartext-signed"),
    ];
    cases.into()
}

/// Who signed, and how.
fn signers(b: &Base) -> Vec<Case> {
    let [sign, other, stranger] = [&b.key, &b.other, &b.stranger].map(|key| Sign::new(key, NOW));
    let binary = Sign { binary: true, ..sign };
    let critical = Sign { critical: true, ..sign };
    let cases = [
        ("unknown key", b.signed_by(&[stranger]), "is not in the keyring"),
        ("unknown key besides", b.signed_by(&[sign, stranger]), ACCEPT),
        ("known, not trusted", b.signed_by(&[other]), "which is not trusted here"),
        ("known, not trusted, besides", b.signed_by(&[other, sign]), ACCEPT),
        ("binary signature", b.signed_by(&[binary]), "unsupported type"),
        ("unknown critical notation", b.signed_by(&[critical]), "critical subpacket"),
    ];
    cases.into()
}

fn message(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", message(source)),
        None => error.to_string(),
    }
}

fn cases(base: &Base) -> Vec<Case> {
    let replaced = REPLACED.iter().map(|(name, from, to, expect)| (*name, base.with(from, to), *expect));
    let mut cases: Vec<Case> = replaced.collect();
    for more in [around, whole, packets, signers] {
        cases.extend(more(base));
    }
    cases
}

/// What is refused as one file is refused as a collection of several, but for one that is two good files in a row.
#[test]
fn no_wrapping_gets_more_out_of_a_collection() {
    let base = base();
    let keys = keyring(&[&base.key, &base.other]);
    let trusted = policy(&[&base.key], 1).primary_fingerprints;
    for (name, file, expect) in cases(&base) {
        let found: Vec<_> = Messages::new(&file[..])
            .filter_map(|piece| verify_collected(&piece.unwrap(), &keys, &trusted).ok())
            .collect();
        let count = match (expect, name) {
            (_, "signed twice in a row") => 2,
            (ACCEPT, _) => 1,
            _ => 0,
        };
        assert_eq!(found.len(), count, "{name}");
        for (verified, form) in found {
            assert_eq!(String::from_utf8_lossy(&verified.text), base.text, "{name}");
            assert_eq!((verified.signers(), form), (trusted.clone(), Form::InRelease), "{name}");
        }
    }
}

#[test]
fn no_wrapping_passes_that_apt_refuses() {
    let base = base();
    let keys = keyring(&[&base.key, &base.other]);
    let policy = policy(&[&base.key], 1);
    let dir = tempfile::tempdir().unwrap();
    let keyring = dir.path().join("keys.gpg");
    std::fs::write(&keyring, [base.key.certificate(), base.other.certificate()].concat()).unwrap();
    let cases = cases(&base);
    // As docs/attacks.md says.
    assert_eq!(cases.len(), 104);
    let (mut stricter, mut wrong) = (Vec::new(), Vec::new());
    for (name, file, expect) in cases {
        let ours = verify_inrelease(&file, &keys, &policy);
        match &ours {
            Ok(verified) if expect == ACCEPT => {
                assert_eq!(String::from_utf8_lossy(&verified.text), base.text, "{name}");
                assert_eq!(verified.signers(), policy.primary_fingerprints, "{name}");
            }
            Err(error) if message(error).contains(expect) => {}
            Err(error) => wrong.push(format!("{name}: {}", message(error))),
            Ok(_) => wrong.push(format!("{name}: accepted")),
        }
        match apt_accepts(&file, &keyring) {
            Some(false) if ours.is_ok() => wrong.push(format!("{name}: apt refuses, we do not")),
            Some(true) if ours.is_err() => stricter.push(name),
            _ => {}
        }
    }
    println!("refused here but not by apt: {stricter:?}");
    assert_eq!(wrong, Vec::<String>::new());
}

/// Every byte changed, every cut: nothing passes but what means the same.
#[test]
fn changed_bytes_pass_only_with_the_same_text() {
    let base = base();
    let keys = keyring(&[&base.key]);
    let policy = policy(&[&base.key], 1);
    let good = base.signed.as_bytes();
    let mut passed = 0;
    let mut check = |file: &[u8]| {
        if let Ok(verified) = verify_inrelease(file, &keys, &policy) {
            assert_eq!(verified.text, base.text.as_bytes());
            passed += 1;
        }
    };
    for at in 0..good.len() {
        for byte in [good[at] ^ 1, good[at] ^ 0x20, b'\n', b' '] {
            let mut bad = good.to_vec();
            bad[at] = byte;
            check(&bad);
        }
        let mut without = good.to_vec();
        without.remove(at);
        check(&without);
        check(&good[..at]);
    }
    // A few pass: bytes of the Hash header, of the unhashed issuer, the last newline.
    assert!(passed < good.len() / 4, "{passed} of {}", good.len());
}
