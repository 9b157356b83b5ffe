//! What is at which path: all snapshots of a store, and tags.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::num::NonZero;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use selfsame_apt::packages::Index;
use selfsame_apt::snapshot::{ArchiveSpec, Thin};
use selfsame_image::Digest;
use selfsame_image::tree::Content;
use selfsame_store::Store;

use crate::site::{Found, Look, Served, Site};
use crate::state::{Entry, Offer, Place, Pool, State, TagPart, chain};

/// For so long a new snapshot may go unnoticed.
const FRESH: Duration = Duration::from_secs(1);
/// So many states have their packages in memory at a time: some 10 MB for one of Debian's main component that no other
/// state has.
const IN_MEMORY: usize = 32;
/// What a path in a header must not have as it is.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}');

/// Where a catalogue takes from what it does not have.
pub trait Upstream: Send + Sync + 'static {
    /// The snapshots that are kept at present.
    ///
    /// # Errors
    /// Why they cannot be read, in a line.
    fn offers(&self) -> Result<Vec<Offer>, String>;

    /// Brings the file at `path` of an archive, which must be `content`, into the store.
    ///
    /// # Errors
    /// Why not, in a line.
    fn bring(&self, archive: &ArchiveSpec, path: &str, content: Content) -> Result<(), String>;
}

/// All snapshots of a store and tags, by path:
///
/// ```text
/// /                                       the archives
/// /debian/                                the states of one, the newest last
/// /debian/20260711T101637Z/dists/...      a state: signed files and indexes, also by-hash
/// /debian/20260711T101637Z/pool/...       its packages; those that the store does not have come from the mirrors
/// /debian/latest/...                      leads to the newest state
/// /debian/project/trace/debian            the name of the newest state, as `Archive serial: ...`
/// ```
///
/// Before a state is served for the first time all its signatures and digests are checked as of its time, and each file is
/// hashed before it is sent for the first time, and again when it changed.
#[derive(Clone)]
pub struct Catalogue {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    upstream: Box<dyn Upstream>,
    tags: Vec<TagPart>,
    table: RwLock<Table>,
    /// Files whose bytes were looked at, as they were then; those of tags by their paths.
    seen: RwLock<HashMap<(Digest, Option<PathBuf>), Stamp>>,
    /// Held while the table is read anew.
    refreshing: Mutex<()>,
    /// Held by what takes all processors and much memory: checking a state, making an index again.
    heavy: Mutex<()>,
    /// Files that are being brought: who wants one waits for its lock.
    coming: Mutex<HashMap<Digest, Arc<Mutex<()>>>>,
    /// Packages of indexes, which many states have in common, by the digest of the plain index.
    pools: Mutex<HashMap<Digest, Weak<Pool>>>,
    /// States that have theirs in memory, those that read them first in front.
    loaded: Mutex<VecDeque<Weak<State>>>,
}

#[derive(Default)]
struct Table {
    archives: BTreeMap<String, BTreeMap<String, Arc<State>>>,
    read: Option<Instant>,
}

/// What changes when somebody changes a file.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &File) -> std::io::Result<Self> {
        let meta = file.metadata()?;
        Ok(Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        })
    }
}

impl std::fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalogue").field("store", &self.inner.store).finish_non_exhaustive()
    }
}

impl Site for Catalogue {
    fn look(&self, path: &str) -> Look {
        match self.inner.at(path, false) {
            Some(found) => Look::Now(found),
            None => {
                let (inner, path) = (Arc::clone(&self.inner), path.to_owned());
                Look::Later(Box::new(move || {
                    inner.at(&path, true).unwrap_or_else(|| Found::Failed("try again".to_owned()))
                }))
            }
        }
    }
}

impl Catalogue {
    /// What `store` and `tags` have.
    ///
    /// # Errors
    /// Why the snapshots cannot be read, in a line.
    pub fn new(store: Store, tags: Vec<TagPart>, upstream: impl Upstream) -> Result<Self, String> {
        let inner = Inner {
            store,
            upstream: Box::new(upstream),
            tags,
            table: RwLock::default(),
            seen: RwLock::default(),
            refreshing: Mutex::default(),
            heavy: Mutex::default(),
            coming: Mutex::default(),
            pools: Mutex::default(),
            loaded: Mutex::default(),
        };
        inner.refresh()?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The states that there are at present: archive and serial.
    pub fn states(&self) -> Vec<(String, String)> {
        let table = self.inner.table.read().unwrap_or_else(PoisonError::into_inner);
        let of = |(archive, states): (&String, &BTreeMap<String, Arc<State>>)| {
            states.keys().map(|serial| (archive.clone(), serial.clone())).collect::<Vec<_>>()
        };
        table.archives.iter().flat_map(of).collect()
    }
}

impl Inner {
    /// What is at `path`, or `None` if that takes work that is not allowed.
    fn at(&self, path: &str, work: bool) -> Option<Found> {
        let mut parts = path.strip_prefix('/')?.splitn(3, '/');
        let [archive, second, rest] = [(); 3].map(|()| parts.next());
        match (archive.unwrap_or_default(), second, rest) {
            ("", None, None) => self.fresh(work, Self::archives),
            (archive, None | Some(""), None) => self.fresh(work, |table| Self::serials(table, archive)),
            (archive, Some("project"), Some(rest)) if rest.strip_prefix("trace/") == Some(archive) => {
                self.fresh(work, |table| Self::trace(table, archive))
            }
            (archive, Some("latest"), Some(rest)) => {
                self.fresh(work, |table| Self::latest(table, archive, rest))
            }
            (archive, Some(serial), Some(rest)) => self.file(archive, serial, rest, work),
            _ => Some(Found::Missing),
        }
    }

    /// The answer that `find` finds in a table that is not too old.
    fn fresh(&self, work: bool, find: impl Fn(&Table) -> Found) -> Option<Found> {
        self.in_fresh(work, find).map(|found| found.unwrap_or_else(Found::Failed))
    }

    /// What `find` finds in a table that is not too old, or why there is none; `None` if that takes work that is not allowed.
    fn in_fresh<T>(&self, work: bool, find: impl Fn(&Table) -> T) -> Option<Result<T, String>> {
        let is_fresh = |table: &Table| table.read.is_some_and(|read| read.elapsed() < FRESH);
        {
            let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
            if is_fresh(&table) {
                return Some(Ok(find(&table)));
            }
        }
        if !work {
            return None;
        }
        let _one = self.refreshing.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
            if is_fresh(&table) {
                return Some(Ok(find(&table)));
            }
        }
        let refreshed = self.refresh();
        Some(refreshed.map(|()| find(&self.table.read().unwrap_or_else(PoisonError::into_inner))))
    }

    fn archives(table: &Table) -> Found {
        Found::Text(table.archives.keys().map(|name| format!("{name}/\n")).collect())
    }

    fn serials(table: &Table, archive: &str) -> Found {
        let Some(states) = table.archives.get(archive) else { return Found::Missing };
        let line =
            |(serial, state): (&String, &Arc<State>)| format!("{serial}/ {}\n", state.suites().join(" "));
        Found::Text(states.iter().map(line).collect())
    }

    fn trace(table: &Table, archive: &str) -> Found {
        let newest = table.archives.get(archive).and_then(|states| states.keys().next_back());
        newest.map_or(Found::Missing, |serial| Found::Text(format!("Archive serial: {serial}\n")))
    }

    /// Where `rest` is in the newest state. A file that is asked for by its digest may be in an older one: whoever asks
    /// had read that one's signed file a moment ago.
    fn latest(table: &Table, archive: &str, rest: &str) -> Found {
        let Some(states) = table.archives.get(archive) else { return Found::Missing };
        let newest = || states.iter().next_back();
        let by_hash = || states.iter().rev().find(|(_, state)| state.has(rest));
        let state = if rest.contains("/by-hash/") { by_hash() } else { newest() };
        state.map_or(Found::Missing, |(serial, _)| {
            let to = format!("/{archive}/{serial}/{rest}");
            Found::Redirect(utf8_percent_encode(&to, ESCAPED).to_string())
        })
    }

    fn file(&self, archive: &str, serial: &str, path: &str, work: bool) -> Option<Found> {
        let find = |table: &Table| Some(Arc::clone(table.archives.get(archive)?.get(serial)?));
        // Looked up anew each time: a state may have been removed meanwhile.
        let state = match self.in_fresh(work, find)? {
            Ok(Some(state)) => state,
            Ok(None) => return Some(Found::Missing),
            Err(why) => return Some(Found::Failed(why)),
        };
        let entry = match state.entry(path) {
            Ok(entry) => entry,
            Err(_) if !work => return None,
            Err(_) => {
                if let Err(why) = self.check(&state) {
                    return Some(Found::Failed(why));
                }
                // It may have been forgotten again meanwhile, by a crowd that asks for many states.
                state.entry(path).ok()?
            }
        };
        let Some(entry) = entry else { return Some(Found::Missing) };
        self.opened(&entry).or_else(|| work.then(|| self.obtained(&entry, path)))
    }

    /// The file, if its bytes were looked at since it changed.
    fn opened(&self, entry: &Entry) -> Option<Found> {
        let seen = *self.seen.read().unwrap_or_else(PoisonError::into_inner).get(&key(entry))?;
        let file = match &entry.place {
            Place::File(path) => File::open(path).ok()?,
            Place::Store | Place::Archive(_) => self.store.open_unverified(&entry.content.digest).ok()??,
        };
        (Stamp::of(&file).ok()? == seen).then(|| served(entry, file))
    }

    /// The file, checked, and fetched if need be.
    fn obtained(&self, entry: &Entry, path: &str) -> Found {
        let found = match &entry.place {
            Place::File(file) => checked(file, &entry.content),
            Place::Store => match self.stored(&entry.content) {
                // An old one may be kept as a difference.
                Ok(None) => {
                    let _turn = self.heavy.lock().unwrap_or_else(PoisonError::into_inner);
                    Thin::restore(&self.store, &entry.content, all_processors())
                        .map_err(|error| chain(&error))
                        .and_then(|_| self.stored(&entry.content))
                }
                stored => stored,
            },
            Place::Archive(spec) => match self.stored(&entry.content) {
                Ok(Some(file)) => Ok(Some(file)),
                // One that is damaged was put aside.
                Ok(None) | Err(_) => {
                    self.bring(spec, path, entry.content).and_then(|()| self.stored(&entry.content))
                }
            },
        };
        match found {
            Ok(Some((file, stamp))) => {
                self.seen.write().unwrap_or_else(PoisonError::into_inner).insert(key(entry), stamp);
                served(entry, file)
            }
            Ok(None) => Found::Failed(format!("{path} was lost")),
            Err(why) => Found::Failed(why),
        }
    }

    fn stored(&self, content: &Content) -> Result<Option<(File, Stamp)>, String> {
        let failed = |error: std::io::Error| format!("cannot look at {}: {error}", content.digest);
        let file = self.store.open_verified(&content.digest).map_err(|error| chain(&error))?;
        let Some(file) = file else { return Ok(None) };
        // Blobs are never written to, only put in place of each other.
        let stamp = Stamp::of(&file).map_err(failed)?;
        Ok((stamp.size == content.size).then_some((file, stamp)))
    }

    /// Brings a file once, however many ask for it.
    fn bring(&self, spec: &ArchiveSpec, path: &str, content: Content) -> Result<(), String> {
        let coming = || self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = Arc::clone(coming().entry(content.digest).or_default());
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        let brought = match self.store.size(&content.digest) {
            Some(_) => Ok(()),
            None => self.upstream.bring(spec, path, content),
        };
        coming().remove(&content.digest);
        brought
    }

    fn check(&self, state: &Arc<State>) -> Result<(), String> {
        let shared = |plain: &Content, index: &Index| {
            let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(pool) = pools.get(&plain.digest).and_then(Weak::upgrade) {
                return pool;
            }
            pools.retain(|_, pool| pool.strong_count() > 0);
            let file =
                |package: selfsame_apt::packages::Package<'_>| (package.filename().into(), package.file());
            let pool = Arc::new(index.packages().map(file).collect());
            pools.insert(plain.digest, Arc::downgrade(&pool));
            pool
        };
        let turn = self.heavy.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = state.check(&self.store, shared)?;
        drop(turn);
        if !is_new {
            return Ok(());
        }
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.push_back(Arc::downgrade(state));
        while loaded.len() > IN_MEMORY {
            if let Some(state) = loaded.pop_front().and_then(|state| state.upgrade()) {
                state.forget();
            }
        }
        Ok(())
    }

    /// Reads anew what there is. States that did not change stay as they are.
    fn refresh(&self) -> Result<(), String> {
        let mut offers = self.upstream.offers()?;
        // Where two states of one name contradict each other the one that was taken last counts.
        offers.sort_by_key(|offer| std::cmp::Reverse(offer.snapshot.at));
        let mut by_name: BTreeMap<(String, String), (Vec<Offer>, Vec<TagPart>)> = BTreeMap::new();
        for offer in offers {
            let name = (offer.snapshot.archive.clone(), offer.snapshot.serial.clone());
            by_name.entry(name).or_default().0.push(offer);
        }
        for tag in &self.tags {
            by_name.entry((tag.archive.clone(), tag.serial.clone())).or_default().1.push(tag.clone());
        }
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let mut archives: BTreeMap<String, BTreeMap<String, Arc<State>>> = BTreeMap::new();
        for ((archive, serial), (offers, tags)) in by_name {
            let old = table.archives.get(&archive).and_then(|states| states.get(&serial));
            let state = match old.filter(|old| old.is_of(&offers, &tags)) {
                Some(old) => Arc::clone(old),
                None => Arc::new(State::new(offers, tags)),
            };
            archives.entry(archive).or_default().insert(serial, state);
        }
        *table = Table { archives, read: Some(Instant::now()) };
        Ok(())
    }
}

fn all_processors() -> NonZero<usize> {
    std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN)
}

/// What the look at a file is remembered by.
fn key(entry: &Entry) -> (Digest, Option<PathBuf>) {
    let path = match &entry.place {
        Place::File(path) => Some(path.clone()),
        Place::Store | Place::Archive(_) => None,
    };
    (entry.content.digest, path)
}

/// The file at `path`, if its bytes are `content` and did not change while they were looked at.
fn checked(path: &Path, content: &Content) -> Result<Option<(File, Stamp)>, String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let mut file = File::open(path).map_err(failed)?;
    let stamp = Stamp::of(&file).map_err(failed)?;
    if stamp.size != content.size {
        return Err(format!("{} is damaged", path.display()));
    }
    let (digest, size) = Digest::of_reader(&mut file).map_err(failed)?;
    match (Content { size, digest }) == *content && Stamp::of(&file).map_err(failed)? == stamp {
        true => Ok(Some((file, stamp))),
        false => Err(format!("{} is damaged", path.display())),
    }
}

fn served(entry: &Entry, file: File) -> Found {
    let Entry { content, modified, place } = entry;
    let name = match place {
        Place::File(path) => path.extension().and_then(|ending| ending.to_str()),
        Place::Archive(_) => Some("deb"),
        Place::Store => None,
    };
    let kind = match name {
        Some("deb") => "application/vnd.debian.binary-package",
        _ => "application/octet-stream",
    };
    Found::File(Served { file, size: content.size, digest: content.digest, modified: *modified, kind })
}
