//! Causes of differences are recognised in what they leave in an image.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::sync::Arc;

use selfsame_image::cause::{CAUSES, cause};
use selfsame_image::compare::{Comparison, Options, compare};
use selfsame_image::tree::{Kind, Memory, Tree};

use crate::support::{put, tree};

/// Files as two builds leave them: path, what the first one wrote, what the second one did, the cause.
const PLANTED: [(&str, &str, &str, &str); 22] = [
    ("etc/machine-id", "1\n", "2\n", "machine-id"),
    ("etc/passwd-", "a\n", "b\n", "backup"),
    ("etc/shadow", "root:*:20666:0:99999:7:::\n", "root:*:20667:0:99999:7:::\n", "password-day"),
    ("etc/ssh/ssh_host_ed25519_key", "a\n", "b\n", "generated-key"),
    ("var/lib/systemd/random-seed", "a", "b", "random-seed"),
    ("var/lib/systemd/catalog/database", "a", "b", "systemd-catalog"),
    ("var/cache/ldconfig/aux-cache", "a", "b", "linker-cache"),
    ("var/cache/fontconfig/x.cache-8", "a", "b", "font-cache"),
    ("var/cache/man/index.db", "a", "b", "manual-index"),
    ("var/cache/apt/pkgcache.bin", "a", "b", "apt-cache"),
    ("var/lib/initramfs-tools/6.1.0-1-amd64", "a", "b", "initramfs-digest"),
    ("var/log/dpkg.log", "a\n", "b\n", "log"),
    ("usr/lib/python3/a.pyc", "a", "b", "python-bytecode"),
    ("usr/lib/x/loaders.cache", "a\n", "b\n", "module-cache"),
    ("usr/share/built", "Built on 2026-08-01.\n", "Built on 2026-08-02.\n", "date"),
    ("usr/share/commit", "commit 1a2b3c4\n", "commit 1a2b3c4d\n", "git-id"),
    ("usr/share/from", "/home/alice/src\n", "/home/bob/src\n", "build-path"),
    ("usr/share/list", "one\ntwo\nthree\n", "three\none\ntwo\n", "order"),
    ("usr/share/pointer", "at 0x7f3a91b2c3d0\n", "at 0x7f11aa22bb40\n", "address"),
    ("usr/share/sorted", "Alpha\nZeta\nbeta\n", "Alpha\nbeta\nZeta\n", "locale-sort"),
    ("usr/share/temporary", "/tmp/tmp.aB3dE9/x\n", "/tmp/tmp.Zz93kk/x\n", "temporary-name"),
    ("run/service.pid", "pid 17\n", "pid 4711\n", "process-id"),
];

fn archive(pick: impl Fn(&(&str, &'static str, &'static str, &str)) -> &'static str, time: u32) -> Vec<u8> {
    let (mut tree, mut memory): (Tree, Memory) = tree(&[]);
    for planted in &PLANTED {
        let content = memory.add(pick(planted));
        put(&mut tree, planted.0, Kind::File(content));
    }
    let mut out = Vec::new();
    selfsame_image::tar::write(&tree, &memory, selfsame_image::Epoch(time), &mut out).unwrap();
    out
}

fn all(found: &Comparison, causes: &mut BTreeSet<(String, &'static str)>) {
    let name = format!("{:?}", found.name);
    causes.extend(found.causes.iter().map(|finding| (name.clone(), finding.cause)));
    found.members.iter().for_each(|member| all(member, causes));
}

#[test]
fn what_was_planted_is_recognised() {
    let [first, second] =
        [archive(|planted| planted.1, 1_600_000_000), archive(|planted| planted.2, 1_500_000_000)];
    let options = Options::new(NonZero::<usize>::MIN);
    let report = compare(&(Arc::new(first) as _), &(Arc::new(second) as _), &options).unwrap();
    assert_eq!(report.unexplained(), 0);
    let mut found = BTreeSet::new();
    all(report.root.as_ref().unwrap(), &mut found);
    for (path, _, _, expected) in PLANTED {
        let name = format!("{:?}", selfsame_image::compare::Name::Path(path.as_bytes().to_vec()));
        let of_path: Vec<_> = found.iter().filter(|(of, _)| *of == name).map(|(_, cause)| *cause).collect();
        assert_eq!(of_path, [expected], "{path}");
    }
}

#[test]
fn another_password_is_no_other_day() {
    let compared = |entry: &str| {
        let archive = |entry: &str| {
            let (mut tree, mut memory): (Tree, Memory) = tree(&[]);
            let content = memory.add(format!("daemon:*:20666:0:99999:7:::\n{entry}\n"));
            put(&mut tree, "etc/shadow", Kind::File(content));
            let mut out = Vec::new();
            selfsame_image::tar::write(&tree, &memory, selfsame_image::Epoch(1), &mut out).unwrap();
            out
        };
        let options = Options::new(NonZero::<usize>::MIN);
        let [a, b] = [archive("root:!:20666:0:99999:7:::"), archive(entry)];
        let report = compare(&(Arc::new(a) as _), &(Arc::new(b) as _), &options).unwrap();
        let mut found = BTreeSet::new();
        all(report.root.as_ref().unwrap(), &mut found);
        found.into_iter().map(|(_, cause)| cause).collect::<Vec<_>>()
    };
    assert_eq!(compared("root:*:20666:0:99999:7:::"), [""; 0]);
    assert_eq!(compared("admin:*:20667:0:99999:7:::"), [""; 0]);
    assert_eq!(compared("root:*:20667:0:99999:7:::"), ["password-day"]);
}

#[test]
fn causes_are_in_order_and_have_no_empty_words() {
    assert!(CAUSES.is_sorted_by_key(|cause| cause.id));
    for one in CAUSES {
        assert_eq!(cause(one.id), Some(one));
        assert!(one.id.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{}", one.id);
        for text in [one.origin, one.remedy] {
            assert!(text.ends_with('.') && text.len() > 20, "{}: {text}", one.id);
        }
    }
}
