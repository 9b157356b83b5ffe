//! Random trees come back as they were.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{codecs, empty, noise, prose, round_trip};
use crate::squashfs::Options;
use crate::tree::{Kind, Leaf, LeafId, Memory, Meta, Tree};

#[derive(Clone, Debug)]
enum Thing {
    Dir,
    /// One part for each block: text, noise or zeros, and its length.
    File(Vec<(u8, usize)>),
    Symlink(Vec<u8>),
    Device(bool, u32, u32),
    Pipe(bool),
    /// Another name for the leaf with this number, modulo how many there are.
    Link(usize),
}

fn thing() -> impl Strategy<Value = Thing> {
    let part = (0u8..3, prop_oneof![0..10usize, Just(4095), Just(4096), Just(4097), 0..20_000usize]);
    prop_oneof![
        3 => Just(Thing::Dir),
        5 => prop::collection::vec(part, 0..4).prop_map(Thing::File),
        1 => prop::collection::vec(1u8.., 1..300).prop_map(Thing::Symlink),
        1 => (any::<bool>(), 0..4096u32, 0..1_048_576u32).prop_map(|(b, major, minor)| Thing::Device(b, major, minor)),
        1 => any::<bool>().prop_map(Thing::Pipe),
        1 => any::<usize>().prop_map(Thing::Link),
    ]
}

fn meta() -> impl Strategy<Value = Meta> {
    let name = prop_oneof![Just("user.a"), Just("user.b"), Just("trusted.a"), Just("security.x")];
    let value = prop_oneof![Just(vec![7; 100]), prop::collection::vec(any::<u8>(), 0..200)];
    let xattrs = prop::collection::btree_map(
        name.prop_map(|name| name.as_bytes().into()),
        value.prop_map(|value| value.into()),
        0..3,
    );
    let xattrs = prop_oneof![3 => Just(BTreeMap::new()), 1 => xattrs];
    let id = prop_oneof![Just(0), Just(1000), any::<u32>()];
    (0..0o10000u16, id.clone(), id, any::<i64>(), xattrs).prop_map(|(mode, uid, gid, mtime, xattrs)| Meta {
        mode,
        uid,
        gid,
        mtime,
        xattrs,
    })
}

/// Names of directories to go through, as far as they exist, and the new name.
type Place = (Vec<u8>, Vec<u8>);

fn place() -> impl Strategy<Value = Place> {
    let name = prop_oneof![
        prop::collection::vec(0x61u8..0x65, 1..3),
        prop::collection::vec(any::<u8>().prop_filter("slash", |b| !matches!(b, b'/' | 0)), 1..256),
    ];
    (prop::collection::vec(0u8..4, 0..6), name)
}

fn build(steps: Vec<(Place, Meta, Thing)>) -> (Tree, Memory) {
    let (mut tree, mut memory) = (empty(), Memory::new());
    let mut dirs: Vec<Vec<u8>> = vec![Vec::new()];
    let mut leaves: Vec<LeafId> = Vec::new();
    for ((turns, name), meta, thing) in steps {
        let turns = turns.iter().fold(0usize, |all, turn| all * 4 + usize::from(*turn));
        let parent = &dirs[turns % dirs.len()];
        let path = if parent.is_empty() { name } else { [parent, &b"/"[..], &name].concat() };
        // Names that are taken or impossible are left out.
        let kind = match thing {
            Thing::Dir => {
                if tree.insert_dir(&path, meta).is_ok() {
                    dirs.push(path);
                }
                continue;
            }
            Thing::Link(number) => {
                if !leaves.is_empty() {
                    let _ = tree.link(&path, leaves[number % leaves.len()]);
                }
                continue;
            }
            Thing::File(parts) => {
                let bytes = parts.iter().map(|(kind, length)| match kind {
                    0 => prose(1, *length),
                    1 => noise(2, *length),
                    _ => vec![0; *length],
                });
                Kind::File(memory.add(bytes.collect::<Vec<_>>().concat()))
            }
            Thing::Symlink(target) => Kind::Symlink(target.into()),
            Thing::Device(true, major, minor) => Kind::Block { major, minor },
            Thing::Device(false, major, minor) => Kind::Char { major, minor },
            Thing::Pipe(true) => Kind::Fifo,
            Thing::Pipe(false) => Kind::Socket,
        };
        leaves.extend(tree.insert(&path, Leaf { meta, kind }));
    }
    (tree, memory)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_round_trips(
        steps in prop::collection::vec((place(), meta(), thing()), 0..40),
        codec in 0..4usize,
        block_size in prop_oneof![Just(4096u32), Just(8192)],
        export_table in any::<bool>(),
    ) {
        let (tree, memory) = build(steps);
        let options = Options { export_table, ..codecs(block_size)[codec] };
        round_trip(&tree, &memory, &options);
    }
}
