//! One state of one archive: which files it has, and which of them are where.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use selfsame_apt::packages::Index;
use selfsame_apt::snapshot::{ArchiveSpec, Snapshot, load_snapshot};
use selfsame_image::tree::Content;
use selfsame_store::Store;

/// How long a state that is not good is not looked at again.
const BAD_FOR: Duration = Duration::from_secs(10);

/// A snapshot that is kept in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// What was asked for, and whose signatures count.
    pub spec: ArchiveSpec,
    /// The state.
    pub snapshot: Snapshot,
}

/// The part of an archive in a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagPart {
    /// Name of the archive.
    pub archive: String,
    /// Name of the state.
    pub serial: String,
    /// Date of the state in seconds since 1970-01-01 UTC.
    pub date: i64,
    /// The directory that `dists` and `pool` are in.
    pub root: PathBuf,
    /// Files by path below it.
    pub files: BTreeMap<String, Content>,
}

/// A file of a state.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) content: Content,
    /// Since when it is there.
    pub(crate) modified: i64,
    pub(crate) place: Place,
}

/// Where a file is.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// In the store.
    Store,
    /// This file of a tag.
    File(PathBuf),
    /// In the store, or else at the archive's mirrors under that path.
    Archive(Arc<ArchiveSpec>),
}

/// Packages of one index by path.
pub(crate) type Pool = BTreeMap<Box<str>, Content>;

/// One state of one archive.
#[derive(Debug)]
pub(crate) struct State {
    /// All that was offered.
    offered: Vec<Offer>,
    /// What of it does not contradict the rest.
    offers: Vec<Offer>,
    tags: Vec<TagPart>,
    date: i64,
    files: BTreeMap<String, Entry>,
    /// Packages of each index, with who has them; absent until all signatures and digests were checked.
    pools: RwLock<Option<Pools>>,
    /// Since when it is known as bad, and why. Held while it is checked.
    bad: Mutex<Option<(Instant, String)>>,
}

type Pools = Vec<(Arc<ArchiveSpec>, Arc<Pool>)>;

impl State {
    /// What is offered under one name, by archive and serial, of which the first counts where two of them contradict.
    pub(crate) fn new(offers: Vec<Offer>, tags: Vec<TagPart>) -> Self {
        let mut files: BTreeMap<String, Entry> = BTreeMap::new();
        let (mut accepted, offered) = (Vec::new(), offers.clone());
        for offer in offers {
            let mut own = BTreeMap::new();
            for (path, content) in offer.snapshot.files() {
                let suite = offer.snapshot.suites.iter().find(|suite| {
                    path.strip_prefix("dists/")
                        .and_then(|path| path.strip_prefix(suite.suite.as_str()))
                        .is_some_and(|rest| rest.starts_with('/'))
                });
                let modified = suite.map_or(0, |suite| suite.date);
                own.insert(path, Entry { content, modified, place: Place::Store });
            }
            if own.iter().all(|(path, new)| files.get(path).is_none_or(|old| old.content == new.content)) {
                files.extend(own);
                accepted.push(offer);
            }
        }
        for tag in &tags {
            for (path, content) in &tag.files {
                let place = Place::File(tag.root.join(path));
                files.entry(path.clone()).or_insert(Entry { content: *content, modified: tag.date, place });
            }
        }
        let dates = accepted.iter().flat_map(|offer| offer.snapshot.suites.iter().map(|suite| suite.date));
        let date = dates.chain(tags.iter().map(|tag| tag.date)).max().unwrap_or(0);
        let (pools, bad) = Default::default();
        Self { offered, offers: accepted, tags, date, files, pools, bad }
    }

    /// Whether it offers just that.
    pub(crate) fn is_of(&self, offers: &[Offer], tags: &[TagPart]) -> bool {
        self.offered == offers && self.tags == tags
    }

    pub(crate) fn suites(&self) -> Vec<&str> {
        let of_offers = self.offers.iter().flat_map(|offer| &offer.snapshot.suites);
        let of_tags = self.tags.iter().flat_map(|tag| tag.files.keys());
        let of_tags = of_tags.filter_map(|path| path.strip_prefix("dists/")?.strip_suffix("/InRelease"));
        let mut all: Vec<&str> = of_offers.map(|suite| suite.suite.as_str()).chain(of_tags).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Whether `path` is one of its files, as far as that can be told without reading an index.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// The file at `path`; `Err` if the state was not checked yet.
    pub(crate) fn entry(&self, path: &str) -> Result<Option<Entry>, NotChecked> {
        let pools = self.pools.read().unwrap_or_else(PoisonError::into_inner);
        let Some(pools) = &*pools else { return Err(NotChecked) };
        let listed = self.files.get(path);
        if let Some(entry) = listed.filter(|entry| matches!(entry.place, Place::Store)) {
            return Ok(Some(entry.clone()));
        }
        // A signed index knows better than the list of a tag.
        let found = pools.iter().find_map(|(spec, pool)| Some((spec, *pool.get(path)?)));
        Ok(match (found, listed) {
            (Some((_, content)), Some(entry)) if entry.content == content => Some(entry.clone()),
            (Some((spec, content)), _) => {
                Some(Entry { content, modified: self.date, place: Place::Archive(Arc::clone(spec)) })
            }
            (None, listed) => listed.cloned(),
        })
    }

    /// Checks all signatures and digests as of when the snapshot was taken, and reads which packages there are. `shared`
    /// may know the packages of an index already, and gives the one to keep. Returns whether that took place just now.
    pub(crate) fn check(
        &self,
        store: &Store,
        shared: impl Fn(&Content, &Index) -> Arc<Pool>,
    ) -> Result<bool, String> {
        let mut bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
        if self.pools.read().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Ok(false);
        }
        if let Some((_, why)) = bad.as_ref().filter(|(since, _)| since.elapsed() < BAD_FOR) {
            return Err(why.clone());
        }
        match self.read(store, shared) {
            Ok(pools) => {
                *bad = None;
                *self.pools.write().unwrap_or_else(PoisonError::into_inner) = Some(pools);
                Ok(true)
            }
            Err(why) => {
                *bad = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }

    fn read(&self, store: &Store, shared: impl Fn(&Content, &Index) -> Arc<Pool>) -> Result<Pools, String> {
        let mut pools = Vec::new();
        for Offer { spec, snapshot } in &self.offers {
            let loaded =
                spec.read_keyring(store).and_then(|keys| load_snapshot(spec, snapshot, &keys, store));
            let loaded = loaded.map_err(|error| chain(&error))?;
            let spec = Arc::new(spec.clone());
            let indexes = loaded.suites.iter().flat_map(|suite| &suite.indexes);
            pools.extend(indexes.map(|(known, index)| (Arc::clone(&spec), shared(&known.plain, index))));
        }
        Ok(pools)
    }

    /// Forgets which packages there are, until somebody asks again.
    pub(crate) fn forget(&self) {
        *self.pools.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// The state must be checked first.
#[derive(Debug)]
pub(crate) struct NotChecked;

/// An error and all its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
