//! What the tests of all three formats share.

use std::path::Path;

/// A directory that is gone when the test ends.
pub(crate) fn scratch() -> selfsame_testkit::tempfile::TempDir {
    selfsame_testkit::tempfile::tempdir().expect("a temporary directory can be made")
}

/// Stores `bytes` as `name` in `dir` for a reference program.
#[allow(clippy::disallowed_methods)] // A test hands files to other programs; the crate itself never does.
pub(crate) fn save(dir: &Path, name: &str, bytes: &[u8]) -> std::path::PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, bytes).expect("the temporary directory takes a file");
    path
}

/// Calls `try_it` with `count` damaged forms of `good`, the same ones each time.
pub(crate) fn mutations(good: &[u8], count: u32, mut try_it: impl FnMut(&[u8])) {
    const BYTES: [u8; 8] = [0, 1, 2, 0x7f, 0x80, 0xfe, 0xff, b'.'];
    // splitmix64
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |limit: usize| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % u64::try_from(limit).unwrap()).unwrap()
    };
    let used: Vec<usize> = (0..good.len()).filter(|at| good[*at] != 0).collect();
    let mut bad = Vec::new();
    for _ in 0..count {
        bad.clear();
        bad.extend_from_slice(good);
        for _ in 0..=below(4) {
            // Zeros are mostly padding: damage falls on or just behind what holds something.
            let at = (used[below(used.len())] + below(4)).min(bad.len().saturating_sub(1));
            match below(8) {
                _ if bad.is_empty() => {}
                0..4 => bad[at] ^= 1 << below(8),
                4..6 => bad[at] = BYTES[below(BYTES.len())],
                6 => {
                    let end = bad.len().min(at + 1 + below(32));
                    bad[at..end].fill(BYTES[below(BYTES.len())]);
                }
                _ => bad.truncate(at),
            }
        }
        try_it(&bad);
    }
}
