//! A set of packages that satisfies its own dependencies.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{Index, Package};
use crate::relation::{Alternatives, NotRelations, Relation};
use crate::version::Version;

/// Why there is no such set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unsatisfied {
    /// No package of a root's name.
    #[error("no package {name} for {architecture}")]
    NoPackage {
        /// The name.
        name: String,
        /// The architecture asked for.
        architecture: String,
    },
    /// No package satisfies a dependency.
    #[error("{package} depends on {clause}, which nothing satisfies")]
    Dependency {
        /// Name, version and architecture of the package.
        package: String,
        /// The clause.
        clause: String,
    },
    /// A field that cannot be read.
    #[error("relations of {package}")]
    Relations {
        /// Name, version and architecture of the package.
        package: String,
        /// What is wrong with them.
        source: NotRelations,
    },
}

/// The packages of `roots`, and what they pre-depend and depend on, for one architecture, sorted by name.
///
/// The newest version of a name is taken, whichever index it is in. Of alternatives, the first is taken that is in the
/// set already, else the first there is, a real package before a provider, providers by priority and name. Conflicts and
/// recommendations are not looked at. This is enough to find what apt needs to run; the choice for an image is apt's own.
pub fn closure<'a>(
    indexes: &[&'a Index],
    architecture: &str,
    roots: &[&str],
) -> Result<Vec<Package<'a>>, Unsatisfied> {
    let universe = Universe::new(indexes, architecture)?;
    let mut chosen: BTreeMap<&str, Package<'a>> = BTreeMap::new();
    let mut queue = VecDeque::new();
    for &root in roots {
        let package = universe.newest.get(root).copied().ok_or_else(|| Unsatisfied::NoPackage {
            name: root.to_owned(),
            architecture: architecture.to_owned(),
        })?;
        if chosen.insert(package.name(), package).is_none() {
            queue.push_back(package);
        }
    }
    while let Some(package) = queue.pop_front() {
        let relations = |source| Unsatisfied::Relations { package: format!("{package:?}"), source };
        let clauses = [package.pre_depends().map_err(relations)?, package.depends().map_err(relations)?];
        for clause in clauses.iter().flatten() {
            let found = universe.satisfy(clause, &chosen).ok_or_else(|| Unsatisfied::Dependency {
                package: format!("{package:?}"),
                clause: describe(clause),
            })?;
            if chosen.insert(found.name(), found).is_none() {
                queue.push_back(found);
            }
        }
    }
    Ok(chosen.into_values().collect())
}

struct Universe<'a> {
    newest: BTreeMap<&'a str, Package<'a>>,
    /// Providers of a name: rank of their priority, their own name, and the version they provide.
    providers: BTreeMap<&'a str, BTreeSet<Provider<'a>>>,
}

type Provider<'a> = (usize, &'a str, Option<Version<'a>>);

impl<'a> Universe<'a> {
    fn new(indexes: &[&'a Index], architecture: &str) -> Result<Self, Unsatisfied> {
        let mut newest: BTreeMap<&str, Package<'a>> = BTreeMap::new();
        for package in indexes.iter().flat_map(|index| index.packages()) {
            let fits = [architecture, "all"].contains(&package.architecture());
            let newer = |known: &Package<'_>| known.version() < package.version();
            if fits && newest.get(package.name()).is_none_or(newer) {
                newest.insert(package.name(), package);
            }
        }
        let mut providers: BTreeMap<&str, BTreeSet<Provider<'a>>> = BTreeMap::new();
        for package in newest.values() {
            let relations = |source| Unsatisfied::Relations { package: format!("{package:?}"), source };
            for provided in package.provides().map_err(relations)?.into_iter().flatten() {
                let version = provided.version.map(|(_, version)| version);
                providers.entry(provided.name).or_default().insert((rank(package), package.name(), version));
            }
        }
        Ok(Self { newest, providers })
    }

    /// The package that is taken for a clause.
    fn satisfy(
        &self,
        clause: &Alternatives<'_>,
        chosen: &BTreeMap<&str, Package<'a>>,
    ) -> Option<Package<'a>> {
        let candidates = || clause.iter().flat_map(|relation| self.candidates(relation));
        let already = candidates().find(|package| chosen.contains_key(package.name()));
        already.or_else(|| candidates().next())
    }

    fn candidates(&self, relation: &Relation<'_>) -> impl Iterator<Item = Package<'a>> {
        let real = self.newest.get(relation.name).filter(|package| relation.accepts(package.version()));
        let providers = self.providers.get(relation.name).into_iter().flatten();
        let providing = providers.filter(|(_, _, version)| relation.accepts_provided(*version));
        real.copied().into_iter().chain(providing.filter_map(|(_, name, _)| self.newest.get(name).copied()))
    }
}

/// Place of the package's priority, most important first.
fn rank(package: &Package<'_>) -> usize {
    let order = ["required", "important", "standard", "optional"];
    order.iter().position(|&priority| priority == package.priority()).unwrap_or(order.len())
}

fn describe(clause: &Alternatives<'_>) -> String {
    let one = |relation: &Relation<'_>| match &relation.version {
        Some((operator, version)) => format!("{} ({operator} {version})", relation.name),
        None => relation.name.to_owned(),
    };
    clause.iter().map(one).collect::<Vec<_>>().join(" | ")
}
