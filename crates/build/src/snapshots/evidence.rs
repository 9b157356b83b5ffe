//! What speaks for a snapshot, in a form that is kept beside a lock.

use selfsame_apt::date;
use selfsame_apt::openpgp::Form;
use selfsame_apt::snapshot::{Elsewhere, Sighting};
use selfsame_image::Digest;
use serde::Serialize;

use super::{Kept, KeptEvidence};

/// A file that says what speaks for some snapshots. The same store gives the same bytes: nothing in it depends on the time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EvidenceFile {
    /// Version of this form.
    pub format: u32,
    /// By archive and serial.
    pub archives: Vec<ArchiveEvidence>,
}

/// What speaks for a snapshot of one archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ArchiveEvidence {
    /// Name of the archive.
    pub archive: String,
    /// The newest date of its suites.
    pub serial: String,
    /// As of when its signatures were judged, as `20260711T101637Z`.
    pub at: String,
    /// Its suites, in the order of the recipe.
    pub suites: Vec<SuiteEvidence>,
}

/// What speaks for one suite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SuiteEvidence {
    /// Name below `dists/`.
    pub suite: String,
    /// `Codename` of its signed file.
    pub codename: String,
    /// `Date` of its signed file, as `20260711T101637Z`.
    pub date: String,
    /// Size of the signed file in bytes.
    pub size: u64,
    /// SHA-256 of the signed file.
    pub sha256: String,
    /// SHA-256 of the text that is signed: LF between lines, none at the end, no blanks at line ends.
    pub text_sha256: String,
    /// Primary keys whose signatures count, sorted.
    pub signers: Vec<String>,
    /// Which of these hold, from weak to strong: `signed`, `monotonic`, `fresh`, `coexisted`, `logged`.
    pub ranks: Vec<&'static str>,
    /// What the mirrors had when it was taken.
    pub mirrors: Mirrors,
    /// Who else has it.
    pub elsewhere: Vec<Seen>,
}

/// What the mirrors had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mirrors {
    /// How many were asked.
    pub asked: usize,
    /// How many of them had this state as their newest.
    pub agreeing: usize,
    /// Which ones.
    pub agreed: Vec<String>,
    /// What the others had.
    pub others: Vec<String>,
}

/// Somebody else who has a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// Who, in the words of whoever imported it.
    pub source: String,
    /// What is the same: the `file`, its `text` with other signatures, or `nothing`: then the archive tells two stories.
    pub same: &'static str,
    /// How it was signed there: as `inrelease`, or as `detached` signature of `Release`.
    pub form: &'static str,
    /// SHA-256 of the file there.
    pub sha256: String,
}

impl Seen {
    /// A sighting, of which that much is the same.
    pub fn of(seen: &Sighting, same: &'static str) -> Self {
        let form = match seen.form {
            Form::InRelease => "inrelease",
            Form::Detached => "detached",
        };
        Self { source: seen.source.clone(), same, form, sha256: seen.file.to_string() }
    }
}

/// What speaks for `kept`, whose suites have signed texts of these digests, each if it can be read.
pub fn evidence(kept: &Kept, texts: &[Option<Digest>], all: &Elsewhere) -> ArchiveEvidence {
    let snapshot = &kept.snapshot;
    let parts = snapshot.suites.iter().zip(&kept.evidence).zip(texts);
    let suites = parts.map(|((state, one), text)| {
        let elsewhere: Vec<Seen> = all
            .of(&kept.spec.identity(), &state.codename, state.date)
            .iter()
            .filter(|seen| Some(seen.text) == *text)
            .map(|seen| {
                let same = if seen.file == state.in_release.digest { "file" } else { "text" };
                Seen::of(seen, same)
            })
            .collect();
        SuiteEvidence {
            suite: state.suite.clone(),
            codename: state.codename.clone(),
            date: date::serial(state.date),
            size: state.in_release.size,
            sha256: state.in_release.digest.to_string(),
            text_sha256: text.map_or_else(String::new, |text| text.to_string()),
            signers: state.signers.iter().map(ToString::to_string).collect(),
            ranks: ranks(one, !elsewhere.is_empty()),
            mirrors: Mirrors {
                asked: one.asked,
                agreeing: one.agreeing,
                agreed: one.agreed.clone(),
                others: one.others.clone(),
            },
            elsewhere,
        }
    });
    ArchiveEvidence {
        archive: snapshot.archive.clone(),
        serial: snapshot.serial.clone(),
        at: date::serial(snapshot.at),
        suites: suites.collect(),
    }
}

/// Which ranks a suite has that was checked, from weak to strong. It is `logged` if others are known to have it.
pub fn ranks(evidence: &KeptEvidence, logged: bool) -> Vec<&'static str> {
    let all = [
        (true, "signed"),
        (evidence.novelty == "newer", "monotonic"),
        (evidence.agreeing > 1, "fresh"),
        (true, "coexisted"),
        (logged, "logged"),
    ];
    all.into_iter().filter(|(holds, _)| *holds).map(|(_, rank)| rank).collect()
}
