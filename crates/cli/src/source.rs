//! Where packages come from: the recipe's mirrors, those of the command line, and the machine's own APT sources.

use std::collections::BTreeMap;
use std::path::Path;

use selfsame_apt::fetch::{self, FetchConfig, FetchError, Fetcher, Want};
use selfsame_apt::mirrors::{Mirror, auto_mirrors, read_system_sources};
use selfsame_apt::openpgp::Keyring;
use selfsame_apt::remote::Pull;
use selfsame_apt::snapshot::{ArchiveSpec, Fetched, Online, SnapshotError, Terms, fetch_snapshot};
use selfsame_build::event::{Event, Observer, Stage, Warning};
use selfsame_build::fetch::{Source, Wanted};
use selfsame_build::recipe::Recipe;
use selfsame_store::Store;

use crate::commands::build::Reach;
use crate::failure::Failure;
use crate::settings::Settings;

/// Mirrors of all archives of a recipe.
pub struct Mirrors<'a> {
    /// Asked first, for files that are known by their digest.
    remote: Option<&'a Pull<'a>>,
    fetcher: Fetcher,
    by_archive: BTreeMap<String, Vec<Mirror>>,
}

impl<'a> Mirrors<'a> {
    /// Collects the mirrors: those of the command line first, a tag before all, then those of the recipe in their order.
    /// All of them come after `remote`.
    pub fn new(
        recipe: &Recipe,
        reach: &Reach,
        settings: &Settings,
        remote: Option<&'a Pull<'a>>,
    ) -> Result<Self, Failure> {
        if let Some(odd) = reach.mirrors.iter().find(|mirror| !recipe.archives.contains_key(&mirror.archive))
        {
            let names: Vec<&str> = recipe.archives.keys().map(String::as_str).collect();
            return Err(Failure::usage(format!("the recipe has no archive {:?}", odd.archive))
                .hint(format!("its archives are: {}", names.join(", "))));
        }
        let mut by_archive = BTreeMap::new();
        for (name, archive) in &recipe.archives {
            let given = reach
                .mirrors
                .iter()
                .filter(|mirror| mirror.archive == *name)
                .map(|mirror| mirror.url.as_str());
            let tagged: Vec<Mirror> =
                reach.tag.iter().map(|tag| tagged(tag, name)).collect::<Result<_, _>>()?;
            let urls = given.chain(archive.mirrors.iter().map(String::as_str));
            let mut unique = tagged;
            for mirror in mirrors(name, &archive.suites, urls)? {
                if !unique.contains(&mirror) {
                    unique.push(mirror);
                }
            }
            by_archive.insert(name.clone(), unique);
        }
        let fetcher = Fetcher::new(config(settings, reach.offline)).map_err(Failure::environment)?;
        Ok(Self { remote, fetcher, by_archive })
    }

    /// Takes a snapshot of an archive of the recipe.
    pub fn snapshot(
        &self,
        (spec, keys): &(ArchiveSpec, Keyring),
        store: &Store,
        terms: &Terms<'_>,
        observer: &dyn Observer,
    ) -> Result<Fetched, SnapshotError> {
        let relay = Relay(observer);
        let online = Online { fetcher: &self.fetcher, mirrors: self.of(&spec.name), progress: &relay };
        fetch_snapshot(spec, keys, &online, store, terms)
    }

    /// How many mirrors there are of an archive.
    pub fn count(&self, archive: &str) -> usize {
        self.of(archive).len()
    }

    fn of(&self, archive: &str) -> &[Mirror] {
        self.by_archive.get(archive).map_or(&[], Vec::as_slice)
    }
}

/// The mirrors of archive `name` at `urls`, each once; `auto` stands for the machine's own that have all of `suites`.
pub fn mirrors<'u>(
    name: &str,
    suites: &[String],
    urls: impl IntoIterator<Item = &'u str>,
) -> Result<Vec<Mirror>, Failure> {
    let mut all: Vec<Mirror> = Vec::new();
    for url in urls {
        let found = match url {
            "auto" => auto(suites)?,
            url => vec![
                Mirror::parse(url)
                    .map_err(|error| Failure::input(error).context(format!("mirror of archive {name}")))?,
            ],
        };
        for mirror in found {
            if !all.contains(&mirror) {
                all.push(mirror);
            }
        }
    }
    Ok(all)
}

/// The part of `archive` in a tag.
fn tagged(tag: &Path, archive: &str) -> Result<Mirror, Failure> {
    let path = tag.join(archive);
    match path.canonicalize() {
        Ok(path) if path.is_dir() => Ok(Mirror::of_directory(&path)),
        _ => Err(Failure::input(format!("{} is no tag of archive {archive}", tag.display()))
            .hint("`selfsame snapshot tag RECIPE DIR` makes one of a recipe's lock")),
    }
}

/// How to fetch: through the proxies of the environment.
pub fn config(settings: &Settings, offline: bool) -> FetchConfig {
    let proxies = &settings.proxies;
    let names = proxies.none.iter().flat_map(|list| list.split(','));
    FetchConfig {
        offline,
        http_proxy: proxies.http.clone(),
        https_proxy: proxies.https.clone(),
        no_proxy: names.map(|host| host.trim().to_owned()).collect(),
        ..FetchConfig::default()
    }
}

/// The machine's own mirrors that serve all of `suites`.
fn auto(suites: &[String]) -> Result<Vec<Mirror>, Failure> {
    let sources = read_system_sources(Path::new("/"))
        .map_err(|error| Failure::environment(error).context("cannot read this machine's APT sources"))?;
    let mut all = suites.iter().map(|suite| auto_mirrors(&sources, suite));
    let first = all.next().unwrap_or_default();
    let rest: Vec<Vec<Mirror>> = all.collect();
    Ok(first.into_iter().filter(|mirror| rest.iter().all(|other| other.contains(mirror))).collect())
}

/// Passes what the fetcher tells on to the build's observer.
struct Relay<'a>(&'a dyn Observer);

impl fetch::Progress for Relay<'_> {
    fn advanced(&self, bytes: u64) {
        self.0.on(Event::Advanced { stage: Stage::Fetch, amount: bytes });
    }

    fn stop(&self) -> bool {
        selfsame_build::host::interrupted()
    }

    fn warning(&self, warning: &fetch::Warning) {
        let text = match warning {
            fetch::Warning::Failed { what, mirror, reason, again } => {
                let next = if *again { "; it is asked again" } else { "" };
                format!("mirror {mirror} failed for {what}: {reason}{next}")
            }
            fetch::Warning::Dropped { mirror, offences } => {
                format!("mirror {mirror} failed {offences} times and is not used any more")
            }
            fetch::Warning::Paused { mirror, pause } => {
                format!("mirror {mirror} asks for a pause of {} s", pause.as_secs())
            }
            fetch::Warning::Mixed { what, bytes } => {
                format!("{what}: {bytes} bytes from several mirrors do not fit together; it is fetched again")
            }
            other => format!("{other:?}"),
        };
        self.0.on(Event::Warning { warning: Warning::Mirror(text) });
    }
}

impl Source for Mirrors<'_> {
    fn fetch(&self, wanted: &[Wanted], store: &Store, observer: &dyn Observer) -> Result<(), FetchError> {
        let mut by_archive: BTreeMap<&str, Vec<Want>> = BTreeMap::new();
        if let Some(remote) = self.remote {
            let wants: Vec<_> = wanted.iter().map(|one| (one.what.clone(), one.content)).collect();
            remote.blobs(store, &wants, &Relay(observer))?;
        }
        let missing = |one: &&Wanted| store.size(&one.content.digest) != Some(one.content.size);
        for Wanted { what, archive, paths, content } in wanted.iter().filter(missing) {
            let want =
                Want { what: what.clone(), size: content.size, digest: content.digest, paths: paths.clone() };
            by_archive.entry(archive).or_default().push(want);
        }
        for (archive, wants) in by_archive {
            self.fetcher.fetch_all(store, &wants, self.of(archive), &Relay(observer))?;
        }
        Ok(())
    }
}
