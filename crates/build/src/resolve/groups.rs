//! In which groups packages are installed: what changes seldom first, so that a change costs few layers.

use std::collections::BTreeSet;

use super::ResolveError;
use super::simulation::{self, Action};
use super::universe::Candidate;
use crate::lock::{Group, Lock};

/// The most groups of a lock. What is added later joins the last one: each group is a layer, and costs every program
/// that looks for a file.
const MOST: usize = 8;

/// Begin of the names of packages that change most often, and that nothing else needs: kernels.
const KERNEL: &str = "linux-image-";

/// What is to be installed.
pub(super) struct Chosen<'a> {
    /// The base, in its order.
    pub(super) base: &'a [&'a Candidate],
    /// All others.
    pub(super) rest: &'a [&'a Candidate],
    /// How apt would install those all at once.
    pub(super) at_once: &'a [Action],
}

/// Asks apt how it would install the named packages, and what they need, where others are installed.
pub(super) type Simulate<'a> = dyn Fn(&[&Candidate], &[&str]) -> Result<Vec<Action>, ResolveError> + 'a;

/// Arranges what is `chosen`. Groups of `old` stay as they are up to the first one of which something changed; later
/// ones keep their packages; what is new comes last. Without `old` there are three groups: `system`, the others, kernels.
///
/// # Errors
/// What goes wrong when apt is asked. If apt has no answer for parts, the old groups are forgotten, and then all groups:
/// it had one for the whole.
pub(super) fn arrange(
    chosen: &Chosen<'_>,
    old: Option<&Lock>,
    system: &[&str],
    simulate: &Simulate<'_>,
) -> Result<Vec<Group>, ResolveError> {
    let mut groups = match old {
        Some(old) => attempt(chosen, kept(chosen, old), &members(old), simulate)?,
        None => None,
    };
    if groups.is_none() {
        groups = attempt(chosen, Vec::new(), &canonical(chosen, system), simulate)?;
    }
    let mut groups = groups.unwrap_or_else(|| vec![Group { steps: simulation::steps(chosen.at_once) }]);
    while groups.len() > MOST {
        let last = groups.pop().unwrap_or_default();
        if let Some(before) = groups.last_mut() {
            before.steps.extend(last.steps);
        }
    }
    groups.retain(|group| !group.steps.is_empty());
    Ok(groups)
}

/// The first groups of `old`, as long as neither they nor anything they stand on changed.
fn kept(chosen: &Chosen<'_>, old: &Lock) -> Vec<Group> {
    let same = |name: &str, among: &[&Candidate]| {
        let file = old.image_package(name).map(|package| package.file);
        file.is_some() && among.iter().find(|one| one.name == name).map(|one| one.file) == file
    };
    let base = chosen.base.iter().map(|one| &one.name);
    if !base.eq(&old.install.base) || !old.install.base.iter().all(|name| same(name, chosen.base)) {
        return Vec::new();
    }
    let groups = old.install.groups.iter();
    groups.take_while(|group| group.names().all(|name| same(name, chosen.rest))).cloned().collect()
}

fn members(old: &Lock) -> Vec<Vec<&str>> {
    old.install.groups.iter().map(|group| group.names().collect()).collect()
}

fn canonical<'a>(chosen: &Chosen<'a>, system: &[&str]) -> Vec<Vec<&'a str>> {
    let names = chosen.rest.iter().map(|one| one.name.as_str());
    let (kernels, others): (Vec<&str>, Vec<&str>) = names.partition(|name| name.starts_with(KERNEL));
    let (system, others) = others.into_iter().partition(|name| system.contains(name));
    vec![system, others, kernels]
}

/// `kept`, then what else is chosen of each of `members`, then the rest; `None` if apt has no answer for one of them.
fn attempt(
    chosen: &Chosen<'_>,
    kept: Vec<Group>,
    members: &[Vec<&str>],
    simulate: &Simulate<'_>,
) -> Result<Option<Vec<Group>>, ResolveError> {
    let all: Vec<&str> = chosen.rest.iter().map(|one| one.name.as_str()).collect();
    let mut installed: BTreeSet<String> =
        kept.iter().flat_map(|group| group.names().map(str::to_owned)).collect();
    let mut groups = kept;
    for names in members.iter().chain([&all]) {
        let missing = |name: &&&str| all.contains(*name) && !installed.contains(**name);
        let wanted: Vec<&str> = names.iter().filter(missing).copied().collect();
        if wanted.is_empty() {
            continue;
        }
        let there = chosen.rest.iter().filter(|one| installed.contains(&one.name));
        let below: Vec<&Candidate> = chosen.base.iter().chain(there).copied().collect();
        let actions = match simulate(&below, &wanted) {
            Ok(actions) => actions,
            Err(ResolveError::Unsatisfiable { .. } | ResolveError::Odd(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        for action in &actions {
            let Action::Unpack { name, version } = action else { continue };
            let fits = chosen.rest.iter().any(|one| one.name == *name && one.version == *version);
            if !fits || !installed.insert(name.clone()) {
                return Ok(None);
            }
        }
        if !wanted.iter().all(|name| installed.contains(*name)) {
            return Ok(None);
        }
        groups.push(Group { steps: simulation::steps(&actions) });
    }
    Ok(Some(groups))
}

/// apt's preferences under which exactly the `chosen` packages can be installed.
pub(super) fn preferences<'a>(chosen: impl Iterator<Item = &'a Candidate>) -> String {
    let mut text = String::from("Package: *\nPin: release *\nPin-Priority: -1\n");
    for one in chosen {
        text += &format!("\nPackage: {}\nPin: version {}\nPin-Priority: 1001\n", one.name, one.version);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use selfsame_image::Digest;

    use super::*;
    use crate::lock::{Blob, Install, Package, Role, sample};

    fn candidate(name: &str, version: &str) -> Candidate {
        let sha256 = Digest::of(format!("{name} {version}").as_bytes());
        Candidate {
            name: name.into(),
            version: version.into(),
            architecture: "all".into(),
            archive: "a".into(),
            suite_priority: 500,
            path: format!("pool/{name}.deb"),
            file: Blob { size: 1, sha256 },
            source: name.into(),
            essential: false,
            priority: None,
            depends: String::new(),
            provides: String::new(),
            stanza: String::new(),
        }
    }

    /// Packages `name=version`; the base is `dpkg`.
    struct World(Vec<Candidate>, Vec<Candidate>);

    impl World {
        fn new(rest: &[&str]) -> Self {
            let all = rest.iter().map(|one| one.split_once('=').unwrap_or((one, "1")));
            Self(vec![candidate("dpkg", "1")], all.map(|(name, version)| candidate(name, version)).collect())
        }

        /// The groups, one line each; and what apt was asked, `installed > wanted`. `needs` are pairs of a package and
        /// one that it needs.
        fn arranged(&self, old: Option<&Lock>, needs: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
            let (base, rest): (Vec<_>, Vec<_>) = (self.0.iter().collect(), self.1.iter().collect());
            let asked = RefCell::new(Vec::new());
            let simulate = |below: &[&Candidate], names: &[&str]| {
                let below: Vec<&str> = below.iter().map(|one| one.name.as_str()).collect();
                asked.borrow_mut().push(format!("{} > {}", below.join(" "), names.join(" ")));
                let more = needs.iter().filter(|(name, _)| names.contains(name)).map(|(_, needed)| *needed);
                let fresh = |name: &&str| !below.contains(name);
                let mut all: Vec<&str> = more.filter(fresh).chain(names.iter().copied()).collect();
                let mut seen = BTreeSet::new();
                all.retain(|name| seen.insert(*name));
                let version = |name: &str| rest.iter().find(|one| one.name == name).map(|one| &one.version);
                Ok(all
                    .iter()
                    .map(|name| Action::Unpack {
                        name: (*name).to_owned(),
                        version: version(name).cloned().unwrap_or_default(),
                    })
                    .collect())
            };
            let at_once = [Action::Unpack { name: "at-once".into(), version: "1".into() }];
            let chosen = Chosen { base: &base, rest: &rest, at_once: &at_once };
            let groups = arrange(&chosen, old, &["init", "systemd"], &simulate).unwrap();
            let lines = groups.iter().map(|group| group.steps.join("; ")).collect();
            (lines, asked.into_inner())
        }

        fn lock(&self, groups: &[&str]) -> Lock {
            let package = |one: &Candidate| Package {
                name: one.name.clone(),
                version: one.version.clone(),
                architecture: one.architecture.clone(),
                archive: one.archive.clone(),
                path: one.path.clone(),
                file: one.file,
                source: one.source.clone(),
                role: Role::Image,
            };
            let groups = groups.iter().map(|steps| Group { steps: vec![(*steps).to_owned()] }).collect();
            Lock {
                packages: self.0.iter().chain(&self.1).map(package).collect(),
                install: Install { base: vec!["dpkg".into()], automatic: Vec::new(), groups },
                ..sample()
            }
        }
    }

    const OLD: [&str; 3] = ["unpack init systemd", "unpack ed nano", "unpack linux-image-6"];

    fn old() -> Lock {
        World::new(&["ed", "init", "linux-image-6", "nano", "systemd"]).lock(&OLD)
    }

    #[test]
    fn a_first_lock_has_what_changes_seldom_first() {
        let world = World::new(&["ed", "init", "linux-image-6", "nano", "systemd"]);
        let (groups, asked) = world.arranged(None, &[("init", "systemd"), ("init", "ed")]);
        assert_eq!(groups, ["unpack systemd ed init", "unpack nano", "unpack linux-image-6"]);
        assert_eq!(asked[0], "dpkg > init systemd");
        assert_eq!(asked[1], "dpkg ed init systemd > nano");
    }

    #[test]
    fn a_new_package_becomes_a_group_of_its_own_and_nothing_else_is_asked() {
        let world = World::new(&["ed", "init", "linux-image-6", "nano", "systemd", "tree"]);
        let (groups, asked) = world.arranged(Some(&old()), &[]);
        assert_eq!(groups, [OLD[0], OLD[1], OLD[2], "unpack tree"]);
        assert_eq!(asked, ["dpkg ed init linux-image-6 nano systemd > tree"]);
    }

    #[test]
    fn a_changed_package_keeps_its_group_and_the_groups_before_stay() {
        let world = World::new(&["ed", "init", "lib", "linux-image-6", "nano=2", "systemd"]);
        let (groups, asked) = world.arranged(Some(&old()), &[("nano", "lib")]);
        assert_eq!(groups, [OLD[0], "unpack lib ed nano", OLD[2]]);
        assert_eq!(asked, ["dpkg init systemd > ed nano", "dpkg ed init lib nano systemd > linux-image-6"]);
    }

    #[test]
    fn a_package_that_is_gone_leaves_its_group() {
        let world = World::new(&["init", "linux-image-7", "systemd"]);
        let (groups, _) = world.arranged(Some(&old()), &[]);
        assert_eq!(groups, [OLD[0], "unpack linux-image-7"]);
    }

    #[test]
    fn another_base_makes_all_groups_anew() {
        let mut world = World::new(&["ed", "init", "linux-image-6", "nano", "systemd"]);
        world.0[0] = candidate("dpkg", "2");
        let (groups, asked) = world.arranged(Some(&old()), &[]);
        assert_eq!((groups.len(), asked.len()), (3, 3));
        assert_eq!(asked[0], "dpkg > init systemd");
    }

    #[test]
    fn what_apt_cannot_take_apart_is_one_group() {
        let world = World::new(&["init", "nano"]);
        let (groups, _) = world.arranged(None, &[("init", "stranger")]);
        assert_eq!(groups, ["unpack at-once"]);
    }

    #[test]
    fn what_is_no_answer_of_apt_ends_it() {
        let world = World::new(&["init", "nano"]);
        let (base, rest): (Vec<_>, Vec<_>) = (world.0.iter().collect(), world.1.iter().collect());
        let chosen = Chosen { base: &base, rest: &rest, at_once: &[] };
        let arranged = |error: fn() -> ResolveError| arrange(&chosen, None, &[], &move |_, _| Err(error()));
        let full =
            || ResolveError::Work { path: "/work".into(), source: std::io::ErrorKind::StorageFull.into() };
        assert!(matches!(arranged(full), Err(ResolveError::Work { .. })));
        let words = || ResolveError::Unsatisfiable { words: Vec::new() };
        assert_eq!(arranged(words).unwrap(), [], "apt had nothing to do at once either");
    }

    #[test]
    fn there_are_never_more_groups_than_layers_are_good_for() {
        let world = World::new(&["a", "b", "c", "d", "e", "f", "g", "h", "new"]);
        let old = ["a", "b", "c", "d", "e", "f", "g", "h"].map(|name| format!("unpack {name}"));
        let old = world.lock(&old.each_ref().map(String::as_str));
        let (groups, _) = world.arranged(Some(&old), &[]);
        assert_eq!((groups.len(), groups[7].as_str()), (8, "unpack h; unpack new"));
    }

    #[test]
    fn preferences_allow_what_is_chosen_and_nothing_else() {
        let one = candidate("nano", "7.2-1");
        let text = "Package: *\nPin: release *\nPin-Priority: -1\n\nPackage: nano\nPin: version 7.2-1\nPin-Priority: 1001\n";
        assert_eq!(preferences(std::iter::once(&one)), text);
    }
}
