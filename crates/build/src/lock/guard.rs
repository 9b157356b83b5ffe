//! Guards: from which archive a package must come.

use std::fmt;

use selfsame_image::tree::Pattern;

use super::{Lock, Package};

/// A guard that a lock does not keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The pattern of names.
    pub names: String,
    /// The archive they must come from.
    pub archive: String,
    /// The first package that does not, with its archive; `None` if no package has such a name.
    pub package: Option<(String, String)>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { names, archive, package } = self;
        match package {
            Some((package, found)) => {
                write!(f, "{package} must come from archive {archive}, and comes from {found}")
            }
            None => {
                write!(f, "{names} must come from archive {archive}, and nothing of that name is installed")
            }
        }
    }
}

impl Lock {
    /// The guards of its request that it does not keep.
    ///
    /// One that guards nothing is broken too: it is a name that was misspelt, or the package is gone that it was for.
    pub fn broken_guards(&self) -> Vec<Broken> {
        let mut broken = Vec::new();
        for (names, archive) in &self.request.from {
            let pattern: Option<Pattern> = names.parse().ok();
            let fits = |package: &&Package| {
                pattern.as_ref().is_some_and(|pattern| pattern.matches(package.name.as_bytes()))
            };
            let guarded: Vec<&Package> = self.packages.iter().filter(fits).collect();
            let stray = guarded.iter().find(|package| package.archive != *archive);
            let package = stray.map(|one| (format!("{} {}", one.name, one.version), one.archive.clone()));
            if guarded.is_empty() || package.is_some() {
                broken.push(Broken { names: names.clone(), archive: archive.clone(), package });
            }
        }
        broken
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;

    #[test]
    fn what_comes_from_elsewhere_or_not_at_all_is_named() {
        let mut lock = sample();
        let mut guard = |names: &str, archive: &str| {
            lock.request.from = [(names.to_owned(), archive.to_owned())].into();
            lock.broken_guards().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        for (names, archive) in [("nano", "debian"), ("*", "debian"), ("isolin*", "debian")] {
            assert!(guard(names, archive).is_empty(), "{names}");
        }
        assert_eq!(
            guard("n*", "other"),
            ["nano 1:2.0~rc1-1+b2 must come from archive other, and comes from debian"]
        );
        assert_eq!(
            guard("nanoo", "debian"),
            ["nanoo must come from archive debian, and nothing of that name is installed"]
        );
    }
}
