//! PNG images (ISO/IEC 15948): when they were changed last, and what ImageMagick and others say of files they came from.

use super::date::{self, Found};
use super::edit::Edit;
use super::{File, Left, Outcome, Rules, Times, left, sound, structures};
use crate::epoch::{Civil, civil};
use crate::gpt::crc32;
use crate::png;

pub(super) fn run(file: &File<'_>, rules: &Rules) -> Result<Outcome, Left> {
    let parsed = sound(png::extents(&file.source()))?;
    let mut edit = Edit::new(file.bytes);
    for (at, head) in structures(&parsed, file.bytes, "chunk header") {
        let Some(([a, b, c, d], kind)) = head.split_first_chunk() else { continue };
        // The reader found the whole chunk.
        let len = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap_or(0);
        let data = file.bytes.get(at + 8..at + 8 + len).unwrap_or_default();
        let new = match kind {
            b"tIME" => time(data, rules.times),
            b"tEXt" | b"iTXt" | b"zTXt" => text((at, kind), data, rules.times)?,
            _ => None,
        };
        if let Some((from, new, what)) = new {
            let mut chunk = [kind, data].concat();
            let sum = file.bytes.get(at + 8 + len..at + 12 + len);
            if sum != Some(&crc32(&chunk).to_be_bytes()) {
                return left(format!("the checksum of the chunk at {at:#x} is wrong"));
            }
            chunk[4 + from..4 + from + new.len()].copy_from_slice(&new);
            edit.put(at + 4, &[&chunk[..], &crc32(&chunk).to_be_bytes()].concat(), what);
        }
    }
    edit.finish()
}

/// Where in the data what comes, and what that is.
type New = Option<(usize, Vec<u8>, &'static str)>;

fn time(data: &[u8], times: Times) -> New {
    let [high, low, month, day, hour, minute, second] = *data else { return None };
    let year = u16::from_be_bytes([high, low]);
    // What is no time at all becomes one.
    let seconds = Civil { year, month, day, hour, minute, second }.seconds().unwrap_or(i64::MAX);
    let Civil { year, month, day, hour, minute, second } = civil(times.of(seconds)?);
    let [high, low] = year.to_be_bytes();
    Some((0, vec![high, low, month, day, hour, minute, second], "time of the last change"))
}

fn text((at, kind): (usize, &[u8]), data: &[u8], times: Times) -> Result<New, Left> {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let key = &data[..end];
    if !key.starts_with(b"date:") && key != b"Creation Time" {
        return Ok(None);
    }
    let key = String::from_utf8_lossy(key);
    // Behind the keyword of an international text come two flags, a language and the keyword in that language.
    let start = match (kind, data.get(end + 1..)) {
        (b"tEXt", Some(_)) => Some(end + 1),
        (b"iTXt", Some([0, _, rest @ ..])) => {
            let mut ends = rest.iter().enumerate().filter(|(_, byte)| **byte == 0);
            ends.nth(1).map(|(second, _)| end + 3 + second + 1)
        }
        _ => None,
    };
    let Some(start) = start else { return left(format!("the text {key} at {at:#x} is packed")) };
    match date::whole(date::CREATION_TIME, &data[start..], times) {
        Some(Found::Late(new)) => Ok(Some((start, new, "date in a text"))),
        Some(Found::Good) => Ok(None),
        None => left(format!("the text {key} at {at:#x} is no date that is understood")),
    }
}
