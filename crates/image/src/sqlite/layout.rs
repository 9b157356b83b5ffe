//! The structures as they lie in the file, all big-endian.

use zerocopy::byteorder::{BE, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::extent::{Field, Role, Structure, fields_of, show};
use crate::io::wide;
use crate::raw::show_bytes;

/// Bytes in front of the first page's tree.
pub(super) const HEADER_LEN: usize = 100;
/// First byte of the page that locks are on, and nothing else (section 1.4).
pub(super) const LOCK_BYTE: u64 = 0x4000_0000;

// Kinds of pages (section 1.6).
pub(super) const INTERIOR_INDEX: u8 = 2;
pub(super) const INTERIOR_TABLE: u8 = 5;
pub(super) const LEAF_INDEX: u8 = 10;
pub(super) const LEAF_TABLE: u8 = 13;

/// Section 1.3.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawHeader {
    pub(super) signature: [u8; 16],
    pub(super) page_size: U16<BE>,
    pub(super) write_version: u8,
    pub(super) read_version: u8,
    pub(super) reserved_per_page: u8,
    pub(super) payload_fractions: [u8; 3],
    pub(super) file_change_counter: U32<BE>,
    pub(super) pages: U32<BE>,
    pub(super) first_freelist_page: U32<BE>,
    pub(super) freelist_pages: U32<BE>,
    pub(super) schema_cookie: U32<BE>,
    pub(super) schema_format: U32<BE>,
    pub(super) cache_size: U32<BE>,
    pub(super) largest_root: U32<BE>,
    pub(super) text_encoding: U32<BE>,
    pub(super) user_version: U32<BE>,
    pub(super) incremental_vacuum: U32<BE>,
    pub(super) application_id: U32<BE>,
    pub(super) reserved: [u8; 20],
    pub(super) version_valid_for: U32<BE>,
    pub(super) sqlite_version_number: U32<BE>,
}

#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawPage {
    kind: u8,
    first_free: U16<BE>,
    cells: U16<BE>,
    content: U16<BE>,
    fragments: u8,
}

const _: () = assert!(size_of::<RawHeader>() == HEADER_LEN && size_of::<RawPage>() == 8);

pub(super) static HEADER: Structure = Structure { name: "database header", fields: header };
/// The tree of the first page.
pub(super) static SCHEMA: Structure = Structure { name: "page of the schema", fields: page::<HEADER_LEN> };
pub(super) static TABLE: Structure = Structure { name: "page of rows", fields: page::<0> };
pub(super) static INDEX: Structure = Structure { name: "page of an index", fields: page::<0> };
pub(super) static TABLE_NODE: Structure = Structure { name: "inner page of a table", fields: page::<0> };
pub(super) static INDEX_NODE: Structure = Structure { name: "inner page of an index", fields: page::<0> };

/// The big-endian number of two bytes at `at`.
fn short(bytes: &[u8], at: usize) -> Option<usize> {
    let pair = bytes.get(at..at.checked_add(2)?)?;
    Some(usize::from(u16::from_be_bytes([pair[0], pair[1]])))
}

pub(super) fn long(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_be_bytes(*word))
}

/// A number of one to nine bytes, and where it ends.
pub(super) fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (index, byte) in bytes.get(at..)?.iter().take(9).enumerate() {
        let next = at + index + 1;
        if index == 8 {
            return Some((value << 8 | u64::from(*byte), next));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, next));
        }
    }
    None
}

/// A cell of a page.
pub(super) struct Cell {
    pub(super) start: usize,
    pub(super) end: usize,
    /// The page below it.
    pub(super) child: Option<u32>,
    pub(super) row: Option<u64>,
    /// What the page has of its content.
    pub(super) payload: std::ops::Range<usize>,
    /// The first page of the rest.
    pub(super) overflow: Option<u32>,
}

/// The cell at `at` of a page of some kind, of which `usable` bytes are in use (section 1.6).
fn cell(page: &[u8], kind: u8, at: usize, usable: usize) -> Option<Cell> {
    let interior = matches!(kind, INTERIOR_INDEX | INTERIOR_TABLE);
    let child = if interior { Some(long(page, at)?) } else { None };
    let mut end = if interior { at + 4 } else { at };
    if kind == INTERIOR_TABLE {
        let (row, end) = varint(page, end)?;
        return Some(Cell { start: at, end, child, row: Some(row), payload: end..end, overflow: None });
    }
    let (total, next) = varint(page, end)?;
    end = next;
    let mut row = None;
    if kind == LEAF_TABLE {
        let (number, next) = varint(page, end)?;
        (row, end) = (Some(number), next);
    }
    let room = usable.checked_sub(35)?;
    let most = if kind == LEAF_TABLE { room } else { ((usable - 12) * 64 / 255).checked_sub(23)? };
    let least = ((usable - 12) * 32 / 255).checked_sub(23)?;
    let total = usize::try_from(total).ok()?;
    let (local, spills) = match total {
        total if total <= most => (total, false),
        total => {
            let some = least + (total - least) % (usable - 4);
            (if some <= most { some } else { least }, true)
        }
    };
    let stop = end.checked_add(local).filter(|stop| *stop <= page.len())?;
    let overflow = if spills { Some(long(page, stop)?) } else { None };
    let last = if spills { stop + 4 } else { stop };
    Some(Cell { start: at, end: last, child, row, payload: end..stop, overflow })
}

/// Kind of a page whose tree begins at `base`, and its cells, as far as they can be cells.
pub(super) fn cells(page: &[u8], base: usize, usable: usize) -> (u8, Vec<Cell>) {
    let kind = page.get(base).copied().unwrap_or(0);
    let first = base + if matches!(kind, INTERIOR_INDEX | INTERIOR_TABLE) { 12 } else { 8 };
    let count = short(page, base + 3).unwrap_or(0);
    let one = |number: usize| cell(page, kind, short(page, first + 2 * number)?, usable);
    // No cell is shorter than its place in the list.
    (kind, (0..count.min(page.len() / 4)).filter_map(one).collect())
}

fn header(bytes: &[u8]) -> Vec<Field> {
    fields_of!(
        bytes,
        0,
        RawHeader {
            signature,
            page_size,
            write_version,
            read_version,
            reserved_per_page,
            payload_fractions,
            file_change_counter,
            pages Place,
            first_freelist_page Place,
            freelist_pages Place,
            schema_cookie,
            schema_format,
            cache_size,
            largest_root Place,
            text_encoding,
            user_version,
            incremental_vacuum,
            application_id,
            reserved,
            version_valid_for,
            sqlite_version_number,
        }
    )
}

/// The fields of a page of which `BASE` bytes in front belong to something else.
fn page<const BASE: usize>(bytes: &[u8]) -> Vec<Field> {
    let mut all =
        fields_of!(bytes, 0, RawPage { kind, first_free Place, cells Place, content Place, fragments Place });
    let page = [&[0; BASE], bytes].concat();
    let (kind, cells) = cells(&page, BASE, page.len());
    if matches!(kind, INTERIOR_INDEX | INTERIOR_TABLE) && bytes.len() >= 12 {
        let mut right = show(bytes, 8, 4, "last page below");
        right.role = Role::Place;
        all.push(right);
    }
    // Cells of a damaged page could all be the whole page.
    let mut left = page.len();
    for (number, cell) in (1..).zip(&cells) {
        let Some(less) = left.checked_sub(cell.end - cell.start) else { break };
        left = less;
        let Some(start) = cell.start.checked_sub(BASE) else { continue };
        let name = match cell.row {
            Some(row) => format!("row {row}"),
            None => format!("entry {number}"),
        };
        let mut value = show_bytes(&page[cell.payload.clone()]);
        for (what, number) in [("page below", cell.child), ("continued on page", cell.overflow)] {
            if let Some(number) = number {
                value += &format!(" {what} {number}");
            }
        }
        let len = wide(cell.end - cell.start);
        all.push(Field { at: wide(start), len, name: name.into(), value, role: Role::Value });
    }
    all
}
