//! Paragraphs of fields: the text form of `Release`, `Packages` and `control`.
//!
//! Rules are those of deb822(5) and Debian Policy 5.1, read strictly: whatever two readers could understand
//! differently is refused here, because what selfsame checks must be what apt and dpkg will see. That is a line of
//! blanks only (separator or continuation?), a field given twice (first or last?), a carriage return, a NUL.

use std::io::BufRead;

mod field;

pub use field::{Field, Paragraph};

/// Longest field name in bytes.
pub const MAX_NAME: usize = 128;
/// Most fields in one paragraph. Debian's longest stanzas have about 40.
pub const MAX_FIELDS: usize = 1024;

/// Why the text is not a series of paragraphs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} (byte {at}): {kind}")]
pub struct Malformed {
    /// Byte offset of the offending line or byte.
    pub at: usize,
    /// Line number of that byte, counted from 1.
    pub line: usize,
    /// The rule that is broken.
    pub kind: Rule,
}

/// A rule of the format, with the values that broke it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// A line that neither starts a field, continues one, nor is empty.
    #[error("line is neither a field, a continuation nor empty")]
    NotAField,
    /// The name holds a character outside `!` to `~`, or starts with `#` or `-`, or is empty or too long.
    #[error("{name:?} is not a field name")]
    Name {
        /// The text before the colon, shortened.
        name: String,
    },
    /// Two fields of one paragraph have the same name, letter case aside.
    #[error("field {name} is given twice")]
    Duplicate {
        /// Name as written the second time.
        name: String,
    },
    /// A continuation line before any field of the paragraph.
    #[error("continuation line without a field")]
    Orphan,
    /// A line of spaces and tabs only: some readers end the paragraph here, others continue the field.
    #[error("line of blanks only")]
    Blank,
    /// A NUL or carriage return.
    #[error("byte {byte:#04x} is not allowed")]
    Byte {
        /// The byte.
        byte: u8,
    },
    /// More than [`MAX_FIELDS`] fields in one paragraph.
    #[error("more than {MAX_FIELDS} fields in one paragraph")]
    TooManyFields,
}

/// Iterates over the paragraphs of a text. After an error it yields nothing more.
#[derive(Clone, Debug)]
pub struct Paragraphs<'a> {
    text: &'a [u8],
    at: usize,
    /// The first byte that no text may hold.
    bad: Option<usize>,
}

/// The paragraphs of `text`, in order. Memory is that of one paragraph at a time.
pub fn paragraphs(text: &[u8]) -> Paragraphs<'_> {
    let bad = text.iter().position(|&byte| byte == 0 || byte == b'\r');
    Paragraphs { text, at: 0, bad }
}

/// The only paragraph of `text`, or `None` if there are none or several.
pub fn single(text: &[u8]) -> Result<Option<Paragraph<'_>>, Malformed> {
    let mut all = paragraphs(text);
    let first = all.next().transpose()?;
    match all.next().transpose()? {
        None => Ok(first),
        Some(_) => Ok(None),
    }
}

impl<'a> Iterator for Paragraphs<'a> {
    type Item = Result<Paragraph<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.text.get(self.at) == Some(&b'\n') {
            self.at += 1;
        }
        if self.at >= self.text.len() {
            return None;
        }
        let result = self.paragraph();
        if result.is_err() {
            self.at = self.text.len();
        }
        Some(result)
    }
}

impl<'a> Paragraphs<'a> {
    fn paragraph(&mut self) -> Result<Paragraph<'a>, Malformed> {
        let start = self.at;
        let mut fields: Vec<Field<'a>> = Vec::with_capacity(24);
        while let Some(&first) = self.text.get(self.at) {
            if first == b'\n' {
                break;
            }
            let line_at = self.at;
            let line = self.line()?;
            if first == b' ' || first == b'\t' {
                if line.iter().all(|byte| matches!(byte, b' ' | b'\t')) {
                    return Err(self.malformed(line_at, Rule::Blank));
                }
                let Some(field) = fields.last_mut() else {
                    return Err(self.malformed(line_at, Rule::Orphan));
                };
                field.extend_to(self.text, line_at + line.len());
                continue;
            }
            if fields.len() == MAX_FIELDS {
                return Err(self.malformed(line_at, Rule::TooManyFields));
            }
            fields.push(Field::parse(line, line_at).map_err(|kind| self.malformed(line_at, kind))?);
        }
        if let Some(again) = field::duplicate(&fields) {
            return Err(self.malformed(again.at(), Rule::Duplicate { name: again.name().to_owned() }));
        }
        let end = self.at;
        Ok(Paragraph::new(fields, start..end))
    }

    /// Takes the next line, without its newline.
    fn line(&mut self) -> Result<&'a [u8], Malformed> {
        let start = self.at;
        let mut rest = &self.text[start..];
        // The reader's search is the standard library's memchr; most of the time of a large index is spent in it.
        let len = rest.skip_until(b'\n').expect("reading from memory does not fail");
        self.at = start + len;
        if let Some(bad) = self.bad.filter(|&bad| bad < self.at) {
            return Err(self.malformed(bad, Rule::Byte { byte: self.text[bad] }));
        }
        let line = &self.text[start..self.at];
        Ok(line.strip_suffix(b"\n").unwrap_or(line))
    }

    fn malformed(&self, at: usize, kind: Rule) -> Malformed {
        let before = &self.text[..at.min(self.text.len())];
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        Malformed { at, line, kind }
    }
}

#[cfg(test)]
mod tests;
