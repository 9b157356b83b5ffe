//! What a user says about an archive.

use selfsame_image::Digest;
use selfsame_image::tree::Content;
use selfsame_store::Store;
use serde::{Deserialize, Serialize};

use super::{SnapshotError, content};
use crate::openpgp::{Fingerprint, Keyring, Policy, debian_fingerprints};
use crate::release::check_path;

/// One APT archive: where it is, which part of it is wanted, and whose signatures count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ArchiveSpec {
    /// Name of the archive in recipes, locks and messages: `debian`, `debian-security`.
    pub name: String,
    /// URLs that `dists/` and `pool/` are below of, the preferred one first.
    pub mirrors: Vec<String>,
    /// Suites by codename (`bookworm`, `bookworm-security`), as they are called below `dists/`.
    pub suites: Vec<String>,
    /// Components: `main`, `contrib`, ...
    pub components: Vec<String>,
    /// Architectures besides `all`.
    pub architectures: Vec<String>,
    /// Certificates that signatures are checked against, as a blob of the store. Absent: those of Debian that are built
    /// into this program.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "content::optional")]
    pub keyring: Option<Content>,
    /// Primary keys whose signatures count. Empty: those that Debian uses for the codename.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fingerprints: Vec<Fingerprint>,
    /// How many different ones must have signed each suite.
    #[serde(default = "one")]
    pub threshold: usize,
}

fn one() -> usize {
    1
}

/// Why an archive cannot be used as described.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadSpec {
    /// A list that must not be empty is.
    #[error("no {what} given")]
    Empty {
        /// What is missing.
        what: &'static str,
    },
    /// A name given twice.
    #[error("{what} {name} is given twice")]
    Twice {
        /// What it is.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A name that cannot be part of a path.
    #[error("{what} {name:?} is not a name")]
    Name {
        /// What it is.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// No keys are given and the suite is not one of Debian's.
    #[error("no fingerprints given, and {suite:?} is not a codename of Debian whose keys are known")]
    NoKeys {
        /// The suite.
        suite: String,
    },
    /// More signatures are asked for than there are keys, or none.
    #[error("threshold {threshold} cannot be met by {keys} keys of {suite}")]
    Threshold {
        /// Signatures asked for.
        threshold: usize,
        /// Keys that count.
        keys: usize,
        /// The suite.
        suite: String,
    },
}

impl ArchiveSpec {
    /// Checks everything that can be checked without the archive.
    pub fn check(&self) -> Result<(), BadSpec> {
        for (what, names) in
            [("suite", &self.suites), ("component", &self.components), ("architecture", &self.architectures)]
        {
            if names.is_empty() {
                return Err(BadSpec::Empty { what });
            }
            for (index, name) in names.iter().enumerate() {
                let name = || name.clone();
                // A suite may have several parts (`buster/updates`).
                let plain =
                    check_path(&names[index]).is_ok() && (what == "suite" || !names[index].contains('/'));
                if !plain {
                    return Err(BadSpec::Name { what, name: name() });
                }
                if names[..index].contains(&names[index]) {
                    return Err(BadSpec::Twice { what, name: name() });
                }
            }
        }
        for suite in &self.suites {
            let (keys, threshold) = (self.keys_of(suite), self.threshold);
            let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
            if keys.is_empty() {
                return Err(BadSpec::NoKeys { suite: suite.clone() });
            }
            if threshold == 0 || threshold > distinct.len() {
                return Err(BadSpec::Threshold { threshold, keys: distinct.len(), suite: suite.clone() });
            }
        }
        Ok(())
    }

    /// The certificates that signatures are checked against.
    pub fn read_keyring(&self, store: &Store) -> Result<Keyring, SnapshotError> {
        let Some(content) = self.keyring else {
            return Ok(Keyring::debian());
        };
        let bytes = store.read(&content.digest)?.filter(|bytes| bytes.len() as u64 == content.size);
        let missing = || SnapshotError::NotStored { what: format!("keyring of {}", self.name), content };
        let keyring = Keyring::from_bytes(&bytes.ok_or_else(missing)?);
        keyring.map_err(|source| SnapshotError::Keyring { archive: self.name.clone(), source })
    }

    /// What the archive is called in all that is remembered of it. Recipes may give archives of different keys the same
    /// name, and what one of them published says nothing of the other: unless the keys are Debian's, they are part of it.
    pub fn identity(&self) -> String {
        if self.fingerprints.is_empty() {
            return self.name.clone();
        }
        let keys: std::collections::BTreeSet<String> =
            self.fingerprints.iter().map(Fingerprint::to_string).collect();
        let keys = keys.into_iter().collect::<Vec<_>>().join(" ");
        // No name has this character.
        format!("{}@{}", self.name, &Digest::of(keys.as_bytes()).to_string()[..16])
    }

    /// Keys that may sign `suite`.
    pub fn keys_of<'a>(&'a self, suite: &str) -> &'a [Fingerprint] {
        if self.fingerprints.is_empty() { debian_fingerprints(suite) } else { &self.fingerprints }
    }

    /// Whose signatures are enough for `suite`, as of `at`.
    pub fn policy(&self, suite: &str, at: i64) -> Policy {
        Policy { primary_fingerprints: self.keys_of(suite).to_vec(), threshold: self.threshold, at }
    }
}
