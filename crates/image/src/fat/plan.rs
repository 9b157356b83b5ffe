//! A tree as directories, files and clusters.

use super::geometry::{Geometry, choose};
use super::layout::{ENTRY, SECTOR};
use super::names::{self, Names};
use super::{Fat, WriteError};
use crate::tree::{Content, Dir, Kind, Node, Tree};

/// Entries of the root directory of FAT12 and FAT16, unless more are needed: what everybody has.
const ROOT_ENTRIES: u64 = 512;
/// Bytes of the largest directory: a root directory counts entries in 16 bits and fills whole sectors, and no other one
/// needs to be larger.
const LARGEST_DIRECTORY: u64 = 65_520 * ENTRY;

/// What an entry stands for, by its place in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Dir(usize),
    File(usize),
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) names: Names,
    pub(super) target: Target,
    pub(super) mtime: u32,
}

/// Clusters that follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Run {
    /// 0 if there are none.
    pub(super) first: u64,
    pub(super) count: u64,
}

#[derive(Clone, Debug)]
pub(super) struct PlannedDir {
    /// Place of the parent; the root is its own.
    pub(super) parent: usize,
    pub(super) mtime: u32,
    pub(super) entries: Vec<Entry>,
    /// Empty for the root of FAT12 and FAT16, which lies in front of the clusters.
    pub(super) run: Run,
}

#[derive(Clone, Debug)]
pub(super) struct PlannedFile {
    pub(super) path: Vec<u8>,
    pub(super) content: Content,
    /// Empty for an empty file.
    pub(super) run: Run,
}

/// Directories and files in the order of their clusters: all directories first, each group in the order of the walk.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) dirs: Vec<PlannedDir>,
    pub(super) files: Vec<PlannedFile>,
    pub(super) geometry: Geometry,
    /// Clusters in use.
    pub(super) used: u64,
}

/// Plans `fat`.
pub(super) fn plan(fat: &Fat<'_>) -> Result<Plan, WriteError> {
    let mut collector = Collector { fat, dirs: Vec::new(), files: Vec::new(), path: Vec::new() };
    collector.dir(fat.tree, &fat.tree.root, 0)?;
    let Collector { mut dirs, mut files, .. } = collector;
    let labels = u64::from(!fat.label.is_empty());
    let root_entries = (entries(&dirs[0]) + labels).max(ROOT_ENTRIES).next_multiple_of(16);
    let content = files.iter().map(|file| file.content.size).fold(0, u64::saturating_add);
    let clusters = |bytes: u64, geometry: &Geometry| bytes.div_ceil(geometry.cluster());
    let dir_bytes = |index: usize, dir: &PlannedDir| match index {
        // The root has a label instead of two dots.
        0 => (entries(dir) + labels) * ENTRY,
        _ => (entries(dir) + 2) * ENTRY,
    };
    let dir_clusters = |index: usize, dir: &PlannedDir, geometry: &Geometry| match (index, geometry.root) {
        (0, 1..) => 0,
        _ => clusters(dir_bytes(index, dir), geometry).max(1),
    };
    for (index, dir) in dirs.iter().enumerate() {
        if dir_bytes(index, dir) > LARGEST_DIRECTORY {
            return Err(WriteError::TooManyEntries(dir.entries.len()));
        }
    }
    let need = |geometry: &Geometry| {
        let dirs = dirs.iter().enumerate().map(|(index, dir)| dir_clusters(index, dir, geometry));
        let files = files.iter().map(|file| clusters(file.content.size, geometry));
        dirs.chain(files).fold(0, u64::saturating_add)
    };
    let geometry = choose(fat.size, root_entries, content, need)?;
    let mut next = 2;
    let mut take = |count: u64| {
        let first = if count == 0 { 0 } else { next };
        next += count;
        Run { first, count }
    };
    for (index, dir) in dirs.iter_mut().enumerate() {
        dir.run = take(dir_clusters(index, dir, &geometry));
    }
    for file in &mut files {
        file.run = take(clusters(file.content.size, &geometry));
    }
    Ok(Plan { dirs, files, geometry, used: next - 2 })
}

/// Entries that the names of a directory need.
fn entries(dir: &PlannedDir) -> u64 {
    dir.entries.iter().map(|entry| entry.names.entries()).sum()
}

struct Collector<'a> {
    fat: &'a Fat<'a>,
    dirs: Vec<PlannedDir>,
    files: Vec<PlannedFile>,
    path: Vec<u8>,
}

impl Collector<'_> {
    /// Adds `dir` and everything below it and returns its place.
    fn dir(&mut self, tree: &Tree, dir: &Dir, parent: usize) -> Result<usize, WriteError> {
        if !dir.meta.xattrs.is_empty() {
            return Err(WriteError::Xattrs(self.path.clone()));
        }
        let place = self.dirs.len();
        let mtime = self.fat.epoch.clamp(dir.meta.mtime);
        self.dirs.push(PlannedDir { parent, mtime, entries: Vec::new(), run: Run::default() });
        let originals: Vec<&[u8]> = dir.entries().map(|(name, _)| name.as_bytes()).collect();
        let names = names::assign(&originals)?;
        let mut entries = Vec::with_capacity(names.len());
        for ((name, node), names) in dir.entries().zip(names) {
            let length = self.path.len();
            if length > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.as_bytes());
            let (target, meta) = match node {
                Node::Dir(below) => (Target::Dir(self.dir(tree, below, place)?), &below.meta),
                Node::Leaf(id) => {
                    let leaf = tree.leaf(*id);
                    (Target::File(self.file(&leaf.kind, !leaf.meta.xattrs.is_empty())?), &leaf.meta)
                }
            };
            entries.push(Entry { names, target, mtime: self.fat.epoch.clamp(meta.mtime) });
            self.path.truncate(length);
        }
        self.dirs[place].entries = entries;
        Ok(place)
    }

    fn file(&mut self, kind: &Kind, has_xattrs: bool) -> Result<usize, WriteError> {
        let path = self.path.clone();
        match kind {
            _ if has_xattrs => Err(WriteError::Xattrs(path)),
            Kind::File(content) if content.size > u64::from(u32::MAX) => Err(WriteError::TooLong(path)),
            Kind::File(content) => {
                self.files.push(PlannedFile { path, content: *content, run: Run::default() });
                Ok(self.files.len() - 1)
            }
            _ => Err(WriteError::Kind(path)),
        }
    }
}

impl Plan {
    /// Everything that has clusters, in the order of the image.
    pub(super) fn runs(&self) -> impl Iterator<Item = Run> {
        self.dirs.iter().map(|dir| dir.run).chain(self.files.iter().map(|file| file.run))
    }

    /// Bytes that a directory occupies in the image.
    pub(super) fn dir_size(&self, index: usize) -> u64 {
        let geometry = &self.geometry;
        match (index, geometry.root) {
            (0, root @ 1..) => root * SECTOR,
            _ => self.dirs[index].run.count * geometry.cluster(),
        }
    }

    /// Entries of the root directory as the boot sector has them.
    pub(super) fn root_entries(&self) -> u64 {
        self.geometry.root * SECTOR / ENTRY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_count_in_entries_of_thirteen_units() {
        let names = names::assign(&[b"BOOT", b"thirteen-char", b"fourteen-chars"]).unwrap();
        assert_eq!(names.iter().map(Names::entries).collect::<Vec<_>>(), [1, 2, 3]);
    }
}
