//! The order of entries, where nothing depends on it: it is that in which a file system listed a directory.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::super::Done;
use super::{Kind, part};
use crate::zip::{Listed, Listing, extras, short};

/// Whether entries may change their places: each name is there once, they lie behind each other and directly in front of the
/// central directory, and none is aligned.
pub(super) fn may_change(listing: &Listing, bytes: &[u8]) -> bool {
    let names: BTreeSet<&[u8]> = listing.entries.iter().map(|entry| &*entry.name).collect();
    let mut places: Vec<&Listed> = listing.entries.iter().collect();
    places.sort_by_key(|entry| entry.local);
    let first = places.first().map_or(listing.directory.0, |entry| entry.local.0);
    let end = places.iter().try_fold(first, |at, entry| (entry.local.0 == at).then(|| entry.end()));
    let entries: u64 = listing.entries.iter().map(|entry| entry.central.1).sum();
    let (start, behind) = listing.directory;
    // The locator of 20 bytes lies between both end records.
    let record_64 = listing.record_64.unwrap_or((behind, 0));
    let records = if listing.record_64.is_some() { record_64.0 + record_64.1 + 20 } else { behind };
    names.len() == listing.entries.len()
        && end == Some(start)
        && start + entries == behind
        && record_64.0 == behind
        && records == listing.record.0
        && !listing.entries.iter().any(|entry| is_aligned(part(bytes, entry.local)))
}

/// Whether a local header has a field that moves the data behind it to a multiple of something: one of Android, or bytes that are no
/// field at all.
fn is_aligned(local: &[u8]) -> bool {
    let extra = local.get(30 + usize::from(short(local, 26))..).unwrap_or_default();
    let mut end = 0;
    let android = extras(extra).any(|(id, start, data)| {
        end = start + data.len();
        matches!(id, 0xd935 | 0xa11e)
    });
    android || end != extra.len()
}

/// The entries that stay, in the order that they are to have.
pub(super) fn order(listing: &Listing, kind: Kind, done: &mut Done) -> Vec<usize> {
    let name = |index: &usize| &*listing.entries[*index].name;
    let mut order: Vec<usize> = (0..listing.entries.len()).collect();
    if kind == Kind::Java {
        order.retain(|index| !is_leftover(name(index)));
        let gone = listing.entries.len() - order.len();
        if gone > 0 {
            *done.entry("leftover of the compiler").or_default() += crate::io::wide(gone);
        }
    }
    let before = order.clone();
    // Its place is what says that a file is an EPUB or an OpenDocument.
    let first = usize::from(order.first().is_some_and(|index| name(index) == b"mimetype"));
    order[first..].sort_by(|a, b| compare(kind, name(a), name(b)));
    if order != before {
        *done.entry("order of entries").or_default() += 1;
    }
    order
}

/// Readers of JAR files look for the manifest in the first two entries.
fn compare(kind: Kind, a: &[u8], b: &[u8]) -> Ordering {
    let rank = |name: &[u8]| match name {
        b"META-INF/" if kind == Kind::Java => 0,
        b"META-INF/MANIFEST.MF" if kind == Kind::Java => 1,
        _ => 2,
    };
    rank(a).cmp(&rank(b)).then_with(|| a.cmp(b))
}

/// Whether it is a file that the Java compiler of Plexus (of Maven) was called with, under a name by chance, or a script that
/// it leaves behind.
fn is_leftover(name: &[u8]) -> bool {
    let base = name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let number = base
        .strip_prefix(b"org.codehaus.plexus.compiler.javac.JavacCompiler")
        .and_then(|rest| rest.strip_suffix(b"arguments"));
    name == b"javac.sh" || number.is_some_and(|number| number.iter().all(u8::is_ascii_digit))
}
