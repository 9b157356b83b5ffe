//! Which byte of a cache is whose.

use super::{Corruption, FontconfigError};
use crate::extent::{Container, Field, LONGEST_PATH, Parsed, Role, Source, Structure, Unreadable, show};
use crate::io::{ReadAt, wide};

const FORMAT: &str = "fontconfig";
/// Directories below that are looked at.
const MOST_BELOW: u64 = 1 << 16;

static HEADER: Structure = Structure { name: "header of the font cache", fields: header };
static DIRECTORY: Structure = Structure { name: "directory of the fonts", fields: text };
static PLACES: Structure = Structure::plain("places of directories below");
static BELOW: Structure = Structure { name: "directory below", fields: text };
static FONTS: Structure = Structure::plain("fonts");

/// The structure of a cache.
///
/// # Errors
/// If the header is not whole. Everything else that is wrong is among [`Parsed::faults`].
pub fn extents(source: &Source) -> Result<Parsed, Unreadable> {
    let mut found = Container::new(FORMAT, source)?;
    let cache = Cache::open(source, found.size()).map_err(|error| Unreadable::new(FORMAT, &error))?;
    found.claim_own(0, wide(cache.layout.len), &HEADER);
    if let Err(error) = cache.claim(&mut found) {
        found.note(&error);
    }
    found.claim_own(0, found.size(), &FONTS);
    Ok(found.finish())
}

/// How numbers are written, which depends on the machine.
#[derive(Clone, Copy)]
struct Layout {
    big: bool,
    /// Bytes of a pointer.
    width: usize,
    /// Bytes of the header.
    len: usize,
}

/// The fields of the header: name, and whether it is as wide as a pointer.
const FIELDS: [(&str, bool); 9] = [
    ("magic", false),
    ("version", false),
    ("size", true),
    ("dir", true),
    ("dirs", true),
    ("dirs_count", false),
    ("set", true),
    ("checksum", false),
    ("checksum_nano", true),
];

impl Layout {
    /// Where each field lies, and its length.
    fn places(self) -> impl Iterator<Item = (&'static str, usize, usize)> {
        let mut at = 0_usize;
        FIELDS.into_iter().map(move |(name, is_wide)| {
            // The last one has 64 bits everywhere.
            let len = if name == "checksum_nano" {
                8
            } else if is_wide {
                self.width
            } else {
                4
            };
            at = at.next_multiple_of(len.min(self.width));
            let start = at;
            at += len;
            (name, start, len)
        })
    }

    fn number(self, raw: &[u8]) -> u64 {
        let join = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        if self.big { raw.iter().fold(0, join) } else { raw.iter().rev().fold(0, join) }
    }

    fn field(self, bytes: &[u8], wanted: &str) -> u64 {
        let found = self.places().find(|(name, ..)| *name == wanted);
        let raw = found.and_then(|(_, at, len)| bytes.get(at..at + len));
        self.number(raw.unwrap_or_default())
    }
}

/// The layout of a header with these bytes: the length of the file says how wide a pointer is, and the name of the directory
/// follows on the header, which had no nanoseconds once.
fn layout(bytes: &[u8], size: u64) -> Layout {
    let wide_one = Layout { big: bytes.first() == Some(&0xfc), width: 8, len: 64 };
    let narrow = Layout { width: 4, len: 40, ..wide_one };
    let fits = |layout: Layout| layout.field(bytes, "size") == size;
    let layout = if fits(narrow) && !fits(wide_one) { narrow } else { wide_one };
    let first = layout.field(bytes, "dir").min(layout.field(bytes, "dirs"));
    let old = wide(layout.len - 8);
    Layout { len: if first == old { layout.len - 8 } else { layout.len }, ..layout }
}

struct Cache<'a> {
    source: &'a Source,
    size: u64,
    layout: Layout,
    header: Vec<u8>,
}

impl<'a> Cache<'a> {
    fn open(source: &'a Source, size: u64) -> Result<Self, FontconfigError> {
        let mut header = vec![0; usize::try_from(size.min(64)).expect("at most 64")];
        read(source, &mut header, 0)?;
        let layout = layout(&header, size);
        if header.len() < layout.len {
            return Err(behind(0, "header", wide(layout.len), size));
        }
        header.truncate(layout.len);
        Ok(Self { source, size, layout, header })
    }

    /// Claims what the header leads to.
    fn claim(&self, found: &mut Container) -> Result<(), FontconfigError> {
        let of = |name| self.layout.field(&self.header, name);
        let (dir, dirs, count, width) = (of("dir"), of("dirs"), of("dirs_count"), wide(self.layout.width));
        found.claim_own(dir, self.text(dir)?, &DIRECTORY);
        let count = count.min(MOST_BELOW);
        // Both are checked before anything is read.
        let len = count * width;
        if dirs.checked_add(len).is_none_or(|end| end > self.size) {
            return Err(behind(dirs, "table of directories", len, self.size));
        }
        found.claim_own(dirs, len, &PLACES);
        for number in 0..count {
            let mut raw = vec![0; self.layout.width];
            read(self.source, &mut raw, dirs + number * width)?;
            let at = dirs.saturating_add(self.layout.number(&raw));
            found.claim_own(at, self.text(at)?, &BELOW);
        }
        Ok(())
    }

    /// Length of the text at `at`, with the zero behind it.
    fn text(&self, at: u64) -> Result<u64, FontconfigError> {
        let left = self.size.saturating_sub(at).min(wide(LONGEST_PATH) + 1);
        let mut bytes = vec![0; usize::try_from(left).expect("at most 4 KiB")];
        read(self.source, &mut bytes, at.min(self.size))?;
        let end = bytes.iter().position(|byte| *byte == 0);
        end.map(|end| wide(end) + 1).ok_or_else(|| behind(at, "name of a directory", left, self.size))
    }
}

fn behind(at: u64, what: &'static str, len: u64, size: u64) -> FontconfigError {
    FontconfigError::Corrupt { at, kind: Corruption::Behind { what, len, size } }
}

fn read(source: &Source, buf: &mut [u8], at: u64) -> Result<(), FontconfigError> {
    let len = wide(buf.len());
    source.read_exact_at(buf, at).map_err(|source| FontconfigError::Io { at, len, source })
}

fn header(bytes: &[u8]) -> Vec<Field> {
    let width = if bytes.len() > 40 { 8 } else { 4 };
    let layout = Layout { big: bytes.first() == Some(&0xfc), width, len: bytes.len() };
    let there = layout.places().filter(|(_, at, len)| at + len <= bytes.len());
    let one = |(name, at, len)| {
        let mut field = show(bytes, at, len, name);
        if name != "magic" {
            field.value = layout.number(&bytes[at..at + len]).to_string();
        }
        if matches!(name, "size" | "dir" | "dirs" | "dirs_count" | "set") {
            field.role = Role::Place;
        }
        field
    };
    there.map(one).collect()
}

fn text(bytes: &[u8]) -> Vec<Field> {
    vec![show(bytes, 0, bytes.len().saturating_sub(1), "path")]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// A cache of a directory with one below.
    fn cache(big: bool, width: usize, nanoseconds: bool, dir: &str) -> Vec<u8> {
        let len = if width == 8 { 56 } else { 32 } + if nanoseconds { 8 } else { 0 };
        let dirs = len + dir.len() + 1;
        let size = dirs + width + 4 + 5;
        let mut bytes = Vec::new();
        let mut put = |value: usize, len: usize| {
            bytes.resize(bytes.len().next_multiple_of(len.min(width)), 0);
            let raw = wide(value).to_le_bytes();
            let mut raw = raw[..len].to_vec();
            if big {
                raw.reverse();
            }
            bytes.extend(raw);
        };
        put(0xfc02_fc04, 4);
        put(9, 4);
        [size, len, dirs].into_iter().for_each(|value| put(value, width));
        put(1, 4);
        put(dirs + width + 4, width);
        put(1_600_000_000, 4);
        if width == 8 {
            put(0, 4);
        }
        if nanoseconds {
            put(77, 8);
        }
        bytes.extend(dir.bytes());
        bytes.push(0);
        let place = wide(width).to_le_bytes();
        let place = place[..width].iter().copied();
        if big {
            bytes.extend(place.rev())
        } else {
            bytes.extend(place)
        }
        bytes.extend(b"sub\0fonts");
        assert_eq!(bytes.len(), size);
        bytes
    }

    fn told(bytes: &[u8]) -> Vec<String> {
        let source: Source = Arc::new(bytes.to_vec());
        let parsed = extents(&source).unwrap();
        assert_eq!(parsed.faults, []);
        let mut all = Vec::new();
        for extent in parsed.map.extents() {
            let range = usize::try_from(extent.start).unwrap()..usize::try_from(extent.end()).unwrap();
            let fields = (extent.structure.fields)(&bytes[range]);
            let fields: Vec<_> =
                fields.iter().map(|field| format!(" {}={}", field.name, field.value)).collect();
            all.push(format!("{}{}", extent.structure.name, fields.concat()));
        }
        all
    }

    #[test]
    fn each_layout_is_told_with_its_directories() {
        for big in [false, true] {
            for (width, nanoseconds, len) in [(8, true, 64), (8, false, 56), (4, true, 40), (4, false, 32)] {
                let bytes = cache(big, width, nanoseconds, "/usr/share/fonts");
                assert!(super::super::is_cache(bytes.first_chunk().unwrap()));
                let all = told(&bytes);
                let magic = if big { "fc02fc04" } else { "04fc02fc" };
                let (size, dirs) = (bytes.len(), len + 17);
                let more = if nanoseconds { " checksum_nano=77" } else { "" };
                let header = format!(
                    "header of the font cache magic={magic} version=9 size={size} dir={len} dirs={dirs} \
                     dirs_count=1 set={} checksum=1600000000{more}",
                    dirs + width + 4
                );
                let rest = [
                    "directory of the fonts path=\"/usr/share/fonts\"",
                    "places of directories below",
                    "directory below path=\"sub\"",
                    "fonts",
                ];
                assert_eq!(all[0], header);
                assert_eq!(all[1..], rest);
            }
        }
    }

    #[test]
    fn no_cut_or_number_makes_it_panic_or_leaves_a_byte_out() {
        let bytes = cache(false, 8, true, "/usr/share/fonts");
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bad = bytes.clone();
                bad[at] = value;
                for bad in [bad, bytes[..at].to_vec()] {
                    let (size, source) = (wide(bad.len()), Arc::new(bad) as Source);
                    if let Ok(parsed) = extents(&source) {
                        assert_eq!(parsed.map.size(), size);
                    }
                }
            }
        }
    }
}
