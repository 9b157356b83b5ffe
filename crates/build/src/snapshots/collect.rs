//! Letting go of old snapshots, and keeping the others in little space.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::num::NonZero;
use std::path::PathBuf;

use selfsame_apt::snapshot::{Thin, ThinError};
use selfsame_image::tree::Content;
use selfsame_image::{Digest, par};
use selfsame_store::{Store, StoreError};

use super::hold::held;
use super::{KIND, Kept, KeptError};

/// Kind of the records of snapshots whose files are being removed.
const EXPIRED: &str = "expired";

/// What goes, and how the rest is kept.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Snapshots that were taken at this time or before, in seconds since 1970-01-01 UTC, go; the newest of an archive and
    /// those that a lock needs stay.
    pub before: Option<i64>,
    /// How many of the newest snapshots of each archive are kept as they came; of older ones the differences.
    pub whole: usize,
    /// How many threads work at a time.
    pub jobs: NonZero<usize>,
    /// Change nothing; say which snapshots would go.
    pub dry_run: bool,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Archive and serial of the snapshots that went.
    pub expired: Vec<(String, String)>,
    /// How many snapshots were old enough, but are needed by a lock.
    pub needed: usize,
    /// Files that are kept as differences.
    pub thin: u64,
    /// Their length as they came, in bytes.
    pub thin_bytes: u64,
    /// Length of the differences.
    pub patch_bytes: u64,
    /// Files that are kept as they came, older ones and the newest alike.
    pub whole: u64,
    /// Their length.
    pub whole_bytes: u64,
    /// Bytes that were freed.
    pub freed: u64,
}

/// Why it was not done, or not all of it. What was done is no harm, and the next time goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectError {
    /// A lock that was made with this store cannot be read, so that nobody knows what it needs.
    #[error("{} may need snapshots and cannot be read: {problem}", path.display())]
    Lock {
        /// The lock.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// Others use the snapshots at the moment.
    #[error("cannot lock {}", path.display())]
    Turn {
        /// The store.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A snapshot cannot be read.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// A difference cannot be made.
    #[error(transparent)]
    Thin(#[from] ThinError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whoever takes a snapshot and whoever removes some wait for each other.
#[derive(Debug)]
pub struct Turn {
    _store: File,
}

impl Turn {
    /// Taking a snapshot, beside others who do.
    pub fn take(store: &Store) -> Result<Self, CollectError> {
        Self::wait(store, File::lock_shared)
    }

    fn wait(store: &Store, lock: impl Fn(&File) -> std::io::Result<()>) -> Result<Self, CollectError> {
        let path = store.root();
        let wait = || File::open(path).and_then(|dir| lock(&dir).map(|()| dir));
        let dir = wait().map_err(|source| CollectError::Turn { path: path.to_owned(), source })?;
        Ok(Self { _store: dir })
    }
}

/// Removes snapshots that are too old, and of the others keeps all but the newest as differences. Whatever stops it, a
/// power cut too, each snapshot is whole or gone.
pub fn collect(store: &Store, rules: &Rules) -> Result<Collected, CollectError> {
    let _turn = Turn::wait(store, File::lock)?;
    let mut done = Collected::default();
    let locked = held(store, rules.dry_run)?;
    if !rules.dry_run {
        // What a run that was killed left may not be on the disk, and files go because of it.
        store.sync()?;
    }
    let kept = expire(store, rules, &locked, &mut done)?;
    if rules.dry_run {
        return Ok(done);
    }
    let newest = newest(&kept, rules.whole);
    // One series is one long chain, and its indexes have one or two blocks: the others need not wait for it.
    let one = NonZero::<usize>::MIN;
    let work = |files: Vec<Content>| thin(store, &files, &newest, one);
    par::map_ordered(
        rules.jobs,
        series(&kept).into_values(),
        work,
        |part: Result<Collected, CollectError>| {
            let part = part?;
            done.thin += part.thin;
            done.thin_bytes += part.thin_bytes;
            done.patch_bytes += part.patch_bytes;
            done.whole += part.whole;
            done.whole_bytes += part.whole_bytes;
            done.freed += part.freed;
            Ok::<_, CollectError>(())
        },
    )?;
    forget(store, &kept, locked, &mut done)?;
    // What is said to be removed is, and takes no room after a power cut either.
    store.sync()?;
    Ok(done)
}

/// Keeps the states of one file, from the oldest to the newest, as differences from each other, but the first and those in
/// `whole`.
fn thin(
    store: &Store,
    files: &[Content],
    whole: &BTreeSet<Digest>,
    jobs: NonZero<usize>,
) -> Result<Collected, CollectError> {
    let mut done = Collected::default();
    let mut last: Option<&Content> = None;
    for of in files {
        let thin = match last {
            Some(base) if !whole.contains(&of.digest) => Thin::make(store, of, base, jobs)?,
            _ => None,
        };
        // One that was lost is no help for the next.
        if thin.is_some() || store.contains(&of.digest) {
            last = Some(of);
        }
        match thin {
            Some(thin) => {
                done.thin += 1;
                done.thin_bytes += of.size;
                done.patch_bytes += thin.patch.size;
                done.freed += remove(store, &of.digest)?;
            }
            None => {
                done.whole += 1;
                done.whole_bytes += of.size;
            }
        }
    }
    Ok(done)
}

/// Marks what is too old as expired; the rest, by archive and serial.
fn expire(
    store: &Store,
    rules: &Rules,
    locked: &BTreeSet<Digest>,
    done: &mut Collected,
) -> Result<Vec<Kept>, CollectError> {
    let all = Kept::all(store)?;
    let Some(before) = rules.before else { return Ok(all) };
    let newest: BTreeMap<(String, Vec<String>), String> =
        all.iter().map(|one| (of_what(one), one.snapshot.serial.clone())).collect();
    let mut kept = Vec::new();
    for one in all {
        let is_newest = newest.get(&of_what(&one)) == Some(&one.snapshot.serial);
        if is_newest || one.snapshot.at > before {
            kept.push(one);
            continue;
        }
        if one.snapshot.suites.iter().any(|suite| locked.contains(&suite.in_release.digest)) {
            done.needed += 1;
            kept.push(one);
            continue;
        }
        done.expired.push((one.snapshot.archive.clone(), one.snapshot.serial.clone()));
        if !rules.dry_run {
            // First the list of its files, so that they are found whenever this is stopped.
            let files: String = one.snapshot.blobs().map(|file| format!("{}\n", file.digest)).collect();
            store.record_put(EXPIRED, &one.key(), files.as_bytes())?;
            store.record_remove(KIND, &one.key())?;
        }
    }
    Ok(kept)
}

/// What a snapshot is one of: archives of one name may have other suites in other recipes.
fn of_what(one: &Kept) -> (String, Vec<String>) {
    (one.spec.identity(), one.snapshot.suites.iter().map(|suite| suite.suite.clone()).collect())
}

/// Files of the newest snapshots of each archive.
fn newest(kept: &[Kept], count: usize) -> BTreeSet<Digest> {
    let mut serials: BTreeMap<(String, Vec<String>), BTreeSet<&str>> = BTreeMap::new();
    for one in kept {
        serials.entry(of_what(one)).or_default().insert(&one.snapshot.serial);
    }
    let is_new = |one: &&Kept| {
        let later = &serials[&of_what(one)];
        later.range(one.snapshot.serial.as_str()..).count() <= count
    };
    kept.iter().filter(is_new).flat_map(|one| one.snapshot.blobs()).map(|file| file.digest).collect()
}

/// The states of each file that has a place of its own, from the oldest to the newest, each once.
fn series(kept: &[Kept]) -> BTreeMap<(String, String), Vec<Content>> {
    let mut dated: BTreeMap<(String, String), Vec<(i64, Content)>> = BTreeMap::new();
    for Kept { snapshot, .. } in kept {
        for suite in &snapshot.suites {
            let mut add = |path: &str, content| {
                let place = (snapshot.archive.clone(), format!("{}/{path}", suite.suite));
                dated.entry(place).or_default().push((suite.date, content));
            };
            add("InRelease", suite.in_release);
            suite.indexes.iter().for_each(|index| add(&index.path, index.packed));
        }
    }
    let mut seen = BTreeSet::new();
    let mut in_order = |mut files: Vec<(i64, Content)>| {
        files.sort_by_key(|(date, content)| (*date, content.digest));
        files.into_iter().map(|(_, content)| content).filter(|content| seen.insert(content.digest)).collect()
    };
    dated.into_iter().map(|(place, files)| (place, in_order(files))).collect()
}

/// Removes the files of expired snapshots, and differences, that nothing needs any more.
fn forget(
    store: &Store,
    kept: &[Kept],
    locked: BTreeSet<Digest>,
    done: &mut Collected,
) -> Result<(), CollectError> {
    let mut needed: BTreeSet<Digest> = BTreeSet::new();
    let keyrings = kept.iter().filter_map(|one| one.spec.keyring);
    let mut todo: Vec<Digest> =
        kept.iter().flat_map(|one| one.snapshot.blobs()).chain(keyrings).map(|file| file.digest).collect();
    todo.extend(locked);
    // What others saw is evidence: it stays as long as the record of it.
    todo.extend(super::elsewhere(store)?.iter().map(|one| one.file));
    while let Some(digest) = todo.pop() {
        if needed.insert(digest)
            && let Some(thin) = Thin::find(store, &digest)?
        {
            todo.extend([thin.base, thin.patch.digest]);
        }
    }
    let (mut blobs, mut thin, mut expired) = (Vec::new(), Vec::new(), Vec::new());
    for of in Thin::all(store)?.into_iter().filter(|of| !needed.contains(of)) {
        if let Some(Thin { patch, .. }) = Thin::find(store, &of)? {
            blobs.extend((!needed.contains(&patch.digest)).then_some(patch.digest));
            thin.push(of);
        }
    }
    for key in store.record_keys(EXPIRED)? {
        let list = store.record_get(EXPIRED, &key)?.unwrap_or_default();
        let list = String::from_utf8_lossy(&list);
        let files = list.lines().filter_map(|line| line.parse::<Digest>().ok());
        let (stay, go): (Vec<Digest>, Vec<Digest>) = files.partition(|digest| needed.contains(digest));
        blobs.extend(go);
        // What others are made of goes when they do.
        expired.extend(stay.is_empty().then_some(key));
    }
    blobs.retain(|digest| store.contains(digest));
    if !blobs.is_empty() {
        // A power cut must not bring back a snapshot whose files went.
        store.sync()?;
    }
    for digest in blobs {
        done.freed += remove(store, &digest)?;
    }
    if !(thin.is_empty() && expired.is_empty()) {
        // Nor files that no record leads to any more.
        store.sync()?;
    }
    thin.iter().try_for_each(|of| Thin::forget(store, of))?;
    Ok(expired.iter().try_for_each(|key| store.record_remove(EXPIRED, key))?)
}

/// Removes a blob, if it is there: its length.
fn remove(store: &Store, digest: &Digest) -> Result<u64, StoreError> {
    let Some(size) = store.size(digest) else { return Ok(0) };
    store.remove(digest).map(|()| size)
}
