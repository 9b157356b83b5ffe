//! Damages an input in ways that readers stumble over.

use selfsame_testkit::Numbers;

/// Longest run of bytes that is left out, put twice or taken from elsewhere.
const RUN: usize = 600;

/// A damaged form of `input`, with bytes of `other` perhaps.
pub(crate) fn mutated(input: &[u8], other: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=numbers.below(4) {
        damage(&mut bytes, other, numbers);
    }
    bytes
}

fn damage(bytes: &mut Vec<u8>, other: &[u8], numbers: &mut Numbers) {
    const INTERESTING: [u8; 12] = [0, 1, 0x7f, 0x80, 0xff, b'0', b'7', b'9', b'/', b'.', b' ', b'\n'];
    if bytes.is_empty() {
        bytes.extend(numbers.bytes(3));
        return;
    }
    let at = place(bytes, numbers);
    let end = bytes.len().min(at + 1 + numbers.below(RUN));
    match numbers.below(9) {
        0 => bytes[at] ^= 1 << numbers.below(8),
        1 => bytes[at] = INTERESTING[numbers.below(INTERESTING.len())],
        2 => bytes.truncate(at),
        3 => {
            let end = end.min(at + 1 + numbers.below(16));
            bytes[at..end].fill(INTERESTING[numbers.below(INTERESTING.len())]);
        }
        4 => drop(bytes.drain(at..end)),
        5 => {
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
        6 => number(&mut bytes[at..], numbers),
        7 => {
            // One place's bytes at another: lengths and pointers that are good ones, but of something else.
            let from = place(bytes, numbers);
            let len = (1 + numbers.below(16)).min(bytes.len() - at.max(from));
            bytes.copy_within(from..from + len, at);
        }
        _ if !other.is_empty() => {
            let from = place(other, numbers);
            let part = &other[from..other.len().min(from + 1 + numbers.below(RUN))];
            bytes.splice(at..end, part.iter().copied());
        }
        _ => {}
    }
}

/// A place in `bytes`, mostly one where something stands: images are empty for the most part.
fn place(bytes: &[u8], numbers: &mut Numbers) -> usize {
    let at = numbers.below(bytes.len());
    match bytes[at..].iter().position(|byte| *byte != 0) {
        Some(next) if numbers.below(8) > 0 => at + next,
        _ => at,
    }
}

/// A number of some width at the beginning of `bytes` that is none, the largest there is, or nearly what it was.
fn number(bytes: &mut [u8], numbers: &mut Numbers) {
    let width = [1, 2, 4, 8][numbers.below(4)].min(bytes.len());
    let bytes = &mut bytes[..width];
    if numbers.below(2) == 0 {
        bytes.reverse();
    }
    match numbers.below(6) {
        0 => bytes.fill(0),
        1 => bytes.fill(0xff),
        2 => {
            bytes.fill(0xff);
            bytes[width - 1] = 0x7f;
        }
        3 => {
            bytes.fill(0);
            bytes[width - 1] = 0x80;
        }
        4 => bytes[0] = bytes[0].wrapping_add(1),
        _ => bytes[0] = bytes[0].wrapping_sub(1),
    }
    if numbers.below(2) == 0 {
        bytes.reverse();
    }
}
