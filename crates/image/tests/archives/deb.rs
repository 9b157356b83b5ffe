use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use selfsame_image::Digest;
use selfsame_image::deb::{Control, Deb};
use selfsame_image::tar;
use selfsame_image::tree::{Content, Meta, Tree};

use selfsame_testkit::{Numbers, number};

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

/// Damages a package whose archives are not compressed, in one place or a few. Half of the time the checksum of the header of
/// tar that was hit is made good again: who attacks would do that, too.
fn damaged(good: &[u8], random: &mut Numbers) -> Vec<u8> {
    let mut bad = good.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bad.len());
        match random.below(4) {
            0 => bad[at] ^= 1 << random.below(8),
            1 => bad[at] = b"\0/0.7 \xffx"[random.below(8)],
            2 => {
                let end = bad.len().min(at + 1 + random.below(12));
                bad[at..end].fill(b"\x000/"[random.below(3)]);
            }
            // Names and links to elsewhere.
            _ => {
                let text = [&b"../"[..], b"/etc/", b"./x/../", b"DEBIAN/"][random.below(4)];
                let end = bad.len().min(at + text.len());
                bad[at..end].copy_from_slice(&text[..end - at]);
            }
        }
        if random.below(2) == 0 {
            sign(&mut bad, at);
        }
    }
    bad
}

/// Makes the checksum good of the header of tar that the byte at `at` lies in, if it lies in one.
fn sign(bytes: &mut [u8], at: usize) {
    // Members of ar begin anywhere: the header is looked for backwards, by its signature.
    let Some(magic) = (0..=at.min(bytes.len())).rev().take(512).find(|at| bytes[*at..].starts_with(b"ustar"))
    else {
        return;
    };
    let Some(header) = magic.checked_sub(257).and_then(|start| bytes.get_mut(start..start + 512)) else {
        return;
    };
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// What is read of a package, if all of it is accepted: the tree and the control files.
fn accepted(package: &Path) -> Option<(Tree, Control)> {
    let deb = Deb::open(fs::File::open(package).ok()?).ok()?;
    let mut reader = deb.data(LIMIT).ok()?;
    let mut tree = tar::collect(&mut reader, Meta::root(0o755, 0), |_, mut body| {
        let (digest, size) = Digest::of_reader(&mut body)?;
        Ok(Content { size, digest })
    })
    .ok()?;
    tree.compact();
    Some((tree, deb.control().ok()?))
}

/// Whether its owner may look into each directory and read each file.
fn readable(tree: &mut Tree) -> bool {
    let mut all = true;
    tree.root.for_each_dir_mut(&mut |meta| all &= meta.mode & 0o700 == 0o700);
    all && tree.leaves_mut().iter().all(|leaf| leaf.meta.mode & 0o400 != 0)
}

#[test]
fn what_is_accepted_of_a_damaged_package_is_what_dpkg_deb_unpacks() {
    let dir = tempfile::tempdir().unwrap();
    let Some(packages) = built(dir.path()) else { return };
    let good = fs::read(&packages[0]).unwrap();
    let package = dir.path().join("bad.deb");
    let (mut random, mut both, mut ours_only) = (Numbers(7), 0, Vec::new());
    for round in 0..number("MUTANTS", 300) {
        fs::write(&package, damaged(&good, &mut random)).unwrap();
        let Some((mut ours, control)) = accepted(&package) else { continue };
        // What its owner may not read is hidden from everybody but root.
        if !root() && !readable(&mut ours) {
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let (data, their_control) = (dir.path().join("data"), dir.path().join("control"));
        let unpacked = |option: &str, to: &Path| {
            let mut command = Command::new("dpkg-deb");
            let output = command.arg(option).arg(&package).arg(to).env("LC_ALL", "C").output().unwrap();
            (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        match (unpacked("-x", &data), unpacked("-e", &their_control)) {
            ((true, _), (true, _)) => {
                both += 1;
                let mut theirs = capture(&data).0;
                for tree in [&mut ours, &mut theirs] {
                    tree.root.for_each_dir_mut(&mut |meta| meta.mtime = 0);
                    if !root() {
                        tree.root.for_each_dir_mut(&mut |meta| (meta.uid, meta.gid) = (0, 0));
                        tree.leaves_mut().iter_mut().for_each(|leaf| (leaf.meta.uid, leaf.meta.gid) = (0, 0));
                    }
                }
                assert_same(&ours, &theirs, &format!("mutant {round}"));
                for (name, file) in control.files {
                    let path = their_control.join(String::from_utf8(name).unwrap());
                    assert_eq!(file.bytes, fs::read(&path).unwrap(), "mutant {round}: {}", path.display());
                }
            }
            (data, control) => ours_only.push((round, data.1, control.1)),
        }
    }
    assert!(both > 0, "nothing was accepted by both");
    assert!(ours_only.is_empty(), "accepted here alone: {ours_only:#?}");
}
