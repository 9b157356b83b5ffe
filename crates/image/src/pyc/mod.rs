//! Compiled Python of CPython 3.9 and later, to be read: its header (PEP 552), for comparing. The code is not taken apart.

mod extents;

pub use extents::extents;

/// Whether a file of at least 17 bytes that begins so is compiled Python: a magic number of 3.9 or later with a line end, known
/// flags, and a code object, which marshal writes as `c` or, with a reference flag, as 0xe3.
pub(crate) fn is_pyc(start: &[u8; 17]) -> bool {
    // CPython, Include/internal/pycore_magic_number.h: 3425 is that of 3.9; each version begins at another fifty.
    let magic = u16::from_le_bytes([start[0], start[1]]);
    (3425..4000).contains(&magic)
        && start[2..4] == *b"\r\n"
        && matches!(start[4..8], [0 | 1 | 3, 0, 0, 0])
        && matches!(start[16], b'c' | 0xe3)
}
