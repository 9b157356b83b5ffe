//! Reading `selfsame.toml`: TOML in, a checked [`Recipe`] out, or an error with line and column.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use selfsame_image::Epoch;
use selfsame_image::codec::Codec;
use selfsame_image::squashfs::codec_for;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;

use super::{Archive, Boot, FILE, Keys, Output, Packages, Priority, Recipe, Squashfs, System, User};
use crate::lock::is_package_name;
use crate::nearest::nearest;
use crate::time;

/// Why there is no usable recipe.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The directory holds no recipe.
    #[error("{} is not there", path.display())]
    Missing {
        /// The file that was looked for.
        path: PathBuf,
    },
    /// The file could not be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line of the file is wrong.
    #[error("{}:{line}:{column}: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// The rule that is broken, with the value that breaks it.
        problem: String,
        /// The nearest thing that would be right.
        hint: Option<String>,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawRecipe {
    format: Spanned<u64>,
    image: RawImage,
    #[serde(default)]
    squashfs: RawSquashfs,
    #[serde(default)]
    initramfs: RawInitramfs,
    #[serde(default)]
    boot: RawBoot,
    archives: Spanned<BTreeMap<Spanned<String>, RawArchive>>,
    #[serde(default)]
    packages: RawPackages,
    #[serde(default)]
    system: RawSystem,
    #[serde(default)]
    files: RawFiles,
    #[serde(default)]
    hooks: Vec<RawHook>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawImage {
    name: Spanned<String>,
    outputs: Spanned<Vec<Spanned<String>>>,
    epoch: Option<Spanned<String>>,
    volume_id: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawSquashfs {
    codec: Option<Spanned<String>>,
    block_size: Option<Spanned<String>>,
    sort: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawInitramfs {
    codec: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawBoot {
    cmdline: Option<Spanned<String>>,
    timeout: Option<Spanned<u64>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawArchive {
    #[serde(default)]
    mirrors: Vec<Spanned<String>>,
    suites: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    components: Vec<Spanned<String>>,
    keys: Spanned<RawKeys>,
    threshold: Option<Spanned<u64>>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "keys are \"debian\" or { file = \"…\", fingerprints = [\"…\"] }")]
enum RawKeys {
    BuiltIn(String),
    File(RawKeyFile),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKeyFile {
    file: String,
    fingerprints: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawPackages {
    architecture: Option<Spanned<String>>,
    priority: Option<Spanned<String>>,
    #[serde(default)]
    recommends: bool,
    #[serde(default)]
    include: Vec<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawSystem {
    hostname: Option<Spanned<String>>,
    locale: Option<Spanned<String>>,
    timezone: Option<Spanned<String>>,
    #[serde(default)]
    users: Vec<RawUser>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawUser {
    name: Spanned<String>,
    password_hash: Option<Spanned<String>>,
    #[serde(default)]
    groups: Vec<Spanned<String>>,
    shell: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawFiles {
    overlay: Option<Spanned<String>>,
    #[serde(default)]
    exclude: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawHook {
    run: Spanned<String>,
}

/// Reads and checks the recipe in `dir`.
pub fn load(dir: &Path) -> Result<Recipe, RecipeError> {
    let path = dir.join(FILE);
    let text = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(RecipeError::Missing { path }),
        Err(source) => return Err(RecipeError::Io { path, source }),
    };
    let text = String::from_utf8(text).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        RecipeError::Invalid {
            path: path.clone(),
            line,
            column: 1,
            problem: "is not UTF-8".into(),
            hint: None,
        }
    })?;
    parse(dir, &text)
}

/// Checks the text of a recipe that lies in `dir`. Files it names are not touched.
pub fn parse(dir: &Path, text: &str) -> Result<Recipe, RecipeError> {
    let check = Check { path: dir.join(FILE), text };
    let raw: RawRecipe = check.toml()?;
    if *raw.format.get_ref() != 1 {
        let problem = format!("format {} is not known to this version, which reads 1", raw.format.get_ref());
        return Err(check.at(raw.format.span(), problem));
    }
    let outputs = check.outputs(&raw.image.outputs)?;
    let name = check.word(&raw.image.name, "an image name", "._+-")?;
    let volume_id = match &raw.image.volume_id {
        Some(id) => check.volume_id(id)?,
        None => default_volume_id(&name),
    };
    let epoch = raw.image.epoch.as_ref().map(|text| check.epoch(text)).transpose()?;
    Ok(Recipe {
        dir: dir.to_owned(),
        outputs,
        epoch,
        volume_id,
        squashfs: check.squashfs(&raw.squashfs)?,
        initramfs_codec: check.initramfs_codec(raw.initramfs.codec.as_ref())?,
        boot: check.boot(&raw.boot)?,
        archives: check.archives(raw.archives)?,
        packages: check.packages(&raw.packages)?,
        system: check.system(&raw.system)?,
        overlay: raw.files.overlay.as_ref().map(|path| check.inside(path)).transpose()?,
        exclude: raw
            .files
            .exclude
            .iter()
            .map(|text| check.parsed(Some(text), ""))
            .collect::<Result<_, _>>()?,
        hooks: raw.hooks.iter().map(|hook| check.inside(&hook.run)).collect::<Result<_, _>>()?,
        name,
    })
}

fn default_volume_id(name: &str) -> String {
    let letter = |c: char| {
        if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }
    };
    name.chars().take(32).map(letter).collect()
}

/// What stands in the recipe and where, or `default`, which stands nowhere.
fn written<'a>(text: Option<&'a Spanned<String>>, default: &'a str) -> (&'a str, Range<usize>) {
    text.map_or((default, 0..0), |text| (text.get_ref().as_str(), text.span()))
}

struct Check<'a> {
    path: PathBuf,
    text: &'a str,
}

impl Check<'_> {
    fn toml<T: DeserializeOwned>(&self) -> Result<T, RecipeError> {
        toml::from_str(self.text).map_err(|error| {
            let problem = error.message().lines().collect::<Vec<_>>().join(", ");
            let hint = unknown_field_hint(&problem);
            self.at_with(error.span().unwrap_or(0..0), problem, hint)
        })
    }

    fn at(&self, span: Range<usize>, problem: String) -> RecipeError {
        self.at_with(span, problem, None)
    }

    fn at_with(&self, span: Range<usize>, problem: String, hint: Option<String>) -> RecipeError {
        let before = self.text.get(..span.start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        RecipeError::Invalid { path: self.path.clone(), line, column, problem, hint }
    }

    fn named<T: Copy>(&self, text: &Spanned<String>, names: &[(&str, T)]) -> Result<T, RecipeError> {
        if let Some((_, value)) = names.iter().find(|(name, _)| name == text.get_ref()) {
            return Ok(*value);
        }
        let known: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        let hint =
            nearest(text.get_ref(), known.iter().copied()).map(|name| format!("did you mean {name:?}?"));
        let problem = format!("{:?} is not one of {}", text.get_ref(), known.join(", "));
        Err(self.at_with(text.span(), problem, hint))
    }

    fn parsed<T>(&self, text: Option<&Spanned<String>>, default: &str) -> Result<T, RecipeError>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        let (value, span) = written(text, default);
        value.parse().map_err(|error: T::Err| self.at(span, error.to_string()))
    }

    fn word(&self, text: &Spanned<String>, what: &str, also: &str) -> Result<String, RecipeError> {
        let value = text.get_ref();
        let fine = |c: char| c.is_ascii_alphanumeric() || also.contains(c);
        if value.is_empty() || value.len() > 64 || !value.chars().all(fine) || value.starts_with(['.', '-']) {
            let problem = format!("{value:?} is not {what}: use 1 to 64 letters, digits and {also:?}");
            return Err(self.at(text.span(), problem));
        }
        Ok(value.clone())
    }

    fn outputs(&self, raw: &Spanned<Vec<Spanned<String>>>) -> Result<Vec<Output>, RecipeError> {
        let mut outputs = Vec::new();
        for text in raw.get_ref() {
            let output = self.named(text, Output::NAMES)?;
            if outputs.contains(&output) {
                return Err(self.at(text.span(), format!("{:?} is listed twice", text.get_ref())));
            }
            outputs.push(output);
        }
        if outputs.is_empty() {
            return Err(self.at(raw.span(), "there must be at least one output".into()));
        }
        Ok(outputs)
    }

    fn volume_id(&self, text: &Spanned<String>) -> Result<String, RecipeError> {
        let value = text.get_ref();
        let fine = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        if value.is_empty() || value.len() > 32 || !value.chars().all(fine) {
            let problem = format!("{value:?} is not an ISO 9660 volume id: use 1 to 32 of A-Z, 0-9 and _");
            return Err(self.at(text.span(), problem));
        }
        Ok(value.clone())
    }

    fn epoch(&self, text: &Spanned<String>) -> Result<Epoch, RecipeError> {
        time::parse_epoch(text.get_ref()).map_err(|error| self.at(text.span(), error.to_string()))
    }

    fn squashfs(&self, raw: &RawSquashfs) -> Result<Squashfs, RecipeError> {
        let block_size = match &raw.block_size {
            None => 128 << 10,
            Some(text) => parse_size(text.get_ref())
                .filter(|size| size.is_power_of_two() && (4 << 10..=1 << 20).contains(size))
                .ok_or_else(|| {
                    let problem = format!("{:?} is not a power of two from 4K to 1M", text.get_ref());
                    self.at(text.span(), problem)
                })?,
        };
        let (text, span) = written(raw.codec.as_ref(), "zstd:15");
        let codec = codec_for(text, block_size).map_err(|error| self.at(span, error.to_string()))?;
        let sort = raw.sort.as_ref().map(|path| self.inside(path)).transpose()?;
        Ok(Squashfs { codec, block_size, sort })
    }

    fn initramfs_codec(&self, text: Option<&Spanned<String>>) -> Result<Codec, RecipeError> {
        let codec: Codec = self.parsed(text, "zstd:9")?;
        if codec.takes_streams() {
            return Ok(codec);
        }
        let (text, span) = written(text, "");
        Err(self.at(span, format!("{text:?} is for SquashFS only: an initramfs is zstd, gzip or xz")))
    }

    fn boot(&self, raw: &RawBoot) -> Result<Boot, RecipeError> {
        let cmdline = raw.cmdline.as_ref().map_or("boot=live quiet", |text| text.get_ref());
        if let Some(text) = raw.cmdline.as_ref().filter(|text| text.get_ref().contains(['\n', '\r', '\0'])) {
            return Err(self.at(text.span(), "a kernel command line is one line".into()));
        }
        // GRUB puts a backslash before each of these (lib/cmdline.c), isolinux does not: under UEFI the kernel would be
        // told something else than under BIOS.
        if let Some(odd) = cmdline.chars().find(|c| ['"', '\'', '\\'].contains(c)) {
            let problem = format!("a kernel command line cannot have {odd}, which boot loaders change");
            let span = raw.cmdline.as_ref().map_or(0..0, Spanned::span);
            return Err(self.at(span, problem));
        }
        let timeout = match &raw.timeout {
            None => 1,
            Some(seconds) => u16::try_from(*seconds.get_ref())
                .ok()
                .filter(|seconds| *seconds <= 600)
                .ok_or_else(|| self.at(seconds.span(), "the menu waits 0 to 600 seconds".into()))?,
        };
        Ok(Boot { cmdline: cmdline.to_owned(), timeout })
    }

    fn archives(
        &self,
        raw: Spanned<BTreeMap<Spanned<String>, RawArchive>>,
    ) -> Result<BTreeMap<String, Archive>, RecipeError> {
        if raw.get_ref().is_empty() {
            return Err(self.at(raw.span(), "there must be at least one archive".into()));
        }
        raw.into_inner()
            .into_iter()
            .map(|(name, archive)| Ok((self.word(&name, "an archive name", "._-")?, self.archive(archive)?)))
            .collect()
    }

    fn archive(&self, raw: RawArchive) -> Result<Archive, RecipeError> {
        let mut mirrors = Vec::new();
        for mirror in raw.mirrors {
            let known =
                ["http://", "https://", "file:"].iter().any(|scheme| mirror.get_ref().starts_with(scheme));
            if mirror.get_ref() != "auto" && !known {
                let problem =
                    format!("{:?} is not \"auto\" or an http:, https: or file: URL", mirror.get_ref());
                return Err(self.at(mirror.span(), problem));
            }
            mirrors.push(mirror.into_inner());
        }
        if mirrors.is_empty() {
            mirrors.push("auto".into());
        }
        if raw.suites.get_ref().is_empty() {
            return Err(self.at(raw.suites.span(), "an archive needs at least one suite".into()));
        }
        let suites = self.words(raw.suites.get_ref(), "a suite")?;
        let mut components = self.words(&raw.components, "a component")?;
        if components.is_empty() {
            components.push("main".into());
        }
        let threshold = match &raw.threshold {
            None => 1,
            Some(k) => u8::try_from(*k.get_ref())
                .ok()
                .filter(|k| *k >= 1)
                .ok_or_else(|| self.at(k.span(), "the threshold is 1 to 255 keys".into()))?,
        };
        Ok(Archive { mirrors, suites, components, keys: self.keys(raw.keys)?, threshold })
    }

    /// Names of an archive's parts, each of which is fetched and shown to apt once.
    fn words(&self, raw: &[Spanned<String>], what: &str) -> Result<Vec<String>, RecipeError> {
        let mut words = Vec::new();
        for text in raw {
            let word = self.word(text, what, "._+-")?;
            if words.contains(&word) {
                return Err(self.at(text.span(), format!("{word:?} is listed twice")));
            }
            words.push(word);
        }
        Ok(words)
    }

    fn keys(&self, raw: Spanned<RawKeys>) -> Result<Keys, RecipeError> {
        let span = raw.span();
        match raw.into_inner() {
            RawKeys::BuiltIn(name) if name == "debian" => Ok(Keys::Debian),
            RawKeys::BuiltIn(name) => {
                let problem = format!("{name:?} is no built-in set of keys: \"debian\" is the only one");
                Err(self.at(span, problem))
            }
            RawKeys::File(RawKeyFile { file, fingerprints }) => {
                let file = self.inside(&Spanned::new(span.clone(), file))?;
                let mut clean = Vec::new();
                for text in fingerprints {
                    let digits: String = text.chars().filter(|c| *c != ' ').collect();
                    if ![40, 64].contains(&digits.len()) || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
                        let problem = format!("{text:?} is not a fingerprint of 40 or 64 hexadecimal digits");
                        return Err(self.at(span, problem));
                    }
                    clean.push(digits.to_ascii_uppercase());
                }
                if clean.is_empty() {
                    return Err(self.at(span, "at least one primary fingerprint must be pinned".into()));
                }
                clean.sort();
                clean.dedup();
                Ok(Keys::File { file, fingerprints: clean })
            }
        }
    }

    fn packages(&self, raw: &RawPackages) -> Result<Packages, RecipeError> {
        let architecture = raw.architecture.as_ref();
        if let Some(text) = architecture.filter(|text| text.get_ref() != "amd64") {
            let problem = format!("architecture {:?} cannot be built yet: amd64 only", text.get_ref());
            return Err(self.at(text.span(), problem));
        }
        let priority = raw.priority.as_ref();
        let priority = priority.map_or(Ok(Priority::Required), |text| self.named(text, Priority::NAMES))?;
        let mut include = Vec::new();
        for text in &raw.include {
            let name = text.get_ref();
            if !is_package_name(name) {
                return Err(self.at(text.span(), format!("{name:?} cannot be a package name")));
            }
            include.push(name.clone());
        }
        include.sort();
        include.dedup();
        Ok(Packages { architecture: "amd64".into(), priority, recommends: raw.recommends, include })
    }

    fn system(&self, raw: &RawSystem) -> Result<System, RecipeError> {
        let optional = |text: &Option<Spanned<String>>, default: &str, what: &str, also: &str| match text {
            None => Ok(default.to_owned()),
            Some(text) => self.word(text, what, also),
        };
        let mut users: Vec<User> = Vec::new();
        for user in &raw.users {
            let name = self.word(&user.name, "a user name", "_-")?;
            if users.iter().any(|other| other.name == name) {
                return Err(self.at(user.name.span(), format!("user {name:?} is listed twice")));
            }
            let groups = user.groups.iter().map(|group| self.word(group, "a group name", "_-"));
            let hash = user.password_hash.as_ref();
            if let Some(text) = hash.filter(|text| text.get_ref().contains([':', '\n', '\''])) {
                return Err(self.at(text.span(), "is not a crypt(3) hash".into()));
            }
            users.push(User {
                groups: groups.collect::<Result<_, _>>()?,
                password_hash: hash.map(|text| text.get_ref().clone()),
                shell: user.shell.as_ref().map_or(Ok("/bin/bash".into()), |text| self.absolute(text))?,
                name,
            });
        }
        Ok(System {
            hostname: optional(&raw.hostname, "localhost", "a host name", "-")?,
            locale: optional(&raw.locale, "C.UTF-8", "a locale", "._@-")?,
            timezone: optional(&raw.timezone, "Etc/UTC", "a time zone", "/_+-")?,
            users,
        })
    }

    fn absolute(&self, text: &Spanned<String>) -> Result<String, RecipeError> {
        let value = text.get_ref();
        let fine = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        if !value.starts_with('/') || !value.chars().all(fine) {
            return Err(self.at(text.span(), format!("{value:?} is not an absolute path")));
        }
        Ok(value.clone())
    }

    /// A path of the recipe: relative, without `..`, and not the recipe's own directory.
    fn inside(&self, text: &Spanned<String>) -> Result<PathBuf, RecipeError> {
        let path = Path::new(text.get_ref());
        let inside = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if text.get_ref().is_empty() || !inside {
            let problem =
                format!("{:?} leaves the recipe: paths are relative to it and without ..", text.get_ref());
            return Err(self.at(text.span(), problem));
        }
        let path: PathBuf = path.components().filter(|part| *part != Component::CurDir).collect();
        if path.as_os_str().is_empty() {
            let problem =
                format!("{:?} is the recipe itself: name a file or directory in it", text.get_ref());
            return Err(self.at(text.span(), problem));
        }
        Ok(path)
    }
}

/// `128K`, `1M` or a number of bytes.
fn parse_size(text: &str) -> Option<u32> {
    let (digits, shift) = match text.strip_suffix(['K', 'k']) {
        Some(digits) => (digits, 10),
        None => text.strip_suffix(['M', 'm']).map_or((text, 0), |digits| (digits, 20)),
    };
    digits.parse::<u32>().ok()?.checked_shl(shift).filter(|size| size >> shift == digits.parse().unwrap_or(0))
}

/// For serde's words about an unknown field, the known one that is meant most likely.
fn unknown_field_hint(problem: &str) -> Option<String> {
    let mut quoted = problem.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    nearest(unknown, quoted).map(|name| format!("did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"format = 1
[image]
name = "live"
outputs = ["iso", "squashfs"]
epoch = "2025-05-17T00:00:00Z"
[squashfs]
codec = "xz:6:dict=1048576:x86"
block-size = "1M"
[archives.debian]
suites = ["bookworm"]
keys = "debian"
[packages]
priority = "important"
include = ["nano", "linux-image-amd64"]
[files]
overlay = "files"
[[hooks]]
run = "hooks/10-x"
"#;

    fn wrong(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from));
        parse(Path::new("r"), &GOOD.replacen(from, to, 1)).unwrap_err().to_string()
    }

    #[test]
    fn reads_what_it_says_and_fills_in_defaults() {
        let recipe = parse(Path::new("r"), GOOD).unwrap();
        assert_eq!(recipe.outputs, [Output::Iso, Output::Squashfs]);
        assert_eq!(recipe.volume_id, "LIVE");
        assert_eq!(recipe.squashfs.block_size, 1 << 20);
        assert_eq!(recipe.packages.include, ["linux-image-amd64", "nano"]);
        assert_eq!(recipe.archives["debian"].mirrors, ["auto"]);
        assert_eq!(recipe.archives["debian"].components, ["main"]);
        assert_eq!(recipe.system.hostname, "localhost");
    }

    #[test]
    fn xz_has_a_dictionary_of_one_block_if_none_is_given() {
        for (codec, block_size, expected) in [
            ("xz:6", "128K", "xz:6:dict=131072"),
            ("xz:9:x86", "1M", "xz:9:dict=1048576:x86"),
            ("xz:6:x86:dict=8192", "4K", "is no codec for such blocks"),
            ("xz:6:dict=98304", "128K", "xz:6:dict=98304"),
            ("lz4", "128K", "lz4:9"),
        ] {
            let text = GOOD.replacen("xz:6:dict=1048576:x86", codec, 1).replacen("1M", block_size, 1);
            let found = match parse(Path::new("r"), &text) {
                Ok(recipe) => recipe.squashfs.codec.to_string(),
                Err(error) => {
                    assert!(
                        error.to_string().starts_with("r/selfsame.toml:7:9: xz dictionary of"),
                        "{error}"
                    );
                    "is no codec for such blocks".to_owned()
                }
            };
            assert_eq!(found, expected, "{codec}");
        }
    }

    #[test]
    fn errors_name_line_and_column() {
        let cases = [
            (
                "format = 1",
                "format = 2",
                "r/selfsame.toml:1:10: format 2 is not known to this version, which reads 1",
            ),
            ("\"iso\"", "\"isso\"", "r/selfsame.toml:4:12: \"isso\" is not one of iso, squashfs, tar"),
            (
                "[archives.debian]",
                "sort = \"/boot.sort\"\n[archives.debian]",
                "r/selfsame.toml:9:8: \"/boot.sort\" leaves the recipe: paths are relative to it and without ..",
            ),
            (
                "[archives.debian]",
                "[initramfs]\ncodec = \"lz4\"\n[archives.debian]",
                "r/selfsame.toml:10:9: \"lz4\" is for SquashFS only: an initramfs is zstd, gzip or xz",
            ),
            ("\"1M\"", "\"3M\"", "r/selfsame.toml:8:14: \"3M\" is not a power of two from 4K to 1M"),
            (
                "\"files\"",
                "\"../files\"",
                "r/selfsame.toml:16:11: \"../files\" leaves the recipe: paths are relative to it and without ..",
            ),
            (
                "\"files\"",
                "\"./.\"",
                "r/selfsame.toml:16:11: \"./.\" is the recipe itself: name a file or directory in it",
            ),
            (
                "\"hooks/10-x\"",
                "\"/bin/sh\"",
                "r/selfsame.toml:18:7: \"/bin/sh\" leaves the recipe: paths are relative to it and without ..",
            ),
            (
                "[\"bookworm\"]",
                "[\"bookworm\", \"bookworm\"]",
                "r/selfsame.toml:10:23: \"bookworm\" is listed twice",
            ),
            (
                "keys = \"debian\"",
                "keys = \"debian\"\ncomponents = [\"main\", \"main\"]",
                "r/selfsame.toml:12:23: \"main\" is listed twice",
            ),
            (
                "[archives.debian]",
                "[boot]\ncmdline = 'a=\"b c\"'\n[archives.debian]",
                "r/selfsame.toml:10:11: a kernel command line cannot have \", which boot loaders change",
            ),
            ("\"nano\"", "\"Nano\"", "r/selfsame.toml:14:12: \"Nano\" cannot be a package name"),
            (
                "keys = \"debian\"",
                "keys = \"ubuntu\"",
                "r/selfsame.toml:11:8: \"ubuntu\" is no built-in set of keys: \"debian\" is the only one",
            ),
        ];
        for (from, to, message) in cases {
            assert_eq!(wrong(from, to), message);
        }
        assert!(wrong("name = \"live\"", "name = ").starts_with("r/selfsame.toml:3:8: "));
    }

    /// The keys of the table that begins after `header` in a recipe that has all tables, as serde lists them when it
    /// meets another one.
    fn known_keys(header: &str) -> Vec<String> {
        let all = format!("{GOOD}[initramfs]\n[boot]\n[system]\n[[system.users]]\n");
        assert!(all.contains(header), "{header}");
        let message = parse(Path::new("r"), &all.replacen(header, &format!("{header}other = 1\n"), 1));
        let message = message.unwrap_err().to_string();
        let (_, expected) = message.split_once("expected ").unwrap_or_else(|| panic!("{message}"));
        expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn the_page_on_recipes_has_exactly_these_keys() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/recipe.md");
        let page = std::fs::read_to_string(page).unwrap();
        let section = |title: &str| {
            let (_, rest) = page.split_once(&format!("# {title}\n")).unwrap_or_else(|| panic!("no {title}"));
            rest.split("\n#").next().unwrap_or(rest)
        };
        let rows = |title: &str| -> Vec<String> {
            let key = |line: &str| Some(line.strip_prefix("| `")?.split('`').next()?.to_owned());
            section(title).lines().filter_map(key).collect()
        };
        for (header, title) in [
            ("[image]\n", "`[image]`"),
            ("[squashfs]\n", "`[squashfs]`"),
            ("[initramfs]\n", "`[initramfs]`"),
            ("[boot]\n", "`[boot]`"),
            ("[archives.debian]\n", "`[archives.NAME]`"),
            ("[packages]\n", "`[packages]`"),
            ("[system]\n", "`[system]`"),
            ("[[system.users]]\n", "`[[system.users]]`"),
            ("[files]\n", "`[files]`"),
            ("[[hooks]]\n", "`[[hooks]]`"),
        ] {
            assert_eq!(rows(title), known_keys(header), "{title}");
        }
        assert_eq!(rows("Table `keys`"), ["file", "fingerprints"]);
        for key in known_keys("") {
            assert!(section("At the top").contains(&format!("`{key}`")), "{key}");
        }
    }

    #[test]
    fn unknown_keys_suggest_the_nearest() {
        let text = GOOD.replacen("block-size", "blocksize", 1);
        let RecipeError::Invalid { line: 8, hint: Some(hint), .. } =
            parse(Path::new("r"), &text).unwrap_err()
        else {
            panic!("no hint");
        };
        assert_eq!(hint, "did you mean `block-size`?");
    }
}
