//! Compiled Python (PEP 552): the time that its source must have.
//!
//! Python compiles again if it has another, so an earlier one never becomes the epoch: an image clamps the source in the same way.

use super::edit::Edit;
use super::{File, Left, Outcome, Rules};

pub(super) fn run(file: &File<'_>, rules: &Rules) -> Result<Outcome, Left> {
    let mut edit = Edit::new(file.bytes);
    // By the lowest flag, the source is known by its hash.
    if let Some([_, _, _, _, flags, _, _, _, a, b, c, d, ..]) = file.bytes.get(..)
        && flags & 1 == 0
        && let Some(seconds) = rules.times.clamping().of(u32::from_le_bytes([*a, *b, *c, *d]).into())
    {
        edit.put(8, &seconds.to_le_bytes(), "time of the source");
    }
    edit.finish()
}
