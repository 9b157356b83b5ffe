use proptest::prelude::*;

use super::*;

/// Something of everything: all kinds of inode, odd names, extended attributes, hard links.
pub(crate) fn sample() -> Tree {
    let mut tree = Tree::new(Meta::root(0o755, 7));
    let meta = |mode, gid| Meta { gid, ..Meta::root(mode, 7) };
    let file = |bytes: &[u8], meta| Leaf { meta, kind: Kind::File(Content::of(bytes)) };
    for dir in [&b"dev"[..], b"etc", b"etc/empty", b"usr", b"usr/bin"] {
        tree.insert_dir(dir, meta(0o755, 0)).unwrap();
    }
    let char = Kind::Char { major: 5, minor: 1 };
    tree.insert(b"dev/console", Leaf { meta: meta(0o600, 5), kind: char }).unwrap();
    let block = Kind::Block { major: 8, minor: 0 };
    tree.insert(b"dev/disk", Leaf { meta: meta(0o660, 6), kind: block }).unwrap();
    tree.insert(b"dev/pipe", Leaf { meta: meta(0o644, 0), kind: Kind::Fifo }).unwrap();
    tree.insert(b"etc/motd", file(b"hello\n", meta(0o644, 0))).unwrap();
    tree.insert(b"etc/socket", Leaf { meta: meta(0o666, 0), kind: Kind::Socket }).unwrap();
    tree.insert(b"etc/a b\xff%=\n", file(b"", meta(0o4711, 0))).unwrap();
    let mut capable = meta(0o755, 0);
    capable.xattrs.insert(b"user.note".as_slice().into(), b"".as_slice().into());
    capable.xattrs.insert(b"security.capability".as_slice().into(), [1, 0, 0, 2, 0, 0x20].as_slice().into());
    let id = tree.insert(b"usr/bin/ping", file(b"binary", capable)).unwrap();
    tree.link(b"bin", id).unwrap();
    let target = Kind::Symlink(b"usr/lib 64".as_slice().into());
    tree.insert(b"lib", Leaf { meta: meta(0o777, 0), kind: target }).unwrap();
    tree
}

const SAMPLE: &str = "\
selfsame tree 1
. dir 0755 0:0 7
bin file 0755 0:0 7 6 sha256:9a3a45d01531a20e89ac6ae10b0b0beb0492acd7216a368aa062d1a5fecaf9cd security.capability=010000020020 user.note=
dev dir 0755 0:0 7
dev/console char 0600 0:5 7 5:1
dev/disk block 0660 0:6 7 8:0
dev/pipe fifo 0644 0:0 7
etc dir 0755 0:0 7
etc/a%20b%FF%25%3D%0A file 4711 0:0 7 0 sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
etc/empty dir 0755 0:0 7
etc/motd file 0644 0:0 7 6 sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03
etc/socket socket 0666 0:0 7
lib link 0777 0:0 7 usr/lib%2064
usr dir 0755 0:0 7
usr/bin dir 0755 0:0 7
usr/bin/ping hard bin
";

#[test]
fn one_line_per_name() {
    assert_eq!(to_string(&sample()), SAMPLE);
    let mut compact = sample();
    compact.compact();
    assert_eq!(parse(SAMPLE.as_bytes()).unwrap(), compact);
}

#[test]
fn every_broken_rule_is_named_with_its_line() {
    let message = |text: &str| parse(text.as_bytes()).unwrap_err().to_string();
    let body = |line: &str| message(&format!("selfsame tree 1\n. dir 0755 0:0 7\n{line}"));
    assert_eq!(message(""), "line 1: is not \"selfsame tree 1\"");
    assert_eq!(message("selfsame tree 2\n"), "line 1: is not \"selfsame tree 1\"");
    assert_eq!(message("selfsame tree 1\n"), "line 2: is not the root directory");
    assert_eq!(message("selfsame tree 1\nroot dir 0755 0:0 7\n"), "line 2: is not the root directory");
    for (line, wanted) in [
        ("a fifo 0644 0:0 7", "does not end with a newline"),
        ("é fifo 0644 0:0 7\n", "has bytes outside ASCII"),
        (
            "\n",
            "\"\" cannot be a file name: it needs 1 to 255 bytes, no slash, no NUL, and cannot be . or ..",
        ),
        ("a\n", "field type is missing or one too many"),
        ("a door 0644 0:0 7\n", "type is \"door\""),
        ("a fifo 644 0:0 7\n", "mode is \"644\""),
        ("a fifo 10000 0:0 7\n", "mode is \"10000\""),
        ("a fifo 0644 0 7\n", "owner is \"0\""),
        ("a fifo 0644 0:-1 7\n", "owner is \"-1\""),
        ("a fifo 0644 0:0 07\n", "time is \"07\""),
        ("a fifo 0644 0:0 7 more\n", "attribute is \"more\""),
        ("a fifo 0644 0:0 7 b=00 a=00\n", "attribute is \"a=00\""),
        ("a fifo 0644 0:0 7 a=0\n", "attribute is \"a=0\""),
        ("a fifo 0644 0:0 7 a=0A\n", "attribute is \"a=0A\""),
        ("a  fifo 0644 0:0 7\n", "type is \"\""),
        ("a char 0644 0:0 7 1\n", "device is \"1\""),
        ("a link 0777 0:0 7\n", "field target is missing or one too many"),
        ("a link 0777 0:0 7 %00\n", "target is \"%00\""),
        ("a file 0644 0:0 7 1 sha256:00\n", "digest is \"sha256:00\""),
        ("a%2Fb fifo 0644 0:0 7\n", "path is \"a%2Fb\""),
        ("a%ff fifo 0644 0:0 7\n", "path is \"a%ff\""),
        ("a%4 fifo 0644 0:0 7\n", "path is \"a%4\""),
        ("a=b fifo 0644 0:0 7\n", "path is \"a=b\""),
        ("a/b fifo 0644 0:0 7\n", "a/b does not exist"),
        ("a hard b\n", "hard link to \"b\", which is no leaf on an earlier line"),
    ] {
        assert_eq!(body(line), format!("line 3: {wanted}"));
    }
    assert_eq!(body("b fifo 0644 0:0 7\na fifo 0644 0:0 7\n"), "line 4: is not in order");
    assert_eq!(body("b fifo 0644 0:0 7\nb fifo 0644 0:0 7\n"), "line 4: is not in order");
    assert_eq!(body("b fifo 0644 0:0 7\nc hard b x\n"), "line 4: field end is missing or one too many");
    assert_eq!(body("b fifo 0644 0:0 7\nb/c fifo 0644 0:0 7\n"), "line 4: b/c does not exist");
    let long = vec!["d"; 2_049].join("/");
    assert_eq!(body(&format!("{long} fifo 0644 0:0 7\n")), "line 3: path is longer than 4095 bytes");
}

#[test]
fn the_deepest_tree_fits_on_the_stack() {
    let mut text = String::from("selfsame tree 1\n. dir 0755 0:0 7\n");
    for depth in 1..=2_048 {
        text.push_str(&vec!["d"; depth].join("/"));
        text.push_str(" dir 0755 0:0 7\n");
    }
    let mut tree = parse(text.as_bytes()).unwrap();
    assert_eq!(to_string(&tree), text);
    assert_eq!(crate::tree::merkle::digests(&tree).len(), 2_049);
    tree.compact();
    assert_eq!(tree.clone(), tree);
}

#[test]
fn mutated_texts_are_refused_or_come_back_the_same() {
    crate::mutation::mutations(SAMPLE.as_bytes(), 6_000, |text| {
        if let Ok(tree) = parse(text) {
            assert_eq!(to_string(&tree).as_bytes(), text);
        }
    });
}

/// A tree from random steps; steps that do not fit are left out.
fn tree() -> impl Strategy<Value = Tree> {
    let name = prop_oneof![
        "[a-c]{1,2}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>().prop_filter("no slash", |b| !matches!(b, 0 | b'/')), 1..4),
    ];
    let path = proptest::collection::vec(name, 1..4).prop_map(|parts| parts.join(&b'/'));
    let xattrs = proptest::collection::btree_map("[a-z%= .]{1,6}", any::<[u8; 3]>(), 0..3);
    let meta = (0..0o10_000u16, any::<[u32; 2]>(), any::<i64>(), xattrs).prop_map(
        |(mode, [uid, gid], mtime, xattrs)| Meta {
            mode,
            uid,
            gid,
            mtime,
            xattrs: xattrs.into_iter().map(|(k, v)| (k.into_bytes().into(), v.as_slice().into())).collect(),
        },
    );
    let step = (0..9u8, path, meta, any::<u32>(), any::<[u8; 2]>());
    (proptest::collection::vec(step, 0..30)).prop_map(|steps| {
        let mut tree = Tree::new(Meta::root(0o755, 0));
        for (what, path, meta, number, bytes) in steps {
            let kind = match what {
                0..3 => {
                    let _ = tree.insert_dir(&path, meta);
                    continue;
                }
                3 => {
                    let count = tree.leaves().len();
                    if let Some(index) = usize::try_from(number).ok().and_then(|n| n.checked_rem(count)) {
                        let id = LeafId(u32::try_from(index).unwrap());
                        let _ = tree.link(&path, id);
                    }
                    continue;
                }
                4 => Kind::Symlink([b'x', bytes[0].max(1)].as_slice().into()),
                5 => Kind::Char { major: number, minor: number },
                6 => Kind::Block { major: 1, minor: number },
                7 => Kind::Socket,
                _ => Kind::File(Content::of(&bytes)),
            };
            let _ = tree.insert(&path, Leaf { meta, kind });
        }
        tree
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_tree_comes_back(mut tree in tree()) {
        let text = to_string(&tree);
        tree.compact();
        prop_assert_eq!(&to_string(&tree), &text);
        prop_assert_eq!(parse(text.as_bytes()).unwrap(), tree);
    }

    #[test]
    fn the_root_digest_changes_exactly_with_the_text(one in tree(), change in 0..4u8, at in any::<u16>()) {
        let mut two = one.clone();
        let index = usize::from(at).checked_rem(one.leaves().len());
        match (change, index) {
            (0, Some(index)) => two.leaves_mut()[index].meta.uid ^= 1,
            (1, _) => two.root.meta.mode ^= 1,
            (2, Some(index)) => two.leaves_mut()[index].kind = Kind::Fifo,
            _ => two.compact(),
        }
        let digest = crate::tree::merkle::digest;
        prop_assert_eq!(digest(&one) == digest(&two), to_string(&one) == to_string(&two));
        prop_assert!(change != 1 || digest(&one) != digest(&two));
    }
}
