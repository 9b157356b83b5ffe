//! All packages of the verified indexes, and the questions that must be answered before the pinned apt can run.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use selfsame_apt::relation;
use selfsame_apt::version::Version;

use crate::lock::Blob;
use crate::nearest::ranked;
use crate::recipe::Priority;

/// One entry of a `Packages` index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) architecture: String,
    pub(super) archive: String,
    /// The recipe's word for its archive, else what apt makes of its suite:
    /// [`Release::default_priority`](selfsame_apt::release::Release::default_priority).
    pub(super) suite_priority: u16,
    pub(super) path: String,
    pub(super) file: Blob,
    pub(super) source: String,
    pub(super) essential: bool,
    pub(super) priority: Option<Priority>,
    /// `Pre-Depends` and `Depends`, joined.
    pub(super) depends: String,
    pub(super) provides: String,
    /// The stanza as the index has it.
    pub(super) stanza: String,
}

/// All candidates, by name; last of each the one that apt would choose where nothing is installed: the highest version
/// in the suites of the highest priority. So backports are there, but only for who names them.
#[derive(Debug, Default)]
pub(super) struct Universe {
    by_name: BTreeMap<String, Vec<Candidate>>,
    /// Names of packages that provide a name, sorted.
    providers: BTreeMap<String, BTreeSet<String>>,
}

impl Universe {
    pub(super) fn add(&mut self, candidate: Candidate) {
        if let Ok(relations) = relation::parse(&candidate.provides) {
            for provided in relations.iter().flatten() {
                self.providers.entry(provided.name.to_owned()).or_default().insert(candidate.name.clone());
            }
        }
        let versions = self.by_name.entry(candidate.name.clone()).or_default();
        let at =
            versions.partition_point(|other| match other.suite_priority.cmp(&candidate.suite_priority) {
                Ordering::Equal => older_or_equal(&other.version, &candidate.version),
                order => order == Ordering::Less,
            });
        versions.insert(at, candidate);
    }

    /// The candidate of this name that apt would choose.
    pub(super) fn preferred(&self, name: &str) -> Option<&Candidate> {
        self.by_name.get(name)?.last()
    }

    /// The candidate with exactly this version, of the archive with the highest priority that has it.
    pub(super) fn exact(&self, name: &str, version: &str) -> Option<&Candidate> {
        self.by_name.get(name)?.iter().rev().find(|candidate| candidate.version == version)
    }

    /// Another file than `chosen` that has its name and version: nobody could say which one apt meant.
    pub(super) fn double(&self, chosen: &Candidate) -> Option<&Candidate> {
        let same = |one: &&Candidate| one.version == chosen.version && one.file != chosen.file;
        self.by_name.get(&chosen.name)?.iter().find(same)
    }

    /// apt's preferences for the packages of `archives`, to which the recipe gives a priority of their own.
    ///
    /// By version, as apt knows archives that lie in directories only by what their signed files say, and two may say the
    /// same.
    pub(super) fn preferences(&self, archives: &BTreeSet<&str>) -> String {
        let mut text = String::new();
        for versions in self.by_name.values() {
            let mut told = BTreeSet::new();
            for one in versions.iter().filter(|one| archives.contains(one.archive.as_str())) {
                let Candidate { name, version, .. } = one;
                // Others may have the same version: it is as good as the best of them, as it would be without a word.
                let same = versions.iter().filter(|other| other.version == *version);
                let priority = same.map(|other| other.suite_priority).max().unwrap_or_default();
                if told.insert(version) {
                    text += &format!("Package: {name}\nPin: version {version}\nPin-Priority: {priority}\n\n");
                }
            }
        }
        text
    }

    /// Whether `name` is a package or provided by one.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.by_name.contains_key(name) || self.providers.contains_key(name)
    }

    /// Up to three package names that may be meant by `name`.
    pub(super) fn near(&self, name: &str) -> Vec<String> {
        ranked(name, self.by_name.keys().map(String::as_str), 3).into_iter().map(str::to_owned).collect()
    }

    /// Names of all packages of at least `priority`, sorted. Essential ones are apt's own business.
    pub(super) fn at_least(&self, priority: Priority) -> Vec<&str> {
        let preferred = self.by_name.values().filter_map(|versions| versions.last());
        let wanted = preferred.filter(|c| c.priority.is_some_and(|level| level <= priority));
        wanted.map(|candidate| candidate.name.as_str()).collect()
    }

    /// The first package whose name begins with `prefix` of those that `candidate` depends on.
    pub(super) fn dependency(&self, candidate: &Candidate, prefix: &str) -> Option<&Candidate> {
        let relations = relation::parse(&candidate.depends).ok()?;
        let mut named = relations.iter().flatten().filter(|one| one.name.starts_with(prefix));
        named.find_map(|one| self.preferred(one.name))
    }

    /// The Essential set, `also`, and what they need to run, by the first alternative that exists, or the
    /// provider of the highest priority.
    ///
    /// This decides nothing about the image: it only gives the pinned apt a place to run in.
    pub(super) fn closure(&self, also: &[&str]) -> Vec<&Candidate> {
        let preferred = self.by_name.values().filter_map(|versions| versions.last());
        let mut queue: Vec<&str> = preferred.filter(|c| c.essential).map(|c| c.name.as_str()).collect();
        queue.extend(also);
        let mut chosen = BTreeMap::new();
        while let Some(name) = queue.pop() {
            let Some(candidate) = self.preferred(name) else { continue };
            if chosen.insert(candidate.name.as_str(), candidate).is_some() {
                continue;
            }
            let Ok(relations) = relation::parse(&candidate.depends) else { continue };
            for alternatives in &relations {
                if alternatives.iter().any(|one| chosen.contains_key(one.name) || also.contains(&one.name)) {
                    continue;
                }
                let real = alternatives.iter().find_map(|one| self.preferred(one.name));
                let provided = || {
                    let providers =
                        alternatives.iter().filter_map(|one| self.providers.get(one.name)).flatten();
                    let rank = |c: &&Candidate| (c.priority.is_none(), c.priority, c.name.clone());
                    providers.filter_map(|name| self.preferred(name)).min_by_key(rank)
                };
                queue.extend(real.or_else(provided).map(|candidate| candidate.name.as_str()));
            }
        }
        chosen.into_values().collect()
    }
}

fn older_or_equal(left: &str, right: &str) -> bool {
    match (Version::parse(left), Version::parse(right)) {
        (Ok(left), Ok(right)) => left <= right,
        // Indexes are checked when they are read; this only keeps the order total.
        _ => left <= right,
    }
}

/// A dpkg status file that says that exactly `installed` are installed.
pub(super) fn status_file(installed: &[&Candidate]) -> String {
    let mut text = String::new();
    for candidate in installed {
        text.push_str(candidate.stanza.trim_end());
        text.push_str("\nStatus: install ok installed\n\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use selfsame_image::Digest;

    fn candidate(name: &str, version: &str, depends: &str, provides: &str) -> Candidate {
        Candidate {
            name: name.into(),
            version: version.into(),
            architecture: "all".into(),
            archive: "a".into(),
            suite_priority: 500,
            path: format!("pool/{name}.deb"),
            file: Blob { size: 0, sha256: Digest::of(b"") },
            source: name.into(),
            essential: name == "dash",
            priority: (name == "nano").then_some(Priority::Important),
            depends: depends.into(),
            provides: provides.into(),
            stanza: format!("Package: {name}\nVersion: {version}\n"),
        }
    }

    fn universe() -> Universe {
        let mut universe = Universe::default();
        for (name, version, depends, provides) in [
            ("dash", "1", "libc6 (>= 2), gone | awk", ""),
            ("libc6", "2.9", "", ""),
            ("libc6", "2.36", "", ""),
            ("mawk", "1", "", "awk"),
            ("gawk", "1", "libc6", "awk"),
            ("nano", "7", "", ""),
        ] {
            universe.add(candidate(name, version, depends, provides));
        }
        universe
    }

    #[test]
    fn the_closure_takes_the_newest_and_the_first_alternative_there_is() {
        let universe = universe();
        let names: Vec<String> =
            universe.closure(&["nano"]).iter().map(|c| format!("{}={}", c.name, c.version)).collect();
        assert_eq!(names, ["dash=1", "gawk=1", "libc6=2.36", "nano=7"]);
    }

    #[test]
    fn backports_are_not_chosen_as_long_as_there_is_another() {
        let mut universe = universe();
        for (name, version, suite_priority) in [("libc6", "2.40", 100), ("nano", "9", 1), ("new", "1", 100)] {
            universe.add(Candidate { suite_priority, ..candidate(name, version, "", "") });
        }
        let version = |name: &str| universe.preferred(name).map(|c| c.version.as_str());
        assert_eq!((version("libc6"), version("nano")), (Some("2.36"), Some("7")));
        assert_eq!(version("new"), Some("1"));
        assert_eq!(universe.exact("libc6", "2.40").map(|c| c.suite_priority), Some(100));
    }

    #[test]
    fn a_priority_of_the_recipe_is_told_to_apt_by_version() {
        let mut universe = universe();
        let other = |version: &str, suite_priority, byte: &[u8]| Candidate {
            archive: "mine".into(),
            suite_priority,
            file: Blob { size: 0, sha256: Digest::of(byte) },
            ..candidate("nano", version, "", "")
        };
        universe.add(other("6", 990, b""));
        assert_eq!(universe.preferred("nano").map(|one| one.version.as_str()), Some("6"));
        let text = universe.preferences(&["mine"].into());
        assert_eq!(text, "Package: nano\nPin: version 6\nPin-Priority: 990\n\n");
        assert_eq!(universe.preferences(&["other"].into()), "");
        let seven = universe.exact("nano", "7").unwrap();
        assert_eq!(universe.double(seven), None);
        universe.add(other("7", 100, b"x"));
        let exact = universe.exact("nano", "7").unwrap();
        assert_eq!((exact.archive.as_str(), exact.suite_priority), ("a", 500));
        assert_eq!(universe.double(exact).map(|one| one.archive.as_str()), Some("mine"));
        // What another archive has too is not worse than it would be without a word.
        let text = universe.preferences(&["mine"].into());
        assert!(text.contains("Pin: version 7\nPin-Priority: 500\n"), "{text}");
        let any = Candidate { architecture: "amd64".into(), ..other("7", 100, b"y") };
        universe.add(any);
        assert!(universe.double(universe.exact("nano", "7").unwrap()).is_some());
    }

    #[test]
    fn unknown_names_bring_the_nearest() {
        let universe = universe();
        assert!(universe.knows("awk") && !universe.knows("nanoo"));
        assert_eq!(universe.near("nanoo"), ["nano"]);
        assert_eq!(universe.at_least(Priority::Important), ["nano"]);
        assert!(universe.at_least(Priority::Required).is_empty());
    }

    #[test]
    fn the_status_says_installed() {
        let universe = universe();
        let text = status_file(&[universe.preferred("nano").unwrap()]);
        assert_eq!(text, "Package: nano\nVersion: 7\nStatus: install ok installed\n\n");
    }
}
