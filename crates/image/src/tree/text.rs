//! A tree as text: one line per name, made for `diff`, `grep` and eyes, and read back without loss.
//!
//! The grammar is in `docs/formats/tree.md`. Every tree has exactly one text; every other text is refused.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;

use super::{Content, Dir, Item, Kind, Leaf, LeafId, Meta, Name, Node, Tree, TreeError};
use crate::digest::Digest;

/// First line of every text.
const HEADING: &str = "selfsame tree 1";
/// Longest path in bytes that is read: what Linux takes in one call. It bounds how deep a tree can be.
const MAX_PATH: usize = 4_095;

/// Why a text is not that of a tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {kind}")]
pub struct TextError {
    /// Number of the line, from 1 on.
    pub line: usize,
    /// What is wrong with it.
    pub kind: TextFault,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextFault {
    /// The first line is not the heading of this version.
    #[error("is not {HEADING:?}")]
    Heading,
    /// The text has bytes outside ASCII.
    #[error("has bytes outside ASCII")]
    NotAscii,
    /// The last line does not end with a newline.
    #[error("does not end with a newline")]
    Unterminated,
    /// The first name is not that of the root directory.
    #[error("is not the root directory")]
    NoRoot,
    /// A field is missing or one too many.
    #[error("field {0} is missing or one too many")]
    Fields(&'static str),
    /// A field is not what it has to be, or not in its only form.
    #[error("{field} is {value:?}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// What it is.
        value: String,
    },
    /// The path is longer than 4095 bytes.
    #[error("path is longer than {MAX_PATH} bytes")]
    Long,
    /// The path does not come after that of the line before.
    #[error("is not in order")]
    Order,
    /// A hard link refers to something that is no leaf on a line before.
    #[error("hard link to {0:?}, which is no leaf on an earlier line")]
    Link(String),
    /// The tree cannot take the name.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Writes the text of `tree`.
pub fn write(tree: &Tree, out: &mut impl io::Write) -> io::Result<()> {
    writeln!(out, "{HEADING}")?;
    let mut first_names = FirstNames::new(tree);
    let mut line = String::new();
    tree.walk(|path, entry| {
        line.clear();
        push_path(&mut line, path);
        line.push(' ');
        match entry.item {
            Item::Dir(dir) => push_dir(&mut line, &dir.meta),
            Item::Leaf(id, kind) => first_names.push_leaf(&mut line, path, id, entry.meta, kind),
        }
        line.push('\n');
        out.write_all(line.as_bytes())
    })
}

/// The text of `tree` in memory.
pub fn to_string(tree: &Tree) -> String {
    let mut out = Vec::new();
    write(tree, &mut out).expect("memory takes everything");
    String::from_utf8(out).expect("the text is ASCII")
}

/// The path, or `.` for the root, which no path can be.
fn push_path(line: &mut String, path: &[u8]) {
    if path.is_empty() { line.push('.') } else { push_escaped(line, path) }
}

pub(super) fn push_dir(line: &mut String, meta: &Meta) {
    line.push_str("dir");
    push_meta(line, meta);
    push_xattrs(line, meta);
}

/// Remembers under which name a leaf was met first: its later names are hard links to that.
pub(super) struct FirstNames(Vec<Option<Box<[u8]>>>);

impl FirstNames {
    pub(super) fn new(tree: &Tree) -> Self {
        Self(vec![None; tree.leaves().len()])
    }

    pub(super) fn push_leaf(&mut self, line: &mut String, path: &[u8], id: LeafId, meta: &Meta, kind: &Kind) {
        let first = &mut self.0[id.index()];
        match first {
            Some(first) => {
                line.push_str("hard ");
                push_escaped(line, first);
            }
            None => {
                push_inode(line, meta, kind);
                *first = Some(path.into());
            }
        }
    }
}

fn push_inode(line: &mut String, meta: &Meta, kind: &Kind) {
    line.push_str(match kind {
        Kind::File(_) => "file",
        Kind::Symlink(_) => "link",
        Kind::Block { .. } => "block",
        Kind::Char { .. } => "char",
        Kind::Fifo => "fifo",
        Kind::Socket => "socket",
    });
    push_meta(line, meta);
    match kind {
        Kind::File(Content { size, digest }) => push(line, format_args!(" {size} sha256:{digest}")),
        Kind::Symlink(target) => {
            line.push(' ');
            push_escaped(line, target);
        }
        Kind::Block { major, minor } | Kind::Char { major, minor } => {
            push(line, format_args!(" {major}:{minor}"));
        }
        Kind::Fifo | Kind::Socket => {}
    }
    push_xattrs(line, meta);
}

fn push_meta(line: &mut String, meta: &Meta) {
    let Meta { mode, uid, gid, mtime, xattrs: _ } = meta;
    push(line, format_args!(" {mode:04o} {uid}:{gid} {mtime}"));
}

fn push_xattrs(line: &mut String, meta: &Meta) {
    for (name, value) in &meta.xattrs {
        line.push(' ');
        push_escaped(line, name);
        line.push('=');
        for byte in value {
            push(line, format_args!("{byte:02x}"));
        }
    }
}

fn push(line: &mut String, text: std::fmt::Arguments<'_>) {
    line.write_fmt(text).expect("memory takes everything");
}

/// Printable ASCII stands for itself; space, `%`, `=` and everything else is `%` and two upper-case digits.
pub(super) fn push_escaped(line: &mut String, bytes: &[u8]) {
    for byte in bytes {
        if plain(*byte) { line.push(char::from(*byte)) } else { push(line, format_args!("%{byte:02X}")) }
    }
}

/// `bytes` in the form that paths have in the text: printable ASCII without spaces.
pub fn escaped(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    push_escaped(&mut out, bytes);
    out
}

fn plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'%' | b'=')
}

/// Reads the text of a tree. The leaves of the result are numbered in the order of the walk.
pub fn parse(text: &[u8]) -> Result<Tree, TextError> {
    let fault = |line, kind| TextError { line, kind };
    let mut lines = text.split_inclusive(|byte| *byte == b'\n').enumerate().map(|(index, line)| {
        let number = index + 1;
        let Some(line) = line.strip_suffix(b"\n") else {
            return Err(fault(number, TextFault::Unterminated));
        };
        match std::str::from_utf8(line) {
            Ok(line) if line.is_ascii() => Ok((number, line)),
            _ => Err(fault(number, TextFault::NotAscii)),
        }
    });
    match lines.next().transpose()? {
        Some((_, line)) if line == HEADING => {}
        _ => return Err(fault(1, TextFault::Heading)),
    }
    let mut parser = match lines.next().transpose()? {
        Some((number, line)) => Parser::root(line).map_err(|kind| fault(number, kind))?,
        None => return Err(fault(2, TextFault::NoRoot)),
    };
    for line in lines {
        let (number, line) = line?;
        parser.line(line).map_err(|kind| fault(number, kind))?;
    }
    parser.leave(0).map_err(|kind| fault(1, kind))?;
    let mut tree = parser.tree;
    tree.root = parser.root;
    Ok(tree)
}

struct Parser {
    /// Holds the leaves; its own root stays empty.
    tree: Tree,
    root: Dir,
    /// The directories on the way to the last line, without the root, and their names.
    open: Vec<(Name, Dir)>,
    /// Path of the last line, empty after the root.
    last: Vec<u8>,
    /// The first name of each leaf by its id: what hard links have to say.
    first_names: Vec<Box<[u8]>>,
}

impl Parser {
    fn root(line: &str) -> Result<Self, TextFault> {
        let mut fields = Fields(line.split(' '));
        if fields.next("path")? != "." || fields.next("type")? != "dir" {
            return Err(TextFault::NoRoot);
        }
        let root = Dir::new(fields.meta()?.with_xattrs(fields)?);
        let tree = Tree::new(Meta::root(0, 0));
        Ok(Self { tree, root, open: Vec::new(), last: Vec::new(), first_names: Vec::new() })
    }

    fn line(&mut self, line: &str) -> Result<(), TextFault> {
        let mut fields = Fields(line.split(' '));
        let path = unescape("path", fields.next("path")?)?;
        if path.len() > MAX_PATH {
            return Err(TextFault::Long);
        }
        // The order of the walk is that of component lists: a directory comes before everything below it.
        if !self.last.is_empty() && components(&path).le(components(&self.last)) {
            return Err(TextFault::Order);
        }
        let depth = components(&path).count() - 1;
        let (parents, last) = (components(&path).take(depth), components(&path).next_back());
        let name = Name::new(last.unwrap_or_default()).map_err(TreeError::Name)?;
        let common = self.open.iter().zip(parents).take_while(|((name, _), part)| name.as_bytes() == *part);
        if common.count() < depth {
            return Err(TreeError::Missing(path).into());
        }
        self.leave(depth)?;
        match fields.next("type")? {
            "dir" => {
                let dir = Dir::new(fields.meta()?.with_xattrs(fields)?);
                self.open.push((name, dir));
            }
            "hard" => {
                let target = unescape("target", fields.next("target")?)?;
                fields.end()?;
                let id = self
                    .find(&target)
                    .ok_or_else(|| TextFault::Link(String::from_utf8_lossy(&target).into_owned()))?;
                self.innermost().insert(name, Node::Leaf(id))?;
            }
            kind => {
                let leaf = leaf(kind, fields)?;
                let id = self.tree.add_leaf(leaf);
                self.innermost().insert(name, Node::Leaf(id))?;
                self.first_names.push(path.as_slice().into());
            }
        }
        self.last = path;
        Ok(())
    }

    /// The leaf whose first name is `path`. Directories that are still open are not in their parents yet.
    fn find(&self, path: &[u8]) -> Option<LeafId> {
        let mut dir = &self.root;
        let mut open = self.open.iter();
        for part in components(path) {
            let next = open.next().filter(|(name, _)| name.as_bytes() == part);
            dir = match (next, dir.get(part)) {
                (Some((_, open)), _) => open,
                (None, Some(Node::Dir(below))) => {
                    open = [].iter();
                    below
                }
                (None, Some(Node::Leaf(id))) => {
                    return Some(*id).filter(|id| *self.first_names[id.index()] == *path);
                }
                (None, None) => return None,
            };
        }
        None
    }

    fn innermost(&mut self) -> &mut Dir {
        self.open.last_mut().map_or(&mut self.root, |(_, dir)| dir)
    }

    /// Closes directories until `depth` are open.
    fn leave(&mut self, depth: usize) -> Result<(), TextFault> {
        while self.open.len() > depth {
            let Some((name, dir)) = self.open.pop() else { break };
            self.innermost().insert(name, Node::Dir(dir))?;
        }
        Ok(())
    }
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
}

fn leaf(kind: &str, mut fields: Fields<'_>) -> Result<Leaf, TextFault> {
    let meta = match kind {
        "file" | "link" | "block" | "char" | "fifo" | "socket" => fields.meta()?,
        _ => return Err(wrong("type", kind)),
    };
    let kind = match kind {
        "file" => {
            let size = number("size", fields.next("size")?)?;
            let text = fields.next("digest")?;
            let digest = text.strip_prefix("sha256:").and_then(|hex| hex.parse::<Digest>().ok());
            let digest = digest.filter(|digest| text[7..] == digest.to_string());
            Kind::File(Content { size, digest: digest.ok_or_else(|| wrong("digest", text))? })
        }
        "link" => {
            let text = fields.next("target")?;
            let target = unescape("target", text)?;
            if target.is_empty() || target.len() > MAX_PATH || target.contains(&0) {
                return Err(wrong("target", text));
            }
            Kind::Symlink(target.into())
        }
        "fifo" => Kind::Fifo,
        "socket" => Kind::Socket,
        device => {
            let text = fields.next("device")?;
            let (major, minor) = text.split_once(':').ok_or_else(|| wrong("device", text))?;
            let (major, minor) = (number("device", major)?, number("device", minor)?);
            if device == "block" { Kind::Block { major, minor } } else { Kind::Char { major, minor } }
        }
    };
    Ok(Leaf { meta: meta.with_xattrs(fields)?, kind })
}

/// The fields of a line, separated by single spaces.
struct Fields<'a>(std::str::Split<'a, char>);

impl<'a> Fields<'a> {
    fn next(&mut self, field: &'static str) -> Result<&'a str, TextFault> {
        self.0.next().ok_or(TextFault::Fields(field))
    }

    fn end(mut self) -> Result<(), TextFault> {
        self.0.next().map_or(Ok(()), |_| Err(TextFault::Fields("end")))
    }

    fn meta(&mut self) -> Result<Meta, TextFault> {
        let text = self.next("mode")?;
        let mode = u16::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
        let mode = mode.filter(|mode| format!("{mode:04o}") == text).ok_or_else(|| wrong("mode", text))?;
        let text = self.next("owner")?;
        let (uid, gid) = text.split_once(':').ok_or_else(|| wrong("owner", text))?;
        let (uid, gid) = (number("owner", uid)?, number("owner", gid)?);
        let mtime = number("time", self.next("time")?)?;
        Ok(Meta { mode, uid, gid, mtime, xattrs: BTreeMap::new() })
    }
}

impl Meta {
    /// The same with the extended attributes that fill the rest of a line.
    fn with_xattrs(mut self, fields: Fields<'_>) -> Result<Self, TextFault> {
        for text in fields.0 {
            let (name, value) = text.split_once('=').ok_or_else(|| wrong("attribute", text))?;
            let name = unescape("attribute", name)?;
            let value = unhex(value).ok_or_else(|| wrong("attribute", text))?;
            let in_order = self.xattrs.last_key_value().is_none_or(|(last, _)| **last < *name);
            if name.is_empty() || name.contains(&0) || !in_order {
                return Err(wrong("attribute", text));
            }
            self.xattrs.insert(name.into(), value.into());
        }
        Ok(self)
    }
}

/// A decimal number in its only form: no sign but a minus, no leading zeros.
fn number<N: std::str::FromStr + ToString>(field: &'static str, text: &str) -> Result<N, TextFault> {
    let number = text.parse::<N>().ok().filter(|number| number.to_string() == text);
    number.ok_or_else(|| wrong(field, text))
}

fn unescape(field: &'static str, text: &str) -> Result<Vec<u8>, TextFault> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let Some((first, rest)) = bytes.split_first() {
        let (byte, rest) = match (first, rest) {
            (b'%', [high @ (b'0'..=b'9' | b'A'..=b'F'), low @ (b'0'..=b'9' | b'A'..=b'F'), rest @ ..]) => {
                let byte = unhex_pair(*high, *low).filter(|byte| !plain(*byte));
                (byte.ok_or_else(|| wrong(field, text))?, rest)
            }
            (byte, rest) if plain(*byte) => (*byte, rest),
            _ => return Err(wrong(field, text)),
        };
        out.push(byte);
        bytes = rest;
    }
    Ok(out)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() || text.bytes().any(|digit| digit.is_ascii_uppercase()) {
        return None;
    }
    pairs.iter().map(|[high, low]| unhex_pair(*high, *low)).collect()
}

fn unhex_pair(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

fn wrong(field: &'static str, value: &str) -> TextFault {
    TextFault::Field { field, value: value.chars().take(80).collect() }
}

#[cfg(test)]
#[path = "text_tests.rs"]
pub(crate) mod tests;
