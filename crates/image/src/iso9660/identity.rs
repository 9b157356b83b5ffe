//! What an image is called, derived from what is in it.

use crate::digest::{Digest, Hasher};
use crate::epoch::Epoch;
use crate::io::wide;
use crate::tree::{Item, Kind, Tree};

/// A digest of everything `tree` says, with times limited by `epoch`: names, owners, modes, times, extended
/// attributes, what files hold, and which names are hard links.
///
/// Every identifier in an image comes from it, so two images have the same identifiers exactly if they hold the
/// same.
pub fn tree_digest(tree: &Tree, epoch: Epoch) -> Digest {
    let mut hash = Fields(Hasher::new());
    hash.number(u64::from(epoch.0));
    let mut first_name = vec![None; tree.leaves().len()];
    let mut count = 0_u64;
    let walked = tree.walk(|path, entry| {
        let meta = entry.meta;
        hash.bytes(path);
        hash.number(u64::from(meta.mode));
        hash.number(u64::from(meta.uid));
        hash.number(u64::from(meta.gid));
        hash.number(u64::from(epoch.clamp(meta.mtime)));
        hash.number(wide(meta.xattrs.len()));
        for (name, value) in &meta.xattrs {
            hash.bytes(name);
            hash.bytes(value);
        }
        match entry.item {
            Item::Dir(_) => hash.bytes(b"dir"),
            Item::Leaf(id, kind) => {
                let first = *first_name[id.index()].get_or_insert(count);
                hash.number(first);
                hash.kind(kind);
            }
        }
        count += 1;
        Ok::<(), std::convert::Infallible>(())
    });
    let Ok(()) = walked;
    hash.0.finish()
}

/// Fields with their lengths, so that no two different sequences of fields give the same bytes.
struct Fields(Hasher);

impl Fields {
    fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(wide(bytes.len()));
        self.0.update(bytes);
    }

    fn device(&mut self, kind: &[u8], major: u32, minor: u32) {
        self.bytes(kind);
        self.number(u64::from(major));
        self.number(u64::from(minor));
    }

    fn kind(&mut self, kind: &Kind) {
        match kind {
            Kind::File(content) => {
                self.bytes(b"file");
                self.number(content.size);
                self.bytes(&content.digest.0);
            }
            Kind::Symlink(target) => {
                self.bytes(b"symlink");
                self.bytes(target);
            }
            Kind::Block { major, minor } => self.device(b"block", *major, *minor),
            Kind::Char { major, minor } => self.device(b"char", *major, *minor),
            Kind::Fifo => self.bytes(b"fifo"),
            Kind::Socket => self.bytes(b"socket"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, Leaf, Meta};

    fn tree() -> Tree {
        let mut tree = Tree::new(Meta::root(0o755, 5));
        let file = |mtime| Leaf { meta: Meta::root(0o644, mtime), kind: Kind::File(Content::of(b"x")) };
        tree.insert(b"a", file(100)).unwrap();
        tree.insert(b"b", file(100)).unwrap();
        tree
    }

    #[test]
    fn everything_counts_once() {
        let base = tree_digest(&tree(), Epoch(100));
        assert_eq!(base, tree_digest(&tree(), Epoch(100)));
        assert_ne!(base, tree_digest(&tree(), Epoch(101)));
        let differs = |change: &dyn Fn(&mut Tree)| {
            let mut tree = tree();
            change(&mut tree);
            tree_digest(&tree, Epoch(100)) != base
        };
        assert!(differs(&|tree| tree.leaves_mut()[0].meta.mode = 0o600));
        assert!(differs(&|tree| tree.leaves_mut()[0].meta.uid = 1));
        assert!(differs(&|tree| tree.leaves_mut()[0].meta.mtime = 99));
        assert!(differs(&|tree| tree.leaves_mut()[0].kind = Kind::File(Content::of(b"y"))));
        assert!(differs(&|tree| tree.leaves_mut()[0].kind = Kind::Symlink((*b"x").into())));
        assert!(differs(&|tree| {
            tree.leaves_mut()[1].meta.xattrs.insert((*b"user.a").into(), (*b"").into());
        }));
        assert!(differs(&|tree| {
            tree.remove(b"b");
            let Some(crate::tree::Entry { item: Item::Leaf(id, _), .. }) = tree.get(b"a") else { panic!() };
            tree.link(b"b", id).unwrap();
        }));
        // Times after the epoch are all the same.
        assert!(!differs(&|tree| tree.leaves_mut()[0].meta.mtime = 101));
    }
}
