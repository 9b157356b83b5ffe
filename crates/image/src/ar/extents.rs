//! Which byte of an archive is whose.

use super::{HEADER, MAGIC, Members};
use crate::extent::{Container, Field, Parsed, Source, Structure, Unreadable, show};
use crate::io::wide;

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
    let mut archive = Container::new(FORMAT, source)?;
    let mut members = Members::new(source).map_err(|error| Unreadable::new(FORMAT, &error))?;
    let mut any = false;
    archive.claim_own(0, wide(MAGIC.len()), &SIGNATURE);
    loop {
        match members.next_member() {
            Ok(Some(member)) => {
                any = true;
                let owner = archive.owner(member.name.as_bytes());
                archive.claim(member.header_at, HEADER, &HEAD, owner);
                let file = archive.file(owner);
                archive.data(file, member.start, member.size, &DATA);
                archive.claim(member.start + member.size, member.size % 2, &PADDING, owner);
            }
            Ok(None) => break,
            Err(error) if !any => return Err(Unreadable::new(FORMAT, &error)),
            Err(error) => {
                archive.note(&error);
                break;
            }
        }
    }
    Ok(archive.finish())
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
