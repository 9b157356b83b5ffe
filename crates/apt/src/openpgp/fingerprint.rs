//! The name of a key.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Fingerprint of an OpenPGP key. Displays as upper-case hexadecimal digits, as GnuPG does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Fingerprint {
    /// Of a version 4 key (SHA-1 of the key packet).
    V4([u8; 20]),
    /// Of a version 6 key (SHA-256 of the key packet).
    V6([u8; 32]),
}

/// The text is not a fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a fingerprint of 40 or 64 hexadecimal digits")]
pub struct NotAFingerprint(pub String);

impl Fingerprint {
    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::V4(bytes) => bytes,
            Self::V6(bytes) => bytes,
        }
    }

    /// The fingerprint written as 40 digits, for tables in the program; fails to compile with other digits.
    pub(super) const fn v4(digits: &str) -> Self {
        let digits = digits.as_bytes();
        assert!(digits.len() == 40);
        let mut bytes = [0; 20];
        let mut index = 0;
        while index < 20 {
            bytes[index] = nibble(digits[2 * index]) << 4 | nibble(digits[2 * index + 1]);
            index += 1;
        }
        Self::V4(bytes)
    }

    pub(super) fn of(fingerprint: &pgp::types::Fingerprint) -> Option<Self> {
        match fingerprint {
            pgp::types::Fingerprint::V4(bytes) => Some(Self::V4(*bytes)),
            pgp::types::Fingerprint::V6(bytes) => Some(Self::V6(*bytes)),
            _ => None,
        }
    }
}

const fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'A'..=b'F' => digit - b'A' + 10,
        _ => panic!("not an upper-case hexadecimal digit"),
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    /// Reads 40 or 64 hexadecimal digits; spaces between them are ignored, so GnuPG's groups can be pasted.
    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        let wrong = || NotAFingerprint(text.chars().take(100).collect());
        let mut bytes = [0; 32];
        let mut count = 0;
        for character in text.chars().filter(|&character| character != ' ') {
            let digit =
                character.to_digit(16).and_then(|digit| u8::try_from(digit).ok()).ok_or_else(wrong)?;
            let byte = bytes.get_mut(count / 2).ok_or_else(wrong)?;
            *byte = *byte << 4 | digit;
            count += 1;
        }
        match (count, bytes.first_chunk::<20>()) {
            (40, Some(&bytes)) => Ok(Self::V4(bytes)),
            (64, _) => Ok(Self::V6(bytes)),
            _ => Err(wrong()),
        }
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = NotAFingerprint;

    fn try_from(text: String) -> Result<Self, NotAFingerprint> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        let text = "B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8";
        let fingerprint: Fingerprint = text.parse().unwrap();
        assert_eq!(fingerprint, Fingerprint::v4(text));
        assert_eq!(fingerprint.to_string(), text);
        assert_eq!("b8b8 0b5b 623e ab6a d877  5c45 b7c5 d7d6 3509 47f8".parse(), Ok(fingerprint));
        let long = "0123456789abcdef".repeat(4);
        assert_eq!(long.parse::<Fingerprint>().unwrap().to_string(), long.to_uppercase());
        for bad in ["", "B8", &text[1..], &format!("{text}0"), &text.replace('B', "G"), &"0".repeat(66)] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }
}
