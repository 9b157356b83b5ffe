//! Damages good input in many ways, the same ways each time: what a parser of untrusted bytes has to survive.

/// Calls `try_it` with `count` damaged forms of `good`.
pub(crate) fn mutations(good: &[u8], count: u32, mut try_it: impl FnMut(&[u8])) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::new();
    for _ in 0..count {
        bytes.clear();
        bytes.extend_from_slice(good);
        for _ in 0..=random.below(3) {
            damage(&mut bytes, &mut random);
        }
        try_it(&bytes);
    }
}

fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    const INTERESTING: [u8; 12] = [0, 1, 0x7f, 0x80, 0xff, b'0', b'7', b'9', b'/', b'.', b' ', b'\n'];
    if bytes.is_empty() {
        return;
    }
    let at = random.below(bytes.len());
    match random.below(6) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = INTERESTING[random.below(INTERESTING.len())],
        2 => bytes.truncate(at),
        3 => {
            let end = bytes.len().min(at + 1 + random.below(16));
            bytes[at..end].fill(INTERESTING[random.below(INTERESTING.len())]);
        }
        4 => {
            let end = bytes.len().min(at + 1 + random.below(600));
            bytes.drain(at..end);
        }
        _ => {
            let end = bytes.len().min(at + 1 + random.below(600));
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
    }
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let limit = u64::try_from(limit).expect("a usize has at most 64 bits");
        usize::try_from((z ^ (z >> 31)) % limit).expect("below a usize")
    }
}
