//! Identifiers: how they are written, and where they come from when nobody may roll dice.

use std::fmt;
use std::str::FromStr;

use crate::digest::Hasher;
use crate::epoch::Epoch;
use crate::tree::{Tree, merkle};

/// A GUID (UUID) in the byte order of its text form. Displays in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// The type of an entry that is not used.
    pub const UNUSED: Self = Self([0; 16]);
    /// Partition type: EFI system partition.
    pub const ESP: Self = Self(*b"\xc1\x2a\x73\x28\xf8\x1f\x11\xd2\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b");
    /// Partition type: Microsoft basic data, which is what hybrid ISO images use for their ISO 9660 part.
    pub const BASIC_DATA: Self = Self(*b"\xeb\xd0\xa0\xa2\xb9\xe5\x44\x33\x87\xc0\x68\xb6\xb7\x26\x99\xc7");
    /// Partition type: Linux file system data.
    pub const LINUX: Self = Self(*b"\x0f\xc6\x3d\xaf\x84\x83\x47\x72\x8e\x79\x3d\x69\xd8\x47\x7d\xe4");

    /// The order on disk: the first three fields are little-endian numbers (UEFI 2.10, appendix A).
    pub const fn to_disk(self) -> [u8; 16] {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = self.0;
        [d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p]
    }

    /// The GUID that lies on disk as `bytes`.
    pub const fn from_disk(bytes: [u8; 16]) -> Self {
        // Swapping bytes is its own inverse.
        Self(Self(bytes).to_disk())
    }
}

/// Root of all names made by [`guid_from`]. Chosen once; a change would rename every partition ever written.
const SELFSAME: Guid = Guid(*b"\x73\x65\x6c\x66\x73\x61\x8d\x65\x80\x69\x64\x65\x6e\x74\x69\x74");

/// The identifier of `seed` in `namespace`: equal arguments give equal identifiers, on every machine, for ever.
///
/// `namespace` says what is named (`"iso disk"`); `seed` is what makes it unlike others, as a rule a tree digest
/// and an epoch. The result is a UUID of version 8, made of SHA-256 as in RFC 9562, appendix B.2; version 5 would
/// be the classic choice, but rests on SHA-1.
pub fn guid_from(namespace: &str, seed: &[u8]) -> Guid {
    version_8(version_8(SELFSAME, namespace.as_bytes()), seed)
}

/// What the identifiers of an image that holds `tree` are made of: its digest, with times limited as in the image,
/// and the epoch.
pub fn seed(tree: &Tree, epoch: Epoch) -> Vec<u8> {
    let mut clamped = tree.clone();
    clamped.clamp_times(epoch);
    [&merkle::digest(&clamped).0[..], &epoch.0.to_le_bytes()].concat()
}

/// RFC 9562, section 5.8 and appendix B.2: name-based UUID of SHA-256.
fn version_8(namespace: Guid, name: &[u8]) -> Guid {
    let mut hasher = Hasher::new();
    hasher.update(&namespace.0);
    hasher.update(name);
    let digest = hasher.finish().0;
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Guid(bytes)
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// The text is not a GUID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a GUID of the form 01234567-89ab-cdef-0123-456789abcdef")]
pub struct NotAGuid(pub String);

impl FromStr for Guid {
    type Err = NotAGuid;

    fn from_str(text: &str) -> Result<Self, NotAGuid> {
        let wrong = || NotAGuid(text.chars().take(60).collect());
        let groups: Vec<&str> = text.split('-').collect();
        if !groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) {
            return Err(wrong());
        }
        let digits = groups.concat();
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
            let (Some(high), Some(low)) = (nibble(pair[0]), nibble(pair[1])) else {
                return Err(wrong());
            };
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_disk_order_match_the_uefi_example() {
        let text = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
        assert_eq!(text.parse(), Ok(Guid::ESP));
        assert_eq!(Guid::ESP.to_string(), text);
        let disk = *b"\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b";
        assert_eq!(Guid::ESP.to_disk(), disk);
        assert_eq!(Guid::from_disk(disk), Guid::ESP);
        assert_eq!("EBD0A0A2-B9E5-4433-87C0-68B6B72699C7".parse(), Ok(Guid::BASIC_DATA));
        assert_eq!("0FC63DAF-8483-4772-8E79-3D69D8477DE4".parse(), Ok(Guid::LINUX));
    }

    #[test]
    fn other_text_is_refused() {
        for bad in ["", "c12a7328f81f11d2ba4b00a0c93ec93b", "c12a7328-f81f-11d2-ba4b-00a0c93ec93g"] {
            assert!(bad.parse::<Guid>().is_err(), "{bad}");
        }
        assert!("é12a732-f81f-11d2-ba4b-00a0c93ec93b".parse::<Guid>().is_err());
    }

    #[test]
    fn version_8_matches_the_example_of_rfc_9562() {
        let dns = "6ba7b810-9dad-11d1-80b4-00c04fd430c8".parse().unwrap();
        assert_eq!(version_8(dns, b"www.example.com").to_string(), "5c146b14-3c52-8afd-938a-375d0df1fbf6");
    }

    #[test]
    fn times_after_the_epoch_do_not_count() {
        use crate::tree::Meta;
        let tree = |mtime| Tree::new(Meta::root(0o755, mtime));
        assert_eq!(seed(&tree(100), Epoch(100)), seed(&tree(101), Epoch(100)));
        assert_ne!(seed(&tree(100), Epoch(100)), seed(&tree(99), Epoch(100)));
        assert_ne!(seed(&tree(99), Epoch(100)), seed(&tree(99), Epoch(101)));
    }

    #[test]
    fn namespace_and_seed_both_count() {
        let guid = guid_from("iso disk", b"seed");
        assert_eq!(guid.to_string(), "fcfe91c5-89ed-893a-9d61-c59549296869");
        assert_ne!(guid, guid_from("iso disk", b"seee"));
        assert_ne!(guid, guid_from("iso dis", b"kseed"));
    }
}
