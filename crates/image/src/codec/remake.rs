//! Making an `.xz` file again: the very bytes, of its content and a few numbers.
//!
//! An archive signs its compressed indexes, so that whoever keeps only their content must be able to give the compressed
//! bytes back. liblzma's encoder has given the same bytes for the same parameters for years, and the parameters show in the
//! file or can be tried on its beginning. [`Shape::of`] finds them; only [`Shape::make`] tells whether they are right. The
//! layout is that of "The .xz File Format" 1.1.0, sections 2 to 4.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::num::NonZero;
use std::str::FromStr;

use liblzma::stream::{Check, Filters, LzmaOptions, PRESET_EXTREME, Stream};

use super::finish_stream;
use crate::par;

/// How much of a file is compressed in order to try parameters.
const SAMPLE: usize = 1 << 20;
/// A file of more blocks than this is not made again.
const MOST_BLOCKS: u64 = 1 << 16;

const MAGIC: &[u8] = b"\xfd7zXZ\0";
const FOOTER: &[u8] = b"YZ";
/// Length of the header of a stream, and of its footer.
const ENDS: usize = 12;

/// Everything that shaped an `.xz` file besides its content: one stream with LZMA2 alone, in one block or in several of equal
/// size as `xz -T` makes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Preset of liblzma, 0 to 9.
    preset: u8,
    /// Whether it is the slower variant (`-e`).
    extreme: bool,
    /// Id of the check of each block: 0 none, 1 CRC32, 4 CRC64, 10 SHA-256.
    check: u8,
    /// Plain bytes of each block but the last.
    block: u64,
    /// Length of the header of each block, which has both sizes then; 0 if it has none.
    header: u8,
}

impl fmt::Display for Shape {
    /// `xz:6e:check=4:block=25165824:header=20`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { preset, extreme, check, block, header } = self;
        let variant = if *extreme { "e" } else { "" };
        write!(f, "xz:{preset}{variant}:check={check}:block={block}:header={header}")
    }
}

/// The text does not name a shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} does not say how an xz file was made")]
pub struct NotAShape(pub String);

impl FromStr for Shape {
    type Err = NotAShape;

    fn from_str(text: &str) -> Result<Self, NotAShape> {
        let shape = || {
            let mut parts = text.strip_prefix("xz:")?.split(':');
            let level = parts.next()?;
            let (level, extreme) = level.strip_suffix('e').map_or((level, false), |level| (level, true));
            let mut number = |name: &str| parts.next()?.strip_prefix(name)?.parse::<u64>().ok();
            let (check, block, header) = (number("check=")?, number("block=")?, number("header=")?);
            let preset = level.parse().ok().filter(|preset| *preset <= 9)?;
            let check = u8::try_from(check).ok().filter(|check| check_size(*check).is_some())?;
            let header = u8::try_from(header).ok()?;
            // Another spelling of the same numbers is none.
            let shape = Self { preset, extreme, check, block, header };
            (block > 0 && shape.to_string() == text).then_some(shape)
        };
        shape().ok_or_else(|| NotAShape(text.to_owned()))
    }
}

impl Shape {
    /// How `packed`, which holds `plain`, may have been made; `None` if it was not made like this. What has not the wanted
    /// outcome with [`Shape::make`] was made by another encoder.
    pub fn of(packed: &[u8], plain: &[u8]) -> Option<Self> {
        let check = packed.strip_prefix(MAGIC)?.get(1).copied()?;
        let blocks = blocks(packed, check)?;
        let first = blocks.first()?;
        let header = header_size(packed, ENDS)?;
        let has_sizes = match packed.get(ENDS + 1)? & 0xc0 {
            0 => false,
            0xc0 => true,
            _ => return None,
        };
        // The last filter of a block is LZMA2 (0x21) with one byte of properties.
        let mut filter = packed.get(ENDS + 2..ENDS + header)?;
        if has_sizes {
            filter = filter.get(number(filter)?.1..)?;
            filter = filter.get(number(filter)?.1..)?;
        }
        let [0x21, 1, dictionary, ..] = *filter else { return None };
        let dictionary = (2 | u64::from(dictionary) & 1).checked_shl(u32::from(dictionary) / 2 + 11)?;
        let sample = &plain[..plain.len().min(SAMPLE).min(usize::try_from(first.plain).ok()?)];
        let whole = sample.len() as u64 == first.plain;
        let wanted = packed.get(ENDS + header..)?.get(..usize::try_from(first.data).ok()?)?;
        let presets = (0..=9).filter(|preset| dictionary_of(*preset) == dictionary);
        let candidates = presets.flat_map(|preset| [(preset, true), (preset, false)]);
        // Debian's are extreme; of the others the higher preset is the usual one.
        let mut candidates: Vec<(u8, bool)> = candidates.collect();
        candidates.sort_by_key(|(preset, extreme)| std::cmp::Reverse((*extreme, *preset)));
        let header = if has_sizes { u8::try_from(header).ok()? } else { 0 };
        let shape = |(preset, extreme)| Self { preset, extreme, check, block: first.plain.max(1), header };
        candidates.into_iter().map(shape).find(|shape| {
            shape.block(sample).is_ok_and(|Packed { data, .. }| match whole {
                true => data == wanted,
                // The encoder looks ahead: the end of a sample differs. Half of it are whole chunks for sure if
                // it has two.
                false => data.len() > 4096 && wanted.starts_with(&data[..data.len() / 2]),
            })
        })
    }

    /// The file of this shape that holds `plain`. Blocks are compressed on `jobs` threads; their number changes nothing.
    pub fn make(&self, plain: &[u8], jobs: NonZero<usize>) -> io::Result<Vec<u8>> {
        let block = usize::try_from(self.block).unwrap_or(usize::MAX).max(1);
        let mut out = MAGIC.to_vec();
        out.extend(sealed(&[0, self.check]));
        let mut list = Vec::new();
        let mut failure = None;
        let each = |(plain, packed): (&[u8], io::Result<Packed>)| -> Result<(), Infallible> {
            match packed {
                Ok(Packed { data, check }) => {
                    let header = self.header(data.len() as u64, plain.len() as u64);
                    let unpadded = header.len() + data.len() + check.len();
                    out.extend(header);
                    out.extend(&data);
                    out.resize(out.len().next_multiple_of(4), 0);
                    out.extend(check);
                    list.push((unpadded as u64, plain.len() as u64));
                }
                Err(error) => failure = Some(error),
            }
            Ok(())
        };
        let work = |plain| (plain, self.block(plain));
        let Ok(()) = par::map_ordered(jobs, plain.chunks(block), work, each);
        if let Some(error) = failure {
            return Err(error);
        }
        let mut index = vec![0];
        put_number(&mut index, list.len() as u64);
        list.iter().for_each(|(unpadded, plain)| {
            put_number(&mut index, *unpadded);
            put_number(&mut index, *plain);
        });
        index.resize(index.len().next_multiple_of(4), 0);
        let index = [index.as_slice(), &crc32(&index)].concat();
        let backward = u32::try_from(index.len() / 4 - 1).map_err(|_| io::ErrorKind::InvalidInput)?;
        out.extend(&index);
        let footer = [&backward.to_le_bytes()[..], &[0, self.check]].concat();
        out.extend(crc32(&footer));
        out.extend(footer);
        out.extend(FOOTER);
        Ok(out)
    }

    /// The header of a block, with its checksum.
    fn header(&self, data: u64, plain: u64) -> Vec<u8> {
        let mut header = vec![0, 0];
        if self.header != 0 {
            header[1] = 0xc0;
            put_number(&mut header, data);
            put_number(&mut header, plain);
        }
        let dictionary = dictionary_of(self.preset);
        // All of them are powers of two: the even numbers.
        let byte = u8::try_from((dictionary.ilog2() - 12) * 2).unwrap_or(u8::MAX);
        header.extend([0x21, 1, byte]);
        let size = (header.len() + 4).next_multiple_of(4).max(usize::from(self.header));
        header.resize(size - 4, 0);
        header[0] = u8::try_from(size / 4 - 1).unwrap_or(u8::MAX);
        let crc = crc32(&header);
        header.extend(crc);
        header
    }

    fn block(&self, plain: &[u8]) -> io::Result<Packed> {
        let flag = if self.extreme { PRESET_EXTREME } else { 0 };
        let mut filters = Filters::new();
        filters.lzma2(&LzmaOptions::new_preset(u32::from(self.preset) | flag)?);
        let check = match self.check {
            0 => Check::None,
            1 => Check::Crc32,
            4 => Check::Crc64,
            10 => Check::Sha256,
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        // A file of this block alone, which is then taken apart.
        let file = finish_stream(Stream::new_stream_encoder(&filters, check)?, plain)?;
        let odd = || io::Error::from(io::ErrorKind::InvalidData);
        let blocks = blocks(&file, self.check).ok_or_else(odd)?;
        let Some(block) = blocks.first() else { return Ok(Packed::default()) };
        let from = ENDS + header_size(&file, ENDS).ok_or_else(odd)?;
        let to = from + usize::try_from(block.data).map_err(|_| odd())?;
        let check =
            to.next_multiple_of(4)..to.next_multiple_of(4) + check_size(self.check).ok_or_else(odd)?;
        match (file.get(from..to), file.get(check)) {
            (Some(data), Some(check)) => Ok(Packed { data: data.to_vec(), check: check.to_vec() }),
            _ => Err(odd()),
        }
    }
}

/// The compressed bytes of a block, and its check.
#[derive(Default)]
struct Packed {
    data: Vec<u8>,
    check: Vec<u8>,
}

/// A block, as the index of a file tells it.
struct Block {
    /// Length of the compressed bytes alone.
    data: u64,
    plain: u64,
}

/// The blocks of a file of one stream, if its index can be read and all have headers of the first one's length.
fn blocks(file: &[u8], check: u8) -> Option<Vec<Block>> {
    let footer = file.get(file.len().checked_sub(ENDS)?..)?;
    if !footer.ends_with(FOOTER) {
        return None;
    }
    let backward = u32::from_le_bytes(footer[4..8].try_into().ok()?);
    let length = (u64::from(backward) + 1) * 4;
    let end = file.len() - ENDS;
    let index = file.get(end.checked_sub(usize::try_from(length).ok()?)?..end)?;
    let mut rest = index.strip_prefix(&[0])?;
    let mut next = || {
        let (value, length) = number(rest)?;
        rest = &rest[length..];
        Some(value)
    };
    let count = next()?;
    if count > MOST_BLOCKS {
        return None;
    }
    let mut blocks = Vec::new();
    let mut at = ENDS as u64;
    for _ in 0..count {
        let (unpadded, plain) = (next()?, next()?);
        let header = header_size(file, usize::try_from(at).ok()?)?;
        if !blocks.is_empty() && header != header_size(file, ENDS)? {
            return None;
        }
        let around = header as u64 + check_size(check)? as u64;
        blocks.push(Block { data: unpadded.checked_sub(around)?, plain });
        at = at.checked_add(unpadded)?.checked_next_multiple_of(4)?;
    }
    // As `xz -T` makes them: another shape is none that could be made again.
    let first = blocks.first().map_or(0, |block: &Block| block.plain);
    let (last, rest) = blocks.split_last().map_or((first, &blocks[..]), |(last, rest)| (last.plain, rest));
    (last <= first && rest.iter().all(|block| block.plain == first)).then_some(blocks)
}

fn header_size(file: &[u8], at: usize) -> Option<usize> {
    file.get(at).map(|byte| (usize::from(*byte) + 1) * 4)
}

fn check_size(check: u8) -> Option<usize> {
    match check {
        0 => Some(0),
        1 => Some(4),
        4 => Some(8),
        10 => Some(32),
        _ => None,
    }
}

/// Size of the dictionary of a preset.
fn dictionary_of(preset: u8) -> u64 {
    const LOGARITHMS: [u32; 10] = [18, 20, 21, 22, 22, 23, 23, 24, 25, 26];
    1 << LOGARITHMS[usize::from(preset)]
}

/// A number of variable length, and how many bytes it takes.
fn number(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(9).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

fn put_number(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    to.push(value.to_le_bytes()[0]);
}

fn crc32(bytes: &[u8]) -> [u8; 4] {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum().to_le_bytes()
}

/// `bytes` and their checksum.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    [bytes, &crc32(bytes)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> Vec<u8> {
        let line =
            |n: u64| format!("Package: p{n}\nSHA256: {:016x}\n\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        (0..20_000).map(line).collect::<String>().into_bytes()
    }

    const JOBS: NonZero<usize> = NonZero::new(2).unwrap();

    #[test]
    fn every_shape_is_found_and_made_again() {
        let text = text();
        let size = text.len() as u64;
        for (preset, extreme, check, block, header) in [
            (6, true, 4, 300_000, 20),
            (6, false, 4, size, 0),
            (9, true, 1, size, 0),
            (0, false, 10, 500_001, 20),
            (3, true, 0, 400_000, 16),
        ] {
            let shape = Shape { preset, extreme, check, block, header };
            let file = shape.make(&text, JOBS).unwrap();
            assert_eq!(shape.make(&text, NonZero::<usize>::MIN).unwrap(), file);
            // liblzma's own decoder takes it.
            let mut plain = Vec::new();
            let mut reader = super::super::Wrapping::detect(&file).reader(file.as_slice()).unwrap();
            std::io::Read::read_to_end(&mut reader, &mut plain).unwrap();
            assert!(plain == text, "{shape}");
            let found = Shape::of(&file, &text).unwrap();
            assert_eq!(found.make(&text, JOBS).unwrap(), file, "{shape} as {found}");
            assert_eq!(found.to_string().parse(), Ok(found));
        }
        assert_eq!(Shape::of(b"", b""), None);
        assert_eq!(Shape::of(&text, &text), None);
    }

    #[test]
    fn damaged_files_have_no_shape_or_another_outcome() {
        let text = &text()[..20_000];
        let shape = Shape { preset: 1, extreme: false, check: 4, block: 5000, header: 16 };
        let file = shape.make(text, JOBS).unwrap();
        for at in (0..file.len() * 8).step_by(61) {
            let mut bad = file.clone();
            bad[at / 8] ^= 1 << (at % 8);
            if let Some(found) = Shape::of(&bad, text) {
                assert!(found.make(text, JOBS).is_ok_and(|made| made != bad), "bit {at}");
            }
        }
        (0..file.len()).for_each(|length| assert!(Shape::of(&file[..length], text).is_none()));
    }

    #[test]
    fn texts_that_name_no_shape() {
        for text in [
            "",
            "xz:6",
            "xz:10:check=4:block=1:header=0",
            "xz:6:check=2:block=1:header=0",
            "gzip:9",
            "xz:6:check=4:block=0:header=0",
            "xz:06:check=4:block=1:header=0",
            "xz:6:check=4:block=1:header=256",
        ] {
            assert_eq!(text.parse::<Shape>(), Err(NotAShape(text.to_owned())));
        }
    }
}
