//! `Sources`: which files a source package consists of.
//!
//! Rules are those of dsc(5) and the Debian repository format: a stanza names its directory below the archive's root, and
//! its files with their SHA-256. Only stanzas that are asked for are read in full; what they say is checked as strictly as
//! that of a `Packages` file.

use std::collections::{BTreeMap, BTreeSet};

use selfsame_image::tree::Content;

use crate::deb822::{self, Field, Malformed, Paragraph};
use crate::release::{Unsafe, check_path};

/// A source package: its name and its version, as written.
pub type SourceId = (String, String);

/// One file of a source package: `.dsc`, `.orig.tar.xz`, ...
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceFile {
    /// Path below the archive's root.
    pub path: String,
    /// Size and digest.
    pub content: Content,
}

/// Why a `Sources` file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourcesError {
    /// Not deb822.
    #[error("the index is malformed")]
    Malformed(#[from] Malformed),
    /// A stanza lacks a field.
    #[error("byte {at}: {package} has no field {field}")]
    Missing {
        /// Byte offset of the stanza.
        at: usize,
        /// Name of the source package, if it has one.
        package: String,
        /// Name of the field.
        field: &'static str,
    },
    /// A line of `Checksums-Sha256` is not a digest, a length and a name.
    #[error("byte {at}: {package}: {line:?} is not a SHA-256, a length and a name")]
    File {
        /// Byte offset of the field.
        at: usize,
        /// Name of the source package.
        package: String,
        /// The line, shortened.
        line: String,
    },
    /// A file would lie outside of the archive.
    #[error("byte {at}: {package}")]
    Unsafe {
        /// Byte offset of the field.
        at: usize,
        /// Name of the source package.
        package: String,
        /// The path.
        source: Unsafe,
    },
    /// One version of a package is given twice, with different files.
    #[error("byte {at}: {package} {version} is given twice with different files")]
    Conflict {
        /// Byte offset of the second stanza.
        at: usize,
        /// Name of the source package.
        package: String,
        /// Version.
        version: String,
    },
}

/// The files of those of `wanted` that the plain text of an index has, which should be checked against a digest before
/// ([`crate::packages::unpack`]). Files are sorted by path.
pub fn find(
    text: &[u8],
    wanted: &BTreeSet<SourceId>,
) -> Result<BTreeMap<SourceId, Vec<SourceFile>>, SourcesError> {
    let mut found: BTreeMap<SourceId, Vec<SourceFile>> = BTreeMap::new();
    for paragraph in deb822::paragraphs(text) {
        let paragraph = paragraph?;
        let at = paragraph.range().start;
        let package = field(&paragraph, "Package", "a stanza")?.1;
        let version = field(&paragraph, "Version", package)?.1;
        let id = (package.to_owned(), version.to_owned());
        if !wanted.contains(&id) {
            continue;
        }
        let mut files = files_of(&paragraph, package)?;
        files.sort();
        if found.get(&id).is_some_and(|other| *other != files) {
            let (package, version) = id;
            return Err(SourcesError::Conflict { at, package, version });
        }
        found.insert(id, files);
    }
    Ok(found)
}

fn files_of(paragraph: &Paragraph<'_>, package: &str) -> Result<Vec<SourceFile>, SourcesError> {
    let (_, directory) = field(paragraph, "Directory", package)?;
    let (sums, _) = field(paragraph, "Checksums-Sha256", package)?;
    let at = sums.at();
    let mut files = Vec::new();
    // Small archives have their sources in the root itself.
    let below = if directory == "." { String::new() } else { format!("{directory}/") };
    for line in sums.lines().filter(|line| !line.is_empty()) {
        let line = String::from_utf8_lossy(line);
        let refuse =
            || SourcesError::File { at, package: package.to_owned(), line: line.chars().take(80).collect() };
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        let &[digest, size, name] = &words[..] else { return Err(refuse()) };
        let digest = digest.parse().map_err(|_| refuse())?;
        let size = size.parse().map_err(|_| refuse())?;
        if name.contains('/') {
            return Err(refuse());
        }
        let path = format!("{below}{name}");
        let outside = |source| SourcesError::Unsafe { at, package: package.to_owned(), source };
        check_path(&path).map_err(outside)?;
        files.push(SourceFile { path, content: Content { size, digest } });
    }
    Ok(files)
}

fn field<'a>(
    paragraph: &Paragraph<'a>,
    name: &'static str,
    package: &str,
) -> Result<(Field<'a>, &'a str), SourcesError> {
    let missing = || SourcesError::Missing {
        at: paragraph.range().start,
        package: package.chars().take(80).collect(),
        field: name,
    };
    let field = paragraph.get(name).ok_or_else(missing)?;
    let text = field.text().filter(|text| !text.is_empty()).ok_or_else(missing)?;
    Ok((field, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(directory: &str, sums: &str) -> String {
        format!("Package: a\nVersion: 1\nDirectory: {directory}\nChecksums-Sha256:\n{sums}\n")
    }

    fn one(text: &str) -> Result<BTreeMap<SourceId, Vec<SourceFile>>, SourcesError> {
        find(text.as_bytes(), &BTreeSet::from([("a".to_owned(), "1".to_owned())]))
    }

    #[test]
    fn files_of_the_wanted_version_are_found() {
        let (a, b) = (Content::of(b"a"), Content::of(b"bb"));
        let sums = format!(" {} 2 a_1.tar.xz\n {} 1 a_1.dsc", b.digest, a.digest);
        let other = text("pool/x", " nonsense").replace("Version: 1", "Version: 2");
        let found = one(&format!("{other}\n{}", text("pool/a", &sums))).unwrap();
        let file = |path: &str, content| SourceFile { path: path.to_owned(), content };
        let id = ("a".to_owned(), "1".to_owned());
        assert_eq!(found[&id], [file("pool/a/a_1.dsc", a), file("pool/a/a_1.tar.xz", b)]);
        assert_eq!(one(&text(".", &sums)).unwrap()[&id][0].path, "a_1.dsc");
        // Twice the same is what archives have; two stories are refused.
        let twice = format!("{0}\n{0}", text("pool/a", &sums));
        assert_eq!(one(&twice).unwrap(), found);
        let stories = format!("{}\n{}", text("pool/a", &sums), text("pool/b", &sums));
        assert_eq!(
            one(&stories).unwrap_err().to_string(),
            format!("byte {}: a 1 is given twice with different files", text("pool/a", &sums).len() + 1)
        );
    }

    #[test]
    fn what_could_lead_elsewhere_is_refused() {
        let digest = Content::of(b"").digest;
        for (directory, line) in [
            ("pool/a", "x 1 name".to_owned()),
            ("pool/a", format!("{digest} x name")),
            ("pool/a", format!("{digest} 1")),
            ("pool/a", format!("{digest} 1 a b")),
            ("pool/a", format!("{digest} 1 ../name")),
            ("pool/a", format!("{digest} 1 ..")),
            ("../a", format!("{digest} 1 name")),
            ("/a", format!("{digest} 1 name")),
        ] {
            assert!(one(&text(directory, &format!(" {line}"))).is_err(), "{directory} {line}");
        }
        assert_eq!(
            one("Package: a\nVersion: 1\n").unwrap_err().to_string(),
            "byte 0: a has no field Directory"
        );
        assert_eq!(one("Version: 1\n").unwrap_err().to_string(), "byte 0: a stanza has no field Package");
    }
}
