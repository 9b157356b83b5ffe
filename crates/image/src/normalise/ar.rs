//! ar archives, also thin ones: what `ar D` of binutils would have written.

use super::edit::Edit;
use super::{File, Left, Outcome, Rules, left, sound, structures};
use crate::ar;
use crate::detect::Format;

pub(super) fn run(file: &File<'_>, rules: &Rules) -> Result<Outcome, Left> {
    if file.format == Some(Format::Deb) {
        return left("it is a Debian package, whose digest is signed elsewhere");
    }
    let parsed = sound(ar::extents(&file.source()))?;
    let mut edit = Edit::new(file.bytes);
    for (at, header) in structures(&parsed, file.bytes, "member header") {
        let name = header[..16.min(header.len())].trim_ascii_end();
        // Names of other members: their header has nothing but a size.
        if name != b"//" {
            member(&mut edit, (at, header), name, rules)?;
        }
    }
    edit.finish()
}

fn member(edit: &mut Edit<'_>, (at, header): (usize, &[u8]), name: &[u8], rules: &Rules) -> Result<(), Left> {
    let number = |from: usize, to: usize, radix: u32| {
        let text = header.get(from..to).map(<[u8]>::trim_ascii_end)?;
        if text.is_empty() {
            return Some(None);
        }
        let digits = std::str::from_utf8(text).ok().filter(|text| !text.starts_with('+'))?;
        i64::from_str_radix(digits, radix).ok().map(Some)
    };
    let (Some(date), Some(mode)) = (number(16, 28, 10), number(40, 48, 8)) else {
        return left(format!("the member header at {at:#x} has a time or mode that is no number"));
    };
    if let Some(seconds) = date.and_then(|date| rules.times.of(date)) {
        edit.put(at + 16, format!("{seconds:<12}").as_bytes(), "time");
    }
    edit.put(at + 28, b"0     0     ", "owner");
    // Tables of symbols have 0 or what the program likes, whoever runs it.
    if let Some(mode) = mode.filter(|_| !matches!(name, b"/" | b"/SYM64/")) {
        let mode: &[u8; 8] = if mode & 0o100 != 0 { b"755     " } else { b"644     " };
        edit.put(at + 40, mode, "permissions");
    }
    Ok(())
}
