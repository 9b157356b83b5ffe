//! What holds of the structure of any file, whatever its format and however damaged.

use std::sync::Arc;

use selfsame_image::extent::{Map, Parsed, Room, Source, Unreadable};
use selfsame_image::tree::{Item, Tree};

/// Bytes that are read of a structure or file inside: enough for every reader to begin.
const PART: u64 = 64 << 10;
/// Structures and files inside that are looked at.
const MOST: usize = 256;

/// Room for a MiB of plain bytes, and memory for as many.
pub(crate) fn room() -> Room {
    Room::new(1 << 20, 1 << 20)
}

pub(crate) fn source(bytes: &[u8]) -> Source {
    Arc::new(bytes.to_vec())
}

/// Reads the structure of `bytes`, and looks at all it says.
pub(crate) fn structure(bytes: &[u8], read: impl FnOnce(&Source, &Room) -> Result<Parsed, Unreadable>) {
    let Ok(parsed) = read(&source(bytes), &room()) else { return };
    each_byte_has_one_owner(&parsed.map, bytes);
    fields_lie_inside(&parsed.map, bytes);
    files_inside_are_read(&parsed);
}

pub(crate) fn each_byte_has_one_owner(map: &Map, bytes: &[u8]) {
    let mut at = 0;
    for extent in map.extents() {
        assert_eq!(extent.start, at, "{} follows without a gap", extent.structure.name);
        assert!(extent.len > 0, "{} has bytes", extent.structure.name);
        let _path = map.path(extent.owner);
        at = extent.end();
    }
    assert_eq!(at, len(bytes), "the last structure ends with the file");
}

fn fields_lie_inside(map: &Map, bytes: &[u8]) {
    let mut left = 4 * PART;
    for extent in map.extents().iter().filter(|extent| extent.len <= PART).take(4 * MOST) {
        let Some(rest) = left.checked_sub(extent.len) else { return };
        left = rest;
        let range = index(extent.start)..index(extent.end());
        for field in (extent.structure.fields)(&bytes[range]) {
            let end = field.at.checked_add(field.len);
            assert!(
                end.is_some_and(|end| end <= extent.len),
                "field {} of {}: {}+{} of {}",
                field.name,
                extent.structure.name,
                field.at,
                field.len,
                extent.len
            );
        }
    }
}

fn files_inside_are_read(parsed: &Parsed) {
    let mut buffer = Vec::new();
    for member in (0..parsed.members.count()).take(MOST) {
        let _label = parsed.members.label(member);
        let _pieces = parsed.members.pieces(member);
        let Ok(found) = parsed.members.open(member) else { continue };
        let Ok(size) = found.source.size() else { continue };
        // The beginning and the end: a file may be of any length, and hold almost nothing.
        for at in [0, size.saturating_sub(PART)] {
            buffer.resize(index((size - at).min(PART)), 0);
            let _read = found.source.read_exact_at(&mut buffer, at);
        }
        let zeros = found.source.zeros_until(0);
        assert!(zeros <= size, "zeros are known up to {zeros} of {size}");
    }
}

/// Walks through a tree and looks at every name.
pub(crate) fn walk<C>(tree: &Tree<C>) {
    let counts = tree.link_counts();
    assert_eq!(counts.len(), tree.leaves().len(), "each leaf is counted");
    let walked = tree.walk(|path, entry| {
        assert!(!path.starts_with(b"/") && !path.contains(&0), "{path:?} is a path");
        assert!(path.split(|byte| *byte == b'/').all(|part| part != b".." && part != b"."), "{path:?}");
        if let Item::Leaf(id, _) = entry.item {
            assert!(counts[id.index()] > 0, "{path:?} is a name of its leaf");
        }
        Ok::<(), std::convert::Infallible>(())
    });
    let Ok(()) = walked;
}

/// Two parts of an input, cut at the first byte that is zero: for readers of two things.
pub(crate) fn halves(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == 0) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[]),
    }
}

/// An input as text: a reader of text never sees anything else.
pub(crate) fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).expect("a usize has at most 64 bits")
}

pub(crate) fn index(at: u64) -> usize {
    usize::try_from(at).expect("it is inside of something in memory")
}
