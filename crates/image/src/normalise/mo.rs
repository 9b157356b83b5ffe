//! Message catalogs of gettext: dates in the header, which programs do not read.

use super::date::{self, Found};
use super::edit::Edit;
use super::{File, Left, Outcome, Rules, sound};
use crate::mo;

const KEYS: [&[u8]; 2] = [b"POT-Creation-Date: ", b"PO-Revision-Date: "];

pub(super) fn run(file: &File<'_>, rules: &Rules) -> Result<Outcome, Left> {
    let parsed = sound(mo::extents(&file.source()))?;
    let mut edit = Edit::new(file.bytes);
    let extents = parsed.map.extents();
    // A text may have the same words as the header has for a name. The header's own original is empty.
    let words = |owner| {
        extents.iter().any(|one| one.owner == owner && one.structure.name == "original" && one.len > 1)
    };
    for extent in extents.iter().filter(|one| one.structure.name == "translation") {
        if parsed.map.path(extent.owner) != b"(header)" || words(extent.owner) {
            continue;
        }
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let mut at = place(extent.start);
        for line in
            file.bytes.get(at..place(extent.end())).unwrap_or_default().split_inclusive(|byte| *byte == b'\n')
        {
            for key in KEYS {
                let value = line.strip_prefix(key).map(<[u8]>::trim_ascii_end).unwrap_or_default();
                // People wrote it: an earlier one stays.
                if let Some(Found::Late(new)) = date::whole(date::PO, value, rules.times.clamping()) {
                    edit.put(at + key.len(), &new, "date");
                }
            }
            at += line.len();
        }
    }
    edit.finish()
}
