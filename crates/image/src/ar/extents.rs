//! Which byte of an archive is whose.

use super::names::{Names, Role};
use super::{HEADER, MAGIC, Members};
use crate::extent::{Container, Field, Parsed, Source, Structure, Unreadable, show};
use crate::io::wide;

const FORMAT: &str = "ar";

static SIGNATURE: Structure = Structure::plain("signature");
static HEAD: Structure = Structure { name: "member header", fields: header };
static NAME: Structure = Structure::plain("member name");
static SYMBOLS: Structure = Structure::plain("symbol table");
static NAMES: Structure = Structure::plain("long names");
static DATA: Structure = Structure::plain("data");
static PADDING: Structure = Structure::plain("padding");

/// The structure of an archive or package.
///
/// # Errors
/// If not even its first member can be read.
pub fn extents(source: &Source) -> Result<Parsed, Unreadable> {
    let mut archive = Container::new(FORMAT, source)?;
    let mut members = Members::of_any(source).map_err(|error| Unreadable::new(FORMAT, &error))?;
    let (mut any, mut names) = (false, Names::default());
    archive.claim_own(0, wide(MAGIC.len()), &SIGNATURE);
    loop {
        match members.next_of_any(&mut names) {
            Ok(Some(member)) => {
                any = true;
                let (start, size) = member.data;
                let name = match &member.role {
                    Role::File(name) => name,
                    Role::Symbols => SYMBOLS.name.as_bytes(),
                    Role::Names => NAMES.name.as_bytes(),
                };
                let owner = archive.owner(name);
                archive.claim(member.header_at, HEADER, &HEAD, owner);
                archive.claim(member.header_at + HEADER, member.name_len, &NAME, owner);
                match member.role {
                    Role::File(_) => {
                        let file = archive.file(owner);
                        archive.data(file, start, size, &DATA);
                    }
                    Role::Symbols => archive.part(SYMBOLS.name, start, size, &SYMBOLS),
                    Role::Names => archive.part(NAMES.name, start, size, &NAMES),
                }
                archive.claim(start + size, (member.name_len + size) % 2, &PADDING, owner);
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
