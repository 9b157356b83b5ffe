//! Changes to whole trees: what the last stage before packing needs.

use super::glob::Pattern;
use super::{Dir, Kind, Leaf, LeafId, Meta, Node, Tree, TreeError, at_path, split};
use crate::epoch::Epoch;

/// What happens when two trees that are laid over each other have the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether a leaf of the upper tree takes the place of a leaf of the lower tree; otherwise that is an error.
    pub replace_leaves: bool,
    /// Whether a directory in both trees gets the metadata of the upper tree; otherwise it keeps its own.
    pub take_dir_meta: bool,
}

impl<C> Tree<C> {
    /// Limits all modification times to the range from 0 to `epoch`.
    pub fn clamp_times(&mut self, epoch: Epoch) {
        let clamp = |meta: &mut Meta| meta.mtime = i64::from(epoch.clamp(meta.mtime));
        self.root.for_each_dir_mut(&mut { clamp });
        self.leaves.iter_mut().for_each(|leaf| clamp(&mut leaf.meta));
    }

    /// Takes out everything whose path matches one of `patterns`, directories with everything below them, and gives
    /// the paths of all that went, in the order of [`Tree::walk`]. The root stays.
    pub fn remove_matching(&mut self, patterns: &[Pattern]) -> Vec<Vec<u8>> {
        let mut removed = Vec::new();
        prune(&mut self.root, &mut Vec::new(), patterns, &mut removed);
        removed
    }

    /// Puts `leaf` at `path`, in the place of the leaf that may be there. Other names of that leaf keep it.
    ///
    /// The directory has to exist, and a directory at `path` is not replaced: [`TreeError::Exists`].
    pub fn set_file(&mut self, path: &[u8], leaf: Leaf<C>) -> Result<LeafId, TreeError> {
        let (parent, name) = split(path);
        let dir = self.dir_mut(parent)?;
        if let Some(Node::Dir(_)) = dir.get(name) {
            return Err(TreeError::Exists(path.to_vec()));
        }
        // The name is known to be good before the old leaf goes.
        let checked = super::Name::new(name)?;
        dir.remove(name);
        let id = self.add_leaf(leaf);
        let dir = self.dir_mut(parent)?;
        dir.insert(checked, Node::Leaf(id)).map_err(|error| at_path(error, path))?;
        Ok(id)
    }

    /// Drops leaves without names and numbers the others in the order of [`Tree::walk`].
    ///
    /// Trees that are equal as file systems are equal as values afterwards.
    pub fn compact(&mut self) {
        let mut old: Vec<Option<Leaf<C>>> = std::mem::take(&mut self.leaves).into_iter().map(Some).collect();
        let mut renamed = vec![None; old.len()];
        for_each_leaf_id(&mut self.root, &mut |id| {
            if let Some(leaf) = old[id.index()].take() {
                renamed[id.index()] = Some(self.leaves.len());
                self.leaves.push(leaf);
            }
            let new = renamed[id.index()].expect("its leaf was taken at its first name");
            *id = LeafId(u32::try_from(new).expect("not more leaves than before"));
        });
    }
}

impl<C: Clone> Tree<C> {
    /// Lays `upper` over this tree. Directories in both are merged; hard links of `upper` stay hard links.
    ///
    /// A directory in one tree and something else in the other is always an error, also where the lower tree has a
    /// symbolic link to a directory: [`TreeError::NotADirectory`] or [`TreeError::Exists`] with the path. Nothing is
    /// changed then.
    pub fn overlay(&mut self, upper: &Tree<C>, policy: Policy) -> Result<(), TreeError> {
        check(&self.root, &upper.root, policy, &mut Vec::new())?;
        let mut renamed = vec![None; upper.leaves.len()];
        let leaves = &mut self.leaves;
        let mut adopt = |id: LeafId| {
            *renamed[id.index()].get_or_insert_with(|| {
                leaves.push(upper.leaf(id).clone());
                LeafId(u32::try_from(leaves.len() - 1).expect("a tree has below 2^32 leaves"))
            })
        };
        merge(&mut self.root, &upper.root, policy, &mut adopt);
        Ok(())
    }
}

fn prune(dir: &mut Dir, path: &mut Vec<u8>, patterns: &[Pattern], removed: &mut Vec<Vec<u8>>) {
    dir.retain(|name, node| {
        let length = path.len();
        if length > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        let components: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        let goes = patterns.iter().any(|pattern| pattern.matches_components(&components));
        match node {
            _ if goes => list(node, path, removed),
            Node::Dir(below) => prune(below, path, patterns, removed),
            Node::Leaf(_) => {}
        }
        path.truncate(length);
        !goes
    });
}

fn list(node: &Node, path: &mut Vec<u8>, all: &mut Vec<Vec<u8>>) {
    all.push(path.clone());
    if let Node::Dir(dir) = node {
        for (name, node) in dir.entries() {
            let length = path.len();
            path.push(b'/');
            path.extend_from_slice(name.as_bytes());
            list(node, path, all);
            path.truncate(length);
        }
    }
}

fn for_each_leaf_id(dir: &mut Dir, change: &mut impl FnMut(&mut LeafId)) {
    for node in dir.entries.values_mut() {
        match node {
            Node::Dir(below) => for_each_leaf_id(below, change),
            Node::Leaf(id) => change(id),
        }
    }
}

fn check(lower: &Dir, upper: &Dir, policy: Policy, path: &mut Vec<u8>) -> Result<(), TreeError> {
    for (name, node) in upper.entries() {
        let length = path.len();
        if length > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        match (lower.get(name.as_bytes()), node) {
            (None, _) => {}
            (Some(Node::Dir(below)), Node::Dir(above)) => check(below, above, policy, path)?,
            (Some(Node::Leaf(_)), Node::Leaf(_)) if policy.replace_leaves => {}
            (Some(Node::Leaf(_)), Node::Dir(_)) => return Err(TreeError::NotADirectory(path.clone())),
            (Some(_), Node::Leaf(_)) => return Err(TreeError::Exists(path.clone())),
        }
        path.truncate(length);
    }
    Ok(())
}

/// Merges what [`check`] found to fit.
fn merge(lower: &mut Dir, upper: &Dir, policy: Policy, adopt: &mut impl FnMut(LeafId) -> LeafId) {
    if policy.take_dir_meta {
        lower.meta = upper.meta.clone();
    }
    for (name, node) in upper.entries() {
        match node {
            Node::Leaf(id) => {
                lower.entries.insert(name.clone(), Node::Leaf(adopt(*id)));
            }
            Node::Dir(above) => {
                let new = || Node::Dir(Dir::new(above.meta.clone()));
                if let Node::Dir(below) = lower.entries.entry(name.clone()).or_insert_with(new) {
                    merge(below, above, policy, adopt);
                }
            }
        }
    }
}

impl<C> Leaf<C> {
    /// A regular file.
    pub fn file(meta: Meta, content: C) -> Self {
        Self { meta, kind: Kind::File(content) }
    }
}

#[cfg(test)]
#[path = "edit_tests.rs"]
mod tests;
