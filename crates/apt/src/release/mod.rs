//! `Release`: what one suite of an archive consists of, at one moment.
//!
//! Only text that [`crate::openpgp`] returned should come here. The rules are apt's (`debReleaseIndex::Load`) or
//! stricter: a `Date` must be there, only SHA-256 counts, and a name may not have two digests.

use std::collections::BTreeMap;

use selfsame_image::digest::NotADigest;
use selfsame_image::tree::Content;

use crate::date::{self, NotADate};
use crate::deb822::{self, Field, Malformed, Paragraph};

mod path;

pub use path::{Unsafe, check_path};

/// Most bytes of a `Release` or `InRelease` file; apt's limit.
pub const MAX_SIZE: u64 = 10_000_000;
/// How far in the future a `Date` may lie, in seconds; apt's `Acquire::Max-FutureTime`.
pub const MAX_FUTURE: i64 = 10;

/// The parsed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Who runs the archive.
    pub origin: Option<String>,
    /// The archive's own name for itself.
    pub label: Option<String>,
    /// The role of the suite, `stable` or `oldstable-security`; it drifts when a release is made.
    pub suite: Option<String>,
    /// The name of the suite that never changes.
    pub codename: Option<String>,
    /// Version of the release, `12.15`.
    pub version: Option<String>,
    /// When the file was made, in seconds since 1970-01-01 UTC.
    pub date: i64,
    /// Until when it may be used as current.
    pub valid_until: Option<i64>,
    /// Architectures that have indexes; `all` among them means that `Architecture: all` has its own.
    pub architectures: Vec<String>,
    /// Components. Debian's security archive writes `updates/main` for what is found under `main/`.
    pub components: Vec<String>,
    /// Whether indexes can be fetched by digest, which no update in between can replace.
    pub acquire_by_hash: bool,
    /// `NotAutomatic`: nothing of this suite is chosen as long as another one has the package.
    pub not_automatic: bool,
    /// `ButAutomaticUpgrades`: with [`Release::not_automatic`], what is installed from this suite is upgraded from it.
    pub but_automatic_upgrades: bool,
    /// Index kinds for which `all` has no own index, although it is listed as an architecture.
    pub no_support_for_all: Vec<String>,
    /// Every file named, by path below the directory of the `Release` file.
    pub sha256: BTreeMap<String, Content>,
}

/// Why a `Release` file is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// Not deb822.
    #[error("Release file is malformed")]
    Malformed(#[from] Malformed),
    /// Longer than [`MAX_SIZE`].
    #[error("Release file of {size} bytes is above the limit of {MAX_SIZE}")]
    TooLong {
        /// Length in bytes.
        size: u64,
    },
    /// Empty, or more than one paragraph.
    #[error("Release file is not one paragraph")]
    NotOneParagraph,
    /// A field that must be there is not.
    #[error("Release file has no field {field}")]
    Missing {
        /// Name of the field.
        field: &'static str,
    },
    /// Digests are there, but none that counts.
    #[error("Release file has only weak digests ({present}); SHA256 is needed")]
    WeakDigests {
        /// Names of the digest fields that are there.
        present: String,
    },
    /// A field with a value of the wrong form.
    #[error("field {field} at byte {at}: {value:?} is not {expected}")]
    Value {
        /// Name of the field.
        field: &'static str,
        /// Byte offset of the field.
        at: usize,
        /// The value, shortened.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A date that cannot be read.
    #[error("field {field}")]
    Date {
        /// Name of the field.
        field: &'static str,
        /// What is wrong with it.
        source: NotADate,
    },
    /// A line of the SHA256 field that is not digest, size and name.
    #[error("line {line} of SHA256: {text:?} is not digest, size and name")]
    Entry {
        /// Line within the field, counted from 1.
        line: usize,
        /// The line, shortened.
        text: String,
    },
    /// A digest that is none.
    #[error("line {line} of SHA256")]
    Digest {
        /// Line within the field, counted from 1.
        line: usize,
        /// What is wrong with it.
        source: NotADigest,
    },
    /// A name that would lead outside the archive.
    #[error("line {line} of SHA256")]
    Path {
        /// Line within the field, counted from 1.
        line: usize,
        /// What is wrong with it.
        source: Unsafe,
    },
    /// One name, two digests or sizes.
    #[error("{path} is listed as {first:?} and as {second:?}")]
    Conflict {
        /// The name.
        path: String,
        /// What was said first.
        first: Content,
        /// What was said later.
        second: Content,
    },
}

/// Why a `Release` file may not be used at some time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untimely {
    /// `Date` lies after the time of use by more than [`MAX_FUTURE`].
    #[error("Release file is dated {}, which is after {}", date::serial(*.date), date::serial(*.at))]
    FromTheFuture {
        /// The file's `Date`.
        date: i64,
        /// Time of use.
        at: i64,
    },
    /// `Valid-Until` has passed at the time of use.
    #[error("Release file was valid until {}, which is before {}", date::serial(*.until), date::serial(*.at))]
    Expired {
        /// The file's `Valid-Until`.
        until: i64,
        /// Time of use.
        at: i64,
    },
}

impl Release {
    /// Reads the text of a `Release` file, or the signed text of an `InRelease` file.
    pub fn parse(text: &[u8]) -> Result<Self, ReleaseError> {
        let size = text.len() as u64;
        if size > MAX_SIZE {
            return Err(ReleaseError::TooLong { size });
        }
        let paragraph = deb822::single(text)?.ok_or(ReleaseError::NotOneParagraph)?;
        let sha256 = match paragraph.get("SHA256") {
            Some(field) => entries(field)?,
            None => return Err(no_sha256(&paragraph)),
        };
        let date = date_field(&paragraph, "Date")?.ok_or(ReleaseError::Missing { field: "Date" })?;
        let release = Self {
            origin: line(&paragraph, "Origin")?,
            label: line(&paragraph, "Label")?,
            suite: word(&paragraph, "Suite")?,
            codename: word(&paragraph, "Codename")?,
            version: line(&paragraph, "Version")?,
            date,
            valid_until: date_field(&paragraph, "Valid-Until")?,
            architectures: words(&paragraph, "Architectures")?,
            components: words(&paragraph, "Components")?,
            acquire_by_hash: flag(&paragraph, "Acquire-By-Hash")?,
            not_automatic: flag(&paragraph, "NotAutomatic")?,
            but_automatic_upgrades: flag(&paragraph, "ButAutomaticUpgrades")?,
            no_support_for_all: words(&paragraph, "No-Support-for-Architecture-all")?,
            sha256,
        };
        if release.suite.is_none() && release.codename.is_none() {
            return Err(ReleaseError::Missing { field: "Codename" });
        }
        Ok(release)
    }

    /// Whether the file could be used as current at time `at`: not made later, and still valid.
    pub fn check_time(&self, at: i64) -> Result<(), Untimely> {
        if self.date > at.saturating_add(MAX_FUTURE) {
            return Err(Untimely::FromTheFuture { date: self.date, at });
        }
        match self.valid_until {
            Some(until) if until < at => Err(Untimely::Expired { until, at }),
            _ => Ok(()),
        }
    }

    /// Whether this is the suite that was asked for, by codename or by suite name.
    pub fn is(&self, requested: &str) -> bool {
        [&self.codename, &self.suite].into_iter().flatten().any(|name| name == requested)
    }

    /// Whether the file lists `component`, directly or as Debian's security archive does (`updates/main`).
    pub fn has_component(&self, component: &str) -> bool {
        self.components.iter().any(|listed| {
            listed == component || listed.rsplit_once('/').is_some_and(|(_, last)| last == component)
        })
    }

    /// The priority apt gives to the suite's packages without any preference of a user (apt_preferences(5)).
    pub fn default_priority(&self) -> u16 {
        match (self.not_automatic, self.but_automatic_upgrades) {
            (true, false) => 1,
            (true, true) => 100,
            (false, _) => 500,
        }
    }

    /// Whether `Architecture: all` packages have a `Packages` index of their own.
    pub fn has_separate_all(&self) -> bool {
        let without = self.no_support_for_all.iter().any(|kind| kind == "Packages");
        !without && self.architectures.iter().any(|name| name == "all")
    }
}

fn no_sha256(paragraph: &Paragraph<'_>) -> ReleaseError {
    let present: Vec<_> =
        ["MD5Sum", "SHA1", "SHA512"].into_iter().filter(|name| paragraph.get(name).is_some()).collect();
    match present.is_empty() {
        true => ReleaseError::Missing { field: "SHA256" },
        false => ReleaseError::WeakDigests { present: present.join(", ") },
    }
}

fn entries(field: Field<'_>) -> Result<BTreeMap<String, Content>, ReleaseError> {
    let mut all = BTreeMap::new();
    for (line, bytes) in field.lines().enumerate() {
        if line == 0 && bytes.is_empty() {
            continue;
        }
        let entry = || ReleaseError::Entry { line, text: shorten(bytes) };
        let text = std::str::from_utf8(bytes).map_err(|_| entry())?;
        let mut words = text.split_ascii_whitespace();
        let (Some(digest), Some(size), Some(path), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(entry());
        };
        if !size.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(entry());
        }
        let size = size.parse().map_err(|_| entry())?;
        let digest = digest.parse().map_err(|source| ReleaseError::Digest { line, source })?;
        check_path(path).map_err(|source| ReleaseError::Path { line, source })?;
        let second = Content { size, digest };
        match all.insert(path.to_owned(), second) {
            Some(first) if first != second => {
                return Err(ReleaseError::Conflict { path: path.to_owned(), first, second });
            }
            _ => {}
        }
    }
    Ok(all)
}

/// The value of a field that must be one line of UTF-8; an empty one counts as absent.
fn line(paragraph: &Paragraph<'_>, name: &'static str) -> Result<Option<String>, ReleaseError> {
    let Some(field) = paragraph.get(name) else {
        return Ok(None);
    };
    match field.text() {
        Some("") if field.is_single_line() => Ok(None),
        Some(text) if field.is_single_line() => Ok(Some(text.to_owned())),
        _ => Err(value(field, name, "one line of UTF-8")),
    }
}

/// A name: one word, as Debian's repository format has it, so that it can be one in lists of what was seen.
fn word(paragraph: &Paragraph<'_>, name: &'static str) -> Result<Option<String>, ReleaseError> {
    match (line(paragraph, name)?, paragraph.get(name)) {
        (Some(text), Some(field)) if text.contains(char::is_whitespace) => {
            Err(value(field, name, "one word"))
        }
        (text, _) => Ok(text),
    }
}

fn words(paragraph: &Paragraph<'_>, name: &'static str) -> Result<Vec<String>, ReleaseError> {
    let Some(text) = line(paragraph, name)? else {
        return Ok(Vec::new());
    };
    Ok(text.split_ascii_whitespace().map(str::to_owned).collect())
}

fn flag(paragraph: &Paragraph<'_>, name: &'static str) -> Result<bool, ReleaseError> {
    match line(paragraph, name)?.as_deref() {
        None | Some("no") => Ok(false),
        Some("yes") => Ok(true),
        Some(_) => Err(value(paragraph.get(name).expect("line found it"), name, "yes or no")),
    }
}

fn date_field(paragraph: &Paragraph<'_>, name: &'static str) -> Result<Option<i64>, ReleaseError> {
    let Some(text) = line(paragraph, name)? else {
        return Ok(None);
    };
    date::parse(&text).map(Some).map_err(|source| ReleaseError::Date { field: name, source })
}

fn value(field: Field<'_>, name: &'static str, expected: &'static str) -> ReleaseError {
    ReleaseError::Value { field: name, at: field.at(), value: shorten(field.value()), expected }
}

fn shorten(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned()
}

#[cfg(test)]
mod tests;
