//! Names for readers that know no Rock Ridge: d-characters in the primary tree, UCS-2 in the Joliet tree.
//!
//! The rules are total and look at one directory only, so that adding a file elsewhere never renames another:
//! a name that survives unchanged (apart from case) keeps its place; all others get what is left, in byte order of
//! the original names, with a number where the plain form is taken.

use std::collections::{BTreeMap, BTreeSet};

/// Most characters of a directory identifier, and of a file identifier with its dot (ECMA-119, 7.5.1 and 7.6.3).
const PRIMARY: usize = 31;
/// What a base keeps before an extension is shortened.
const KEPT: usize = 8;
/// Most UCS-2 units of a Joliet name.
const JOLIET: usize = 64;

/// A name of a directory entry and whether it is a directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Original<'a> {
    pub(super) name: &'a [u8],
    pub(super) directory: bool,
}

/// An identifier split at its dot. The order is that of ECMA-119, 9.3: base, then extension.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Split<T> {
    base: Vec<T>,
    extension: Vec<T>,
}

impl Split<u8> {
    /// The bytes of the identifier: `ISOLINUX.CFG;1`, `LIVE`.
    pub(super) fn primary_id(&self, directory: bool) -> Vec<u8> {
        let mut id = self.base.clone();
        if !directory {
            id.push(b'.');
            id.extend_from_slice(&self.extension);
            id.extend_from_slice(b";1");
        }
        id
    }
}

impl Split<u16> {
    /// The bytes of the identifier: big-endian UCS-2, files with `;1`.
    pub(super) fn joliet_id(&self, directory: bool) -> Vec<u8> {
        let mut units = self.units();
        if !directory {
            units.extend([u16::from(b';'), u16::from(b'1')]);
        }
        units.iter().flat_map(|unit| unit.to_be_bytes()).collect()
    }

    /// What Joliet sorts by: the name as it is seen.
    pub(super) fn units(&self) -> Vec<u16> {
        let mut units = self.base.clone();
        if !self.extension.is_empty() {
            units.push(u16::from(b'.'));
            units.extend_from_slice(&self.extension);
        }
        units
    }
}

/// Identifiers of the primary tree for all names of one directory, in the order of `originals`.
pub(super) fn primary(originals: &[Original<'_>]) -> Vec<Split<u8>> {
    let wish = |original: &Original<'_>| {
        let text = String::from_utf8_lossy(original.name);
        let (base, extension) = if original.directory { (&*text, "") } else { split(&text) };
        let map = |text: &str| -> Vec<u8> { text.chars().map(d_character).collect() };
        let mut wish = Split { base: map(base), extension: map(extension) };
        fit(&mut wish, primary_limit(original.directory), 0);
        let seen = if wish.extension.is_empty() {
            wish.base.clone()
        } else {
            [&wish.base[..], b".", &wish.extension].concat()
        };
        (seen == original.name.to_ascii_uppercase(), wish)
    };
    let number = |original: &Original<'_>, wish: &Split<u8>, number: u64| {
        let mut name = wish.clone();
        let digits = format!("{number:03}").into_bytes();
        fit(&mut name, primary_limit(original.directory), digits.len());
        name.base.extend(digits);
        name
    };
    assign(originals, wish, number, Split::clone)
}

/// The dot counts, so a file has one character less than a directory.
fn primary_limit(directory: bool) -> usize {
    if directory { PRIMARY } else { PRIMARY - 1 }
}

/// Identifiers of the Joliet tree for all names of one directory, in the order of `originals`.
pub(super) fn joliet(originals: &[Original<'_>]) -> Vec<Split<u16>> {
    let limit = |split: &Split<u16>| JOLIET - usize::from(!split.extension.is_empty());
    let wish = |original: &Original<'_>| {
        let text = String::from_utf8_lossy(original.name);
        let (base, extension) = split(&text);
        let map = |text: &str| -> Vec<u16> { text.chars().map(joliet_unit).collect() };
        let mut wish = Split { base: map(base), extension: map(extension) };
        // A trailing dot is part of the name, not an empty extension.
        if extension.is_empty() {
            wish.base = map(&text);
        }
        let room = limit(&wish);
        fit(&mut wish, room, 0);
        (wish.units() == text.encode_utf16().collect::<Vec<_>>(), wish)
    };
    let number = |_: &Original<'_>, wish: &Split<u16>, number: u64| {
        let mut name = wish.clone();
        let digits: Vec<u16> = format!("{number:03}").bytes().map(u16::from).collect();
        let room = limit(&name);
        fit(&mut name, room, digits.len());
        name.base.extend(digits);
        name
    };
    assign(originals, wish, number, fold)
}

/// What Windows, and Linux without Rock Ridge, compare: they look Joliet names up without regard to case, so two
/// names that differ in case alone would both open the first file.
fn fold(split: &Split<u16>) -> Split<u16> {
    let lower = |unit: &u16| {
        let c = char::from_u32(u32::from(*unit)).unwrap_or(char::REPLACEMENT_CHARACTER);
        let mut lower = c.to_lowercase();
        match (lower.next().map(|c| u16::try_from(u32::from(c))), lower.next()) {
            (Some(Ok(one)), None) => one,
            _ => *unit,
        }
    };
    Split {
        base: split.base.iter().map(lower).collect(),
        extension: split.extension.iter().map(lower).collect(),
    }
}

/// At the last dot, unless the name starts with it: `.disk` has no extension.
fn split(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        None | Some(0) => (name, ""),
        Some(dot) => (&name[..dot], &name[dot + 1..]),
    }
}

fn d_character(c: char) -> u8 {
    let upper = c.to_ascii_uppercase();
    let kept = upper.is_ascii_uppercase() || upper.is_ascii_digit();
    u8::try_from(upper).ok().filter(|_| kept).unwrap_or(b'_')
}

fn joliet_unit(c: char) -> u16 {
    match u16::try_from(u32::from(c)) {
        Ok(unit) if unit >= 32 && !"*/:;?\\\u{fffd}".contains(c) => unit,
        _ => u16::from(b'_'),
    }
}

/// Shortens to `room` less `reserved` for a number: the base first, down to 8, then the extension.
fn fit<T>(split: &mut Split<T>, room: usize, reserved: usize) {
    let kept = split.base.len().min(KEPT).max(reserved);
    split.extension.truncate(room - kept);
    split.base.truncate((room - split.extension.len()).saturating_sub(reserved));
}

/// Gives every original a form that no other one of the directory has.
fn assign<T: Ord + Clone>(
    originals: &[Original<'_>],
    wish: impl Fn(&Original<'_>) -> (bool, Split<T>),
    number: impl Fn(&Original<'_>, &Split<T>, u64) -> Split<T>,
    key: impl Fn(&Split<T>) -> Split<T>,
) -> Vec<Split<T>> {
    let wishes: Vec<(bool, Split<T>)> = originals.iter().map(wish).collect();
    let mut taken = BTreeSet::new();
    let mut given: Vec<Option<Split<T>>> = vec![None; originals.len()];
    for faithful in [true, false] {
        for ((is_faithful, wish), place) in wishes.iter().zip(&mut given) {
            if *is_faithful == faithful && taken.insert(key(wish)) {
                *place = Some(wish.clone());
            }
        }
    }
    let mut next: BTreeMap<&Split<T>, u64> = BTreeMap::new();
    let mut all = Vec::with_capacity(originals.len());
    for ((original, (_, wish)), given) in originals.iter().zip(&wishes).zip(given) {
        all.push(given.unwrap_or_else(|| {
            let counter = next.entry(wish).or_insert(0);
            loop {
                let name = number(original, wish, *counter);
                *counter += 1;
                if taken.insert(key(&name)) {
                    break name;
                }
            }
        }));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn originals<'a>(names: &[&'a str]) -> Vec<Original<'a>> {
        names
            .iter()
            .map(|name| Original {
                name: name.trim_end_matches('/').as_bytes(),
                directory: name.ends_with('/'),
            })
            .collect()
    }

    fn primary_ids(names: &[&str]) -> Vec<String> {
        let originals = originals(names);
        let ids = primary(&originals);
        let text = |(split, original): (&Split<u8>, &Original<'_>)| split.primary_id(original.directory);
        ids.iter().zip(&originals).map(text).map(|id| String::from_utf8(id).unwrap()).collect()
    }

    fn joliet_names(names: &[&str]) -> Vec<String> {
        let split = joliet(&originals(names));
        split.iter().map(|split| String::from_utf16(&split.units()).unwrap()).collect()
    }

    #[test]
    fn names_that_boot_loaders_look_up_survive() {
        let names = ["isolinux.cfg", "ldlinux.c32", "isolinux/", "vmlinuz", "initrd.img", ".disk/", "live/"];
        assert_eq!(
            primary_ids(&names),
            ["ISOLINUX.CFG;1", "LDLINUX.C32;1", "ISOLINUX", "VMLINUZ.;1", "INITRD.IMG;1", "_DISK", "LIVE"]
        );
        // Even where another name would map to the same and sorts first.
        assert_eq!(primary_ids(&["menu+a.cfg", "menu_a.cfg"]), ["MENU_A000.CFG;1", "MENU_A.CFG;1"]);
    }

    #[test]
    fn collisions_are_numbered_in_byte_order() {
        let ids = primary_ids(&["A b", "A+b", "A-b", "README", "readme", "readme/"]);
        assert_eq!(ids, ["A_B.;1", "A_B000.;1", "A_B001.;1", "README.;1", "README000.;1", "README001"]);
        // A number that is a name itself is passed over.
        assert_eq!(primary_ids(&["x", "x000", "X "]), ["X.;1", "X000.;1", "X_.;1"]);
        assert_eq!(primary_ids(&["x+", "x-", "x_000"]), ["X_.;1", "X_001.;1", "X_000.;1"]);
    }

    #[test]
    fn long_names_are_cut_before_the_extension() {
        let long = "linux-image-6.1.0-56-amd64_6.1.192-2_amd64.deb";
        assert_eq!(primary_ids(&[long]), ["LINUX_IMAGE_6_1_0_56_AMD64_.DEB;1"]);
        let extension = format!("name.{}", "e".repeat(40));
        assert_eq!(primary_ids(&[&extension]), [format!("NAME.{};1", "E".repeat(26))]);
        let both = format!("{}.{}", "b".repeat(40), "e".repeat(40));
        assert_eq!(primary_ids(&[&both]), [format!("BBBBBBBB.{};1", "E".repeat(22))]);
        let dirs = ["d".repeat(32) + "/", "d".repeat(33) + "/"];
        let cut = primary_ids(&[&dirs[0], &dirs[1]]);
        assert_eq!(cut, ["D".repeat(31), "D".repeat(28) + "000"]);
        // A short base before a long extension leaves room for the number.
        let short = [format!("a+.{}", "e".repeat(40)), format!("a-.{}", "e".repeat(40))];
        let ids = primary_ids(&[&short[0], &short[1]]);
        assert_eq!(ids, [format!("A_.{};1", "E".repeat(28)), format!("000.{};1", "E".repeat(27))]);
    }

    #[test]
    fn every_identifier_is_unique_legal_and_short() {
        let names: Vec<String> =
            (0..3000).map(|n| format!("{}ü{n}.päckchen", "long-".repeat(n % 9))).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let ids = primary_ids(&names);
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), names.len());
        for id in ids {
            let plain = id.strip_suffix(";1").unwrap();
            assert!(plain.len() <= 31 && plain.matches('.').count() == 1, "{id}");
            assert!(plain.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.')), "{id}");
        }
    }

    #[test]
    fn joliet_keeps_what_it_can() {
        assert_eq!(
            joliet_names(&["Grüße.txt", ".disk/", "a;b", "a:b", "end."]),
            ["Grüße.txt", ".disk", "a_b", "a_b000", "end."]
        );
        assert_eq!(joliet_names(&["😀.txt"]), ["_.txt"]);
        assert_eq!(
            joliet_names(&["README", "readme", "ÄRGER", "ärger"]),
            ["README", "readme000", "ÄRGER", "ärger000"]
        );
        let long = format!("{}.squashfs", "n".repeat(100));
        assert_eq!(joliet_names(&[&long]), [format!("{}.squashfs", "n".repeat(55))]);
        let plain = [("n".repeat(65)), ("n".repeat(66))];
        assert_eq!(joliet_names(&[&plain[0], &plain[1]]), ["n".repeat(64), "n".repeat(61) + "000"]);
    }

    #[test]
    fn invalid_utf_8_becomes_underscores() {
        let raw =
            [Original { name: b"a\xff.b", directory: false }, Original { name: b"a_.b", directory: false }];
        let ids: Vec<_> = primary(&raw).iter().map(|split| split.primary_id(false)).collect();
        assert_eq!(ids, [b"A_000.B;1".to_vec(), b"A_.B;1".to_vec()]);
        let units: Vec<_> =
            joliet(&raw).iter().map(|split| String::from_utf16(&split.units()).unwrap()).collect();
        assert_eq!(units, ["a_000.b", "a_.b"]);
    }
}
