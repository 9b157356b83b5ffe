//! Writing a lock: the pinned apt, run in the sandbox over the verified full indexes, chooses the packages.
//!
//! No script of a package runs. The Essential set and apt are unpacked, apt simulates two installations (the base
//! from nothing, the rest over that base), and its words become the lock.

pub(crate) mod archives;
mod groups;
pub(crate) mod in_release;
pub(crate) mod keys;
mod simulation;
mod universe;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::path::{Path, PathBuf};

use selfsame_apt::fetch::FetchError;
use selfsame_apt::snapshot::Snapshot;
use selfsame_image::Epoch;
use selfsame_store::{Scratch, Store, StoreError};

use crate::event::{Event, Observer, Stage};
use crate::fetch::{Source, Wanted, bring_missing};
use crate::host::Host;
use crate::local::LocalError;
use crate::lock::{
    ArchiveState, Broken, Group, Install, LocalState, Lock, LockError, Package, Request, Role,
};
use crate::recipe::{KERNEL_PREFIX, Priority, Recipe};
use crate::sandbox::{Root, Sandbox, Status, World};
use crate::snapshots::Kept;
use crate::stages::JobError;
use crate::stages::job::{JobDir, Runner};
use crate::stages::script::{JOB, quote};
use crate::stages::unpack::{self, UnpackError};

pub use archives::{ArchiveError, not_before, to_take};
use simulation::Action;
pub use simulation::{OddStep, simulated_steps};
use universe::{Candidate, Universe, status_file};

/// Everything that locking needs from outside.
#[derive(Clone, Copy)]
pub struct LockRequest<'a> {
    /// What is asked for.
    pub recipe: &'a Recipe,
    /// A lock whose archive states are kept, if the recipe still asks for the same suites.
    pub old: Option<&'a Lock>,
    /// A lock whose groups of packages are kept as far as they can be.
    pub groups: Option<&'a Lock>,
    /// Snapshots that the store keeps, of which the recipe may name some.
    pub snapshots: &'a [Kept],
    /// The one that was just taken of each archive of [`to_take`], by its name.
    pub taken: &'a BTreeMap<String, Snapshot>,
    /// Where blobs are kept.
    pub store: &'a Store,
    /// Power over ids and mounts.
    pub host: &'a Host,
    /// The program that becomes the sandbox's first process.
    pub program: &'a Path,
    /// Where signatures, indexes and packages come from.
    pub source: &'a dyn Source,
    /// How many threads work at a time.
    pub jobs: NonZero<usize>,
    /// Who is told what happens.
    pub observer: &'a dyn Observer,
}

/// Why no lock could be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// An archive could not be had, or not be believed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Packages are asked for that no index knows.
    #[error("no such package: {}", unknown.iter().map(Unknown::to_string).collect::<Vec<_>>().join("; "))]
    Unknown {
        /// The names, with what may be meant.
        unknown: Vec<Unknown>,
    },
    /// apt found no way to install what was asked for.
    #[error("apt finds no solution; it says:\n    {}", words.join("\n    "))]
    Unsatisfiable {
        /// apt's own words.
        words: Vec<String>,
    },
    /// apt simulated something that an installation from nothing cannot contain.
    #[error(transparent)]
    Odd(#[from] OddStep),
    /// apt chose a package that no verified index has.
    #[error("apt chose {name} {version}, which is in no verified index")]
    Stray {
        /// The package.
        name: String,
        /// Its version.
        version: String,
    },
    /// Two different files are one version of a package.
    #[error("{package} is in archive {first} and, with other bytes, in {second}")]
    Double {
        /// Name and version.
        package: String,
        /// One archive.
        first: String,
        /// The other.
        second: String,
    },
    /// Packages come from other archives than they must.
    #[error("{}", broken.iter().map(Broken::to_string).collect::<Vec<_>>().join("; "))]
    Guard {
        /// Which.
        broken: Vec<Broken>,
    },
    /// A package that no lock can have.
    #[error("no lock can be written")]
    Lock(#[from] LockError),
    /// Packages of the recipe cannot be used.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// A package could not be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A package could not be unpacked.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// The sandbox or a program in it failed.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A working directory could not be made or read.
    #[error("cannot use {}", path.display())]
    Work {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A package name that no index knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The name.
    pub name: String,
    /// Names that may be meant, nearest first.
    pub near: Vec<String>,
}

impl std::fmt::Display for Unknown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        if self.near.is_empty() { Ok(()) } else { write!(f, " (did you mean {}?)", self.near.join(" or ")) }
    }
}

/// Chooses packages and writes down everything that shapes the image's bytes.
pub fn lock(request: &LockRequest<'_>) -> Result<Lock, ResolveError> {
    let LockRequest { recipe, observer, .. } = *request;
    observer.on(Event::StageStarted { stage: Stage::Fetch, key: None });
    let mut universe = Universe::default();
    // First what costs nothing: a package of the recipe that is none is told before anything is fetched.
    let local = archives::read_local(request, &mut universe)?;
    let states = archives::fetch(request, &mut universe)?;
    let asked = Request::of(recipe);
    check_names(&universe, &asked)?;
    let closure = universe.closure(&["apt", "usr-is-merged"]);
    fetch(request, &closure)?;
    observer.on(Event::StageFinished { stage: Stage::Fetch, cached: false });

    observer.on(Event::StageStarted { stage: Stage::Resolve, key: None });
    let apt = Apt::prepare(request, &closure, &states, &local)?;
    let (base, install) = apt.choose(recipe, &universe)?;
    let rest = rest(&universe, &install)?;
    let groups = apt.groups(&base, &rest, &install, &universe)?;
    observer.on(Event::StageFinished { stage: Stage::Resolve, cached: false });

    let mut packages: Vec<Package> =
        base.iter().chain(&rest).map(|candidate| package(candidate, Role::Image)).collect();
    let wanted = wanted_names(recipe, &universe);
    let mut automatic: Vec<String> = packages.iter().map(|p| p.name.clone()).collect();
    automatic.retain(|name| {
        !wanted.contains(name.as_str()) && !universe.preferred(name).is_some_and(|c| c.essential)
    });
    automatic.sort();
    for name in &asked.boot {
        let unknown = || ResolveError::Unknown { unknown: vec![unknown(&universe, name)] };
        let chosen = only(&universe, universe.preferred(name).ok_or_else(unknown)?)?;
        packages.push(package(chosen, Role::Boot));
    }
    for name in &asked.builder {
        packages.push(package(only(&universe, kernel(&universe, name)?)?, Role::Builder));
    }
    let key = |p: &Package| (p.name.clone(), p.architecture.clone(), p.role);
    packages.sort_by_key(key);
    let lock = Lock {
        request: asked,
        archives: states,
        local,
        packages,
        install: Install {
            base: base.iter().map(|candidate| candidate.name.clone()).collect(),
            automatic,
            groups,
        },
    };
    let broken = lock.broken_guards();
    if !broken.is_empty() {
        return Err(ResolveError::Guard { broken });
    }
    // Nothing is written that could not be read.
    lock.check()?;
    Ok(lock)
}

/// The package that holds the kernel `name` stands for: that, or the one it depends on.
fn kernel<'u>(universe: &'u Universe, name: &str) -> Result<&'u Candidate, ResolveError> {
    let unknown = || ResolveError::Unknown { unknown: vec![unknown(universe, name)] };
    let named = universe.preferred(name).ok_or_else(unknown)?;
    Ok(universe.dependency(named, KERNEL_PREFIX).unwrap_or(named))
}

/// What is unpacked by `actions`, in their order.
fn rest<'u>(universe: &'u Universe, actions: &[Action]) -> Result<Vec<&'u Candidate>, ResolveError> {
    let mut list = Vec::new();
    for action in actions {
        if let Action::Unpack { name, version } = action {
            let stray = || ResolveError::Stray { name: name.clone(), version: version.clone() };
            list.push(only(universe, universe.exact(name, version).ok_or_else(stray)?)?);
        }
    }
    Ok(list)
}

/// `chosen`, if there is no other file of its name and version.
fn only<'u>(universe: &'u Universe, chosen: &'u Candidate) -> Result<&'u Candidate, ResolveError> {
    let Some(other) = universe.double(chosen) else { return Ok(chosen) };
    let package = format!("{} {}", chosen.name, chosen.version);
    let [first, second] = [chosen, other].map(|one| one.archive.clone());
    Err(ResolveError::Double { package, first, second })
}

fn package(candidate: &Candidate, role: Role) -> Package {
    Package {
        name: candidate.name.clone(),
        version: candidate.version.clone(),
        architecture: candidate.architecture.clone(),
        archive: candidate.archive.clone(),
        path: candidate.path.clone(),
        file: candidate.file,
        source: candidate.source.clone(),
        role,
    }
}

fn unknown(universe: &Universe, name: &str) -> Unknown {
    Unknown { name: name.to_owned(), near: universe.near(name) }
}

/// The archives to which the recipe gives a priority.
fn prioritised(recipe: &Recipe) -> BTreeSet<&str> {
    let archives = recipe.archives.iter().map(|(name, archive)| (name, archive.priority));
    let local = recipe.local.iter().map(|(name, local)| (name, local.priority));
    archives.chain(local).filter(|(_, priority)| priority.is_some()).map(|(name, _)| name.as_str()).collect()
}

fn check_names(universe: &Universe, asked: &Request) -> Result<(), ResolveError> {
    let names = asked.include.iter().chain(&asked.boot).chain(&asked.builder);
    let unknown: Vec<_> =
        names.filter(|name| !universe.knows(name)).map(|name| unknown(universe, name)).collect();
    if unknown.is_empty() { Ok(()) } else { Err(ResolveError::Unknown { unknown }) }
}

/// What the recipe asks for beyond the base: its own names and all packages of its priority.
fn wanted_names<'a>(recipe: &'a Recipe, universe: &'a Universe) -> BTreeSet<&'a str> {
    let mut names: BTreeSet<&str> = recipe.packages.include.iter().map(String::as_str).collect();
    if recipe.packages.priority > Priority::Essential {
        names.extend(universe.at_least(recipe.packages.priority));
    }
    names.insert("apt");
    names
}

fn fetch(request: &LockRequest<'_>, candidates: &[&Candidate]) -> Result<(), ResolveError> {
    let wanted = candidates.iter().map(|candidate| Wanted {
        what: format!("{} {}", candidate.name, candidate.version),
        archive: candidate.archive.clone(),
        paths: vec![candidate.path.clone()],
        content: candidate.file.into(),
    });
    let LockRequest { store, source, observer, .. } = *request;
    Ok(bring_missing(&wanted.collect::<Vec<_>>(), store, source, observer)?)
}

/// Exit status of a script in which apt could not do what it was asked for.
const NO_ANSWER: u8 = 100;

/// What apt is asked to install, and where.
#[derive(Default)]
struct Ask {
    /// dpkg's status file: what is installed.
    status: String,
    /// Names as words of a shell command.
    names: Vec<String>,
    /// apt's preferences.
    preferences: String,
    /// Whether recommended packages are installed too.
    recommends: bool,
}

/// The pinned apt in a directory of its own, removed when dropped.
struct Apt<'a> {
    request: &'a LockRequest<'a>,
    sandbox: Sandbox,
    dir: PathBuf,
    job: JobDir,
    sources: String,
    _scratch: Scratch,
}

impl Drop for Apt<'_> {
    fn drop(&mut self) {
        // What a failure here leaves goes with the scratch, or is swept when the store is opened again.
        let _ = crate::host::remove_tree(&self.dir);
    }
}

impl<'a> Apt<'a> {
    /// Unpacks `closure` and lays out the indexes of `states` and `local` as apt wants them.
    fn prepare(
        request: &'a LockRequest<'a>,
        closure: &[&Candidate],
        states: &[ArchiveState],
        local: &[LocalState],
    ) -> Result<Self, ResolveError> {
        let scratch = request.store.scratch()?;
        let dir = scratch.path().join("apt");
        let work = |source| ResolveError::Work { path: dir.clone(), source };
        std::fs::create_dir_all(dir.join("files")).map_err(work)?;
        let owner = Some(request.host.shift.first());
        std::os::unix::fs::chown(dir.join("files"), owner, owner).map_err(work)?;
        let mut root = unpack::Root::create(&dir.join("files"), request.host.shift, 0)?;
        request.observer.on(Event::Total { stage: Stage::Resolve, amount: closure.len() as u64 });
        for candidate in closure {
            root.deb(request.store, &package(candidate, Role::Image))?;
            request.observer.on(Event::Advanced { stage: Stage::Resolve, amount: 1 });
        }
        root.finish()?;
        let job = JobDir::create(dir.join("job")).map_err(work)?;
        let mut sources = String::new();
        for (name, archive) in &request.recipe.archives {
            for suite in &archive.suites {
                // Signatures were verified against pinned keys as of the lock's moment: apt has nothing to add.
                sources += &format!(
                    "deb [trusted=yes check-valid-until=no check-date=no] file:{}/archives/{name} {suite} {}\n",
                    JOB,
                    archive.components.join(" ")
                );
            }
        }
        for state in states {
            for suite in &state.suites {
                let base = format!("archives/{}/dists/{}", state.name, suite.suite);
                let in_release = (format!("{base}/InRelease"), suite.in_release);
                let indexes =
                    suite.indexes.iter().map(|index| (format!("{base}/{}", index.path), index.file));
                for (path, blob) in std::iter::once(in_release).chain(indexes) {
                    job.add_file(&path, &request.store.path(&blob.sha256)).map_err(work)?;
                }
            }
        }
        for LocalState { name, index } in local {
            sources += &format!("deb [trusted=yes] file:{JOB}/archives/{name} ./\n");
            job.add_file(&format!("archives/{name}/Packages"), &request.store.path(&index.sha256))
                .map_err(work)?;
        }
        let sandbox =
            Sandbox { program: request.program.to_owned(), host: *request.host, world: World::default() };
        Ok(Self { request, sandbox, dir, job, sources, _scratch: scratch })
    }

    /// apt's choice: the base in the order of its installation, and the actions for the rest.
    fn choose<'u>(
        &self,
        recipe: &Recipe,
        universe: &'u Universe,
    ) -> Result<(Vec<&'u Candidate>, Vec<Action>), ResolveError> {
        let mut base_names = vec!["?essential", "apt"];
        if universe.preferred("usr-is-merged").is_some() {
            // The root is made with merged directories, so the package that converts one is not needed.
            base_names.push("usr-is-merged");
        }
        self.update()?;
        let preferences = universe.preferences(&prioritised(recipe));
        let names = |list: &[&str]| list.iter().map(|name| quote(name)).collect();
        let ask = Ask { names: names(&base_names), preferences: preferences.clone(), ..Ask::default() };
        let base = rest(universe, &self.simulate(&ask)?)?;
        let wanted: Vec<&str> = wanted_names(recipe, universe).into_iter().collect();
        let recommends = recipe.packages.recommends;
        let ask = Ask { status: status_file(&base), names: names(&wanted), preferences, recommends };
        Ok((base, self.simulate(&ask)?))
    }

    /// The groups in which `rest` is installed after `base`.
    fn groups(
        &self,
        base: &[&Candidate],
        rest: &[&Candidate],
        at_once: &[Action],
        universe: &Universe,
    ) -> Result<Vec<Group>, ResolveError> {
        let preferences = groups::preferences(base.iter().chain(rest).copied());
        let simulate = |below: &[&Candidate], names: &[&str]| {
            self.simulate(&Ask {
                status: status_file(below),
                names: names.iter().map(|name| quote(name)).collect(),
                preferences: preferences.clone(),
                recommends: false,
            })
        };
        let priority = self.request.recipe.packages.priority;
        let system = if priority > Priority::Essential { universe.at_least(priority) } else { Vec::new() };
        let chosen = groups::Chosen { base, rest, at_once };
        groups::arrange(&chosen, self.request.groups, &system, &simulate)
    }

    /// Lets apt read the indexes.
    fn update(&self) -> Result<(), ResolveError> {
        self.run(
            &Ask::default(),
            "apt-get -q update >/var/tmp/update 2>&1 || { cat /var/tmp/update; exit 1; }",
        )
    }

    fn simulate(&self, ask: &Ask) -> Result<Vec<Action>, ResolveError> {
        let simulate = format!(
            "apt-get -q --simulate install {} >/var/tmp/simulated 2>/var/tmp/errors || \
             {{ cat /var/tmp/simulated /var/tmp/errors; exit {NO_ANSWER}; }}",
            ask.names.join(" ")
        );
        self.run(ask, &simulate)?;
        let text = crate::host::open_below(&self.dir.join("files"), "var/tmp/simulated");
        let text = text.and_then(std::io::read_to_string).map_err(|source| ResolveError::Work {
            path: self.dir.join("files/var/tmp/simulated"),
            source,
        })?;
        Ok(simulation::parse(&text)?)
    }

    /// Runs `command`, which calls apt, in the world of `ask`.
    fn run(&self, ask: &Ask, command: &str) -> Result<(), ResolveError> {
        let Ask { status, preferences, recommends, .. } = ask;
        let work = |source| ResolveError::Work { path: self.dir.clone(), source };
        let config = format!(
            "Acquire::Languages \"none\";\nAPT::Architecture \"amd64\";\nAPT::Sandbox::User \"root\";\n\
             APT::Install-Recommends \"{recommends}\";\nDir::Etc::SourceList \"{JOB}/sources\";\n\
             Dir::Etc::SourceParts \"/dev/null\";\nDir::Etc::Preferences \"{JOB}/preferences\";\n\
             Dir::Etc::PreferencesParts \"/dev/null\";\nDir::State::Status \"{JOB}/status\";\n"
        );
        let script = format!("set -e\nexport APT_CONFIG={JOB}/config\n{command}\n");
        self.job.write("config", config.as_bytes(), 0o644).map_err(work)?;
        self.job.write("sources", self.sources.as_bytes(), 0o644).map_err(work)?;
        self.job.write("status", status.as_bytes(), 0o644).map_err(work)?;
        self.job.write("preferences", preferences.as_bytes(), 0o644).map_err(work)?;
        let observer = self.request.observer;
        // The epoch only reaches programs that are not run here.
        let runner = Runner { sandbox: &self.sandbox, epoch: Epoch(0), observer };
        let exit = runner.shell(Stage::Resolve, Root::Dir(self.dir.join("files")), &self.job, &script)?;
        if exit.status == Status::Exited(NO_ANSWER) {
            let lines = exit.tail.iter().cloned();
            let noise =
                ["Reading package lists...", "Building dependency tree...", "Reading state information..."];
            let words = lines.filter(|line| !noise.contains(&line.as_str())).collect();
            return Err(ResolveError::Unsatisfiable { words });
        }
        if !exit.success() {
            let what = "apt-get".to_owned();
            let (status, tail) = (exit.status, exit.tail);
            return Err(JobError::Failed { stage: Stage::Resolve, what, status, tail }.into());
        }
        Ok(())
    }
}
