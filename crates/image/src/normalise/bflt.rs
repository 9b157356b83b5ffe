//! Flat binaries of uClinux. Source of the layout: `struct flat_hdr` in `include/linux/flat.h` of Linux.

use super::edit::Edit;
use super::{File, Left, Outcome, Rules, left};

pub(super) fn run(file: &File<'_>, rules: &Rules) -> Result<Outcome, Left> {
    let mut edit = Edit::new(file.bytes);
    let field = |at: usize| file.bytes.get(at..)?.first_chunk().copied().map(u32::from_be_bytes);
    // Ten fields of four bytes are in front of the date.
    match (field(4), field(40)) {
        (Some(4), Some(date)) => {
            if let Some(seconds) = rules.times.of(date.into()) {
                edit.put(40, &seconds.to_be_bytes(), "date of the build");
            }
        }
        // They had no date before that.
        (Some(0..4), _) => {}
        (Some(4) | None, _) => return left("the file ends inside its header"),
        (Some(version), _) => return left(format!("version {version} of flat binaries is not known")),
    }
    edit.finish()
}
