//! Images for U-Boot. Source of the layout: `struct legacy_img_hdr` in `include/image.h` of U-Boot.

use super::edit::{Edit, FOLLOWS};
use super::{File, Left, Outcome, Rules, left};
use crate::gpt::crc32;

pub(super) const MAGIC: [u8; 4] = [0x27, 0x05, 0x19, 0x56];

pub(super) fn run(file: &File<'_>, rules: &Rules) -> Result<Outcome, Left> {
    let Some(mut header) = file.bytes.first_chunk::<64>().copied() else {
        return left("the file ends inside its header");
    };
    let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (sum, time) = (number(4), number(8));
    // It is of the header with zeros in its own place.
    header[4..8].fill(0);
    if crc32(&header) != sum {
        return left("the checksum of its header is wrong");
    }
    let mut edit = Edit::new(file.bytes);
    if let Some(seconds) = rules.times.of(time.into()) {
        header[8..12].copy_from_slice(&seconds.to_be_bytes());
        let sum = crc32(&header);
        edit.put(8, &seconds.to_be_bytes(), "time");
        edit.put(4, &sum.to_be_bytes(), FOLLOWS);
    }
    edit.finish()
}
