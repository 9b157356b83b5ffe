//! An archive put together from the parts of another, in another order or with other contents.

use std::collections::BTreeMap;

use super::super::{Left, left};
use super::{part, place, shown};
use crate::io::wide;
use crate::zip::{Listed, Listing, number};

/// What an entry is to hold, packed, and what the headers say of it.
pub(super) struct Content {
    pub(super) packed: Vec<u8>,
    pub(super) plain: u64,
    pub(super) sum: u32,
}

/// What an archive is to be.
pub(super) struct Plan {
    /// Numbers of entries, each at most once.
    pub(super) order: Vec<usize>,
    /// New contents of some of them.
    pub(super) contents: BTreeMap<usize, Content>,
}

impl Plan {
    /// Whether it is another archive than that.
    pub(super) fn changes(&self, listing: &Listing) -> bool {
        !self.contents.is_empty() || !self.order.iter().copied().eq(0..listing.entries.len())
    }
}

/// Puts the archive together whose `bytes`, with all headers as they are to be, lie as the listing says, behind each other.
pub(super) fn rewrite(bytes: &[u8], listing: &Listing, plan: &Plan) -> Result<Vec<u8>, Left> {
    let first = listing.entries.iter().map(|entry| entry.local.0).min().unwrap_or(listing.directory.0);
    let mut out = part(bytes, (0, first)).to_vec();
    let mut directory = Vec::new();
    for index in &plan.order {
        let (entry, content) = (&listing.entries[*index], plan.contents.get(index));
        let at = wide(out.len()).wrapping_sub(listing.base);
        let mut local = part(bytes, entry.local).to_vec();
        let mut central = part(bytes, entry.central).to_vec();
        let mut descriptor = part(bytes, (entry.data.0 + entry.data.1, entry.descriptor)).to_vec();
        if let Some(content) = content {
            describe(&mut local, &mut central, &mut descriptor, content, entry)?;
        }
        if !set(&mut central, (42, 4), at) && !set_in_extra(&mut central, at) {
            return left(format!("the entry {} has no room for another place", shown(entry)));
        }
        out.extend(local);
        out.extend_from_slice(content.map_or_else(|| part(bytes, entry.data), |content| &content.packed[..]));
        out.extend(descriptor);
        directory.extend(central);
    }
    let start = wide(out.len());
    let (len, count) = (wide(directory.len()), wide(plan.order.len()));
    out.extend(directory);
    let mut end = bytes.get(place(listing.directory.1)..).unwrap_or_default().to_vec();
    let at = |from: u64| place(from - listing.directory.1);
    let offset = start.wrapping_sub(listing.base);
    if let Some((from, record_len)) = listing.record_64 {
        let record = at(from);
        for (field, value) in [(24, count), (32, count), (40, len), (48, offset)] {
            set(&mut end[record..], (field, 8), value);
        }
        let moved = wide(out.len()).wrapping_sub(listing.base);
        set(&mut end[record + place(record_len)..], (8, 8), moved);
    }
    let record = at(listing.record.0);
    for (field, value) in [((8, 2), count), ((10, 2), count), ((12, 4), len), ((16, 4), offset)] {
        if !set(&mut end[record..], field, value) && listing.record_64.is_none() {
            return left("its end record has no room for another place");
        }
    }
    out.extend(end);
    Ok(out)
}

/// Writes into the headers what an entry holds now.
fn describe(
    local: &mut [u8],
    central: &mut [u8],
    descriptor: &mut [u8],
    content: &Content,
    entry: &Listed,
) -> Result<(), Left> {
    let lengths = [wide(content.packed.len()), content.plain];
    let mut fits = true;
    let mut both = |header: &mut [u8], at: usize, width: usize| {
        // Any bits may be a checksum.
        let sum = header.get_mut(at..at + 4).map(|field| field.copy_from_slice(&content.sum.to_le_bytes()));
        fits &= sum.is_some() && set(header, (at + 4, width), lengths[0]);
        fits &= set(header, (at + 4 + width, width), lengths[1]);
    };
    both(central, 16, 4);
    // Where they follow on the data, the local header has zeros.
    if !entry.described || local.get(14..26).is_some_and(|fields| fields.iter().any(|byte| *byte != 0)) {
        both(local, 14, 4);
    }
    match descriptor.len() {
        0 => {}
        12 => both(descriptor, 0, 4),
        16 => both(descriptor, 4, 4),
        20 => both(descriptor, 0, 8),
        _ => both(descriptor, 4, 8),
    }
    if fits { Ok(()) } else { left(format!("the entry {} has no room for other lengths", shown(entry))) }
}

/// Writes a number; not where all bits are set, which says that it is elsewhere, nor where it does not fit.
fn set(bytes: &mut [u8], (at, width): (usize, usize), value: u64) -> bool {
    let Some(field) = bytes.get_mut(at..at + width) else { return false };
    let elsewhere = width < 8 && field.iter().all(|byte| *byte == 0xff);
    let raw = value.to_le_bytes();
    if elsewhere || raw[width..].iter().any(|byte| *byte != 0) {
        return false;
    }
    field.copy_from_slice(&raw[..width]);
    true
}

/// Writes the place of the local header into the field of zip64, where it comes behind those of the lengths that are there.
fn set_in_extra(central: &mut [u8], at: u64) -> bool {
    let before = [24, 20].iter().filter(|field| number(central, **field, 4) == u64::from(u32::MAX)).count();
    let start = 46 + usize::from(crate::zip::short(central, 28));
    let len = usize::from(crate::zip::short(central, 30));
    let extra = central.get(start..start + len).unwrap_or_default();
    let found = crate::zip::extras(extra).find(|(id, ..)| *id == 1);
    let Some((_, from, data)) = found.filter(|(_, _, data)| data.len() >= 8 * (before + 1)) else {
        return false;
    };
    debug_assert!(data.len() <= len);
    set(central, (start + from + 8 * before, 8), at)
}
