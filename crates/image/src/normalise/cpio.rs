//! cpio archives. Inode and device numbers are those of the file system that was packed: they are counted anew.

use std::collections::BTreeMap;

use super::edit::Edit;
use super::{File, Left, Outcome, Rules, Times, left, sound, structures};
use crate::cpio;
use crate::detect::Format;

pub(super) fn run(file: &File<'_>, rules: &Rules) -> Result<Outcome, Left> {
    let mut edit = Edit::new(file.bytes);
    if file.format == Some(Format::OldCpio) {
        let parsed = sound(cpio::old_extents(&file.source()))?;
        for (at, header) in structures(&parsed, file.bytes, "cpio header") {
            old(&mut edit, (at, header), rules.times)?;
        }
        return edit.finish();
    }
    let parsed = sound(cpio::extents(&file.source()))?;
    let ends: Vec<usize> =
        structures(&parsed, file.bytes, "cpio trailer").iter().map(|(at, _)| *at).collect();
    // Names with the same numbers are one file, in each of several archives for itself.
    let mut numbers = BTreeMap::new();
    let mut counts = BTreeMap::new();
    for (at, header) in structures(&parsed, file.bytes, "cpio header") {
        let archive = ends.partition_point(|end| *end < at);
        let field = |from: usize| hexadecimal(at, header, from);
        let identity = (archive, field(6)?, field(62)?, field(70)?);
        let next = counts.entry(archive).or_insert(0_u32);
        let number = *numbers.entry(identity).or_insert_with(|| {
            *next += 1;
            *next - 1
        });
        for (from, new) in [(6, number), (62, 0), (70, 0)] {
            if field(from)? != new {
                edit.put(at + from, format!("{new:08X}").as_bytes(), "inode and device numbers");
            }
        }
        if let Some(seconds) = rules.times.of(field(46)?.into()) {
            edit.put(at + 46, format!("{seconds:08X}").as_bytes(), "time");
        }
    }
    edit.finish()
}

fn hexadecimal(at: usize, header: &[u8], from: usize) -> Result<u32, Left> {
    let digits = header.get(from..from + 8).and_then(|digits| std::str::from_utf8(digits).ok());
    match digits.map(|digits| u32::from_str_radix(digits, 16)) {
        Some(Ok(number)) => Ok(number),
        _ => left(format!("the header at {at:#x} shares its bytes with another")),
    }
}

/// A header of the formats before: the place of its time says which one it is.
fn old(edit: &mut Edit<'_>, (at, header): (usize, &[u8]), times: Times) -> Result<(), Left> {
    if header.starts_with(b"070707") {
        let digits = header.get(48..59).and_then(|digits| std::str::from_utf8(digits).ok());
        let Some(Ok(seconds)) = digits.map(|digits| i64::from_str_radix(digits, 8)) else {
            return left(format!("the header at {at:#x} has a time that is no number"));
        };
        if let Some(seconds) = times.of(seconds) {
            edit.put(at + 48, format!("{seconds:011o}").as_bytes(), "time");
        }
        return Ok(());
    }
    let big = header.first() == Some(&0x71);
    let Some([a, b, c, d]) = header.get(16..20) else {
        return left(format!("the header at {at:#x} shares its bytes with another"));
    };
    // Two numbers of two bytes, the upper one first.
    let seconds = if big { [*a, *b, *c, *d] } else { [*b, *a, *d, *c] };
    if let Some(seconds) = times.of(u32::from_be_bytes(seconds).into()) {
        let [a, b, c, d] = seconds.to_be_bytes();
        edit.put(at + 16, &if big { [a, b, c, d] } else { [b, a, d, c] }, "time");
    }
    Ok(())
}
