//! Debian version numbers and their order, after deb-version(7) and dpkg's `lib/dpkg/version.c`.

use std::cmp::Ordering;
use std::fmt;

/// Longest version accepted, in bytes.
pub const MAX_LEN: usize = 512;

/// A version, borrowed from its text.
///
/// Equality is that of the order: `1.0`, `0:1.0` and `1.0-0` are equal.
#[derive(Clone, Copy, Debug)]
pub struct Version<'a> {
    epoch: u32,
    upstream: &'a str,
    revision: Option<&'a str>,
}

/// Why a text is not a version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a version: {rule}")]
pub struct NotAVersion {
    /// The text, shortened.
    pub text: String,
    /// The rule that is broken.
    pub rule: &'static str,
}

impl<'a> Version<'a> {
    /// Reads `[epoch:]upstream[-revision]` without blanks around it.
    ///
    /// As dpkg does for packages: the epoch is at most 2^31 - 1, the upstream part starts with a digit, and only
    /// letters, digits and `.+-~:` (`.+~` in a revision) are allowed.
    pub fn parse(text: &'a str) -> Result<Self, NotAVersion> {
        let wrong = |rule| NotAVersion { text: text.chars().take(80).collect(), rule };
        if text.len() > MAX_LEN {
            return Err(wrong("longer than 512 bytes"));
        }
        let (epoch, rest) = match text.split_once(':') {
            None => (0, text),
            Some((epoch, rest)) => {
                if epoch.is_empty() || !epoch.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(wrong("epoch is not a number"));
                }
                let epoch = epoch.parse::<u32>().ok().filter(|&epoch| epoch <= 0x7fff_ffff);
                (epoch.ok_or_else(|| wrong("epoch is above 2147483647"))?, rest)
            }
        };
        let (upstream, revision) = match rest.rsplit_once('-') {
            None => (rest, None),
            Some((upstream, revision)) => (upstream, Some(revision)),
        };
        if !upstream.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(wrong("upstream part does not start with a digit"));
        }
        let allowed = |byte: u8, more: &[u8]| byte.is_ascii_alphanumeric() || more.contains(&byte);
        if !upstream.bytes().all(|byte| allowed(byte, b".+-~:")) {
            return Err(wrong("upstream part has a character other than letters, digits and .+-~:"));
        }
        match revision {
            Some("") => Err(wrong("revision is empty")),
            Some(revision) if !revision.bytes().all(|byte| allowed(byte, b".+~")) => {
                Err(wrong("revision has a character other than letters, digits and .+~"))
            }
            _ => Ok(Self { epoch, upstream, revision }),
        }
    }

    /// The number before the colon, 0 if there is none.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The part between epoch and revision.
    pub fn upstream(&self) -> &'a str {
        self.upstream
    }

    /// The part after the last hyphen.
    pub fn revision(&self) -> Option<&'a str> {
        self.revision
    }
}

impl fmt::Display for Version<'_> {
    /// An epoch of 0 is not shown, unless the first colon would be taken for the end of one (as dpkg's `versiondescribe`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.epoch != 0 || self.upstream.contains(':') {
            write!(f, "{}:", self.epoch)?;
        }
        f.write_str(self.upstream)?;
        self.revision.map_or(Ok(()), |revision| write!(f, "-{revision}"))
    }
}

impl Ord for Version<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let revision = |version: &Self| version.revision.unwrap_or_default().as_bytes();
        self.epoch
            .cmp(&other.epoch)
            .then_with(|| compare_part(self.upstream.as_bytes(), other.upstream.as_bytes()))
            .then_with(|| compare_part(revision(self), revision(other)))
    }
}

impl PartialOrd for Version<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version<'_> {}

/// Compares one part: alternately a run of non-digits by [`weight`] and a run of digits as a number.
fn compare_part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let (text_a, text_b);
        (text_a, a) = a.split_at(run(a, |byte| !byte.is_ascii_digit()));
        (text_b, b) = b.split_at(run(b, |byte| !byte.is_ascii_digit()));
        for index in 0..text_a.len().max(text_b.len()) {
            let order = weight(text_a.get(index)).cmp(&weight(text_b.get(index)));
            if order != Ordering::Equal {
                return order;
            }
        }
        let (digits_a, digits_b);
        (digits_a, a) = a.split_at(run(a, |byte| byte.is_ascii_digit()));
        (digits_b, b) = b.split_at(run(b, |byte| byte.is_ascii_digit()));
        let (digits_a, digits_b) = (without_zeros(digits_a), without_zeros(digits_b));
        let order = digits_a.len().cmp(&digits_b.len()).then_with(|| digits_a.cmp(digits_b));
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

/// Tilde before the end, the end before letters, letters before everything else.
fn weight(byte: Option<&u8>) -> i16 {
    match byte {
        Some(b'~') => -1,
        None => 0,
        Some(&letter) if letter.is_ascii_alphabetic() => i16::from(letter),
        Some(&other) => i16::from(other) + 256,
    }
}

fn run(bytes: &[u8], of: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|&byte| !of(byte)).unwrap_or(bytes.len())
}

fn without_zeros(digits: &[u8]) -> &[u8] {
    &digits[run(digits, |byte| byte == b'0')..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v(text: &str) -> Version<'_> {
        Version::parse(text).unwrap()
    }

    #[test]
    fn order_of_known_versions() {
        let ascending = [
            "0~~",
            "0~",
            "0",
            "0a",
            "0+",
            "1~rc1-1",
            "1",
            "1-0+b1",
            "1-0.1",
            "1-1~bpo12+1",
            "1-1",
            "1-1+b1",
            "1-10",
            "1.0~",
            "1.0",
            "1.0-1",
            "1.0a",
            "1.0+dfsg",
            "1.0.1",
            "1.2-3-1",
            "1.10",
            "1:0~",
            "1:0",
            "2:0",
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(v(a).cmp(&v(b)), i.cmp(&j), "{a} {b}");
            }
        }
        for (a, b) in [("1.0", "0:1.0"), ("1.0", "1.0-0"), ("1.00", "1.0"), ("1.0-00", "1.0"), ("01", "1")] {
            assert_eq!(v(a), v(b));
        }
        let long = "9".repeat(400);
        assert!(v(&long) < v(&format!("1{long}")));
    }

    #[test]
    fn parts_and_refusals() {
        let version = v("3:1.2-rc1-4");
        assert_eq!((version.epoch(), version.upstream(), version.revision()), (3, "1.2-rc1", Some("4")));
        assert_eq!(version.to_string(), "3:1.2-rc1-4");
        assert_eq!(v("0:7").to_string(), "7");
        assert_eq!(v("0:1:2-3").to_string(), "0:1:2-3");
        for text in [
            "",
            ":1",
            "a:1",
            "-1:1",
            "+1:1",
            "2147483648:1",
            "99999999999999999999:1",
            "1:",
            "1-",
            "-1",
            "a1",
            "1 ",
            " 1",
            "1_0",
            "1-a:b",
            "1/0",
            "é",
            "1é",
            "1\n",
        ] {
            assert!(Version::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(
            Version::parse("x1").unwrap_err().to_string(),
            "\"x1\" is not a version: upstream part does not start with a digit"
        );
        assert!(Version::parse(&"1".repeat(MAX_LEN + 1)).is_err());
    }

    fn part() -> impl Strategy<Value = String> {
        "[0-2a-bZ.+~-]{0,6}"
    }

    proptest! {
        #[test]
        fn the_order_is_total(a in part(), b in part(), c in part()) {
            let (a, b, c) = (format!("0{a}"), format!("0{b}"), format!("0{c}"));
            let (Ok(a), Ok(b), Ok(c)) = (Version::parse(&a), Version::parse(&b), Version::parse(&c)) else {
                return Ok(());
            };
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
            let text = a.to_string();
            prop_assert_eq!(Version::parse(&text).unwrap(), a);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,20}") {
            let _ = Version::parse(&text);
        }
    }
}
