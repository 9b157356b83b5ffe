//! What others saw: signed files that somebody else kept, apart from what was seen here.
//!
//! Who gives them away is not believed: each is a signed file, and only its name of the source is hearsay. A newer one than
//! the mirrors have shows that they stand still; another text of the same date, that the archive tells two stories.

use std::collections::BTreeMap;

use selfsame_image::Digest;

use super::ArchiveSpec;
use super::accept::{SIGNING_SLACK, text_digest};
use super::fetch::codename_of;
use crate::date;
use crate::openpgp::{Fingerprint, Form, Keyring, SignatureError, verify_collected};
use crate::release::{Release, ReleaseError, Untimely};

/// By how much a signature may be newer than the `Date` of what it signs, in seconds, for a state that others say to have
/// seen. Archives sign within the hour, by hand within the day.
///
/// One that is newer yet is of a state that nobody can have seen at its date.
pub const SIGNED_WITHIN: i64 = 86_400;

/// A signed file of others that is one of the archive, signed when it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collected {
    /// What it says.
    pub release: Release,
    /// Digest of its text: LF between lines, none at the end, no blanks at line ends.
    pub text: Digest,
    /// How it was signed.
    pub form: Form,
    /// Primary keys whose signatures count, sorted. Whether they are enough is not said: collectors keep the signatures of
    /// one text one by one.
    pub signers: Vec<Fingerprint>,
}

impl Collected {
    /// Its codename; its suite, if it has none.
    pub fn codename(&self) -> &str {
        codename_of(&self.release)
    }
}

/// Why a file of others is not one that the archive published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Uncollected {
    /// No pinned key signed it.
    #[error("its signatures are refused")]
    Signature(#[from] SignatureError),
    /// It is not a `Release` file.
    #[error("its text is refused")]
    Release(#[from] ReleaseError),
    /// It is dated in the future.
    #[error("it is not of the past")]
    Time(#[from] Untimely),
    /// It is of another suite.
    #[error("it is the file of codename {0}")]
    WrongSuite(String),
    /// None of its signatures was made when it is dated.
    #[error("it is dated {}, but signed at {}", date::serial(*.date), date::serial(*.signed))]
    Misdated {
        /// The file's `Date`.
        date: i64,
        /// When it was signed.
        signed: i64,
    },
}

/// Judges a signed file that others kept, which should be one of `suite`, as of its own `Date`. `now` only refuses the future.
///
/// That its `Valid-Until` has passed, or that keys expired since, does not matter.
pub fn judge_collected(
    file: &[u8],
    spec: &ArchiveSpec,
    suite: &str,
    keys: &Keyring,
    now: i64,
) -> Result<Collected, Uncollected> {
    let (verified, form) = verify_collected(file, keys, spec.keys_of(suite))?;
    let mut release = Release::parse(&verified.text)?;
    if !release.is(suite) {
        return Err(Uncollected::WrongSuite(codename_of(&release).to_owned()));
    }
    let until = release.valid_until.take();
    release.check_time(now)?;
    release.valid_until = until;
    let date = release.date;
    let in_time = |created: i64| (date - SIGNING_SLACK..=date + SIGNED_WITHIN).contains(&created);
    let signers: std::collections::BTreeSet<_> = verified
        .signatures
        .iter()
        .filter(|one| in_time(one.created) && one.until.is_none_or(|until| until > date))
        .map(|one| one.primary)
        .collect();
    match verified.signatures.first() {
        Some(one) if signers.is_empty() => Err(Uncollected::Misdated { date, signed: one.created }),
        _ => {
            let (text, signers) = (text_digest(&verified.text), signers.into_iter().collect());
            Ok(Collected { release, text, form, signers })
        }
    }
}

/// One signed file that others saw.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sighting {
    /// Name of the archive.
    pub archive: String,
    /// `Codename` of the file.
    pub codename: String,
    /// Its `Date` in seconds since 1970-01-01 UTC.
    pub date: i64,
    /// Digest of its text, as [`Collected::text`].
    pub text: Digest,
    /// Digest of the file.
    pub file: Digest,
    /// How it was signed.
    pub form: Form,
    /// Who has it, in the words of whoever said so.
    pub source: String,
}

/// Why a text cannot name a source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a name of a source: 1 to 200 characters, none of them a control character")]
pub struct NotASource(pub String);

/// Checks the name of a source: one line of a record, and nothing that moves a terminal's cursor.
pub fn check_source(name: &str) -> Result<(), NotASource> {
    let good = (1..=200).contains(&name.chars().count())
        && name.trim() == name
        && !name.chars().any(char::is_control);
    if good { Ok(()) } else { Err(NotASource(name.chars().take(200).collect())) }
}

impl Sighting {
    /// Reads the text form: `archive codename date text file form source`, the source to the end of the line.
    pub fn parse(line: &str) -> Option<Self> {
        let words: Vec<_> = line.splitn(7, ' ').collect();
        let &[archive, codename, date, text, file, form, source] = &words[..] else { return None };
        check_source(source).ok()?;
        if archive.is_empty() || codename.is_empty() {
            return None;
        }
        Some(Self {
            archive: archive.to_owned(),
            codename: codename.to_owned(),
            date: date.parse().ok()?,
            text: text.parse().ok()?,
            file: file.parse().ok()?,
            form: match form {
                "inrelease" => Form::InRelease,
                "detached" => Form::Detached,
                _ => return None,
            },
            source: source.to_owned(),
        })
    }
}

impl std::fmt::Display for Sighting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { archive, codename, date, text, file, form, source } = self;
        let form = match form {
            Form::InRelease => "inrelease",
            Form::Detached => "detached",
        };
        write!(f, "{archive} {codename} {date} {text} {file} {form} {source}")
    }
}

/// All that is known to have been seen by others. Unlike a [`super::History`] it may hold two stories of one date: both are
/// evidence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elsewhere {
    seen: BTreeMap<(String, String), BTreeMap<i64, Vec<Sighting>>>,
}

/// How what others saw contradicts a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disagreement {
    /// A newer one was seen: the mirrors stand still, or hold it back.
    #[error("{} is older than {}, which was seen by {by}", date::serial(*.date), date::serial(*.newest))]
    Behind {
        /// Its date.
        date: i64,
        /// The newest date that was seen.
        newest: i64,
        /// Who saw it.
        by: String,
    },
    /// Another text of the same date was seen.
    #[error("of {} {by} has another text, also signed: {seen}, not {found}", date::serial(*.date))]
    Fork {
        /// Their date.
        date: i64,
        /// Digest of the file that was seen elsewhere.
        seen: Digest,
        /// Digest of the file here.
        found: Digest,
        /// Who saw it.
        by: String,
    },
}

impl Elsewhere {
    /// Adds a sighting. Returns whether it is new.
    pub fn add(&mut self, one: Sighting) -> bool {
        let dates = self.seen.entry((one.archive.clone(), one.codename.clone())).or_default();
        let list = dates.entry(one.date).or_default();
        match list.binary_search(&one) {
            Ok(_) => false,
            Err(place) => {
                list.insert(place, one);
                true
            }
        }
    }

    /// All sightings, by archive, codename and date.
    pub fn iter(&self) -> impl Iterator<Item = &Sighting> {
        self.seen.values().flat_map(BTreeMap::values).flatten()
    }

    /// Those of one date.
    pub fn of(&self, archive: &str, codename: &str, date: i64) -> &[Sighting] {
        let dates = self.seen.get(&(archive.to_owned(), codename.to_owned()));
        dates.and_then(|dates| dates.get(&date)).map_or(&[], Vec::as_slice)
    }

    /// Whether nobody has another text of the same date.
    pub fn check_fork(
        &self,
        (archive, codename): (&str, &str),
        date: i64,
        text: &Digest,
        file: &Digest,
    ) -> Result<(), Disagreement> {
        match self.of(archive, codename, date).iter().find(|one| one.text != *text) {
            Some(one) => {
                Err(Disagreement::Fork { date, seen: one.file, found: *file, by: one.source.clone() })
            }
            None => Ok(()),
        }
    }

    /// Whether nobody has a newer state.
    pub fn check_newest(&self, archive: &str, codename: &str, date: i64) -> Result<(), Disagreement> {
        let dates = self.seen.get(&(archive.to_owned(), codename.to_owned()));
        match dates.and_then(BTreeMap::last_key_value) {
            Some((&newest, list)) if newest > date => {
                let by = list.first().map_or_else(String::new, |one| one.source.clone());
                Err(Disagreement::Behind { date, newest, by })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
