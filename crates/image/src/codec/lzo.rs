//! Blocks of LZO1X, which some images of SquashFS have. They are only read.
//!
//! The source of the rules is "LZO stream format as understood by Linux's LZO decompressor" in the documentation of Linux
//! (`Documentation/staging/lzo.rst`). There is no length and no checksum in a block.

use std::io;

use super::Oversized;

/// Why a block cannot be decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum NotLzo {
    #[error("lzo data end in the middle")]
    Truncated,
    #[error("lzo data copy from {distance} bytes back where there are {have}")]
    Distance { distance: usize, have: usize },
    #[error("lzo data go on behind their end")]
    Trailing,
}

impl From<NotLzo> for io::Error {
    fn from(error: NotLzo) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// Decompresses one block that may not be longer than `limit` bytes; a longer one is an error.
pub(crate) fn decompress(packed: &[u8], limit: usize) -> io::Result<Vec<u8>> {
    let mut block = Block { packed, plain: Vec::new(), limit };
    // How many literals came last, 4 standing for all numbers from there on: a small code means something else behind each.
    let mut literals = 0;
    if let [first @ 18..=255, rest @ ..] = packed {
        block.packed = rest;
        literals = usize::from(first - 17);
        block.literals(literals)?;
    }
    loop {
        let code = block.byte()?;
        let copied = match code {
            0..16 if literals == 0 => {
                let run = block.length(code, 15)? + 3;
                block.literals(run)?;
                literals = 4;
                continue;
            }
            0..16 => block.near(code, literals >= 4)?,
            16..32 => match block.far(code)? {
                Some(copied) => copied,
                None if block.packed.is_empty() => return Ok(block.plain),
                None => return Err(NotLzo::Trailing.into()),
            },
            32..64 => {
                let length = block.length(code & 31, 31)? + 2;
                let (distance, trailing) = block.distance()?;
                Copied { distance: distance + 1, length, trailing }
            }
            64.. => {
                let distance = (usize::from(block.byte()?) << 3) + usize::from(code >> 2 & 7) + 1;
                Copied { distance, length: usize::from(code >> 5) + 1, trailing: code & 3 }
            }
        };
        block.copy(copied)?;
        literals = usize::from(copied.trailing);
        block.literals(literals)?;
    }
}

/// What a code stands for: bytes that were there before, and a few literals behind them.
#[derive(Clone, Copy, Debug)]
struct Copied {
    distance: usize,
    length: usize,
    /// Literals that follow, 0 to 3.
    trailing: u8,
}

struct Block<'a> {
    /// What is left to be read.
    packed: &'a [u8],
    plain: Vec<u8>,
    limit: usize,
}

impl Block<'_> {
    fn byte(&mut self) -> Result<u8, NotLzo> {
        let (first, rest) = self.packed.split_first().ok_or(NotLzo::Truncated)?;
        self.packed = rest;
        Ok(*first)
    }

    /// A length whose low bits are `bits`. If these are zero it is the greatest value they have, `most`, and what follows: a
    /// zero for each 255, and the rest.
    fn length(&mut self, bits: u8, most: usize) -> Result<usize, NotLzo> {
        if bits != 0 {
            return Ok(bits.into());
        }
        let mut length = most;
        loop {
            match self.byte()? {
                0 => length += 255,
                rest => return Ok(length + usize::from(rest)),
            }
        }
    }

    /// 14 bits of a distance, and how many literals follow.
    fn distance(&mut self) -> Result<(usize, u8), NotLzo> {
        let (low, high) = (self.byte()?, self.byte()?);
        Ok((usize::from(low >> 2) + (usize::from(high) << 6), low & 3))
    }

    /// Two bytes from at most 1 KiB back, or, behind a run of literals, three bytes from 2 to 3 KiB back.
    fn near(&mut self, code: u8, behind_run: bool) -> Result<Copied, NotLzo> {
        let distance = (usize::from(self.byte()?) << 2) + usize::from(code >> 2) + 1;
        let (distance, length) = if behind_run { (distance + 2048, 3) } else { (distance, 2) };
        Ok(Copied { distance, length, trailing: code & 3 })
    }

    /// Bytes from 16 to 48 KiB back; `None` at the end of the block.
    fn far(&mut self, code: u8) -> Result<Option<Copied>, NotLzo> {
        let length = self.length(code & 7, 7)? + 2;
        let (distance, trailing) = self.distance()?;
        let distance = distance + (usize::from(code & 8) << 11);
        Ok((distance != 0).then_some(Copied { distance: distance + 0x4000, length, trailing }))
    }

    fn literals(&mut self, count: usize) -> io::Result<()> {
        self.room(count)?;
        let (literals, rest) = self.packed.split_at_checked(count).ok_or(NotLzo::Truncated)?;
        self.plain.extend_from_slice(literals);
        self.packed = rest;
        Ok(())
    }

    fn copy(&mut self, copied: Copied) -> io::Result<()> {
        let Copied { distance, length, .. } = copied;
        self.room(length)?;
        let have = self.plain.len();
        let start = have.checked_sub(distance).ok_or(NotLzo::Distance { distance, have })?;
        // What is copied may reach into what it makes: each round has twice as much to copy from.
        let mut left = length;
        while left > 0 {
            let piece = left.min(self.plain.len() - start);
            self.plain.extend_from_within(start..start + piece);
            left -= piece;
        }
        Ok(())
    }

    fn room(&self, count: usize) -> io::Result<()> {
        let Self { limit, .. } = *self;
        match self.plain.len().checked_add(count).is_some_and(|length| length <= limit) {
            true => Ok(()),
            false => Err(io::Error::new(io::ErrorKind::InvalidData, Oversized { limit })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: [u8; 3] = [17, 0, 0];

    fn plain(packed: &[&[u8]]) -> Result<Vec<u8>, String> {
        decompress(&packed.concat(), 1 << 17).map_err(|error| error.to_string())
    }

    #[test]
    fn each_code_means_what_the_rules_say() {
        // Literals at the beginning: a few, and a run.
        assert_eq!(plain(&[&[17 + 2], b"ab", &END]).unwrap(), b"ab");
        assert_eq!(plain(&[&[17 + 5], b"abcde", &END]).unwrap(), b"abcde");
        // A run of three and its code; one of 15 and 255 and 7, and three.
        assert_eq!(plain(&[&[1], b"abcd", &END]).unwrap(), b"abcd");
        let long = [b'x'; 15 + 255 + 7 + 3];
        assert_eq!(plain(&[&[0, 0, 7], &long, &END]).unwrap(), long);
        // Codes from 64 on: 3 bytes from 2 back, and one literal; from there 2 bytes from 1 back, no literal.
        assert_eq!(plain(&[&[21], b"abcd", &[64 | 1 << 2 | 1, 0], b"e", &END]).unwrap(), b"abcdcdce");
        let two = [0, 0];
        assert_eq!(plain(&[&[21], b"abcd", &[64 | 1], &[0], b"e", &two, &END]).unwrap(), b"abcdddd\x65ee");
        // Codes from 32 on: 31 + 1 + 2 bytes from 1 back.
        let run = [&b"abcd"[..], &[b'd'; 34]].concat();
        assert_eq!(plain(&[&[21], b"abcd", &[32, 1, 0, 0], &END]).unwrap(), run);
        assert_eq!(plain(&[&[21], b"abcd", &[32 | 2, 3 << 2, 0], &END]).unwrap(), b"abcdabcd");
    }

    #[test]
    fn what_lies_far_back_is_found() {
        let far: Vec<u8> = (0..60_000u32).map(|n| n.to_be_bytes()[3] ^ n.to_be_bytes()[2]).collect();
        // 15 + 255 * n + rest + 3 literals.
        let (zeros, rest) = ((60_000 - 19) / 255, (60_000 - 19) % 255 + 1);
        let run = [&[0][..], &vec![0; zeros], &[u8::try_from(rest).unwrap()], &far].concat();
        // Behind a run: three bytes from 2049 + 1 + 4 * 2 back.
        let back = |distance: usize, length: usize| far[60_000 - distance..][..length].to_vec();
        assert_eq!(plain(&[&run, &[1 << 2, 2], &END]).unwrap()[60_000..], back(2048 + 1 + 1 + 8, 3));
        // 16 KiB and 5, 48 KiB and 5.
        let of = |code: u8| plain(&[&run, &[code | 3, 5 << 2, 0], &END]).unwrap()[60_000..].to_vec();
        assert_eq!(of(16), back(0x4000 + 5, 5));
        assert_eq!(of(24), back(0x8000 + 5, 5));
    }

    #[test]
    fn broken_rules_are_named_and_the_limit_holds() {
        assert_eq!(plain(&[b""]).unwrap_err(), "lzo data end in the middle");
        assert_eq!(plain(&[&[21], b"abc"]).unwrap_err(), "lzo data end in the middle");
        assert_eq!(plain(&[&[21], b"abcd", &END, b"x"]).unwrap_err(), "lzo data go on behind their end");
        let wrong = plain(&[&[21], b"abcd", &[64 | 4 << 2, 0], &END]).unwrap_err();
        assert_eq!(wrong, "lzo data copy from 5 bytes back where there are 4");
        let bomb = [&[21][..], b"abcd", &[32], &[0; 100_000], &[1, 0, 0], &END].concat();
        assert_eq!(
            decompress(&bomb, 1 << 17).unwrap_err().to_string(),
            "decompresses to more than 131072 bytes"
        );
        assert_eq!(
            decompress(&[21, 1, 2, 3, 4, 17, 0, 0], 3).unwrap_err().to_string(),
            "decompresses to more than 3 bytes"
        );
    }
}
