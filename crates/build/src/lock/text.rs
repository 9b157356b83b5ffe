//! The text form of a lock: TOML, one fact a line, sorted, so that a diff reads as a list of upgrades.

use std::collections::BTreeSet;
use std::fmt::{self, Write};
use std::str::FromStr;

use selfsame_apt::date;
use serde::Deserialize;

use super::{
    ArchiveState, Broken, FORMAT, Install, LocalState, Lock, Package, Request, Role, Step, VERSION,
    is_package_name,
};

/// Why a text is not a usable lock.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// Not TOML, or not of the form of a lock.
    #[error("line {line}: {problem}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// What is wrong there.
        problem: String,
    },
    /// Written by a program with another version of the lock.
    #[error("the lock has version {found}, this program reads version {VERSION}")]
    Version {
        /// The version found.
        found: u32,
    },
    /// Written for another version of the bytes of images.
    #[error("the lock is for image format {found}, this program writes format {FORMAT}")]
    Format {
        /// The version found.
        found: u32,
    },
    /// Two packages of the same name and use, or an order that is not sorted.
    #[error("package {name} is listed twice or out of order")]
    Order {
        /// The package.
        name: String,
    },
    /// The installation order names a package that is not locked, or leaves one out.
    #[error("the order of installation and the packages disagree about {name}")]
    Install {
        /// The package.
        name: String,
    },
    /// An archive that was not asked for, or not with these suites: its name becomes the name of a directory.
    #[error("archive {name:?} is not locked as it was asked for")]
    Archive {
        /// Its name.
        name: String,
    },
    /// A state under another's name.
    #[error("archive {name}: the state is called {serial}, and its newest suite is of {newest}")]
    Serial {
        /// Name of the archive.
        name: String,
        /// The name of the state.
        serial: String,
        /// What it should be.
        newest: String,
    },
    /// A name that no package can have: files are made under these names.
    #[error("{name:?} cannot be a package name")]
    Name {
        /// The name.
        name: String,
    },
    /// A package from another archive than the one it must come from.
    #[error("{0}")]
    Guard(Broken),
    /// A path that could leave its directory.
    #[error("{path:?} is no path inside an archive")]
    Path {
        /// The path.
        path: String,
    },
}

#[derive(Deserialize)]
struct Versions {
    version: u32,
    format: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLock {
    #[expect(dead_code, reason = "checked before, by `Versions`")]
    version: u32,
    #[expect(dead_code, reason = "checked before, by `Versions`")]
    format: u32,
    request: Request,
    #[serde(default)]
    archive: Vec<ArchiveState>,
    #[serde(default)]
    overlay: Vec<LocalState>,
    #[serde(default)]
    package: Vec<Package>,
    install: Install,
}

impl FromStr for Lock {
    type Err = LockError;

    fn from_str(text: &str) -> Result<Self, LockError> {
        let syntax = |error: toml::de::Error| LockError::Syntax {
            line: text
                .get(..error.span().map_or(0, |span| span.start))
                .unwrap_or_default()
                .matches('\n')
                .count()
                + 1,
            problem: error.message().to_owned(),
        };
        let versions: Versions = toml::from_str(text).map_err(syntax)?;
        if versions.version != VERSION {
            return Err(LockError::Version { found: versions.version });
        }
        if versions.format != FORMAT {
            return Err(LockError::Format { found: versions.format });
        }
        let raw: RawLock = toml::from_str(text).map_err(syntax)?;
        let RawLock { request, archive: archives, overlay: local, package: packages, install, .. } = raw;
        let lock = Self { request, archives, local, packages, install };
        lock.check()?;
        Ok(lock)
    }
}

impl Lock {
    /// Whether the parts agree with each other.
    pub(crate) fn check(&self) -> Result<(), LockError> {
        let inside = |path: &str| {
            !path.starts_with('/') && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
        };
        let indexes = self.archives.iter().flat_map(|a| &a.suites).flat_map(|s| &s.indexes).map(|i| &i.path);
        let suites = self.archives.iter().flat_map(|a| &a.suites).map(|s| &s.suite);
        for path in self.packages.iter().map(|p| &p.path).chain(indexes).chain(suites) {
            if !inside(path) {
                return Err(LockError::Path { path: path.clone() });
            }
        }
        self.check_archives()?;
        if let Some(broken) = self.broken_guards().into_iter().next() {
            return Err(LockError::Guard(broken));
        }
        let unreadable = || LockError::Install { name: "an unreadable step".into() };
        let mut groups = Vec::new();
        for group in &self.install.groups {
            groups.push(group.parsed().ok_or_else(unreadable)?);
        }
        self.check_names(&groups.concat())?;
        let key = |p: &Package| (p.name.clone(), p.architecture.clone(), p.role);
        for pair in self.packages.windows(2) {
            if key(&pair[0]) >= key(&pair[1]) {
                return Err(LockError::Order { name: pair[1].name.clone() });
            }
        }
        let image: BTreeSet<&str> =
            self.packages.iter().filter(|p| p.role == Role::Image).map(|p| p.name.as_str()).collect();
        let mut unpacked: BTreeSet<&str> = self.install.base.iter().map(String::as_str).collect();
        let mut configured = unpacked.clone();
        for steps in &groups {
            for step in steps {
                let (names, set) = match step {
                    Step::Unpack(names) => (names, &mut unpacked),
                    Step::Configure(names) => (names, &mut configured),
                };
                for name in names {
                    if !set.insert(name) {
                        return Err(LockError::Install { name: (*name).to_owned() });
                    }
                }
            }
            // What a group leaves open would be configured by the next one, against the order of the lock.
            if let Some(name) = unpacked.symmetric_difference(&configured).next() {
                return Err(LockError::Install { name: (*name).to_owned() });
            }
        }
        let odd = image.symmetric_difference(&unpacked).chain(image.symmetric_difference(&configured)).next();
        odd.map_or(Ok(()), |name| Err(LockError::Install { name: (*name).to_owned() }))
    }

    /// Whether the archives are those that were asked for, each in one state under its own name.
    fn check_archives(&self) -> Result<(), LockError> {
        let asked = &self.request.archives;
        let states = |name: &str| self.archives.iter().filter(|state| state.name == name).count();
        let locked = self.archives.iter().map(|state| &state.name);
        let local = &self.request.local;
        if let Some(both) = local.keys().find(|name| asked.contains_key(*name)) {
            return Err(LockError::Archive { name: both.clone() });
        }
        let once = |name: &str| self.local.iter().filter(|state| state.name == name).count() == 1;
        let mut names = local.keys().chain(self.local.iter().map(|state| &state.name));
        if let Some(odd) = names.find(|name| !local.contains_key(*name) || !once(name)) {
            return Err(LockError::Archive { name: odd.clone() });
        }
        let used = self.packages.iter().map(|package| &package.archive);
        let used = used.filter(|name| !local.contains_key(*name));
        let mut names = asked.keys().chain(locked).chain(used);
        if let Some(odd) = names.find(|name| !asked.contains_key(*name) || states(name) != 1) {
            return Err(LockError::Archive { name: odd.clone() });
        }
        for ArchiveState { name, serial, suites } in &self.archives {
            if !suites.iter().map(|state| &state.suite).eq(&asked[name].suites) {
                return Err(LockError::Archive { name: name.clone() });
            }
            let newest = date::serial(suites.iter().map(|state| state.date).max().unwrap_or(0));
            if newest != *serial {
                let (name, serial) = (name.clone(), serial.clone());
                return Err(LockError::Serial { name, serial, newest });
            }
        }
        Ok(())
    }

    /// Whether everything that is used as a package name is one.
    fn check_names(&self, steps: &[Step<'_>]) -> Result<(), LockError> {
        let packages = self.packages.iter().map(|package| package.name.as_str());
        let lists = self.install.base.iter().chain(&self.install.automatic).map(String::as_str);
        let steps = steps.iter().flat_map(|step| match step {
            Step::Unpack(names) | Step::Configure(names) => names.iter().copied(),
        });
        match packages.chain(lists).chain(steps).find(|name| !is_package_name(name)) {
            Some(name) => Err(LockError::Name { name: name.to_owned() }),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# What shapes the bytes of this image. Written by `selfsame lock`; commit it with the recipe."
        )?;
        writeln!(f, "version = {VERSION}\nformat = {FORMAT}")?;
        self.write_request(f)?;
        for archive in &self.archives {
            writeln!(
                f,
                "\n[[archive]]\nname = {}\nserial = {}",
                quoted(&archive.name),
                quoted(&archive.serial)
            )?;
            for suite in &archive.suites {
                writeln!(f, "\n[[archive.suites]]\nsuite = {}", quoted(&suite.suite))?;
                writeln!(f, "codename = {}\ndate = {}", quoted(&suite.codename), suite.date)?;
                writeln!(f, "verified-at = {}", suite.verified_at)?;
                writeln!(f, "in-release = {}", blob(&suite.in_release))?;
                write_list(f, "signers", &suite.signers)?;
                for index in &suite.indexes {
                    writeln!(f, "\n[[archive.suites.indexes]]\npath = {}", quoted(&index.path))?;
                    writeln!(f, "file = {}", blob(&index.file))?;
                }
            }
        }
        for LocalState { name, index } in &self.local {
            writeln!(f, "\n[[overlay]]\nname = {}\nindex = {}", quoted(name), blob(index))?;
        }
        writeln!(f, "\n[install]")?;
        write_list(f, "base", &self.install.base)?;
        write_list(f, "automatic", &self.install.automatic)?;
        for group in &self.install.groups {
            writeln!(f, "\n[[install.groups]]")?;
            write_list(f, "steps", &group.steps)?;
        }
        self.packages.iter().try_for_each(|package| write_package(f, package))
    }
}

impl Lock {
    fn write_request(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = &self.request;
        writeln!(f, "\n# The part of the recipe that this lock answers.\n[request]")?;
        writeln!(f, "architecture = {}", quoted(&request.architecture))?;
        writeln!(f, "priority = {}\nrecommends = {}", quoted(&request.priority), request.recommends)?;
        write_list(f, "include", &request.include)?;
        write_list(f, "boot", &request.boot)?;
        if !request.builder.is_empty() {
            write_list(f, "builder", &request.builder)?;
        }
        for (name, archive) in &request.archives {
            writeln!(f, "\n[request.archives.{}]", quoted(name))?;
            write_list(f, "suites", &archive.suites)?;
            write_list(f, "components", &archive.components)?;
            write_list(f, "keys", &archive.keys)?;
            writeln!(f, "threshold = {}", archive.threshold)?;
            if let Some(serial) = &archive.serial {
                writeln!(f, "serial = {}", quoted(serial))?;
            }
            write_priority(f, archive.priority)?;
        }
        for (name, local) in &request.local {
            writeln!(f, "\n[request.overlay.{}]", quoted(name))?;
            write_priority(f, local.priority)?;
        }
        if !request.from.is_empty() {
            writeln!(f, "\n[request.from]")?;
        }
        request
            .from
            .iter()
            .try_for_each(|(names, archive)| writeln!(f, "{} = {}", quoted(names), quoted(archive)))
    }
}

fn write_package(f: &mut fmt::Formatter<'_>, package: &Package) -> fmt::Result {
    let Package { name, version, architecture, archive, path, file, source, role } = package;
    writeln!(f, "\n[[package]]\nname = {}\nversion = {}", quoted(name), quoted(version))?;
    writeln!(f, "architecture = {}\narchive = {}", quoted(architecture), quoted(archive))?;
    writeln!(f, "path = {}\nfile = {}", quoted(path), blob(file))?;
    let role = match role {
        Role::Image => "image",
        Role::Boot => "boot",
        Role::Builder => "builder",
    };
    writeln!(f, "source = {}\nuse = {}", quoted(source), quoted(role))
}

fn write_priority(f: &mut fmt::Formatter<'_>, priority: Option<u16>) -> fmt::Result {
    priority.map_or(Ok(()), |priority| writeln!(f, "priority = {priority}"))
}

fn write_list(f: &mut fmt::Formatter<'_>, name: &str, items: &[String]) -> fmt::Result {
    if items.is_empty() {
        return writeln!(f, "{name} = []");
    }
    writeln!(f, "{name} = [")?;
    items.iter().try_for_each(|item| writeln!(f, "  {},", quoted(item)))?;
    writeln!(f, "]")
}

fn blob(blob: &super::Blob) -> String {
    format!("{{ size = {}, sha256 = \"{}\" }}", blob.size, blob.sha256)
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::super::request::{ArchiveRequest, LocalRequest};
    use super::super::{Blob, Group, Index, SuiteState};
    use super::*;
    use selfsame_image::Digest;

    pub(crate) fn sample() -> Lock {
        let file = Blob { size: 5, sha256: Digest::of(b"hello") };
        let package = |name: &str, role| Package {
            name: name.into(),
            version: "1:2.0~rc1-1+b2".into(),
            architecture: "amd64".into(),
            archive: "debian".into(),
            path: format!("pool/main/{name}.deb"),
            file,
            source: format!("{name} (= 1:2.0~rc1-1)"),
            role,
        };
        let request = ArchiveRequest {
            suites: vec!["bookworm".into()],
            components: vec!["main".into()],
            keys: vec!["debian".into()],
            threshold: 1,
            serial: Some("20250517T094312Z".into()),
            priority: None,
        };
        Lock {
            request: Request {
                architecture: "amd64".into(),
                priority: "required".into(),
                recommends: false,
                include: vec!["nano".into()],
                boot: vec![],
                builder: vec![],
                archives: BTreeMap::from([("debian".into(), request)]),
                local: BTreeMap::new(),
                from: BTreeMap::new(),
            },
            archives: vec![ArchiveState {
                name: "debian".into(),
                serial: "20250517T094312Z".into(),
                suites: vec![SuiteState {
                    suite: "bookworm".into(),
                    codename: "bookworm".into(),
                    date: 1_747_474_992,
                    verified_at: 1_747_500_000,
                    in_release: file,
                    signers: vec!["AA".into()],
                    indexes: vec![Index { path: "main/binary-amd64/Packages.xz".into(), file }],
                }],
            }],
            local: vec![],
            packages: vec![
                package("dpkg", Role::Image),
                package("isolinux", Role::Boot),
                package("nano", Role::Image),
            ],
            install: Install {
                base: vec!["dpkg".into()],
                automatic: vec![],
                groups: vec![Group { steps: vec!["unpack nano".into(), "configure nano".into()] }],
            },
        }
    }

    #[test]
    fn text_form_round_trips() {
        let lock = sample();
        assert_eq!(lock.to_string().parse(), Ok(lock));
    }

    #[test]
    fn a_lock_that_contradicts_itself_is_refused() {
        let text = sample().to_string();
        let wrong = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1).parse::<Lock>().unwrap_err().to_string()
        };
        assert_eq!(
            wrong("version = 2\n", "version = 1\n"),
            "the lock has version 1, this program reads version 2"
        );
        assert_eq!(
            wrong("format = 1", "format = 9"),
            "the lock is for image format 9, this program writes format 1"
        );
        assert_eq!(
            wrong("\"unpack nano\"", "\"unpack vim\""),
            "the order of installation and the packages disagree about nano"
        );
        assert_eq!(
            wrong("  \"configure nano\",\n]\n", "]\n\n[[install.groups]]\nsteps = [\"configure nano\"]\n"),
            "the order of installation and the packages disagree about nano"
        );
        assert_eq!(
            wrong("pool/main/nano.deb", "pool/../../x"),
            "\"pool/../../x\" is no path inside an archive"
        );
        assert_eq!(
            wrong("name = \"nano\"", "name = \"dpkg\""),
            "package dpkg is listed twice or out of order"
        );
        assert!(wrong("size = 5", "size = -5").starts_with("line "));
    }

    #[test]
    fn archives_are_locked_as_they_were_asked_for() {
        let text = sample().to_string();
        let wrong = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1).parse::<Lock>().unwrap_err().to_string()
        };
        let other = |name: &str| format!("archive \"{name}\" is not locked as it was asked for");
        for name in ["", "..", "../../x", "/x", "other"] {
            let error = wrong("archive = \"debian\"", &format!("archive = \"{name}\""));
            assert_eq!(error, other(name));
            let error = wrong("[[archive]]\nname = \"debian\"", &format!("[[archive]]\nname = \"{name}\""));
            assert_eq!(error, other("debian"));
        }
        assert_eq!(wrong("suite = \"bookworm\"", "suite = \"sid\""), other("debian"));
        assert_eq!(
            wrong("2Z\"\n\n[[archive.suites]]", "3Z\"\n\n[[archive.suites]]"),
            "archive debian: the state is called 20250517T094313Z, and its newest suite is of 20250517T094312Z"
        );
        let (_, state) = text.split_once("[[archive]]").unwrap();
        let (state, _) = state.split_once("[install]").unwrap();
        let twice = text.replacen("[install]", &format!("[[archive]]{state}[install]"), 1);
        assert_eq!(twice.parse::<Lock>().unwrap_err().to_string(), other("debian"));
    }

    #[test]
    fn an_overlay_is_locked_under_a_name_of_its_own_and_guards_are_kept() {
        let mut lock = sample();
        let index = lock.packages[2].file;
        lock.request.local = [("mine".to_owned(), LocalRequest { priority: Some(990) })].into();
        lock.request.from = [("na*".to_owned(), "mine".to_owned())].into();
        lock.local = vec![LocalState { name: "mine".into(), index }];
        lock.packages[2].archive = "mine".into();
        let text = lock.to_string();
        assert_eq!(text.parse(), Ok(lock));
        let wrong = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            text.replacen(from, to, 1).parse::<Lock>().unwrap_err().to_string()
        };
        let other = |name: &str| format!("archive \"{name}\" is not locked as it was asked for");
        assert_eq!(wrong("[[overlay]]\nname = \"mine\"", "[[overlay]]\nname = \"../x\""), other("mine"));
        assert_eq!(wrong("[request.overlay.\"mine\"]", "[request.overlay.\"debian\"]"), other("debian"));
        assert_eq!(
            wrong("\"na*\" = \"mine\"", "\"na*\" = \"debian\""),
            "nano 1:2.0~rc1-1+b2 must come from archive debian, and comes from mine"
        );
        let plain = sample().request;
        let asked: Lock = text.parse().unwrap();
        assert_eq!(
            asked.request.changes_since(&plain),
            ["overlays: mine added", "packages.from: na* = mine added"]
        );
        let mut other = asked.request.clone();
        other.local.get_mut("mine").unwrap().priority = None;
        assert_eq!(other.changes_since(&asked.request), ["overlay mine.priority: 990 -> apt's own"]);
    }

    #[test]
    fn no_name_in_a_lock_leads_out_of_a_directory() {
        let mut lock = sample();
        lock.install.automatic = vec!["nano".into()];
        let text = lock.to_string();
        assert_eq!(text.parse(), Ok(lock));
        for good in [
            "name = \"nano\"",
            "  \"dpkg\",",
            "\"unpack nano\"",
            "\"configure nano\"",
            "  \"nano\",\n]\n\n[[",
        ] {
            assert!(text.contains(good), "{good}");
            for name in ["../../../../x", "/x", "..", "x", "-x", "Nano", "a/b", "x\\ny", ""] {
                let bad = good.replace("nano", name).replace("dpkg", name);
                let error = text.replacen(good, &bad, 1).parse::<Lock>().unwrap_err();
                assert!(matches!(error, LockError::Name { .. }), "{bad}: {error}");
            }
        }
        let message = text.replace("\"unpack nano\"", "\"unpack ../x\"").parse::<Lock>().unwrap_err();
        assert_eq!(message.to_string(), "\"../x\" cannot be a package name");
    }

    #[test]
    fn a_stale_lock_says_what_changed() {
        let old = sample().request;
        let mut new = old.clone();
        new.include = vec!["vim".into()];
        new.recommends = true;
        assert_eq!(
            new.changes_since(&old),
            [
                "packages.recommends: false -> true",
                "packages.include: vim added",
                "packages.include: nano removed",
            ]
        );
        assert!(old.changes_since(&old).is_empty());
    }
}
