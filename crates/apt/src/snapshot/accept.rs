//! Whether one `InRelease` file is the one that is wanted.

use selfsame_image::Digest;

use super::ArchiveSpec;
use crate::date;
use crate::openpgp::{Counted, Fingerprint, Keyring, SignatureError, verify_inrelease};
use crate::release::{Release, ReleaseError, Untimely};

/// By how much a signature may be older than the `Date` of what it signs, in seconds. Archives write the date, then sign.
///
/// A signature that is older claims that its key knew the future: a stolen key that has expired, and is dated back.
pub const SIGNING_SLACK: i64 = 3600;

/// A file that may be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// What it says.
    pub release: Release,
    /// Primary keys whose signatures counted, sorted.
    pub signers: Vec<Fingerprint>,
    /// Digest of the text that was signed: LF between lines, none at the end, no blanks at line ends.
    pub text: Digest,
}

/// Why a file may not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Its signatures are not enough.
    #[error("its signatures are refused")]
    Signature(#[from] SignatureError),
    /// It is not a `Release` file.
    #[error("its text is refused")]
    Release(#[from] ReleaseError),
    /// It is not of this time.
    #[error("it is not current")]
    Time(#[from] Untimely),
    /// It is of another suite.
    #[error("it is the file of codename {} and suite {}", name(.codename), name(.suite))]
    WrongSuite {
        /// Its `Codename`.
        codename: Option<String>,
        /// Its `Suite`.
        suite: Option<String>,
    },
    /// Too few of its signatures were made after its date.
    #[error("it is dated {}, but {key} signed at {}", date::serial(*.date), date::serial(*.signed))]
    SignedBeforeItsDate {
        /// A key that signed too early.
        key: Fingerprint,
        /// When it signed.
        signed: i64,
        /// The file's `Date`.
        date: i64,
    },
}

/// Digest of a signed text, without the newlines at its end: a detached signature covers one, the cleartext framework does not
/// sign the last, and nobody shall be able to make two texts of one by adding some.
pub(super) fn text_digest(text: &[u8]) -> Digest {
    let end = text.iter().rposition(|&byte| byte != b'\n').map_or(0, |last| last + 1);
    Digest::of(&text[..end])
}

fn name(name: &Option<String>) -> &str {
    name.as_deref().unwrap_or("(none)")
}

/// Judges an `InRelease` file that should be that of `suite`, as of `at`.
pub fn accept(
    file: &[u8],
    spec: &ArchiveSpec,
    suite: &str,
    keys: &Keyring,
    at: i64,
) -> Result<Accepted, Refused> {
    let verified = verify_inrelease(file, keys, &spec.policy(suite, at))?;
    let release = Release::parse(&verified.text)?;
    if !release.is(suite) {
        let Release { codename, suite, .. } = release;
        return Err(Refused::WrongSuite { codename, suite });
    }
    release.check_time(at)?;
    let date = release.date;
    let (in_time, early): (Vec<Counted>, Vec<Counted>) =
        verified.signatures.iter().partition(|one| one.created >= date - SIGNING_SLACK);
    let signers: std::collections::BTreeSet<_> = in_time.iter().map(|one| one.primary).collect();
    match early.first() {
        Some(one) if signers.len() < spec.threshold => {
            Err(Refused::SignedBeforeItsDate { key: one.key, signed: one.created, date })
        }
        _ => {
            let (text, signers) = (text_digest(&verified.text), signers.into_iter().collect());
            Ok(Accepted { release, signers, text })
        }
    }
}
