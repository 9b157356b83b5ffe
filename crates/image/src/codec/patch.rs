//! A text as its difference from an older one, in zstd's format: the frame refers to the older text as if it stood in
//! front (RFC 8878 calls that a prefix; the zstd program, `--patch-from`).

use std::io;

use zstd::zstd_safe::{self, CCtx, CParameter, DCtx, DParameter};

/// Effort. Most of a text is one long reference to the old one; higher levels take longer and gain nothing.
const LEVEL: i32 = 12;
/// The longest two texts together: what a window of zstd can reach back, 2 GiB.
const LONGEST: usize = 1 << 31;

/// What makes `new` of `old`. Both together may have up to 2 GiB.
pub fn make(old: &[u8], new: &[u8]) -> io::Result<Vec<u8>> {
    let window = window(old.len().saturating_add(new.len()))?;
    let mut context = CCtx::create();
    for parameter in [
        CParameter::CompressionLevel(LEVEL),
        CParameter::WindowLog(window),
        CParameter::EnableLongDistanceMatching(true),
        CParameter::ChecksumFlag(false),
    ] {
        context.set_parameter(parameter).map_err(failed)?;
    }
    context.ref_prefix(old).map_err(failed)?;
    let mut out = Vec::with_capacity(zstd_safe::compress_bound(new.len()));
    context.compress2(&mut out, new).map_err(failed)?;
    out.shrink_to_fit();
    Ok(out)
}

/// The text of `size` bytes that `patch` makes of `old`. What comes out is only right if `old` is what it was made with.
pub fn apply(old: &[u8], patch: &[u8], size: usize) -> io::Result<Vec<u8>> {
    let claimed = zstd_safe::get_frame_content_size(patch).ok().flatten();
    if claimed != Some(size as u64) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the patch makes another size"));
    }
    let window = window(old.len().saturating_add(size))?;
    let mut context = DCtx::create();
    context.set_parameter(DParameter::WindowLogMax(window)).map_err(failed)?;
    context.ref_prefix(old).map_err(failed)?;
    // A frame may claim more than it holds: memory is taken as it is filled.
    let mut out = Vec::new();
    out.try_reserve_exact(size).map_err(|_| io::ErrorKind::OutOfMemory)?;
    context.decompress(&mut out, patch).map_err(failed)?;
    match out.len() == size {
        true => Ok(out),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// The logarithm of the window in which all of so many bytes can be referred to.
fn window(bytes: usize) -> io::Result<u32> {
    if bytes > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "more than 2 GiB"));
    }
    Ok(bytes.next_power_of_two().ilog2().clamp(10, 31))
}

fn failed(code: usize) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, zstd_safe::get_error_name(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(lines: impl Iterator<Item = u64>) -> Vec<u8> {
        let line =
            |n: u64| format!("Package: p{n}\nSHA256: {:016x}\n\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        lines.map(line).collect::<String>().into_bytes()
    }

    #[test]
    fn a_small_change_is_a_small_patch_wherever_it_is() {
        let old = text(0..100_000);
        for changed in [0, 50_000, 99_999] {
            let new = text((0..100_000).map(|n| if n == changed { n + 1_000_000 } else { n }));
            let patch = make(&old, &new).unwrap();
            assert!(patch.len() < 2000, "{} of {}", patch.len(), new.len());
            assert_eq!(apply(&old, &patch, new.len()).unwrap(), new);
        }
        for (old, new) in [(&b""[..], &b""[..]), (b"", b"x"), (b"x", b""), (&old, &old)] {
            assert_eq!(apply(old, &make(old, new).unwrap(), new.len()).unwrap(), new);
        }
    }

    #[test]
    fn what_is_not_the_patch_of_that_size_is_refused() {
        let (old, new) = (text(0..1000), text(1..1001));
        let patch = make(&old, &new).unwrap();
        assert!(apply(&old, &patch, new.len() - 1).is_err());
        assert!(apply(&old, &patch[..patch.len() - 1], new.len()).is_err());
        assert!(apply(&old, b"", 0).is_err() && apply(&old, b"nonsense", 8).is_err());
        // Damaged ones give an error or other bytes, which whoever knows the digest finds out.
        for at in 0..patch.len() * 8 {
            let mut bad = patch.clone();
            bad[at / 8] ^= 1 << (at % 8);
            let _ = apply(&old, &bad, new.len());
        }
        assert_ne!(apply(&text(2..1002), &patch, new.len()).ok(), Some(new));
    }
}
