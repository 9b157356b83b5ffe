//! Which byte of a file is whose.

use crate::extent::{Container, Field, Parsed, Role, Source, Structure, Unreadable, dated, show};

const FORMAT: &str = "pyc";
const HEADER_LEN: u64 = 16;

static HEADER: Structure = Structure { name: "header of compiled Python", fields: header };
static CODE: Structure = Structure::plain("marshalled code");

/// The structure of compiled Python.
///
/// # Errors
/// If the length of the file cannot be found out.
pub fn extents(source: &Source) -> Result<Parsed, Unreadable> {
    let mut found = Container::new(FORMAT, source)?;
    found.claim_own(0, HEADER_LEN, &HEADER);
    found.claim_own(HEADER_LEN, found.size().saturating_sub(HEADER_LEN), &CODE);
    Ok(found.finish())
}

fn header(bytes: &[u8]) -> Vec<Field> {
    let mut all = vec![show(bytes, 0, 4, "magic"), show(bytes, 4, 4, "flags")];
    let number = |at: usize| {
        let raw = bytes.get(at..)?.first_chunk()?;
        Some(u32::from_le_bytes(*raw))
    };
    // The lowest flag: the source is known by its hash, not by time and length.
    if number(4).is_some_and(|flags| flags & 1 != 0) {
        let mut hash = show(bytes, 8, 8, "hash of the source");
        hash.role = Role::Checksum;
        all.push(hash);
        return all;
    }
    let mut mtime = show(bytes, 8, 4, "mtime");
    if let Some(seconds) = number(8) {
        mtime.value = seconds.to_string();
        dated(&mut mtime);
    }
    let mut size = show(bytes, 12, 4, "size of the source");
    if let Some(length) = number(12) {
        size.value = length.to_string();
    }
    all.extend([mtime, size]);
    all
}
