//! Several cleartext-signed files in a row, as collectors hand them on.

use std::io::{self, BufRead};

use crate::release::MAX_SIZE;

const BEGIN: &[u8] = b"-----BEGIN PGP SIGNED MESSAGE-----";
const END: &[u8] = b"-----END PGP SIGNATURE-----";

/// Cuts a stream where the end of one message is followed at once by the beginning of another.
///
/// Nothing is judged here and nothing left out: what is around a message stays with it, and is what it is refused for. A
/// single file comes out as it is. No piece takes more memory than [`MAX_SIZE`] and a line of that length; of one that is
/// longer the rest is dropped, and it is still too long for anything that reads it.
#[derive(Debug)]
pub struct Messages<R> {
    from: R,
    /// The first line of the next piece.
    first: Vec<u8>,
    ended: bool,
}

impl<R: BufRead> Messages<R> {
    /// The messages of `from`.
    pub fn new(from: R) -> Self {
        Self { from, first: Vec::new(), ended: false }
    }

    /// The next line with its ending, or the next so many bytes of one without end; empty at the end.
    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        io::Read::take(&mut self.from, MAX_SIZE).read_until(b'\n', &mut line)?;
        Ok(line)
    }
}

impl<R: BufRead> Iterator for Messages<R> {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut piece = std::mem::take(&mut self.first);
        let mut closed = false;
        while !self.ended {
            let line = match self.line() {
                Ok(line) => line,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            };
            if line.is_empty() {
                self.ended = true;
                break;
            }
            if closed && ended(&line) == BEGIN {
                self.first = line;
                return Some(Ok(piece));
            }
            closed = ended(&line) == END && line.ends_with(b"\n");
            if piece.len() as u64 <= MAX_SIZE {
                piece.extend_from_slice(&line);
            }
        }
        (!piece.is_empty()).then_some(Ok(piece))
    }
}

/// A line without its ending.
fn ended(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "-----BEGIN PGP SIGNED MESSAGE-----\n\na\n-----BEGIN PGP SIGNATURE-----\n\naGVsbG8=\n\
                       -----END PGP SIGNATURE-----\n";

    fn pieces(bytes: &[u8]) -> Vec<String> {
        Messages::new(bytes).map(|piece| String::from_utf8_lossy(&piece.unwrap()).into_owned()).collect()
    }

    #[test]
    fn messages_in_a_row_come_one_by_one() {
        assert_eq!(pieces(b""), [""; 0]);
        assert_eq!(pieces(ONE.as_bytes()), [ONE]);
        assert_eq!(pieces(ONE.repeat(3).as_bytes()), [ONE; 3]);
        assert_eq!(pieces(format!("{ONE}{}", ONE.trim_end()).as_bytes()), [ONE, ONE.trim_end()]);
        let crlf = ONE.replace('\n', "\r\n");
        assert_eq!(pieces(crlf.repeat(2).as_bytes()), [crlf.as_str(); 2]);
    }

    #[test]
    fn what_is_around_a_message_stays_with_it() {
        for (text, count) in [
            (format!("Origin: Evil\n{ONE}"), 1),
            (format!("{ONE}Origin: Evil\n"), 1),
            (format!("{ONE}\n{ONE}"), 1),
            (format!("{ONE}Origin: Evil\n{ONE}{ONE}"), 2),
            (format!("{} {ONE}", ONE.trim_end()), 1),
        ] {
            let pieces = pieces(text.as_bytes());
            assert_eq!(pieces.concat(), text);
            assert_eq!(pieces.len(), count, "{text}");
        }
    }

    #[test]
    fn what_has_no_end_takes_no_memory() {
        let zeros = io::Read::take(io::repeat(0), 5 * MAX_SIZE);
        let lengths: Vec<_> =
            Messages::new(io::BufReader::new(zeros)).map(|piece| piece.unwrap().len() as u64).collect();
        assert_eq!(lengths, [2 * MAX_SIZE]);
        for cut in 0..ONE.len() {
            assert_eq!(
                pieces(&[&ONE.as_bytes()[..cut], ONE.as_bytes()].concat()).concat().len(),
                cut + ONE.len()
            );
        }
    }
}
