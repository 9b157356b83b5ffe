//! Output as lines.

use std::collections::VecDeque;

use super::Exit;

/// A line longer than this is handed on in pieces.
const LONGEST: usize = 64 << 10;
/// As much of a line is kept for the tail.
const KEPT: usize = 1000;

/// Splits what one stream yields into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    /// Takes bytes in and hands complete lines on, without their newline.
    pub(super) fn push(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            match piece.strip_suffix(b"\n") {
                Some(end) if self.pending.is_empty() => each(end),
                Some(end) => {
                    self.pending.extend_from_slice(end);
                    each(&self.pending);
                    self.pending.clear();
                }
                None => self.pending.extend_from_slice(piece),
            }
            if self.pending.len() >= LONGEST {
                each(&self.pending);
                self.pending.clear();
            }
        }
    }

    /// Hands on a last line that had no newline.
    pub(super) fn finish(&mut self, mut each: impl FnMut(&[u8])) {
        if !self.pending.is_empty() {
            each(&self.pending);
            self.pending.clear();
        }
    }
}

/// The last lines of both streams.
#[derive(Debug, Default)]
pub(super) struct Tail(VecDeque<String>);

impl Tail {
    /// Keeps the beginning of a line.
    pub(super) fn push(&mut self, line: &[u8]) {
        if self.0.len() == Exit::TAIL {
            self.0.pop_front();
        }
        self.0.push_back(String::from_utf8_lossy(&line[..line.len().min(KEPT)]).into_owned());
    }

    /// The lines, oldest first.
    pub(super) fn into_lines(self) -> Vec<String> {
        self.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_however_the_bytes_come() {
        let text = b"one\n\ntwo\nthree";
        for step in 1..text.len() {
            let (mut lines, mut seen) = (Lines::default(), Vec::new());
            for chunk in text.chunks(step) {
                lines.push(chunk, |line| seen.push(line.to_vec()));
            }
            lines.finish(|line| seen.push(line.to_vec()));
            assert_eq!(seen, [&b"one"[..], b"", b"two", b"three"], "step {step}");
        }
    }

    #[test]
    fn endless_lines_do_not_fill_memory() {
        let (mut lines, mut seen) = (Lines::default(), 0);
        for _ in 0..1000 {
            lines.push(&[b'x'; 1000], |line| seen += line.len());
            assert!(lines.pending.len() < LONGEST);
        }
        assert!(seen >= 1_000_000 - LONGEST);
    }

    #[test]
    fn the_tail_is_short() {
        let mut tail = Tail::default();
        for n in 0..100 {
            tail.push(format!("{n}{}", "x".repeat(5000)).as_bytes());
        }
        let lines = tail.into_lines();
        assert_eq!((lines.len(), lines[0].len()), (Exit::TAIL, KEPT));
        assert!(lines[0].starts_with("60x") && lines[39].starts_with("99x"));
    }
}
