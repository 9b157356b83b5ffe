//! Files that dress up unsigned text as signed (S9 of the reliability list): never accepted where apt refuses, and
//! what is returned is what was signed.

mod support;

use selfsame_apt::openpgp::verify_inrelease;
use selfsame_testkit::archive::{Deb, Key, Sign, Suite, certificate, clearsign};
use support::{apt_accepts, keyring, policy};

/// What is expected of us for one file.
enum Expect {
    Accept,
    /// Part of the error and its causes.
    Refuse(&'static str),
}
use Expect::{Accept, Refuse};

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
    Base {
        key,
        other: Key::new("other"),
        stranger: Key::new("stranger"),
        text,
        signed,
    }
}

const SIGNED: &str = "-----BEGIN PGP SIGNED MESSAGE-----\n";
const BEGIN: &str = "-----BEGIN PGP SIGNATURE-----\n";
const END: &str = "-----END PGP SIGNATURE-----\n";

impl Base {
    /// The good file with one replacement.
    fn with(&self, from: &str, to: &str) -> Vec<u8> {
        assert!(self.signed.contains(from), "{from:?}");
        self.signed.replacen(from, to, 1).into_bytes()
    }

    /// The good file with each line changed, but for those of the signature block if `block` is false.
    fn lines(&self, block: bool, change: impl Fn(&str) -> String) -> Vec<u8> {
        let (text, signature) = self.signed.split_at(self.signed.find(BEGIN).unwrap());
        let changed = |part: &str| part.lines().map(&change).collect::<String>();
        let signature = if block {
            changed(signature)
        } else {
            signature.to_owned()
        };
        let text = text.strip_prefix(SIGNED).unwrap();
        let (headers, text) = text.split_once("\n\n").unwrap();
        let head = if block {
            changed(&format!("{SIGNED}{headers}\n\n"))
        } else {
            format!("{SIGNED}{headers}\n\n")
        };
        format!("{head}{}{signature}", changed(text)).into_bytes()
    }

    fn block(&self) -> String {
        self.signed[self.signed.find(BEGIN).unwrap()..].to_owned()
    }

    /// The good text with other packets in the signature block.
    fn packets(&self, packets: &[u8]) -> Vec<u8> {
        let mut block = String::from("\n");
        let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        for line in packets.chunks(48) {
            for chunk in line.chunks(3) {
                let mut word = [0; 4];
                word[1..=chunk.len()].copy_from_slice(chunk);
                let bits = u32::from_be_bytes(word);
                let digit = |n: usize| char::from(digits[(bits >> (18 - 6 * n) & 63) as usize]);
                block.extend((0..4).map(|n| if n > chunk.len() { '=' } else { digit(n) }));
            }
            block.push('\n');
        }
        let head = &self.signed[..self.signed.find(BEGIN).unwrap()];
        format!("{head}{BEGIN}{block}{END}").into_bytes()
    }

    fn signature_packets(&self) -> Vec<u8> {
        use pgp::packet::PacketTrait;
        let mut bytes = Vec::new();
        Sign::new(&self.key, selfsame_testkit::archive::NOW)
            .packet(&self.text)
            .to_writer_with_header(&mut bytes)
            .unwrap();
        bytes
    }
}

fn concat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// Framing: text around, between and in front of the parts.
fn framing(b: &Base) -> Vec<(&'static str, Vec<u8>, Expect)> {
    let good = b.signed.as_bytes();
    let block = b.block();
    let head = &b.signed[..b.signed.len() - block.len()];
    let fake = "Origin: Evil\nSuite: x\nCodename: x\n";
    vec![
        ("good", good.to_vec(), Accept),
        ("no newline at the end", b.signed.trim_end().into(), Accept),
        ("empty file", Vec::new(), Refuse("does not start")),
        (
            "unsigned Release",
            b.text.clone().into_bytes(),
            Refuse("does not start"),
        ),
        (
            "text before",
            concat(&[fake.as_bytes(), good]),
            Refuse("does not start"),
        ),
        (
            "text and empty line before",
            concat(&[fake.as_bytes(), b"\n", good]),
            Refuse("does not start"),
        ),
        (
            "empty line before",
            concat(&[b"\n", good]),
            Refuse("does not start"),
        ),
        (
            "byte order mark before",
            concat(&["\u{feff}".as_bytes(), good]),
            Refuse("does not start"),
        ),
        ("blank before", concat(&[b" ", good]), Refuse("does not start")),
        (
            "text after",
            concat(&[good, fake.as_bytes()]),
            Refuse("after the end"),
        ),
        (
            "empty line after",
            concat(&[good, b"\n"]),
            Refuse("after the end"),
        ),
        (
            "blank line after",
            concat(&[good, b" \n"]),
            Refuse("after the end"),
        ),
        (
            "text after in the END line",
            b.with(END, "-----END PGP SIGNATURE-----Origin: Evil\n"),
            Refuse("after the checksum"),
        ),
        (
            "signed twice in a row",
            concat(&[good, good]),
            Refuse("after the end"),
        ),
        (
            "unsigned message first",
            concat(&[SIGNED.as_bytes(), b"\n", fake.as_bytes(), good]),
            Refuse("starts with a dash"),
        ),
        (
            "two signature blocks",
            format!("{head}{block}{block}").into(),
            Refuse("after the end"),
        ),
        (
            "text between two blocks",
            format!("{head}{block}{fake}{block}").into(),
            Refuse("after the end"),
        ),
        (
            "key block after",
            concat(&[good, certificate(&[&b.key]).as_bytes()]),
            Refuse("after the end"),
        ),
        (
            "text between text and signature",
            b.with(BEGIN, &format!("{fake}{BEGIN}")),
            Refuse("not one of this text"),
        ),
        (
            "empty line before the signature",
            b.with(BEGIN, &format!("\n{BEGIN}")),
            Refuse("not one of this text"),
        ),
        (
            "message in the message",
            b.with("Origin:", &format!("{SIGNED}\nOrigin:")),
            Refuse("starts with a dash"),
        ),
        (
            "END in the text",
            b.with("Suite:", &format!("{END}Suite:")),
            Refuse("starts with a dash"),
        ),
        ("no signature block", head.into(), Refuse("no signature block")),
        ("block not closed", b.with(END, ""), Refuse("not closed")),
        (
            "END of another kind",
            b.with(END, "-----END PGP MESSAGE-----\n"),
            Refuse("after the checksum"),
        ),
        (
            "BEGIN in lower case",
            b.with(BEGIN, "-----begin pgp signature-----\n"),
            Refuse("starts with a dash"),
        ),
        (
            "six dashes",
            b.with(SIGNED, "------BEGIN PGP SIGNED MESSAGE------\n"),
            Refuse("does not start"),
        ),
        (
            "blank after the first line",
            b.with(SIGNED, "-----BEGIN PGP SIGNED MESSAGE----- \n"),
            Refuse("does not start"),
        ),
        (
            "blank after BEGIN",
            b.with(BEGIN, "-----BEGIN PGP SIGNATURE----- \n"),
            Refuse("starts with a dash"),
        ),
        (
            "blank after END",
            b.with(END, "-----END PGP SIGNATURE----- \n"),
            Refuse("after the checksum"),
        ),
        (
            "other kind of message",
            b.with(SIGNED, "-----BEGIN PGP MESSAGE-----\n"),
            Refuse("does not start"),
        ),
        (
            "above ten megabytes",
            concat(&[good, &vec![b'\n'; 10_000_000]]),
            Refuse("above the limit"),
        ),
    ]
}

/// Headers of the message and of the armor.
fn headers(b: &Base) -> Vec<(&'static str, Vec<u8>, Expect)> {
    let hash = "Hash: SHA256\n\n";
    vec![
        ("no Hash header", b.with(hash, "\n"), Accept),
        (
            "Hash header of another hash",
            b.with(hash, "Hash: SHA1\n\n"),
            Accept,
        ),
        (
            "two Hash headers",
            b.with(hash, "Hash: SHA512\nHash: SHA256\n\n"),
            Accept,
        ),
        (
            "field as a header",
            b.with(hash, "Hash: SHA256\nOrigin: Evil\n\n"),
            Refuse("not a Hash header"),
        ),
        (
            "NotDashEscaped",
            b.with(hash, "Hash: SHA256\nNotDashEscaped: x\n\n"),
            Refuse("not a Hash header"),
        ),
        (
            "Comment",
            b.with(hash, "Comment: x\n\n"),
            Refuse("not a Hash header"),
        ),
        (
            "dash in a header",
            b.with(hash, "Hash: SHA256\n- Hash: SHA256\n\n"),
            Refuse("not a Hash header"),
        ),
        (
            "Hash header with more",
            b.with(hash, "Hash: SHA256 Origin: Evil\n\n"),
            Refuse("not a Hash header"),
        ),
        (
            "empty Hash header",
            b.with(hash, "Hash: \n\n"),
            Refuse("not a Hash header"),
        ),
        (
            "blank line ends headers",
            b.with(hash, "Hash: SHA256\n \n"),
            Refuse("not a Hash header"),
        ),
        (
            "tab line ends headers",
            b.with(hash, "Hash: SHA256\n\t\n"),
            Refuse("not a Hash header"),
        ),
        (
            "no empty line after headers",
            b.with(hash, "Hash: SHA256\n"),
            Refuse("not a Hash header"),
        ),
        (
            "two empty lines after headers",
            b.with(hash, "Hash: SHA256\n\n\n"),
            Refuse("not one of this text"),
        ),
        (
            "armor header",
            b.with(BEGIN, &format!("{BEGIN}Version: GnuPG v2\nComment: x\n")),
            Accept,
        ),
        (
            "unknown armor header",
            b.with(BEGIN, &format!("{BEGIN}Origin: Evil\n")),
            Refuse("not an armor header"),
        ),
        (
            "no empty line in the armor",
            b.with(&format!("{BEGIN}\n"), BEGIN),
            Refuse("not an armor header"),
        ),
    ]
}

/// Line ends, escapes and characters.
fn characters(b: &Base) -> Vec<(&'static str, Vec<u8>, Expect)> {
    let utf16: Vec<u8> = b.signed.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let latin1 = {
        let mut bytes = b.signed.clone().into_bytes();
        bytes[60] = 0xe9;
        bytes
    };
    let suite = "Suite: stable";
    vec![
        (
            "CRLF everywhere",
            b.lines(true, |line| format!("{line}\r\n")),
            Accept,
        ),
        (
            "CRLF in the text",
            b.lines(false, |line| format!("{line}\r\n")),
            Accept,
        ),
        ("CRLF in one line", b.with(suite, "Suite: stable\r"), Accept),
        (
            "blanks at line ends",
            b.lines(false, |line| format!("{line} \t \n")),
            Accept,
        ),
        (
            "all lines dash-escaped",
            b.lines(false, |line| format!("- {line}\n")),
            Accept,
        ),
        ("one line dash-escaped", b.with(suite, "- Suite: stable"), Accept),
        (
            "line dash-escaped twice",
            b.with(suite, "- - Suite: stable"),
            Refuse("not one of this text"),
        ),
        (
            "dash without blank",
            b.with(suite, "-Suite: stable"),
            Refuse("starts with a dash"),
        ),
        (
            "dash and tab",
            b.with(suite, "-\tSuite: stable"),
            Refuse("starts with a dash"),
        ),
        (
            "lone dash",
            b.with(suite, "-\nSuite: stable"),
            Refuse("starts with a dash"),
        ),
        (
            "lone dash and blank",
            b.with(suite, "- \nSuite: stable"),
            Refuse("starts with a dash"),
        ),
        (
            "two carriage returns",
            b.with(suite, "Suite: stable\r\r"),
            Refuse("control character 0x0d"),
        ),
        (
            "carriage return and blank",
            b.with(suite, "Suite: stable\r "),
            Refuse("control character 0x0d"),
        ),
        (
            "carriage return in a line",
            b.with(suite, "Suite: stable\rOrigin: Evil"),
            Refuse("control character 0x0d"),
        ),
        (
            "carriage returns only",
            b.signed.replace('\n', "\r").into(),
            Refuse("control character 0x0d"),
        ),
        (
            "NUL in the text",
            b.with(suite, "Suite: stable\0"),
            Refuse("control character 0x00"),
        ),
        (
            "NUL and text after the end",
            concat(&[b.signed.as_bytes(), b"\0Origin: Evil\n"]),
            Refuse("control character 0x00"),
        ),
        (
            "form feed",
            b.with(suite, "Suite: stable\x0c"),
            Refuse("control character 0x0c"),
        ),
        (
            "vertical tab",
            b.with(suite, "Suite: stable\x0bOrigin: Evil"),
            Refuse("control character 0x0b"),
        ),
        (
            "escape",
            b.with(suite, "Suite: stable\x1b[2J"),
            Refuse("control character 0x1b"),
        ),
        (
            "delete",
            b.with(suite, "Suite: stable\x7f"),
            Refuse("control character 0x7f"),
        ),
        (
            "no-break space at a line end",
            b.with(suite, "Suite: stable\u{a0}"),
            Refuse("not one of this text"),
        ),
        (
            "next line character",
            b.with(suite, "Suite: stable\u{85}Origin: Evil"),
            Refuse("not one of this text"),
        ),
        (
            "line separator",
            b.with(suite, "Suite: stable\u{2028}Origin: Evil"),
            Refuse("not one of this text"),
        ),
        (
            "look-alike letter",
            b.with("Origin", "\u{41e}rigin"),
            Refuse("not one of this text"),
        ),
        ("UTF-16", utf16, Refuse("control character 0x00")),
        ("Latin-1", latin1, Refuse("not UTF-8")),
        (
            "lines swapped",
            b.with(
                "Origin: Fixture\nLabel: Fixture",
                "Label: Fixture\nOrigin: Fixture",
            ),
            Refuse("not one of this text"),
        ),
        (
            "last line missing",
            b.with(&format!("{}\n{BEGIN}", b.text.lines().last().unwrap()), BEGIN),
            Refuse("not one of this text"),
        ),
        (
            "one letter changed",
            b.with(suite, "Suite: Stable"),
            Refuse("not one of this text"),
        ),
        (
            "continuation joined",
            b.with(":\n ", ": "),
            Refuse("not one of this text"),
        ),
    ]
}

/// The signature block and its packets.
fn packets(b: &Base) -> Vec<(&'static str, Vec<u8>, Expect)> {
    let good = b.signature_packets();
    let literal = [&[0xcb, 12, b'b', 0, 0, 0, 0, 0][..], b"Origin"].concat();
    let marker = [0xca, 3, b'P', b'G', b'P'];
    let unknown_critical = [0xc0 | 39, 1, 0];
    let truncated = &good[..good.len() - 1];
    let mut zero_length = good.clone();
    zero_length[1] = 0;
    let by = |signs: &[Sign<'_>]| clearsign(&b.text, signs).into_bytes();
    let now = selfsame_testkit::archive::NOW;
    let [sign, other, stranger] = [&b.key, &b.other, &b.stranger].map(|key| Sign::new(key, now));
    let foreign = {
        let wrong = clearsign(&format!("{}x", b.text), &[sign]);
        let block = &wrong[wrong.find(BEGIN).unwrap()..];
        format!("{}{block}", &b.signed[..b.signed.find(BEGIN).unwrap()]).into_bytes()
    };
    vec![
        ("same packets, no checksum", b.packets(&good), Accept),
        (
            "signature of another text",
            foreign,
            Refuse("not one of this text"),
        ),
        ("same signature twice", b.packets(&good.repeat(2)), Accept),
        ("sixteen copies", b.packets(&good.repeat(16)), Accept),
        (
            "seventeen copies",
            b.packets(&good.repeat(17)),
            Refuse("more than 16 packets"),
        ),
        (
            "literal data before",
            b.packets(&concat(&[&literal, &good])),
            Refuse("does not belong here"),
        ),
        (
            "literal data after",
            b.packets(&concat(&[&good, &literal])),
            Refuse("does not belong here"),
        ),
        (
            "marker before",
            b.packets(&concat(&[&marker, &good])),
            Refuse("does not belong here"),
        ),
        (
            "unknown packet after",
            b.packets(&concat(&[&good, &unknown_critical])),
            Refuse("signature packet 2"),
        ),
        (
            "only literal data",
            b.packets(&literal),
            Refuse("does not belong here"),
        ),
        ("cut packet", b.packets(truncated), Refuse("signature packet 1")),
        (
            "packet of length zero",
            b.packets(&zero_length),
            Refuse("signature packet 1"),
        ),
        ("zeros", b.packets(&[0; 40]), Refuse("signature packet 1")),
        (
            "empty block",
            b.with(&b.block(), &format!("{BEGIN}\n{END}")),
            Refuse("base64"),
        ),
        (
            "checksum wrong",
            b.with("\n=", "\n=AAAA\n="),
            Refuse("after the checksum"),
        ),
        (
            "not base64",
            b.with(&format!("{BEGIN}\n"), &format!("{BEGIN}\n!")),
            Refuse("base64"),
        ),
        (
            "blank in base64",
            b.with(&format!("{BEGIN}\n"), &format!("{BEGIN}\n ")),
            Refuse("base64"),
        ),
        (
            "binary packets in place of armor",
            concat(&[&b.signed.as_bytes()[..b.signed.find(BEGIN).unwrap()], &good]),
            Refuse(""),
        ),
        ("unknown key", by(&[stranger]), Refuse("is not in the keyring")),
        ("unknown key besides", by(&[sign, stranger]), Accept),
        (
            "known, not trusted",
            by(&[other]),
            Refuse("which is not trusted here"),
        ),
        ("known, not trusted, besides", by(&[other, sign]), Accept),
        (
            "wrong besides",
            {
                let wrong = other.packet(&format!("{}x", b.text));
                let mut bytes = good.clone();
                pgp::packet::PacketTrait::to_writer_with_header(&wrong, &mut bytes).unwrap();
                b.packets(&bytes)
            },
            Refuse("not one of this text"),
        ),
        (
            "binary signature",
            by(&[Sign { binary: true, ..sign }]),
            Refuse("unsupported type"),
        ),
        (
            "unknown critical notation",
            by(&[Sign {
                critical: true,
                ..sign
            }]),
            Refuse("critical subpacket"),
        ),
    ]
}

fn message(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", message(source)),
        None => error.to_string(),
    }
}

#[test]
fn no_wrapping_passes_that_apt_refuses() {
    let base = base();
    let keys = keyring(&[&base.key, &base.other]);
    let policy = policy(&[&base.key], 1);
    let dir = tempfile::tempdir().unwrap();
    let keyring = dir.path().join("keys.gpg");
    std::fs::write(
        &keyring,
        [base.key.certificate(), base.other.certificate()].concat(),
    )
    .unwrap();
    let cases = [framing(&base), headers(&base), characters(&base), packets(&base)].concat_all();
    assert!(cases.len() >= 100, "{}", cases.len());
    let (mut accepted, mut stricter, mut wrong) = (0, Vec::new(), Vec::new());
    for (name, file, expect) in cases {
        let ours = verify_inrelease(&file, &keys, &policy);
        match (&ours, &expect) {
            (Ok(verified), Accept) => {
                assert_eq!(String::from_utf8_lossy(&verified.text), base.text, "{name}");
                assert_eq!(verified.signers(), policy.primary_fingerprints, "{name}");
                accepted += 1;
            }
            (Err(error), Refuse(part)) if message(error).contains(part) => {}
            (Err(error), _) => wrong.push(format!("{name}: {}", message(error))),
            (Ok(_), Refuse(_)) => wrong.push(format!("{name}: accepted")),
        }
        match apt_accepts(&file, &keyring) {
            Some(false) if ours.is_ok() => wrong.push(format!("{name}: apt refuses, we do not")),
            Some(true) if ours.is_err() => stricter.push(name),
            _ => {}
        }
    }
    println!("{accepted} accepted; refused here but not by apt: {stricter:?}");
    assert_eq!(wrong, Vec::<String>::new());
}

trait ConcatAll<T> {
    fn concat_all(self) -> Vec<T>;
}

impl<T, const N: usize> ConcatAll<T> for [Vec<T>; N] {
    fn concat_all(self) -> Vec<T> {
        self.into_iter().flatten().collect()
    }
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
