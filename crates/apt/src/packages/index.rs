//! The parsed index.

use std::ops::Range;

use selfsame_image::Digest;
use selfsame_image::tree::Content;

use super::IndexError;
use crate::deb822::{self, Field, Paragraph};
use crate::relation::{self, Alternatives, NotRelations};
use crate::release::check_path;
use crate::version::Version;

/// A range of the index; a length of 0 means that the field is absent or empty.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    at: u32,
    len: u32,
}

impl Span {
    fn range(self) -> Range<usize> {
        self.at as usize..self.at as usize + self.len as usize
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    stanza: Span,
    name: Span,
    version: Span,
    architecture: Span,
    filename: Span,
    source: Span,
    priority: Span,
    section: Span,
    multi_arch: Span,
    pre_depends: Span,
    depends: Span,
    provides: Span,
    file: Content,
    essential: bool,
}

/// All stanzas of a `Packages` file.
#[derive(Clone, Debug)]
pub struct Index {
    text: Vec<u8>,
    entries: Vec<Entry>,
    /// Positions in `entries`, sorted by name, then as in the file.
    by_name: Vec<u32>,
}

/// One stanza. Cheap to copy.
#[derive(Clone, Copy)]
pub struct Package<'a> {
    index: &'a Index,
    entry: &'a Entry,
}

impl Index {
    /// Reads the plain text, which should be checked against a digest before ([`super::unpack`]).
    pub fn parse(text: Vec<u8>) -> Result<Self, IndexError> {
        if u32::try_from(text.len()).is_err() {
            return Err(IndexError::TooLong { size: text.len() });
        }
        let mut entries = Vec::new();
        for paragraph in deb822::paragraphs(&text) {
            entries.push(entry(&text, &paragraph?)?);
        }
        let mut by_name: Vec<u32> = (0..).take(entries.len()).collect();
        by_name.sort_by_key(|&position| &text[entries[position as usize].name.range()]);
        let index = Self { text, entries, by_name };
        index.check_conflicts()?;
        Ok(index)
    }

    /// The text it was read from.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Packages in the order of the file.
    pub fn packages(&self) -> impl ExactSizeIterator<Item = Package<'_>> {
        self.entries.iter().map(|entry| Package { index: self, entry })
    }

    /// How many packages there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The packages of one name, in the order of the file.
    pub fn find(&self, name: &str) -> impl Iterator<Item = Package<'_>> {
        let start = self.by_name.partition_point(|&position| self.package(position).name() < name);
        let rest = self.by_name[start..].iter().map(|&position| self.package(position));
        rest.take_while(move |package| package.name() == name)
    }

    fn package(&self, position: u32) -> Package<'_> {
        Package { index: self, entry: &self.entries[position as usize] }
    }

    fn check_conflicts(&self) -> Result<(), IndexError> {
        let same_name = |a: &u32, b: &u32| self.package(*a).name() == self.package(*b).name();
        for group in self.by_name.chunk_by(same_name).filter(|group| group.len() > 1) {
            // One name has a handful of versions in real indexes; sorting keeps a hostile one from being slow.
            fn identity<'a>(package: &Package<'a>) -> (&'a str, &'a str) {
                (package.version_text(), package.architecture())
            }
            let mut packages: Vec<_> = group.iter().map(|&position| self.package(position)).collect();
            packages.sort_by_key(identity);
            let conflict = packages.windows(2).find(|pair| {
                identity(&pair[0]) == identity(&pair[1])
                    && (pair[0].file(), pair[0].filename()) != (pair[1].file(), pair[1].filename())
            });
            if let Some(pair) = conflict {
                return Err(IndexError::Conflict {
                    package: format!("{:?}", pair[0]),
                    first: pair[0].entry.stanza.at as usize,
                    second: pair[1].entry.stanza.at as usize,
                });
            }
        }
        Ok(())
    }
}

impl<'a> Package<'a> {
    /// The text of a range that [`entry`] found to be UTF-8.
    fn text(&self, span: Span) -> &'a str {
        std::str::from_utf8(&self.index.text[span.range()]).expect("checked when the index was read")
    }

    /// `Package`.
    pub fn name(&self) -> &'a str {
        self.text(self.entry.name)
    }

    /// `Version` as written.
    pub fn version_text(&self) -> &'a str {
        self.text(self.entry.version)
    }

    /// `Version`.
    pub fn version(&self) -> Version<'a> {
        Version::parse(self.version_text()).expect("checked when the index was read")
    }

    /// `Architecture`: `amd64`, `all`, ...
    pub fn architecture(&self) -> &'a str {
        self.text(self.entry.architecture)
    }

    /// `Filename`, relative to the root of the archive, without a leading `./`.
    pub fn filename(&self) -> &'a str {
        self.text(self.entry.filename)
    }

    /// `Size` and `SHA256` of the `.deb`.
    pub fn file(&self) -> Content {
        self.entry.file
    }

    /// Name and version of the source package.
    pub fn source(&self) -> (&'a str, &'a str) {
        let (own_name, own_version) = (self.name(), self.version_text());
        match self.text(self.entry.source) {
            "" => (own_name, own_version),
            source => match source.split_once('(') {
                None => (source.trim(), own_version),
                Some((name, version)) => (name.trim(), version.trim_end_matches(')').trim()),
            },
        }
    }

    /// Whether dpkg refuses to remove it and bootstrapping must install it.
    pub fn essential(&self) -> bool {
        self.entry.essential
    }

    /// `Priority`: `required`, `important`, `standard`, `optional`, `extra`, or empty.
    pub fn priority(&self) -> &'a str {
        self.text(self.entry.priority)
    }

    /// `Section`, or empty.
    pub fn section(&self) -> &'a str {
        self.text(self.entry.section)
    }

    /// `Multi-Arch`: `same`, `foreign`, `allowed`, `no`, or empty.
    pub fn multi_arch(&self) -> &'a str {
        self.text(self.entry.multi_arch)
    }

    /// `Pre-Depends`.
    pub fn pre_depends(&self) -> Result<Vec<Alternatives<'a>>, NotRelations> {
        relation::parse(self.text(self.entry.pre_depends))
    }

    /// `Depends`.
    pub fn depends(&self) -> Result<Vec<Alternatives<'a>>, NotRelations> {
        relation::parse(self.text(self.entry.depends))
    }

    /// `Provides`.
    pub fn provides(&self) -> Result<Vec<Alternatives<'a>>, NotRelations> {
        relation::parse(self.text(self.entry.provides))
    }

    /// The whole stanza, for fields that are not kept.
    pub fn stanza(&self) -> &'a [u8] {
        &self.index.text[self.entry.stanza.range()]
    }
}

impl std::fmt::Debug for Package<'_> {
    /// `hello 2.10-3 amd64`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.name(), self.version_text(), self.architecture())
    }
}

/// Checks one stanza and finds its values. `text` is what `stanza` borrows from.
fn entry(text: &[u8], stanza: &Paragraph<'_>) -> Result<Entry, IndexError> {
    let reader = Stanza { text, stanza };
    let (name, name_text) = reader.required("Package")?;
    reader.check("Package", is_name(name_text), "a package name")?;
    let (version, version_text) = reader.required("Version")?;
    Version::parse(version_text)
        .map_err(|source| IndexError::Version { at: reader.at("Version"), source })?;
    let (architecture, architecture_text) = reader.required("Architecture")?;
    reader.check("Architecture", is_architecture(architecture_text), "an architecture")?;
    let (mut filename, mut path) = reader.required("Filename")?;
    if let Some(rest) = path.strip_prefix("./") {
        filename = Span { at: filename.at + 2, len: filename.len - 2 };
        path = rest;
    }
    check_path(path).map_err(|source| IndexError::Path { at: reader.at("Filename"), source })?;
    let (_, size) = reader.required("Size")?;
    let digits = size.bytes().all(|byte| byte.is_ascii_digit());
    let size = size.parse().ok().filter(|_| digits);
    reader.check("Size", size.is_some(), "a size in bytes")?;
    let (_, digest) = reader.required("SHA256")?;
    let digest: Digest =
        digest.parse().map_err(|source| IndexError::Digest { at: reader.at("SHA256"), source })?;
    let essential = reader.optional("Essential")?.1;
    reader.check("Essential", matches!(essential, "" | "yes" | "no"), "yes or no")?;
    let range = stanza.range();
    Ok(Entry {
        stanza: span(range.start, range.len()),
        name,
        version,
        architecture,
        filename,
        source: reader.optional("Source")?.0,
        priority: reader.optional("Priority")?.0,
        section: reader.optional("Section")?.0,
        multi_arch: reader.optional("Multi-Arch")?.0,
        pre_depends: reader.optional("Pre-Depends")?.0,
        depends: reader.optional("Depends")?.0,
        provides: reader.optional("Provides")?.0,
        file: Content { size: size.unwrap_or_default(), digest },
        essential: essential == "yes",
    })
}

struct Stanza<'a, 'p> {
    text: &'a [u8],
    stanza: &'p Paragraph<'a>,
}

impl<'a> Stanza<'a, '_> {
    /// Value and range of a field; empty if it is absent.
    fn optional(&self, name: &'static str) -> Result<(Span, &'a str), IndexError> {
        let Some(field) = self.stanza.get(name) else {
            return Ok((Span::default(), ""));
        };
        match field.text() {
            Some(value) => Ok((self.span_of(field), value)),
            None => Err(value_error(field, name, "UTF-8")),
        }
    }

    /// Value and range of a field that must be one line and not empty.
    fn required(&self, name: &'static str) -> Result<(Span, &'a str), IndexError> {
        match self.stanza.get(name) {
            Some(field) if !field.value().is_empty() && field.is_single_line() => self.optional(name),
            Some(field) => Err(value_error(field, name, "a value on one line")),
            None => Err(IndexError::Missing { at: self.stanza.range().start, field: name }),
        }
    }

    fn check(&self, name: &'static str, right: bool, expected: &'static str) -> Result<(), IndexError> {
        match self.stanza.get(name) {
            Some(field) if !right => Err(value_error(field, name, expected)),
            _ => Ok(()),
        }
    }

    fn at(&self, name: &str) -> usize {
        self.stanza.get(name).map_or(self.stanza.range().start, |field| field.at())
    }

    fn span_of(&self, field: Field<'_>) -> Span {
        let raw = &self.text[field.value_at()..field.value_at() + field.raw().len()];
        let before = raw.len() - raw.trim_ascii_start().len();
        span(field.value_at() + before, field.value().len())
    }
}

/// A range of a text that is known to be shorter than 4 GiB.
fn span(at: usize, len: usize) -> Span {
    let small = |n: usize| u32::try_from(n).expect("Index::parse refuses longer texts");
    Span { at: small(at), len: small(len) }
}

fn value_error(field: Field<'_>, name: &'static str, expected: &'static str) -> IndexError {
    let value = field.value();
    let value = String::from_utf8_lossy(&value[..value.len().min(80)]).into_owned();
    IndexError::Value { at: field.at(), field: name, value, expected }
}

/// Debian Policy 5.6.1, with upper case allowed as dpkg does.
fn is_name(name: &str) -> bool {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    plain && name.len() <= 255 && name.starts_with(|first: char| first.is_ascii_alphanumeric())
}

fn is_architecture(name: &str) -> bool {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    plain && name.len() <= 64 && !name.starts_with('-')
}
