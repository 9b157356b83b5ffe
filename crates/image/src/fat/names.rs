//! Short names (8.3), long names (VFAT), and which of them an entry needs.

use std::collections::BTreeSet;

use super::WriteError;
use super::layout::UNITS;

/// The names of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// Base and extension, padded by spaces.
    pub(super) short: [u8; 11],
    /// The long name, unless the short one says it all.
    pub(super) long: Option<Vec<u16>>,
}

impl Names {
    /// Directory entries needed.
    pub(super) fn entries(&self) -> u64 {
        1 + self.long.as_ref().map_or(0, |long| crate::io::wide(long.len().div_ceil(UNITS)))
    }
}

/// Names for all entries of one directory, in the same order.
///
/// An upper-case 8.3 name is kept exactly, without a long name: `EFI`, `BOOT`, `BOOTX64.EFI`. All other names get a
/// long name and a short one that ends in `~1`, `~2`...: the lowest number that is free, in byte order of the long
/// names. FAT compares without regard to case, so names that differ in case alone are refused.
pub(super) fn assign(names: &[&[u8]]) -> Result<Vec<Names>, WriteError> {
    let mut taken = BTreeSet::new();
    for &name in names {
        let text = valid(name).ok_or_else(|| WriteError::Name(name.to_vec()))?;
        if !taken.insert(text.to_uppercase()) {
            return Err(WriteError::SameName(name.to_vec()));
        }
    }
    let mut all = Vec::new();
    for &name in names {
        let text = valid(name).ok_or_else(|| WriteError::Name(name.to_vec()))?;
        all.push(match exact(text) {
            Some(short) => Names { short, long: None },
            None => Names { short: alias(text, &mut taken), long: Some(text.encode_utf16().collect()) },
        });
    }
    Ok(all)
}

/// The name as text, if FAT can hold it.
fn valid(name: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(name).ok()?;
    let bad = |c: char| u32::from(c) < 32 || "\"*/:<>?\\|\u{7f}".contains(c);
    let fits = text.encode_utf16().count() <= 255 && !text.ends_with(['.', ' ']);
    (fits && !text.contains(bad)).then_some(text)
}

/// Characters of short names.
pub(super) fn is_short(byte: u8) -> bool {
    matches!(byte, b'A'..=b'Z' | b'0'..=b'9') || b"$%'-_@~`!(){}^#&".contains(&byte)
}

/// The short form of a name that is an upper-case 8.3 name.
fn exact(name: &str) -> Option<[u8; 11]> {
    let (base, extension) = match name.split_once('.') {
        Some((base, extension)) if !extension.is_empty() => (base, extension),
        Some(_) => return None,
        None => (name, ""),
    };
    let fits = (1..=8).contains(&base.len()) && extension.len() <= 3;
    (fits && base.bytes().chain(extension.bytes()).all(is_short))
        .then(|| pad(base.as_bytes(), extension.as_bytes()))
}

fn pad(base: &[u8], extension: &[u8]) -> [u8; 11] {
    let mut short = [b' '; 11];
    short[..base.len()].copy_from_slice(base);
    short[8..8 + extension.len()].copy_from_slice(extension);
    short
}

/// A short name beside a long one, after Microsoft's rules, with a number that no other name of the directory has.
fn alias(name: &str, taken: &mut BTreeSet<String>) -> [u8; 11] {
    let (base, extension) = match name.trim_start_matches('.').rsplit_once('.') {
        Some((base, extension)) => (base, extension),
        None => (name, ""),
    };
    let map = |text: &str, most: usize| -> Vec<u8> {
        let kept = text.chars().filter(|c| !matches!(c, ' ' | '.'));
        let upper = kept.map(|c| match u8::try_from(c.to_ascii_uppercase()) {
            Ok(byte) if is_short(byte) => byte,
            _ => b'_',
        });
        upper.take(most).collect()
    };
    let (base, extension) = (map(base, 8), map(extension, 3));
    let mut number = 1_u64;
    loop {
        let tail = format!("~{number}");
        let mut numbered = base[..base.len().min(8 - tail.len())].to_vec();
        numbered.extend_from_slice(tail.as_bytes());
        let mut seen = String::from_utf8_lossy(&numbered).into_owned();
        if !extension.is_empty() {
            seen.push('.');
            seen.push_str(&String::from_utf8_lossy(&extension));
        }
        if taken.insert(seen) {
            return pad(&numbered, &extension);
        }
        number += 1;
    }
}

/// The checksum of a short name that binds long names to it.
pub(super) fn checksum(short: &[u8; 11]) -> u8 {
    short.iter().fold(0, |sum: u8, byte| sum.rotate_right(1).wrapping_add(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(names: &[&str]) -> Vec<String> {
        let names: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        let all = assign(&names).unwrap();
        all.iter()
            .map(|names| {
                let long = if names.long.is_some() { "+" } else { "" };
                format!("{}{long}", String::from_utf8_lossy(&names.short))
            })
            .collect()
    }

    #[test]
    fn upper_case_names_are_kept_exactly() {
        assert_eq!(short(&["EFI", "BOOT", "BOOTX64.EFI"]), ["EFI        ", "BOOT       ", "BOOTX64 EFI"]);
        assert_eq!(short(&["A_{1}~$.###"]), ["A_{1}~$ ###"]);
    }

    #[test]
    fn other_names_get_a_numbered_alias() {
        assert_eq!(short(&["grubx64.efi", "grub.cfg"]), ["GRUBX6~1EFI+", "GRUB~1  CFG+"]);
        assert_eq!(
            short(&[".disk", "a b.tar.gz", "Übung"]),
            ["DISK~1     +", "ABTAR~1 GZ +", "_BUNG~1    +"]
        );
        assert_eq!(short(&["LONGER~1.TXT", "longer-name.txt"]), ["LONGER~1TXT", "LONGER~2TXT+"]);
        // The alias of one name must not be the long name of another one.
        assert_eq!(short(&["longer-name.txt", "longer~1.txt"]), ["LONGER~2TXT+", "LONGER~3TXT+"]);
    }

    #[test]
    fn numbers_may_grow() {
        let names: Vec<String> = (0..120).map(|n| format!("some-long-name-{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let short = short(&names);
        assert_eq!((&*short[8], &*short[9], &*short[119]), ("SOME-L~9   +", "SOME-~10   +", "SOME~120   +"));
        assert_eq!(short.iter().collect::<BTreeSet<_>>().len(), 120);
    }

    #[test]
    fn names_that_fat_cannot_hold_are_refused() {
        for bad in [&b"a:b"[..], b"a\\b", b"a\x01", b"a.", b"a ", b"\xff", "ü".repeat(256).as_bytes()] {
            assert!(assign(&[bad]).is_err(), "{bad:?}");
        }
        let same = [&b"Grub"[..], b"grub"];
        assert_eq!(assign(&same).unwrap_err().to_string(), "grub differs from another name in case only");
    }

    #[test]
    fn checksum_matches_the_published_rule() {
        // fatgen103: sum = ((sum & 1) << 7) + (sum >> 1) + byte
        let by_rule = |short: &[u8; 11]| {
            short.iter().fold(0_u8, |sum, byte| ((sum & 1) << 7).wrapping_add(sum >> 1).wrapping_add(*byte))
        };
        for name in [b"BOOTX64 EFI", b"GRUBX6~1EFI", b"_______~___"] {
            assert_eq!(checksum(name), by_rule(name));
        }
    }
}
