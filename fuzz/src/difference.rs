//! What is told of a file of any format, and of two.

use std::num::NonZero;

use selfsame_image::compare::{self, Comparison, Options};
use selfsame_image::detect;
use selfsame_image::extent::{self, Room};

use super::structure::{index, room, source, structure};

/// Whatever it is, and what is inside of that.
pub(crate) fn detect(bytes: &[u8]) {
    let format = detect::format(bytes).expect("memory can be read");
    let source = source(bytes);
    let Ok(Some(parsed)) = extent::parse(&source, &room()) else { return };
    assert!(format.is_some(), "what has no format has no structure");
    for member in (0..parsed.members.count()).take(16) {
        let Ok(found) = parsed.members.open(member) else { continue };
        // What is not there yet is what this reader makes of it.
        if found.parsed.is_none() {
            let _inner = extent::parse(&found.source, &room());
        }
    }
    structure(bytes, |_, _| Ok(parsed));
}

/// Two files: all but the last eight bytes, and a form of it that they say how to make.
pub(crate) fn compare(bytes: &[u8]) {
    let Some((first, how)) = bytes.split_last_chunk::<8>() else { return };
    let second = changed(first, *how);
    let options = || {
        let mut options = Options::new(NonZero::<usize>::MIN);
        options.room = Room::new(1 << 20, 1 << 20);
        options
    };
    for [a, b] in [[first, &second[..]], [&second[..], first]] {
        let report = compare::compare(&source(a), &source(b), &options()).expect("memory can be read");
        let shared = a.iter().zip(b).filter(|(a, b)| a != b).count();
        let differing = shared + a.len().abs_diff(b.len());
        assert_eq!(index(report.differing), differing, "as many as differ");
        assert_eq!(report.root.is_some(), differing > 0, "there is something to tell");
        assert!(report.explained <= report.differing, "no more than that is explained");
        let Some(root) = &report.root else { continue };
        // Each differing byte has a name, or it is said what could not be read.
        assert!(report.unexplained() == 0 || told(root), "{} bytes have no name", report.unexplained());
    }
}

/// Whether something is said to be unreadable here or inside.
fn told(found: &Comparison) -> bool {
    !found.faults.is_empty() || found.members.iter().any(told)
}

/// A form of `bytes` with one change.
fn changed(bytes: &[u8], [kind, a, b, c, d, e, f, g]: [u8; 8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at = index(u64::from(u32::from_le_bytes([a, b, c, 0]))).min(bytes.len());
    let len = index(u64::from(u16::from_le_bytes([d, e]))).min(bytes.len() - at);
    match kind % 5 {
        0 => bytes[at..at + len].iter_mut().for_each(|byte| *byte ^= f),
        1 => drop(bytes.drain(at..at + len)),
        2 => drop(bytes.splice(at..at, std::iter::repeat_n(f, usize::from(g)))),
        3 => {
            let part = bytes[at..at + len].to_vec();
            bytes.splice(at..at, part);
        }
        // The other half.
        _ => drop(bytes.drain(..at)),
    }
    bytes
}
