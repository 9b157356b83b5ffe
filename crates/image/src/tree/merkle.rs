//! Digests of directories: equal digests mean equal subtrees, so two trees are compared from the root down.
//!
//! What is hashed is text with the lines of [`super::text`], described in `docs/formats/tree.md`. The digest of the
//! root changes exactly when the text of the tree does.

use std::collections::BTreeMap;

use super::text::{FirstNames, push_dir, push_escaped};
use super::{Dir, Node, Tree};
use crate::digest::Digest;

/// First line of the text of a directory.
const HEADING: &str = "selfsame directory 1";

/// The digest of the whole tree: that of its root directory.
pub fn digest(tree: &Tree) -> Digest {
    let mut hash =
        Hash { tree, first_names: FirstNames::new(tree), path: Vec::new(), found: |_: &[u8], _| {} };
    hash.dir(&tree.root)
}

/// The digests of all directories by path; that of the root is under `b""`.
///
/// The digest of a directory covers its own metadata, the lines of its leaves and the digests of its directories. A
/// hard link is the path of the first name of its inode, so a directory with hard links to another directory changes
/// when that name moves.
pub fn digests(tree: &Tree) -> BTreeMap<Vec<u8>, Digest> {
    let mut all = BTreeMap::new();
    let found = |path: &[u8], digest| {
        all.insert(path.to_vec(), digest);
    };
    let mut hash = Hash { tree, first_names: FirstNames::new(tree), path: Vec::new(), found };
    hash.dir(&tree.root);
    all
}

struct Hash<'a, F> {
    tree: &'a Tree,
    first_names: FirstNames,
    path: Vec<u8>,
    found: F,
}

impl<F: FnMut(&[u8], Digest)> Hash<'_, F> {
    /// Hashes `dir`, which lies at `self.path`. Leaves are met in the order of [`Tree::walk`].
    fn dir(&mut self, dir: &Dir) -> Digest {
        let mut text = format!("{HEADING}\n. ");
        push_dir(&mut text, &dir.meta);
        text.push('\n');
        for (name, node) in dir.entries() {
            let length = self.path.len();
            if length > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.as_bytes());
            push_escaped(&mut text, name.as_bytes());
            text.push(' ');
            match node {
                Node::Dir(below) => text.push_str(&format!("dir sha256:{}", self.dir(below))),
                Node::Leaf(id) => {
                    let leaf = self.tree.leaf(*id);
                    self.first_names.push_leaf(&mut text, &self.path, *id, &leaf.meta, &leaf.kind);
                }
            }
            text.push('\n');
            self.path.truncate(length);
        }
        let digest = Digest::of(text.as_bytes());
        (self.found)(&self.path, digest);
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::tests::sample;
    use super::super::{Item, Kind, Leaf, Meta};
    use super::*;

    #[test]
    fn a_directory_is_the_digest_of_its_text() {
        let tree = sample();
        let all = digests(&tree);
        let below = "selfsame directory 1\n\
             . dir 0755 0:0 7\n\
             console char 0600 0:5 7 5:1\n\
             disk block 0660 0:6 7 8:0\n\
             pipe fifo 0644 0:0 7\n";
        assert_eq!(all[&b"dev"[..]], Digest::of(below.as_bytes()));
        assert_eq!(all[&b""[..]], digest(&tree));
        assert_eq!(
            digest(&tree).to_string(),
            "8810262a84520ce3a0d9569b59480ee6447fda7fd30daaec3b2255305cf2a2f5",
            "bytes changed: if intended, update and say why in the commit"
        );
    }

    #[test]
    fn a_change_reaches_the_root_and_nothing_beside_its_way() {
        let before = digests(&sample());
        let mut tree = sample();
        let Some(Item::Leaf(id, _)) = tree.get(b"etc/motd").map(|entry| entry.item) else { panic!() };
        tree.leaves_mut()[id.index()].meta.mtime += 1;
        let after = digests(&tree);
        let changed: Vec<_> = before.iter().filter(|(path, digest)| after[*path] != **digest).collect();
        let changed: Vec<_> = changed.iter().map(|(path, _)| String::from_utf8_lossy(path)).collect();
        assert_eq!(changed, ["", "etc"]);
    }

    #[test]
    fn hard_links_and_equal_copies_differ() {
        let leaf = || Leaf { meta: Meta::root(0o644, 0), kind: Kind::Fifo };
        let mut linked = Tree::new(Meta::root(0o755, 0));
        let id = linked.insert(b"a", leaf()).unwrap();
        let mut copied = linked.clone();
        linked.link(b"b", id).unwrap();
        copied.insert(b"b", leaf()).unwrap();
        assert_ne!(digest(&linked), digest(&copied));
    }
}
