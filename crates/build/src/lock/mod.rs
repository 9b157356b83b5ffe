//! The lock: everything that shapes bytes, pinned. Written by `lock`, never by `build`.

mod changes;
mod guard;
mod request;
mod text;

use selfsame_apt::packages;
use selfsame_image::Digest;
use selfsame_image::tree::Content;
use serde::{Deserialize, Serialize};

pub use changes::{Change, Kind, State};
pub use guard::Broken;
pub use request::{ArchiveRequest, LocalRequest, Request};
pub use text::LockError;

/// Name of the lock file beside the recipe.
pub const FILE: &str = "selfsame.lock";

/// Version of the lock's text form. Raised when an older program would misread a newer lock.
pub const VERSION: u32 = 2;

/// Version of what the program writes into images for the same input. Raised when any output byte changes on purpose,
/// from the first release on.
pub const FORMAT: u32 = 1;

/// A whole lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The part of the recipe that the lock answers.
    pub request: Request,
    /// The archives' states, by name of the archive.
    pub archives: Vec<ArchiveState>,
    /// The recipe's own archives, by name.
    pub local: Vec<LocalState>,
    /// Every package file, sorted by name, then architecture.
    pub packages: Vec<Package>,
    /// In which order packages are installed.
    pub install: Install,
}

/// One state of one archive, as its own signatures vouch for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ArchiveState {
    /// Name in the recipe.
    pub name: String,
    /// The newest `Date` of its suites, as `20250517T094312Z`.
    pub serial: String,
    /// Its suites, in the order of the recipe.
    pub suites: Vec<SuiteState>,
}

/// One suite of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SuiteState {
    /// Name under `dists/`.
    pub suite: String,
    /// `Codename` of the signed Release.
    pub codename: String,
    /// `Date` of the signed Release, in seconds since 1970.
    pub date: i64,
    /// The moment as of which the signatures were verified, in seconds since 1970.
    pub verified_at: i64,
    /// The exact `InRelease` file.
    pub in_release: Blob,
    /// Primary keys that signed it, in upper-case hexadecimal, sorted.
    pub signers: Vec<String>,
    /// The indexes that were used, sorted by path.
    pub indexes: Vec<Index>,
}

/// One index file of a suite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Index {
    /// Path below `dists/<suite>/`, with the extension of its compression.
    pub path: String,
    /// The exact file that the signature names.
    pub file: Blob,
}

/// An archive that is a directory of the recipe. Nobody signed it: this digest, and those of the packages, are its proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LocalState {
    /// Name in the recipe.
    pub name: String,
    /// The `Packages` index of everything that was in the directory: what was not chosen shaped the choice too.
    pub index: Blob,
}

/// Size and digest, as text in the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blob {
    /// Length in bytes.
    pub size: u64,
    /// SHA-256.
    #[serde(with = "hex")]
    pub sha256: Digest,
}

impl From<Content> for Blob {
    fn from(content: Content) -> Self {
        Self { size: content.size, sha256: content.digest }
    }
}

impl From<Blob> for Content {
    fn from(blob: Blob) -> Self {
        Self { size: blob.size, digest: blob.sha256 }
    }
}

pub(crate) mod hex {
    use selfsame_image::Digest;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(digest: &Digest, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(digest)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Digest, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One package file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Package {
    /// Binary package name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Architecture, or `all`.
    pub architecture: String,
    /// Archive it comes from.
    pub archive: String,
    /// Path below the archive's base URL.
    pub path: String,
    /// The exact `.deb` file.
    pub file: Blob,
    /// Source package name and version, `name (= version)`.
    pub source: String,
    /// What it is for.
    #[serde(rename = "use")]
    pub role: Role,
}

/// What a locked package is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Installed in the image.
    Image,
    /// Only files are taken out of it: boot loaders.
    Boot,
    /// The kernel of the virtual machine in which the image can be built; nothing of it gets into the image.
    Builder,
}

/// The order of installation, which decides user ids and much else that scripts leave behind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Install {
    /// The Essential set with apt, in apt's order: installed together, as the first thing.
    pub base: Vec<String>,
    /// Packages that nobody asked for by name: marked as automatically installed.
    pub automatic: Vec<String>,
    /// The rest, in groups that are installed one after the other: what changes seldom first. Each is one layer of a
    /// build, so that a package that is added or changed costs its group and those after it.
    #[serde(default)]
    pub groups: Vec<Group>,
}

/// Packages that are installed in one go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Group {
    /// apt's own order: `unpack a b` and `configure a b`, one step a line.
    pub steps: Vec<String>,
}

/// One step of [`Group::steps`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// `dpkg --unpack` these.
    Unpack(Vec<&'a str>),
    /// `dpkg --configure` these.
    Configure(Vec<&'a str>),
}

impl Package {
    /// Whether `index` has this very package.
    pub(crate) fn is_listed(&self, index: &packages::Index) -> bool {
        index.find(&self.name).any(|one| {
            let (source, version) = one.source();
            one.version_text() == self.version
                && one.architecture() == self.architecture
                && one.filename() == self.path
                && one.file() == Content::from(self.file)
                && format!("{source} (= {version})") == self.source
        })
    }
}

impl Lock {
    /// The package with this name that is installed in the image.
    pub fn image_package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.role == Role::Image && package.name == name)
    }

    /// SHA-256 of the text form: the identity of the lock.
    pub fn digest(&self) -> Digest {
        Digest::of(self.to_string().as_bytes())
    }
}

/// Whether `name` is a package name (Debian Policy 5.6.1): lower-case letters, digits, `+`, `-` and `.`, at least two,
/// the first a letter or digit. Such a name is also one component of a path.
pub(crate) fn is_package_name(name: &str) -> bool {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
    name.len() >= 2 && name.chars().all(fine) && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

impl Group {
    /// The steps, parsed. `None` if one is neither `unpack …` nor `configure …`.
    pub fn parsed(&self) -> Option<Vec<Step<'_>>> {
        let mut steps = Vec::new();
        for step in &self.steps {
            let (verb, names) = step.split_once(' ')?;
            let names = names.split(' ').collect();
            steps.push(match verb {
                "unpack" => Step::Unpack(names),
                "configure" => Step::Configure(names),
                _ => return None,
            });
        }
        Some(steps)
    }

    /// Names of its packages in the order in which they are unpacked.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let unpacked = self.steps.iter().filter_map(|step| step.strip_prefix("unpack "));
        unpacked.flat_map(|names| names.split(' '))
    }
}

#[cfg(test)]
pub(crate) use text::tests::sample;
