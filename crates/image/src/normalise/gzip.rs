//! gzip files (RFC 1952), each of their members: what `gzip -n` leaves out, and the time.

use super::edit::{Edit, FOLLOWS};
use super::{File, Left, Outcome, Rules, left, sound};
use crate::codec;
use crate::extent::{Field, Room};

/// Plain bytes that are gone through to find where a member ends.
const MOST_PLAIN: u64 = 64 << 30;

/// Flags: the header has a checksum, a name.
const CHECKED: u8 = 2;
const NAMED: u8 = 8;

pub(super) fn run(file: &File<'_>, rules: &Rules) -> Result<Outcome, Left> {
    let parsed = sound(codec::extents(&file.source(), &Room::new(MOST_PLAIN, 0)))?;
    let mut edit = Edit::new(file.bytes);
    let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
    for extent in parsed.map.extents() {
        match extent.structure.name {
            "gzip header" => {
                let start = place(extent.start);
                let bytes = file.bytes.get(start..place(extent.end())).unwrap_or_default();
                header(&mut edit, (start, bytes), &(extent.structure.fields)(bytes), rules)?;
            }
            "deflate data" | "gzip trailer" | "padding behind the stream" => {}
            other => return left(format!("there is {other} at {:#x}", extent.start)),
        }
    }
    edit.finish()
}

fn header(
    edit: &mut Edit<'_>,
    (start, bytes): (usize, &[u8]),
    fields: &[Field],
    rules: &Rules,
) -> Result<(), Left> {
    let [_, _, _, flags, a, b, c, d, ..] = bytes else {
        return left(format!("the header at {start:#x} is not whole"));
    };
    let mtime = u32::from_le_bytes([*a, *b, *c, *d]);
    // 0 says that there is none.
    if mtime != 0
        && let Some(seconds) = rules.times.of(mtime.into())
    {
        edit.put(start + 4, &seconds.to_le_bytes(), "time");
    }
    edit.put(start + 3, &[flags & !(NAMED | CHECKED)], FOLLOWS);
    for (flag, name, what) in
        [(NAMED, "name", "file name"), (CHECKED, "header checksum", "checksum of the header")]
    {
        if flags & flag == 0 {
            continue;
        }
        let Some(field) = fields.iter().find(|field| field.name == name) else {
            return left(format!("the header at {start:#x} is longer than is looked at"));
        };
        let at = start + usize::try_from(field.at).unwrap_or(0);
        edit.replace((at, at + usize::try_from(field.len).unwrap_or(0)), Vec::new(), what);
    }
    Ok(())
}
