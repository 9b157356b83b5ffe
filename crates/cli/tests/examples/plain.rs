//! The packages of examples/live, installed by a plain dpkg in a plain chroot: what the stages, their cached archives and
//! their shortcuts leave is the same tree, but for what is listed here.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use selfsame_build::lock::Lock;
use selfsame_image::tree::{Pattern, text};
use selfsame_image::{Epoch, Tree};
use selfsame_testkit::{is_root, oracle_text};

use super::oracles::{assert_same, captured, lock, manifest};
use super::store;

/// What no image has: see `docs/recipe.md` and the reasons in `build/src/stages/finalise.rs`.
const LEFT_OUT: &[&str] = &[
    "etc/*-",
    "etc/.pwd.lock",
    "etc/machine-id",
    "initrd.img*",
    "usr/**/__pycache__",
    "usr/sbin/policy-rc.d",
    "var/cache/debconf/*-old",
    "var/cache/ldconfig/aux-cache",
    "var/cache/man/**",
    "var/lib/dbus/machine-id",
    "var/lib/dpkg/*-old",
    "var/lib/dpkg/available",
    "var/lib/dpkg/lock*",
    "var/lib/dpkg/triggers/Lock",
    "var/lib/systemd/catalog/database",
    "var/log/*.log",
];

/// What the recipe brings after the packages: settings, overlay, its user, its hook.
const RECIPE: &[&str] = &[
    "etc/default/locale",
    "etc/fstab",
    "etc/group",
    "etc/gshadow",
    "etc/hostname",
    "etc/issue",
    "etc/locale.gen",
    "etc/motd",
    "etc/passwd",
    "etc/shadow",
    "etc/subgid",
    "etc/subuid",
    "home/user",
    "usr/lib/locale/locale-archive",
    "var/lib/apt/extended_states",
];

/// Written with another time, and a directory whose access control list has no place in SquashFS.
const OTHERWISE: &[&str] = &["var/lib/dpkg/arch", "var/log/journal"];

/// A line for each entry of `tree` that is not listed, and none newer than the epoch of the example.
fn lines(mut tree: Tree) -> String {
    let listed = LEFT_OUT.iter().chain(RECIPE).chain(OTHERWISE);
    let listed: Vec<Pattern> = listed.map(|glob| glob.parse().unwrap()).collect();
    tree.remove_matching(&listed);
    tree.clamp_times(Epoch(1_785_542_400));
    // A directory's time is that of the last change in it, those of the recipe included.
    tree.root.for_each_dir_mut(&mut |meta| meta.mtime = 0);
    tree.compact();
    text::to_string(&tree)
}

/// The commands of dpkg that install the packages of `lock` from `/debs`, in its order.
fn script(lock: &Lock) -> String {
    let debs = |names: &str| names.split(' ').map(|name| format!(" /debs/{name}.deb")).collect::<String>();
    let options = "--force-confold --force-unsafe-io";
    let base = debs(&lock.install.base.join(" "));
    let mut script = format!("set -e\ndpkg --force-depends {options} --install{base}\n");
    for group in &lock.install.groups {
        for step in &group.steps {
            let _ = match step.split_once(' ').unwrap() {
                ("unpack", names) => writeln!(script, "dpkg {options} --no-triggers --unpack{}", debs(names)),
                (_, names) => writeln!(script, "dpkg {options} --no-triggers --configure {names}"),
            };
        }
        let _ = writeln!(script, "dpkg {options} --configure -a");
    }
    script
}

/// Namespaces of its own, no network, and the devices that every program expects.
const WORLD: &str = "mount -t proc x proc; for dir in tmp run dev; do mount -t tmpfs x $dir; done
for name in null zero full random urandom; do : > dev/$name; mount --bind /dev/$name dev/$name; done
exec env -i PATH=/shims:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 TZ=UTC TERM=dumb \\
  DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true SOURCE_DATE_EPOCH=1785542400 chroot . sh /script";

#[test]
fn a_plain_dpkg_installs_the_same_tree() {
    if !is_root() {
        return;
    }
    let lock = lock();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let write = |path: &str, text: &str, mode| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    for name in ["bin", "lib", "lib32", "lib64", "libx32", "sbin"] {
        fs::create_dir_all(root.join("usr").join(name)).unwrap();
        symlink(format!("usr/{name}"), root.join(name)).unwrap();
    }
    let deb = |name: &str| store().path(&lock.image_package(name).unwrap().file.sha256);
    let names = lock.install.groups.iter().flat_map(|group| group.names());
    fs::create_dir(root.join("debs")).unwrap();
    for name in lock.install.base.iter().map(String::as_str).chain(names) {
        fs::copy(deb(name), root.join("debs").join(format!("{name}.deb"))).unwrap();
    }
    for name in &lock.install.base {
        let unpack =
            "dpkg-deb --fsys-tarfile \"$1\" | tar -x --keep-directory-symlink --no-overwrite-dir -C \"$2\"";
        let mut command = Command::new("sh");
        let Some(_) = oracle_text(command.args(["-ec", unpack, "sh"]).arg(deb(name)).arg(&root)) else {
            return;
        };
    }
    for name in ["status", "available"] {
        write(&format!("var/lib/dpkg/{name}"), "", 0o644);
    }
    write("var/lib/dpkg/arch", "amd64\n", 0o644);
    write("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755);
    // Minutes, for a file that is compared in a test of its own.
    write("shims/update-initramfs", "#!/bin/sh\nexit 0\n", 0o755);
    write("script", &script(&lock), 0o644);
    let mut install = Command::new("unshare");
    install.args(["-m", "-n", "-p", "-f", "sh", "-ec", WORLD]).current_dir(&root);
    if oracle_text(&mut install).is_none() {
        return;
    }
    for name in ["debs", "shims"] {
        fs::remove_dir_all(root.join(name)).unwrap();
    }
    fs::remove_file(root.join("script")).unwrap();
    assert_same(&lines(captured(Path::new(&root))), &lines(manifest()));
}
