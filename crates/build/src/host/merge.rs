//! Layers as the kernel merges them, on trees: what is known of the lower ones need not be captured again.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::path::Path;

use selfsame_image::Tree;
use selfsame_image::tree::{Dir, Kind, Leaf, LeafId, Name, Node};

use super::Host;
use super::capture::{CaptureError, CaptureLimits, DirContents, capture_with, opaque_dirs};

/// Takes in `upper`, the directory that took the changes of an overlay, and lays it over `lower`, the tree of the layers
/// below: the result is what a capture of the mounted overlay would be, and the contents are those of `upper`.
///
/// # Errors
/// As [`super::capture`].
pub fn capture_upper(
    host: &Host,
    lower: &mut Tree,
    upper: &Path,
    jobs: NonZero<usize>,
    limits: CaptureLimits,
) -> Result<DirContents, CaptureError> {
    let (tree, contents) = capture_with(upper, host.shift, jobs, limits, true)?;
    let marks = |error: std::io::Error| CaptureError { path: Default::default(), reason: error.into() };
    merge(lower, &tree, &opaque_dirs(upper, &tree, host.user_namespace).map_err(marks)?);
    Ok(contents)
}

/// Lays `upper`, the capture of an overlay's upper directory, over `lower`.
///
/// By the rules of Linux, `Documentation/filesystems/overlayfs.rst`: a character device 0:0 removes a name, a
/// directory in `opaque` hides the one below, other directories merge and take the upper metadata.
fn merge(lower: &mut Tree, upper: &Tree, opaque: &BTreeSet<Vec<u8>>) {
    let mut adopted = vec![None; upper.leaves().len()];
    let mut root = std::mem::replace(&mut lower.root, Dir::new(upper.root.meta.clone()));
    let mut merge = Merge { lower, upper, opaque, adopted: &mut adopted, path: Vec::new() };
    merge.dir(&mut root, &upper.root);
    lower.root = root;
}

struct Merge<'a> {
    lower: &'a mut Tree,
    upper: &'a Tree,
    opaque: &'a BTreeSet<Vec<u8>>,
    /// Leaves of the upper tree that have one in the lower tree already: their other names are links to it.
    adopted: &'a mut [Option<LeafId>],
    path: Vec<u8>,
}

impl Merge<'_> {
    fn dir(&mut self, lower: &mut Dir, upper: &Dir) {
        lower.meta = upper.meta.clone();
        for (name, node) in upper.entries() {
            let length = self.path.len();
            if length > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.as_bytes());
            match node {
                Node::Leaf(id) => {
                    lower.remove(name.as_bytes());
                    if !is_whiteout(self.upper.leaf(*id)) {
                        let id = self.adopt(*id);
                        put(lower, name, Node::Leaf(id));
                    }
                }
                Node::Dir(above) => {
                    let mut below = match lower.remove(name.as_bytes()) {
                        Some(Node::Dir(below)) if !self.opaque.contains(&self.path) => below,
                        _ => Dir::new(above.meta.clone()),
                    };
                    self.dir(&mut below, above);
                    put(lower, name, Node::Dir(below));
                }
            }
            self.path.truncate(length);
        }
    }

    fn adopt(&mut self, id: LeafId) -> LeafId {
        let (lower, upper) = (&mut *self.lower, self.upper);
        *self.adopted[id.index()].get_or_insert_with(|| lower.add_leaf(upper.leaf(id).clone()))
    }
}

fn put(dir: &mut Dir, name: &Name, node: Node) {
    dir.insert(name.clone(), node).expect("what was there was removed");
}

fn is_whiteout(leaf: &Leaf) -> bool {
    matches!(leaf.kind, Kind::Char { major: 0, minor: 0 })
}

#[cfg(test)]
mod tests {
    use selfsame_image::tree::{Content, Meta, text};

    use super::*;

    fn tree(entries: &[(&str, Option<&str>)]) -> Tree {
        let mut tree = Tree::new(Meta::root(0o755, 0));
        for (path, content) in entries {
            match content {
                None => tree.insert_dir(path.as_bytes(), Meta::root(0o700, 1)).unwrap(),
                Some("gone") => {
                    let kind = Kind::Char { major: 0, minor: 0 };
                    tree.insert(path.as_bytes(), Leaf { meta: Meta::root(0, 0), kind }).map(drop).unwrap();
                }
                Some(bytes) => {
                    let leaf = Leaf::file(Meta::root(0o644, 2), Content::of(bytes.as_bytes()));
                    tree.insert(path.as_bytes(), leaf).map(drop).unwrap();
                }
            }
        }
        tree
    }

    #[test]
    fn names_are_replaced_removed_merged_and_hidden() {
        let mut lower = tree(&[
            ("dir", None),
            ("dir/gone", Some("1")),
            ("dir/kept", Some("2")),
            ("dir/new", Some("old")),
            ("file", Some("becomes a directory")),
            ("hidden", None),
            ("hidden/old", Some("3")),
            ("was-dir", None),
            ("was-dir/x", Some("4")),
        ]);
        lower.dir_mut(b"dir").unwrap().meta.mode = 0o755;
        let upper = tree(&[
            ("dir", None),
            ("dir/gone", Some("gone")),
            ("dir/never", Some("gone")),
            ("dir/new", Some("new")),
            ("file", None),
            ("file/in", Some("5")),
            ("hidden", None),
            ("hidden/new", Some("6")),
            ("was-dir", Some("7")),
        ]);
        merge(&mut lower, &upper, &BTreeSet::from([b"hidden".to_vec()]));
        lower.compact();
        let expected = tree(&[
            ("dir", None),
            ("dir/kept", Some("2")),
            ("dir/new", Some("new")),
            ("file", None),
            ("file/in", Some("5")),
            ("hidden", None),
            ("hidden/new", Some("6")),
            ("was-dir", Some("7")),
        ]);
        assert_eq!(text::to_string(&lower), text::to_string(&expected));
    }

    #[test]
    fn names_of_one_file_stay_names_of_one_file() {
        let mut upper = tree(&[("a", Some("1"))]);
        let Some(Node::Leaf(id)) = upper.root.get(b"a").cloned() else { panic!() };
        upper.link(b"b", id).unwrap();
        let mut lower = tree(&[("a", Some("0")), ("c", Some("2"))]);
        merge(&mut lower, &upper, &BTreeSet::new());
        lower.compact();
        let mut counts = lower.link_counts();
        counts.sort_unstable();
        assert_eq!(counts, [1, 2]);
    }
}
