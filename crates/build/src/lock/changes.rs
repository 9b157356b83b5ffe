//! What a new lock changes: packages that came, went, or have another version.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use selfsame_apt::version::Version;
use serde::Serialize;

use super::{Lock, Package, Role};

/// One package that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Change {
    /// Its name.
    pub name: String,
    /// What happened to it.
    pub kind: Kind,
    /// What it was; absent if it was added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<State>,
    /// What it is; absent if it was removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<State>,
}

/// What happened to a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It was not there.
    Added,
    /// It is not there any more.
    Removed,
    /// It has a later version, as dpkg compares them.
    Upgraded,
    /// It has an earlier version.
    Downgraded,
    /// It has the same version and other bytes.
    Rebuilt,
}

/// A package file in a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct State {
    /// Version.
    pub version: String,
    /// Archive it comes from.
    pub archive: String,
    /// Bytes of the `.deb` file.
    pub size: u64,
}

impl State {
    fn of(package: &Package) -> Self {
        let (version, archive) = (package.version.clone(), package.archive.clone());
        Self { version, archive, size: package.file.size }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, kind, from, to } = self;
        let verb = match kind {
            Kind::Added => "added",
            Kind::Removed => "removed",
            Kind::Upgraded => "upgraded",
            Kind::Downgraded => "downgraded",
            Kind::Rebuilt => "rebuilt",
        };
        match (from, to) {
            (Some(from), Some(to)) => {
                write!(f, "{verb} {name} {} -> {} ({}, ", from.version, to.version, to.archive)?;
                let sign = if to.size < from.size { '-' } else { '+' };
                write!(f, "{sign}{} bytes)", to.size.abs_diff(from.size))
            }
            (one, other) => match one.as_ref().or(other.as_ref()) {
                Some(State { version, archive, size }) => {
                    write!(f, "{verb} {name} {version} ({archive}, {size} bytes)")
                }
                None => write!(f, "{verb} {name}"),
            },
        }
    }
}

impl Lock {
    /// The packages that differ from those of `old`, sorted by name.
    pub fn changes_since(&self, old: &Self) -> Vec<Change> {
        type Key<'a> = (&'a str, &'a str, Role);
        fn key(package: &Package) -> Key<'_> {
            (&package.name, &package.architecture, package.role)
        }
        let mut before: BTreeMap<Key<'_>, &Package> =
            old.packages.iter().map(|package| (key(package), package)).collect();
        let mut changes = Vec::new();
        for package in &self.packages {
            let from = before.remove(&key(package));
            let kind = match from {
                None => Kind::Added,
                Some(from) if from.file == package.file => continue,
                Some(from) => compare(&from.version, &package.version),
            };
            changes.push(Change {
                name: package.name.clone(),
                kind,
                from: from.map(State::of),
                to: Some(State::of(package)),
            });
        }
        changes.extend(before.into_values().map(|package| Change {
            name: package.name.clone(),
            kind: Kind::Removed,
            from: Some(State::of(package)),
            to: None,
        }));
        changes.sort_by(|a, b| (&a.name, a.kind).cmp(&(&b.name, b.kind)));
        changes
    }
}

fn compare(from: &str, to: &str) -> Kind {
    let order = match (Version::parse(from), Version::parse(to)) {
        (Ok(from), Ok(to)) => from.cmp(&to),
        _ => from.cmp(to),
    };
    match order {
        Ordering::Less => Kind::Upgraded,
        Ordering::Equal => Kind::Rebuilt,
        Ordering::Greater => Kind::Downgraded,
    }
}

#[cfg(test)]
mod tests {
    use selfsame_image::Digest;

    use super::super::sample;

    #[test]
    fn each_package_that_differs_is_told_with_what_it_was() {
        let old = sample();
        assert_eq!(old.changes_since(&old), []);
        let mut new = old.clone();
        let other = super::super::Blob { size: old.packages[0].file.size + 7, sha256: Digest::of(b"other") };
        let [dpkg, isolinux, nano] = &mut new.packages[..] else { panic!() };
        dpkg.file = other;
        dpkg.version = "1:10.0".into();
        dpkg.archive = "security".into();
        isolinux.file = other;
        nano.name = "nano-tiny".into();
        let text = |new: &super::Lock, old: &super::Lock| {
            new.changes_since(old).iter().map(|change| format!("{change}\n")).collect::<String>()
        };
        let (size, version) = (old.packages[0].file.size, &old.packages[0].version);
        assert_eq!(
            text(&new, &old),
            format!(
                "upgraded dpkg {version} -> 1:10.0 (security, +7 bytes)\n\
                 rebuilt isolinux {version} -> {version} (debian, +7 bytes)\n\
                 removed nano {version} (debian, {size} bytes)\n\
                 added nano-tiny {version} (debian, {size} bytes)\n"
            )
        );
        assert!(
            text(&old, &new)
                .starts_with(&format!("downgraded dpkg 1:10.0 -> {version} (debian, -7 bytes)\n"))
        );
    }
}
