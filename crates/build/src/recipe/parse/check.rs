//! The rules a recipe must keep.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use selfsame_image::Epoch;
use selfsame_image::codec::Codec;
use selfsame_image::squashfs::codec_for;
use serde::de::DeserializeOwned;
use toml::Spanned;

use super::super::{Archive, Boot, KERNEL_PREFIX, Keys, Output, Packages, Priority, Squashfs, System, User};
use super::RecipeError;
use super::raw::{RawArchive, RawBoot, RawBuilder, RawKeyFile, RawKeys, RawPackages, RawSquashfs, RawSystem};
use crate::lock::is_package_name;
use crate::nearest::nearest;
use crate::time;

/// What stands in the recipe and where, or `default`, which stands nowhere.
fn written<'a>(text: Option<&'a Spanned<String>>, default: &'a str) -> (&'a str, Range<usize>) {
    text.map_or((default, 0..0), |text| (text.get_ref().as_str(), text.span()))
}

/// Turns raw values into checked ones; what is wrong is said with its place in the file.
pub(super) struct Check<'a> {
    pub(super) path: PathBuf,
    pub(super) text: &'a str,
}

impl Check<'_> {
    pub(super) fn toml<T: DeserializeOwned>(&self) -> Result<T, RecipeError> {
        toml::from_str(self.text).map_err(|error| {
            let problem = error.message().lines().collect::<Vec<_>>().join(", ");
            let hint = unknown_field_hint(&problem);
            self.at_with(error.span().unwrap_or(0..0), problem, hint)
        })
    }

    pub(super) fn at(&self, span: Range<usize>, problem: String) -> RecipeError {
        self.at_with(span, problem, None)
    }

    pub(super) fn at_with(&self, span: Range<usize>, problem: String, hint: Option<String>) -> RecipeError {
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

    pub(super) fn parsed<T>(&self, text: Option<&Spanned<String>>, default: &str) -> Result<T, RecipeError>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        let (value, span) = written(text, default);
        value.parse().map_err(|error: T::Err| self.at(span, error.to_string()))
    }

    pub(super) fn word(&self, text: &Spanned<String>, what: &str, also: &str) -> Result<String, RecipeError> {
        let value = text.get_ref();
        let fine = |c: char| c.is_ascii_alphanumeric() || also.contains(c);
        if value.is_empty() || value.len() > 64 || !value.chars().all(fine) || value.starts_with(['.', '-']) {
            let problem = format!("{value:?} is not {what}: use 1 to 64 letters, digits and {also:?}");
            return Err(self.at(text.span(), problem));
        }
        Ok(value.clone())
    }

    pub(super) fn outputs(&self, raw: &Spanned<Vec<Spanned<String>>>) -> Result<Vec<Output>, RecipeError> {
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

    pub(super) fn volume_id(&self, text: &Spanned<String>) -> Result<String, RecipeError> {
        let value = text.get_ref();
        let fine = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        if value.is_empty() || value.len() > 32 || !value.chars().all(fine) {
            let problem = format!("{value:?} is not an ISO 9660 volume id: use 1 to 32 of A-Z, 0-9 and _");
            return Err(self.at(text.span(), problem));
        }
        Ok(value.clone())
    }

    pub(super) fn epoch(&self, text: &Spanned<String>) -> Result<Epoch, RecipeError> {
        time::parse_epoch(text.get_ref()).map_err(|error| self.at(text.span(), error.to_string()))
    }

    pub(super) fn squashfs(&self, raw: &RawSquashfs) -> Result<Squashfs, RecipeError> {
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

    pub(super) fn initramfs_codec(&self, text: Option<&Spanned<String>>) -> Result<Codec, RecipeError> {
        let codec: Codec = self.parsed(text, "zstd:9")?;
        if codec.takes_streams() {
            return Ok(codec);
        }
        let (text, span) = written(text, "");
        Err(self.at(span, format!("{text:?} is for SquashFS only: an initramfs is zstd, gzip or xz")))
    }

    pub(super) fn boot(&self, raw: &RawBoot) -> Result<Boot, RecipeError> {
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

    pub(super) fn builder_kernel(&self, raw: &RawBuilder) -> Result<Option<String>, RecipeError> {
        let Some(name) = &raw.kernel else { return Ok(None) };
        let word = self.word(name, "a package", "+-.")?;
        if word.starts_with(KERNEL_PREFIX) {
            return Ok(Some(word));
        }
        let problem = format!("{word:?} is no kernel of Debian: their names begin with {KERNEL_PREFIX}");
        Err(self.at(name.span(), problem))
    }

    pub(super) fn archives(
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
        let serial = raw.serial.map(|text| self.serial(text)).transpose()?.flatten();
        let priority = self.priority(raw.priority.as_ref())?;
        Ok(Archive { mirrors, suites, components, serial, keys: self.keys(raw.keys)?, threshold, priority })
    }

    /// The name of a snapshot; `None` for the present state.
    fn serial(&self, text: Spanned<String>) -> Result<Option<String>, RecipeError> {
        let letter = |(at, c): (usize, char)| match at {
            8 => c == 'T',
            15 => c == 'Z',
            _ => c.is_ascii_digit(),
        };
        let value = text.get_ref();
        if value == "latest" {
            return Ok(None);
        }
        if value.len() != 16 || !value.chars().enumerate().all(letter) {
            let problem =
                format!("{value:?} is not \"latest\" or the name of a snapshot like \"20260711T101637Z\"");
            return Err(self.at(text.span(), problem));
        }
        Ok(Some(text.into_inner()))
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

    pub(super) fn packages(&self, raw: &RawPackages) -> Result<Packages, RecipeError> {
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
        let from = BTreeMap::new();
        Ok(Packages { architecture: "amd64".into(), priority, recommends: raw.recommends, include, from })
    }

    pub(super) fn system(&self, raw: &RawSystem) -> Result<System, RecipeError> {
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
    pub(super) fn inside(&self, text: &Spanned<String>) -> Result<PathBuf, RecipeError> {
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
