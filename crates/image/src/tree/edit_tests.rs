use super::super::text::tests::sample;
use super::super::{Content, Item, Memory, text};
use super::*;

fn file(bytes: &[u8]) -> Leaf {
    Leaf::file(Meta::root(0o644, 9), Content::of(bytes))
}

fn names(tree: &Tree) -> Vec<String> {
    text::to_string(tree)
        .lines()
        .skip(1)
        .map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "))
        .collect()
}

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn times_are_clamped_everywhere() {
    let mut tree = sample();
    tree.insert_dir(b"late", Meta::root(0o755, 1 << 40)).unwrap();
    tree.set_file(b"late/early", Leaf::file(Meta::root(0o644, -5), Content::of(b""))).unwrap();
    tree.clamp_times(Epoch(5));
    let mut times = Vec::new();
    tree.walk(|_, entry| {
        times.push(entry.meta.mtime);
        Ok::<(), ()>(())
    })
    .unwrap();
    assert_eq!(times.iter().filter(|time| **time == 0).count(), 1);
    assert!(times.iter().all(|time| matches!(time, 0 | 5)));
}

#[test]
fn removed_paths_are_listed_with_all_below_them() {
    let mut tree = sample();
    let gone = tree.remove_matching(&patterns(&["etc/a*", "usr", "dev/**", "none"]));
    let gone: Vec<_> = gone.iter().map(|path| String::from_utf8_lossy(path)).collect();
    assert_eq!(
        gone,
        ["dev/console", "dev/disk", "dev/pipe", "etc/a b\u{fffd}%=\n", "usr", "usr/bin", "usr/bin/ping"]
    );
    assert_eq!(
        names(&tree),
        [
            ". dir",
            "bin file",
            "dev dir",
            "etc dir",
            "etc/empty dir",
            "etc/motd file",
            "etc/socket socket",
            "lib link"
        ]
    );
    assert!(tree.remove_matching(&patterns(&["usr/**"])).is_empty());
}

#[test]
fn set_file_replaces_one_name_only() {
    let mut tree = sample();
    tree.set_file(b"bin", file(b"new")).unwrap();
    tree.set_file(b"new", file(b"new")).unwrap();
    assert_eq!(names(&tree)[1], "bin file");
    assert!(names(&tree).contains(&"usr/bin/ping file".to_owned()));
    assert_eq!(tree.set_file(b"etc", file(b"")), Err(TreeError::Exists(b"etc".to_vec())));
    assert_eq!(tree.set_file(b"none/a", file(b"")), Err(TreeError::Missing(b"none".to_vec())));
    assert_eq!(tree.set_file(b"lib/a", file(b"")), Err(TreeError::NotADirectory(b"lib".to_vec())));
    assert!(matches!(tree.set_file(b"etc/..", file(b"")), Err(TreeError::Name(_))));
}

#[test]
fn compact_trees_are_equal_when_the_file_systems_are() {
    let mut one = sample();
    let mut two = sample();
    // The same file system with other leaf numbers and a leaf that no name refers to.
    let Some(Item::Leaf(id, _)) = two.get(b"lib").map(|entry| entry.item) else { panic!() };
    let leaf = two.leaf(id).clone();
    two.set_file(b"lib", leaf).unwrap();
    assert_ne!(one, two);
    one.compact();
    two.compact();
    assert_eq!(one, two);
    assert_eq!(two.leaves().len(), two.link_counts().iter().filter(|count| **count > 0).count());
}

#[test]
fn overlays_merge_directories_and_keep_hard_links() {
    let mut memory = Memory::new();
    let mut upper = Tree::new(Meta::root(0o700, 1));
    upper.insert_dir(b"etc", Meta::root(0o700, 1)).unwrap();
    upper.insert_dir(b"etc/new", Meta::root(0o711, 1)).unwrap();
    let id = upper.insert(b"etc/motd", Leaf::file(Meta::root(0o600, 1), memory.add("mine"))).unwrap();
    upper.link(b"etc/new/motd", id).unwrap();

    let mut tree = sample();
    let refuse = Policy { replace_leaves: false, take_dir_meta: false };
    assert_eq!(tree.overlay(&upper, refuse), Err(TreeError::Exists(b"etc/motd".to_vec())));
    assert_eq!(tree, sample(), "a refused overlay changes nothing");

    tree.overlay(&upper, Policy { replace_leaves: true, ..refuse }).unwrap();
    let text = text::to_string(&tree);
    assert!(text.contains("\netc dir 0755 0:0 7\n"), "{text}");
    assert!(text.contains("\netc/new dir 0711 0:0 1\netc/new/motd hard etc/motd\n"), "{text}");
    assert_eq!(tree.root.meta, sample().root.meta);

    tree.overlay(&upper, Policy { replace_leaves: true, take_dir_meta: true }).unwrap();
    assert_eq!((tree.root.meta.mode, tree.get(b"etc").unwrap().meta.mode), (0o700, 0o700));
}

#[test]
fn overlays_never_write_through_a_symbolic_link() {
    let policy = Policy { replace_leaves: true, take_dir_meta: true };
    let mut upper = Tree::new(Meta::root(0o755, 0));
    upper.insert_dir(b"lib", Meta::root(0o755, 0)).unwrap();
    upper.insert(b"lib/a", file(b"a")).unwrap();
    assert_eq!(sample().overlay(&upper, policy), Err(TreeError::NotADirectory(b"lib".to_vec())));
    let mut upper = Tree::new(Meta::root(0o755, 0));
    upper.insert(b"usr", file(b"a")).unwrap();
    assert_eq!(sample().overlay(&upper, policy), Err(TreeError::Exists(b"usr".to_vec())));
}
