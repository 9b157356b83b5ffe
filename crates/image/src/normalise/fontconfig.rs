//! Caches of fontconfig: they hold for a directory with this time, which an image gives it (`FcCacheTimeValid` in `src/fccache.c`).

use super::edit::Edit;
use super::{File, Left, Outcome, Rules, left, sound};
use crate::extent::Field;
use crate::fontconfig;

pub(super) fn run(file: &File<'_>, rules: &Rules) -> Result<Outcome, Left> {
    let parsed = sound(fontconfig::extents(&file.source()))?;
    let mut edit = Edit::new(file.bytes);
    let Some(header) = parsed.map.extents().first() else { return left("it is empty") };
    let len = usize::try_from(header.len).unwrap_or(0);
    let bytes = file.bytes.get(..len).unwrap_or_default();
    let fields = (header.structure.fields)(bytes);
    let place = |name: &str| {
        let field = fields.iter().find(|field: &&Field| field.name == name)?;
        Some((usize::try_from(field.at).ok()?, usize::try_from(field.len).ok()?))
    };
    let Some((at, 4)) = place("checksum") else { return left("its header has no time") };
    // The machine's own order of bytes, as in the signature.
    let big = bytes[0] == 0xfc;
    let raw = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    let seconds = if big { i32::from_be_bytes(raw) } else { i32::from_le_bytes(raw) };
    // It must stay what the directory has: an earlier time is none of ours.
    if let Some(seconds) = rules.times.clamping().of(seconds.into()) {
        edit.put(
            at,
            &if big { seconds.to_be_bytes() } else { seconds.to_le_bytes() },
            "time of the directory",
        );
        if let Some((at, len)) = place("checksum_nano") {
            edit.put(at, &vec![0; len], "time of the directory");
        }
    }
    edit.finish()
}
