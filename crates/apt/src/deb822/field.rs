//! One field, and the paragraph that holds it.

use std::ops::Range;

use super::{MAX_NAME, Rule};

/// One field of a paragraph, borrowed from the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    name: &'a str,
    raw: &'a [u8],
    at: usize,
}

impl<'a> Field<'a> {
    /// Reads the line that starts a field; `at` is where the line starts in the text.
    pub(super) fn parse(line: &'a [u8], at: usize) -> Result<Self, Rule> {
        let colon = line.iter().take(MAX_NAME + 1).position(|&byte| byte == b':');
        let Some(colon) = colon else {
            return Err(if line.len() > MAX_NAME { not_a_name(line) } else { Rule::NotAField });
        };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        let valid =
            name.iter().all(u8::is_ascii_graphic) && !matches!(name.first(), None | Some(b'#' | b'-'));
        match std::str::from_utf8(name) {
            Ok(name) if valid => Ok(Self { name, raw: value, at }),
            _ => Err(not_a_name(name)),
        }
    }

    /// Lets the value reach to byte `end` of `text`, the end of a continuation line.
    pub(super) fn extend_to(&mut self, text: &'a [u8], end: usize) {
        self.raw = &text[self.value_at()..end];
    }

    /// Name as written.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// Byte offset of the field in the text.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Byte offset of the first byte after the colon.
    pub fn value_at(&self) -> usize {
        self.at + self.name.len() + 1
    }

    /// Everything after the colon, continuation lines with their newlines included, the last newline not.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The value without the blanks around it, continuation lines included.
    pub fn value(&self) -> &'a [u8] {
        self.raw.trim_ascii()
    }

    /// The value as text, if it is UTF-8.
    pub fn text(&self) -> Option<&'a str> {
        std::str::from_utf8(self.value()).ok()
    }

    /// Whether the value is on one line.
    pub fn is_single_line(&self) -> bool {
        !self.raw.contains(&b'\n')
    }

    /// The lines of the value without the blanks around them. The first one is the rest of the field's own line and
    /// may be empty.
    pub fn lines(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.raw.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii)
    }
}

fn not_a_name(bytes: &[u8]) -> Rule {
    let shown = &bytes[..bytes.len().min(40)];
    Rule::Name { name: String::from_utf8_lossy(shown).into_owned() }
}

/// A block of fields. Fields keep their order; names are compared without letter case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paragraph<'a> {
    fields: Vec<Field<'a>>,
    range: Range<usize>,
}

impl<'a> Paragraph<'a> {
    pub(super) fn new(fields: Vec<Field<'a>>, range: Range<usize>) -> Self {
        Self { fields, range }
    }

    /// The fields in the order of the text.
    pub fn fields(&self) -> &[Field<'a>] {
        &self.fields
    }

    /// Where the paragraph lies in the text: from its first byte to the end of its last line, newline included.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    /// The field of that name, letter case aside.
    pub fn get(&self, name: &str) -> Option<Field<'a>> {
        self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)).copied()
    }
}

/// The first field whose name was already there.
pub(super) fn duplicate<'f, 'a>(fields: &'f [Field<'a>]) -> Option<&'f Field<'a>> {
    // Up to this many fields, comparing all pairs is faster than sorting; above it, pairs would be a way to make
    // a hostile index slow.
    const FEW: usize = 48;
    if fields.len() <= FEW {
        return fields.iter().enumerate().find_map(|(index, field)| {
            let same = |earlier: &Field<'_>| earlier.name.eq_ignore_ascii_case(field.name);
            fields[..index].iter().any(same).then_some(field)
        });
    }
    let mut names: Vec<(Vec<u8>, usize)> = fields
        .iter()
        .enumerate()
        .map(|(index, field)| (field.name.to_ascii_lowercase().into(), index))
        .collect();
    names.sort_unstable();
    let again = names.windows(2).filter(|pair| pair[0].0 == pair[1].0).map(|pair| pair[1].1).min();
    again.map(|index| &fields[index])
}
