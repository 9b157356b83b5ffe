//! The recipe: what an image shall be. A directory with `selfsame.toml` and the files it names.

mod files;
mod parse;
mod pin;
mod sort;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use selfsame_image::Epoch;
use selfsame_image::codec::Codec;
use selfsame_image::tree::Pattern;

pub use files::{FilesError, Tracked, read_tracked, resolve};
pub use parse::{RecipeError, load, parse};
pub use pin::with_serial;
pub use sort::SortFile;

/// Name of the recipe's main file.
pub const FILE: &str = "selfsame.toml";

/// A checked recipe. Every path in it is relative to, and inside, [`Recipe::dir`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// The directory the recipe was read from.
    pub dir: PathBuf,
    /// Stem of the output files: letters, digits, `.`, `_`, `+` and `-`.
    pub name: String,
    /// What to write, in the order asked for; never empty, no duplicates.
    pub outputs: Vec<Output>,
    /// The moment all times are clamped to, if the recipe fixes one.
    pub epoch: Option<Epoch>,
    /// ISO 9660 volume id: 1 to 32 of `A-Z`, `0-9`, `_`.
    pub volume_id: String,
    /// How the SquashFS is packed.
    pub squashfs: Squashfs,
    /// How the main part of the initramfs is compressed.
    pub initramfs_codec: Codec,
    /// Kernel command line and menu of a bootable image.
    pub boot: Boot,
    /// The package with the kernel of the virtual machine in which the image can be built, if it is none of the image's.
    pub builder_kernel: Option<String>,
    /// APT archives by name; never empty.
    pub archives: BTreeMap<String, Archive>,
    /// Directories of the recipe that are archives of their own, by name; none has the name of an archive.
    pub local: BTreeMap<String, Local>,
    /// Which packages are installed.
    pub packages: Packages,
    /// Host name, users, locale, time zone.
    pub system: System,
    /// Directory laid over the root file system after the packages are installed.
    pub overlay: Option<PathBuf>,
    /// Globs of paths that do not go into the image (`*`, `?` within a component, `**` across).
    pub exclude: Vec<Pattern>,
    /// Programs run in the sandbox after everything else, in this order.
    pub hooks: Vec<PathBuf>,
}

/// A kind of output file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Output {
    /// A hybrid live ISO image with kernel, initramfs and SquashFS.
    Iso,
    /// The root file system as SquashFS.
    Squashfs,
    /// The root file system as a tar archive.
    Tar,
}

impl Output {
    /// All kinds, by the names used in a recipe.
    pub const NAMES: &[(&str, Self)] =
        &[("iso", Self::Iso), ("squashfs", Self::Squashfs), ("tar", Self::Tar)];

    /// The word for it in a recipe, which is also the extension of the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Iso => "iso",
            Self::Squashfs => "squashfs",
            Self::Tar => "tar",
        }
    }
}

/// What the names of packages with kernels begin with.
pub const KERNEL_PREFIX: &str = "linux-image-";

/// Parameters of the SquashFS writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Squashfs {
    /// Codec of all blocks.
    pub codec: Codec,
    /// Bytes in a data block: a power of two from 4096 to 1048576.
    pub block_size: u32,
    /// File that says which contents come first, as [`selfsame_image::squashfs::Sort`] reads it.
    pub sort: Option<PathBuf>,
}

/// What a bootable image does when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// Kernel command line.
    pub cmdline: String,
    /// Seconds the menu waits, 0 to 600.
    pub timeout: u16,
}

/// One APT archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// Base URLs (`http:`, `https:`, `file:`), or `auto` for those of the machine's own APT sources.
    pub mirrors: Vec<String>,
    /// Suites or codenames, as under `dists/`.
    pub suites: Vec<String>,
    /// Components, such as `main`.
    pub components: Vec<String>,
    /// Name of the snapshot that a lock takes, such as `20260711T101637Z`; `None` for the present state.
    pub serial: Option<String>,
    /// Which signatures count.
    pub keys: Keys,
    /// How many distinct primary keys must have signed, at least 1.
    pub threshold: u8,
    /// apt's priority of its packages, 1 to 1000; `None` for what apt makes of each suite.
    pub priority: Option<u16>,
}

/// A directory of `.deb` files that is an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Where it is; packages may lie in directories below it.
    pub directory: PathBuf,
    /// apt's priority of its packages, 1 to 1000; `None` for apt's own, 500.
    pub priority: Option<u16>,
}

/// The keys an archive may be signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Debian's archive keys for the codename, built into the program.
    Debian,
    /// Keys of the recipe.
    File {
        /// Armored or binary OpenPGP certificates.
        file: PathBuf,
        /// Primary fingerprints that count, in upper-case hexadecimal.
        fingerprints: Vec<String>,
    },
}

/// Which packages are installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packages {
    /// Debian's name of the architecture; `amd64`.
    pub architecture: String,
    /// All packages of at least this priority are asked for.
    pub priority: Priority,
    /// Whether recommended packages are installed too.
    pub recommends: bool,
    /// Packages asked for by name, sorted, without duplicates.
    pub include: Vec<String>,
    /// From which archive packages must come, by pattern of their names.
    pub from: BTreeMap<String, String>,
}

/// How much of the archive's own base is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Essential packages and apt.
    Essential,
    /// Also `Priority: required`.
    Required,
    /// Also `Priority: important`.
    Important,
    /// Also `Priority: standard`.
    Standard,
}

impl Priority {
    /// All levels by the names used in a recipe, lowest first.
    pub const NAMES: &[(&str, Self)] = &[
        ("essential", Self::Essential),
        ("required", Self::Required),
        ("important", Self::Important),
        ("standard", Self::Standard),
    ];

    /// The word for it in a recipe.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, level)| *level == self).map_or("", |(name, _)| name)
    }
}

/// Basics of the installed system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// Host name (RFC 1123 label).
    pub hostname: String,
    /// Default locale; generated when the package `locales` is installed.
    pub locale: String,
    /// Time zone name below `/usr/share/zoneinfo`.
    pub timezone: String,
    /// Users to create, in this order.
    pub users: Vec<User>,
}

/// A user to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// `crypt(3)` hash; without one the password is locked.
    pub password_hash: Option<String>,
    /// Further groups, which must exist.
    pub groups: Vec<String>,
    /// Login shell.
    pub shell: String,
}

impl Recipe {
    /// `relative` below the recipe's directory.
    pub fn path(&self, relative: &Path) -> PathBuf {
        self.dir.join(relative)
    }

    /// Names of all files that a build makes: the outputs in the order asked for, then manifest, package list and record.
    pub fn file_names(&self) -> Vec<String> {
        let outputs = self.outputs.iter().map(|output| output.name());
        let extensions = outputs.chain(["manifest", "packages", "record.json"]);
        extensions.map(|extension| format!("{}.{extension}", self.name)).collect()
    }

    /// Whether an output needs a kernel and a boot loader.
    pub fn bootable(&self) -> bool {
        self.outputs.contains(&Output::Iso)
    }
}
