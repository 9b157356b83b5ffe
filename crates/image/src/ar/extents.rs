//! Which byte of an archive is whose.

use std::sync::Arc;

use super::{HEADER, MAGIC, Members};
use crate::extent::{
    Builder, Field, InRanges, Owner, Parsed, Paths, Ranges, Source, Structure, Unreadable, show,
};
use crate::io::{ReadAt, wide};

const FORMAT: &str = "ar";

static SIGNATURE: Structure = Structure::plain("signature");
static HEAD: Structure = Structure { name: "member header", fields: header };
static DATA: Structure = Structure::plain("data");
static PADDING: Structure = Structure::plain("padding");

/// The structure of an archive or package.
///
/// # Errors
/// If not even its first member can be read.
pub fn extents(source: &Source) -> Result<Parsed, Unreadable> {
    let size = source.size().map_err(|error| Unreadable::new(FORMAT, &error))?;
    let mut members = Members::new(source).map_err(|error| Unreadable::new(FORMAT, &error))?;
    let (mut builder, mut paths) = (Builder::new(size), Paths::default());
    let (mut files, mut faults) = (Vec::new(), Vec::new());
    builder.claim(0, wide(MAGIC.len()), &SIGNATURE, Owner::WHOLE);
    loop {
        match members.next_member() {
            Ok(Some(member)) => {
                let owner = paths.add(member.name.as_bytes());
                builder.claim(member.header_at, HEADER, &HEAD, owner);
                let number = [u32::try_from(files.len()).unwrap_or(u32::MAX)];
                builder.claim_encoded(member.start, member.size, &DATA, owner, &number);
                builder.claim(member.start + member.size, member.size % 2, &PADDING, owner);
                files.push(InRanges::file(owner, member.start, member.size));
            }
            Ok(None) => break,
            Err(error) => {
                let fault = Unreadable::new(FORMAT, &error);
                if files.is_empty() {
                    return Err(fault);
                }
                faults.push(fault);
                break;
            }
        }
    }
    let paths = Arc::new(paths);
    let map = builder.finish(Arc::clone(&paths));
    let members = Ranges { format: FORMAT, source: Arc::clone(source), paths, files };
    Ok(Parsed { format: FORMAT, map, members: Box::new(members), faults, held: 0 })
}

fn header(bytes: &[u8]) -> Vec<Field> {
    let places = [
        (0, 16, "name"),
        (16, 12, "mtime"),
        (28, 6, "uid"),
        (34, 6, "gid"),
        (40, 8, "mode"),
        (48, 10, "size"),
        (58, 2, "end"),
    ];
    places.map(|(at, len, name)| show(bytes, at, len, name)).into()
}
