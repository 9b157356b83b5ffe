//! Owners and attributes of each path. Inodes have numbers of entries in tables that many of them share: where such an entry
//! differs, this says whose it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::layout::wide;
use super::read::Inner;
use crate::extent::{Builder, Field, Map, Owner, Paths, Role, Structure};
use crate::io::ReadAt;

/// What all of it is called.
pub(super) static ALL: Structure = Structure::plain("owners and attributes by path");

static OF_PATH: Structure = Structure { name: "owner and attributes", fields };

/// Owners and attributes of `inodes`, as far as they can be read and `most` bytes hold them, and whose each is.
pub(super) fn resolve<R: ReadAt>(
    inner: &Inner<R>,
    inodes: &BTreeMap<u64, Owner>,
    paths: &Arc<Paths>,
    most: u64,
) -> (Vec<u8>, Map) {
    let (mut plain, mut places, mut sets) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (reference, owner) in inodes {
        // What cannot be read is told where it lies.
        let Ok(inode) = inner.inode(*reference) else { continue };
        let start = wide(plain.len());
        plain.extend(inode.meta.uid.to_le_bytes());
        plain.extend(inode.meta.gid.to_le_bytes());
        if let Some(set) = inode.xattr {
            plain.extend_from_slice(sets.entry(set).or_insert_with(|| attributes(inner, set)));
        }
        if wide(plain.len()) > most {
            plain.truncate(usize::try_from(start).unwrap_or(0));
            break;
        }
        places.push((start, wide(plain.len()) - start, *owner));
    }
    let mut builder = Builder::new(wide(plain.len()));
    for (start, len, owner) in places {
        builder.claim(start, len, &OF_PATH, owner);
    }
    (plain, builder.finish(Arc::clone(paths)))
}

/// The attributes of a set: lengths of name and value, name, value.
fn attributes<R: ReadAt>(inner: &Inner<R>, set: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in inner.xattrs(set).unwrap_or_default() {
        // Names have at most 255 bytes, values 64 KiB.
        let lengths = [name.len(), value.len()].map(|len| u32::try_from(len).unwrap_or(u32::MAX));
        lengths.iter().for_each(|len| bytes.extend(len.to_le_bytes()));
        bytes.extend_from_slice(&name);
        bytes.extend_from_slice(&value);
    }
    bytes
}

fn fields(bytes: &[u8]) -> Vec<Field> {
    let number = |at: usize| bytes.get(at..)?.first_chunk().map(|raw| u32::from_le_bytes(*raw));
    let field = |at: usize, len: usize, name: String, value: String| Field {
        at: wide(at),
        len: wide(len),
        name: name.into(),
        value,
        role: Role::Value,
    };
    let mut all = Vec::new();
    for (at, name) in [(0, "uid"), (4, "gid")] {
        all.extend(number(at).map(|id| field(at, 4, name.to_owned(), id.to_string())));
    }
    let mut at = 8;
    let next = |at: usize| {
        let (name, value) = (usize::try_from(number(at)?).ok()?, usize::try_from(number(at + 4)?).ok()?);
        let start = at + 8;
        let (name, value) = bytes.get(start..)?.get(..name.checked_add(value)?)?.split_at(name);
        Some((name, value, start + name.len() + value.len()))
    };
    while let Some((name, value, end)) = next(at) {
        let value = crate::raw::show_bytes(value);
        all.push(field(at, end - at, name.escape_ascii().to_string(), value));
        at = end;
    }
    all
}
