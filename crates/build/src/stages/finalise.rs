//! Finalise: what differs from build to build, or belongs to one machine, leaves the tree. Pure: tree in, tree out.

use selfsame_image::tree::{Dir, Kind, Leaf, Memory, Meta, Node, Pattern};
use selfsame_image::{Epoch, Tree};

/// Paths that are taken out, with the reason. Globs: `*` and `?` within a component, `**` across components.
pub const REMOVED: &[(&str, &str)] = &[
    ("dev/**", "devices are made by the kernel"),
    ("proc/**", "mounted at boot"),
    ("sys/**", "mounted at boot"),
    ("run/**", "mounted at boot"),
    ("tmp/**", "left by maintainer scripts"),
    ("var/tmp/**", "left by maintainer scripts"),
    ("usr/sbin/policy-rc.d", "put there for the build, so that no service starts"),
    ("var/log/*.log", "times of the build"),
    ("var/log/apt/*", "times of the build"),
    ("var/log/journal/**", "times of the build"),
    ("etc/*-", "backups of account files, with the state of an unknown moment"),
    ("etc/.pwd.lock", "lock"),
    ("var/backups/**", "backups of account files"),
    ("var/lib/dpkg/*-old", "backups of the package database"),
    ("var/lib/dpkg/available", "apt does not use it"),
    ("var/lib/dpkg/lock*", "lock"),
    ("var/lib/dpkg/triggers/Lock", "lock"),
    ("var/lib/apt/lists/*_*", "indexes of the build's own mirror"),
    ("var/cache/apt/**/*.deb", "packages of the build"),
    ("var/cache/apt/*.bin", "cache, made again by apt"),
    ("var/cache/debconf/*-old", "backups of the debconf database"),
    ("var/cache/ldconfig/aux-cache", "inode numbers and times; made again by ldconfig"),
    ("var/cache/man/**", "dbm files whose bytes follow the order of insertion; made again by mandb"),
    ("var/lib/systemd/catalog/database", "made again at boot by systemd-journal-catalog-update"),
    ("var/lib/systemd/random-seed", "belongs to one machine"),
    ("var/lib/dbus/machine-id", "belongs to one machine"),
    ("etc/ssh/ssh_host_*", "belongs to one machine"),
    ("etc/ssl/certs/ssl-cert-snakeoil.pem", "belongs to one machine"),
    ("etc/ssl/private/ssl-cert-snakeoil.key", "belongs to one machine"),
    (
        "usr/**/__pycache__",
        "byte code is made again on use; its bytes depend on the interpreter's references",
    ),
    ("var/lib/initramfs-tools/*", "digest of an initramfs that is not in this tree"),
    ("boot/initrd.img*", "the initramfs lies beside the tree"),
    ("initrd.img*", "link to the initramfs, which lies beside the tree"),
];

/// Files that are kept empty: programs expect them, what they hold belongs to one machine or one moment.
pub const EMPTIED: &[&str] =
    &["etc/machine-id", "var/log/btmp", "var/log/wtmp", "var/log/lastlog", "var/log/faillog"];

/// What was done to a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Paths that were removed, by rule, in the order of [`REMOVED`], then the recipe's excludes.
    pub removed: Vec<(String, Vec<Vec<u8>>)>,
    /// Paths that were emptied.
    pub emptied: Vec<&'static str>,
}

/// Applies all rules, the recipe's excludes and the clamp to `tree`. New contents go to `memory`.
pub(crate) fn finalise(tree: &mut Tree, memory: &mut Memory, exclude: &[Pattern], epoch: Epoch) -> Done {
    let mut done = Done::default();
    let rules = REMOVED.iter().map(|(glob, _)| glob.parse().expect("a test reads all rules"));
    for pattern in rules.chain(exclude.iter().cloned()) {
        let removed = tree.remove_matching(std::slice::from_ref(&pattern));
        if !removed.is_empty() {
            done.removed.push((pattern.to_string(), removed));
        }
    }
    let sockets: Vec<bool> = tree.leaves().iter().map(|leaf| leaf.kind == Kind::Socket).collect();
    remove_sockets(&mut tree.root, &sockets);
    let empty = memory.add(Vec::new());
    for path in EMPTIED {
        let Some(Node::Leaf(id)) = node(tree, path.as_bytes()) else { continue };
        let leaf = &mut tree.leaves_mut()[id.index()];
        if let Kind::File(content) = &mut leaf.kind {
            *content = empty;
            done.emptied.push(path);
        }
    }
    if tree.get(b"etc").is_some() && tree.get(b"etc/machine-id").is_none() {
        // systemd treats a missing file as first boot and re-applies presets; an empty one it fills in.
        let leaf = Leaf { meta: Meta::root(0o444, i64::from(epoch.0)), kind: Kind::File(empty) };
        if tree.insert(b"etc/machine-id", leaf).is_ok() {
            done.emptied.push("etc/machine-id");
        }
    }
    // SquashFS has no access control lists. The one of Debian 12 (/var/log/journal) is set again at boot by
    // systemd-tmpfiles.
    let plain = |meta: &mut Meta| meta.xattrs.retain(|name, _| !name.starts_with(b"system."));
    tree.root.for_each_dir_mut(&mut { plain });
    tree.leaves_mut().iter_mut().for_each(|leaf| plain(&mut leaf.meta));
    tree.clamp_times(epoch);
    tree.compact();
    done
}

/// Takes out sockets: one that a hook's daemon left behind has nobody listening, tar cannot hold it, and whoever
/// listens in the running system makes it anew.
fn remove_sockets(dir: &mut Dir, sockets: &[bool]) {
    dir.retain(|_, node| match node {
        Node::Dir(below) => {
            remove_sockets(below, sockets);
            true
        }
        Node::Leaf(id) => !sockets[id.index()],
    });
}

fn node(tree: &Tree, path: &[u8]) -> Option<Node> {
    let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&b""[..], path),
    };
    match tree.get(parent)?.item {
        selfsame_image::tree::Item::Dir(dir) => dir.get(name).cloned(),
        selfsame_image::tree::Item::Leaf(..) => None,
    }
}

#[cfg(test)]
mod tests {
    use selfsame_image::tree::Content;

    use super::*;

    fn tree() -> (Tree, Memory) {
        let mut memory = Memory::new();
        let mut tree = Tree::new(Meta::root(0o755, 500));
        for dir in ["etc", "var", "var/log", "var/log/apt", "dev", "usr", "usr/lib", "usr/lib/__pycache__"] {
            tree.insert_dir(dir.as_bytes(), Meta::root(0o755, 500)).unwrap();
        }
        let files =
            ["etc/machine-id", "etc/passwd", "etc/passwd-", "var/log/dpkg.log", "var/log/wtmp", "dev/null"];
        for path in files.into_iter().chain(["usr/lib/__pycache__/a.pyc", "usr/lib/keep"]) {
            let kind = Kind::File(memory.add(path.as_bytes()));
            tree.insert(path.as_bytes(), Leaf { meta: Meta::root(0o644, 500), kind }).unwrap();
        }
        (tree, memory)
    }

    #[test]
    fn what_belongs_to_one_build_leaves_and_the_rest_stays() {
        let (mut tree, mut memory) = tree();
        let socket = tree.insert(b"var/log/dev", Leaf { meta: Meta::root(0o666, 500), kind: Kind::Socket });
        tree.link(b"usr/lib/also", socket.unwrap()).unwrap();
        let acl = (b"system.posix_acl_access".as_slice().into(), b"x".as_slice().into());
        tree.dir_mut(b"var/log").unwrap().meta.xattrs.extend([acl]);
        let done = finalise(&mut tree, &mut memory, &["usr/lib/k*".parse().unwrap()], Epoch(100));
        let mut lines = Vec::new();
        tree.walk(|path, entry| {
            assert_eq!((entry.meta.mtime, entry.meta.xattrs.len()), (100, 0));
            lines.push(String::from_utf8(path.to_vec()).unwrap());
            Ok::<(), ()>(())
        })
        .unwrap();
        let rest = [
            "",
            "dev",
            "etc",
            "etc/machine-id",
            "etc/passwd",
            "usr",
            "usr/lib",
            "var",
            "var/log",
            "var/log/apt",
            "var/log/wtmp",
        ];
        assert_eq!(lines, rest);
        let content = |path: &[u8]| match tree.get(path).unwrap().item {
            selfsame_image::tree::Item::Leaf(_, Kind::File(content)) => *content,
            other => panic!("{other:?}"),
        };
        assert_eq!(content(b"etc/machine-id").size, 0);
        assert_eq!(content(b"etc/passwd"), Content::of(b"etc/passwd"));
        assert_eq!(done.emptied, ["etc/machine-id", "var/log/wtmp"]);
        assert!(
            done.removed
                .iter()
                .any(|(glob, paths)| glob == "usr/lib/k*" && paths == &[b"usr/lib/keep".to_vec()])
        );
    }
}
