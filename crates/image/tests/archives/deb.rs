use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use selfsame_image::Digest;
use selfsame_image::deb::Deb;
use selfsame_image::tar;
use selfsame_image::tree::{Content, Meta, Tree};

use crate::host::{assert_same, capture, files_in, oracle, root, sample, unpack_tar};

const LIMIT: u64 = 1 << 32;

fn data_tree(deb: &Deb<fs::File>) -> Tree {
    let mut reader = deb.data(LIMIT).unwrap();
    let mut tree = tar::collect(&mut reader, Meta::root(0o755, 0), |_, mut body| {
        let (digest, size) = Digest::of_reader(&mut body)?;
        Ok(Content { size, digest })
    })
    .unwrap();
    tree.compact();
    tree
}

/// Everything that dpkg-deb says about a package is what is read here.
fn check(package: &Path) {
    let name = package.display().to_string();
    let deb = Deb::open(fs::File::open(package).unwrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (data, control) = (dir.path().join("data"), dir.path().join("control"));
    oracle(Command::new("dpkg-deb").arg("-x").arg(package).arg(&data), b"").unwrap();
    oracle(Command::new("dpkg-deb").arg("-e").arg(package).arg(&control), b"").unwrap();

    let mut ours = data_tree(&deb);
    if !root() {
        ours.root.for_each_dir_mut(&mut |meta| (meta.uid, meta.gid) = (0, 0));
        ours.leaves_mut().iter_mut().for_each(|leaf| (leaf.meta.uid, leaf.meta.gid) = (0, 0));
    }
    let plain = oracle(Command::new("dpkg-deb").arg("--fsys-tarfile").arg(package), b"").unwrap();
    let unpacked = dir.path().join("unpacked");
    fs::create_dir(&unpacked).unwrap();
    let unpack = ["-xpf-", "--numeric-owner", "--delay-directory-restore"];
    oracle(Command::new("tar").arg("-C").arg(&unpacked).args(unpack), &plain).unwrap();
    assert_same(&ours, &capture(&unpacked).0, &name);
    // dpkg-deb -x sets times of directories before it puts the last symbolic links into them.
    let mut theirs = capture(&data).0;
    for tree in [&mut ours, &mut theirs] {
        tree.root.for_each_dir_mut(&mut |meta| meta.mtime = 0);
    }
    assert_same(&ours, &theirs, &name);
    let (digest, size) = Digest::of_reader(&mut deb.data_plain(LIMIT).unwrap()).unwrap();
    assert_eq!((digest, size), (Digest::of(&plain), u64::try_from(plain.len()).unwrap()), "{name}");
    let limited = deb.data_plain(size - 1).unwrap().read_to_end(&mut Vec::new());
    assert!(limited.is_err(), "{name}");

    let found = deb.control().unwrap();
    let theirs = capture(&control).0;
    assert_eq!(found.files.len(), theirs.root.entries().len(), "{name}");
    for (file, ours) in &found.files {
        let path = control.join(String::from_utf8(file.clone()).unwrap());
        assert_eq!(ours.bytes, fs::read(path).unwrap(), "{name}");
        assert_eq!(ours.mode, theirs.get(file).unwrap().meta.mode, "{name}");
    }
    let field = oracle(Command::new("dpkg-deb").arg("-f").arg(package).arg("Package"), b"").unwrap();
    let line = [b"Package: ", field.as_slice()].concat();
    assert!(found.stanza().starts_with(&line), "{name}");
}

/// Packages as dpkg-deb builds them with each compression.
fn built(dir: &Path) -> Option<Vec<PathBuf>> {
    let (tree, memory) = sample();
    let top = dir.join("package");
    fs::create_dir_all(top.join("DEBIAN")).unwrap();
    unpack_tar(&tree, &memory, &top)?;
    // dpkg-deb packs no names with a newline.
    fs::remove_file(top.join("etc/\u{e9} \n")).unwrap();
    let control = "Package: sample\nVersion: 1:2.0-1\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: x\n";
    fs::write(top.join("DEBIAN/control"), control).unwrap();
    fs::write(top.join("DEBIAN/conffiles"), "/etc/block\n").unwrap();
    let script = top.join("DEBIAN/postinst");
    fs::write(&script, "#!/bin/sh\n").unwrap();
    oracle(Command::new("chmod").arg("755").arg(&script), b"")?;
    let mut packages = Vec::new();
    for kind in ["none", "gzip", "xz", "zstd"] {
        let package = dir.join(format!("{kind}.deb"));
        let option = format!("-Z{kind}");
        oracle(Command::new("dpkg-deb").args([&option, "--build"]).arg(&top).arg(&package), b"")?;
        packages.push(package);
    }
    Some(packages)
}

/// The packages in the directory named by `SELFSAME_DEBS` are checked too, as many as there are.
#[test]
fn dpkg_deb_sees_the_same_packages() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut packages) = built(dir.path()) else { return };
    if let Some(more) = std::env::var_os("SELFSAME_DEBS") {
        packages.extend(files_in(&more, ".deb"));
    }
    packages.iter().for_each(|package| check(package));
}
