//! System use entries: SUSP and Rock Ridge, from bytes to values.

use super::read::{Bytes, Corruption, Record, Result};
use super::time;
use crate::io::{ReadAt, ReadError, wide};

/// Continuations of one record we follow; Linux follows 32.
const MOST_CONTINUATIONS: u32 = 64;

/// What Rock Ridge says about an entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes {
    /// Mode with file type.
    pub(super) mode: Option<u32>,
    pub(super) links: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Serial number; 0 if there is none.
    pub(super) serial: u32,
    pub(super) mtime: Option<i64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) target: Vec<u8>,
    pub(super) device: (u32, u32),
    /// First block of the directory that this entry stands in for.
    pub(super) child: Option<u32>,
    /// The entry is a directory that belongs elsewhere.
    pub(super) relocated: bool,
}

/// Attributes, and the entries they were made of.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) attributes: Attributes,
    /// Whether any entry was one of Rock Ridge.
    pub(super) rock_ridge: bool,
    /// Byte offset, and bytes from signature to end, of each entry.
    pub(super) entries: Vec<(u64, Vec<u8>)>,
}

/// Reads the system use entries of `record`, leaving out the first `skip` bytes, and follows continuations.
pub(super) fn read<R: ReadAt + ?Sized>(bytes: &Bytes<'_, R>, record: &Record<'_>, skip: u8) -> Result<Found> {
    let mut found = Found::default();
    let mut state = State::default();
    // The root's own first record, which says how much to skip, is never skipped itself.
    let skip = if record.system_use.starts_with(b"SP") { 0 } else { usize::from(skip) };
    let area = record.system_use.get(skip..).unwrap_or_default();
    let before = usize::from(record.raw.length) - record.system_use.len() + skip;
    let mut at = record.at.saturating_add(wide(before));
    let mut next = entries(area, at, &mut found, &mut state)?;
    let mut count = 0;
    while let Some((block, offset, length)) = next {
        count += 1;
        if count > MOST_CONTINUATIONS {
            return Err(ReadError::Corrupt { at, kind: Corruption::Chain });
        }
        if offset.checked_add(length).is_none_or(|end| end > 2048) {
            return Err(ReadError::Corrupt { at, kind: Corruption::Continuation { offset, length } });
        }
        at = u64::from(block) * 2048 + u64::from(offset);
        let mut area = vec![0; usize::try_from(length).unwrap_or(0)];
        bytes.fill(&mut area, at)?;
        next = entries(&area, at, &mut found, &mut state)?;
    }
    Ok(found)
}

/// What goes on from one entry to the next.
#[derive(Debug, Default)]
struct State {
    /// Whether a slash comes before the next component of the target, if there is one.
    slash: bool,
}

/// Reads the entries of one area and returns where they continue: block, offset, length.
fn entries(area: &[u8], base: u64, found: &mut Found, state: &mut State) -> Result<Option<(u32, u32, u32)>> {
    let mut rest = area;
    let mut next = None;
    while let [a, b, length, ..] = *rest {
        // Zeros pad an area; nothing is shorter than an entry without data.
        if a == 0 || rest.len() < 4 {
            break;
        }
        let at = base.saturating_add(wide(area.len() - rest.len()));
        let left = rest.len();
        let wrong = || ReadError::Corrupt { at, kind: Corruption::Entry { signature: [a, b], length, left } };
        let whole = rest.get(..usize::from(length)).filter(|whole| whole.len() >= 4).ok_or_else(wrong)?;
        rest = &rest[whole.len()..];
        found.entries.push((at, whole.to_vec()));
        let data = &whole[4..];
        match [a, b] {
            [b'S', b'T'] => break,
            [b'C', b'E'] => {
                let field = |index| number(data, index).ok_or_else(wrong);
                next = Some((field(0)?, field(1)?, field(2)?));
            }
            [b'S', b'F'] => {
                return Err(ReadError::Unsupported { at, feature: "sparse file (SF)" });
            }
            [b'Z', b'F'] => {
                return Err(ReadError::Unsupported { at, feature: "compressed file (ZF)" });
            }
            signature => {
                found.rock_ridge |= apply(signature, data, &mut found.attributes, state).ok_or_else(wrong)?;
            }
        }
    }
    Ok(next)
}

/// The number in both byte orders at `index`.
fn number(data: &[u8], index: usize) -> Option<u32> {
    let bytes = data.get(index * 8..index * 8 + 4)?;
    Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// Takes over what one entry says; false if it is none of Rock Ridge, `None` if it is too short.
fn apply(signature: [u8; 2], data: &[u8], found: &mut Attributes, state: &mut State) -> Option<bool> {
    match &signature {
        b"PX" => {
            found.mode = Some(number(data, 0)?);
            found.links = number(data, 1)?;
            (found.uid, found.gid) = (number(data, 2)?, number(data, 3)?);
            found.serial = number(data, 4).unwrap_or(0);
        }
        b"PN" => found.device = device(number(data, 0)?, number(data, 1)?),
        b"TF" => found.mtime = modification(data)?.or(found.mtime),
        b"NM" => {
            let (flags, name) = data.split_first()?;
            // Flags 2 and 4 name the directory itself and its parent, which have no need of it.
            if flags & 6 == 0 {
                found.name.get_or_insert_default().extend_from_slice(name);
            }
        }
        b"SL" => target(data.get(1..)?, found, state)?,
        b"CL" => found.child = Some(number(data, 0)?),
        b"RE" => found.relocated = true,
        b"RR" | b"PL" => {}
        _ => return Some(false),
    }
    Some(true)
}

/// A device: major and minor number, or all of it in the lower half as the C library has it, which is what libisofs writes. Linux
/// takes the lower half for that, too, if it has more than a byte.
fn device(high: u32, low: u32) -> (u32, u32) {
    if high == 0 && low > 0xff { (low >> 8 & 0xfff, low & 0xff | low >> 12 & 0xf_ff00) } else { (high, low) }
}

/// The modification time in a TF entry, if it has one.
fn modification(data: &[u8]) -> Option<Option<i64>> {
    let (flags, times) = data.split_first()?;
    if flags & 2 == 0 {
        return Some(None);
    }
    let (before, long) = (usize::from(flags & 1), flags & 0x80 != 0);
    if long {
        let bytes = times.get(before * 17..before * 17 + 17)?;
        return Some(time::from_long(bytes));
    }
    let bytes = times.get(before * 7..before * 7 + 7)?;
    let mut short = [0; 7];
    short.copy_from_slice(bytes);
    Some(Some(time::from_short(short)))
}

/// The target that the components of one SL entry make; `None` if they are cut short.
pub(super) fn link(components: &[u8]) -> Option<Vec<u8>> {
    let mut found = Attributes::default();
    target(components, &mut found, &mut State::default())?;
    Some(found.target)
}

/// Adds the components of one SL entry to the target.
fn target(mut data: &[u8], found: &mut Attributes, state: &mut State) -> Option<()> {
    let target = &mut found.target;
    while let [flags, length, rest @ ..] = data {
        let (text, rest) = rest.split_at_checked(usize::from(*length))?;
        data = rest;
        if state.slash {
            target.push(b'/');
        }
        match flags & 0x0e {
            2 => target.extend_from_slice(b"."),
            4 => target.extend_from_slice(b".."),
            8 => target.push(b'/'),
            _ => target.extend_from_slice(text),
        }
        // A component that goes on in the next one has no slash behind it, nor has the root, which is one.
        state.slash = flags & 9 == 0;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_in_both_forms() {
        for (high, low, expected) in [
            (1, 3, (1, 3)),
            (259, 300_000, (259, 300_000)),
            (0, 7, (0, 7)),
            (0, 0x0803, (8, 3)),
            (0, 0x4930_05e0, (5, 300_000)),
            (0, u32::MAX, (4095, 1_048_575)),
        ] {
            assert_eq!(device(high, low), expected);
        }
    }
}
