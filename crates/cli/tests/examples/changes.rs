//! A change of `examples/live` that costs what it touches, and the same bytes as a build from nothing but a tag.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use selfsame_image::Digest;
use selfsame_testkit::readme::workspace;
use selfsame_testkit::{TestEnvironment, leaks, oracle_text};

use super::{LIVE, store, tags};

/// The example with another `/etc/issue`, and the SquashFS as an output of its own beside the ISO.
fn recipe(dir: &Path) -> PathBuf {
    let recipe = dir.join("recipe");
    let mut copy = std::process::Command::new("cp");
    copy.arg("-R").arg(workspace().join("examples/live")).arg(&recipe);
    oracle_text(&mut copy).unwrap();
    let file = recipe.join("selfsame.toml");
    let text = fs::read_to_string(&file).unwrap();
    let both = text.replacen("outputs = [\"iso\"]", "outputs = [\"iso\", \"squashfs\"]", 1);
    assert!(both != text, "{text}");
    fs::write(file, both).unwrap();
    fs::write(recipe.join("files/etc/issue"), "changed\n").unwrap();
    recipe
}

/// Builds it in `store` without a mirror; digests and names of its images.
fn build(dir: &Path, recipe: &Path, store: &Path, out: &str, tag: Option<&Path>) -> Vec<(String, PathBuf)> {
    let mut world = TestEnvironment::new(env!("CARGO_BIN_EXE_selfsame"));
    world.set("SELFSAME_STORE", store.to_string_lossy());
    let out = dir.join(out);
    let mut words =
        vec!["build".as_ref(), recipe.as_os_str(), "--out".as_ref(), out.as_os_str(), "--offline".as_ref()];
    words.extend(tag.iter().flat_map(|tag| ["--tag".as_ref(), tag.as_os_str()]));
    let built = world.run(words).success();
    leaks::assert_none_below(world.root());
    let file = |line: &str| {
        let (digest, path) = line.split_once("  ").unwrap();
        // What is told is what is there.
        assert_eq!(Digest::of(&fs::read(path).unwrap()).to_string(), digest, "{path}");
        (digest.to_owned(), PathBuf::from(Path::new(path).file_name().unwrap()))
    };
    built.lines().map(file).collect()
}

#[test]
fn a_changed_file_of_the_overlay_gives_the_bytes_of_a_build_from_nothing_but_a_tag() {
    let from_mirror = &*LIVE;
    let dir = tempfile::tempdir().unwrap();
    let recipe = recipe(dir.path());
    let warm = build(dir.path(), &recipe, store().root(), "warm", None);
    let (tag, empty) = (tags::tag(dir.path()), dir.path().join("empty"));
    assert_eq!(build(dir.path(), &recipe, &empty, "cold", Some(&tag)), warm);
    // What the tag gave is what README promises and a mirror gave.
    let live = build(dir.path(), &workspace().join("examples/live"), &empty, "live", Some(&tag));
    let iso = from_mirror.iter().find(|(path, _)| path.extension().is_some_and(|ending| ending == "iso"));
    assert!(live.contains(&(iso.unwrap().1.clone(), "live.iso".into())), "{live:?}");

    // The SquashFS in the image is the one beside it.
    let open = |name: &str| fs::File::open(dir.path().join("cold").join(name)).unwrap();
    let (iso, squashfs) = (open("live.iso"), open("live.squashfs"));
    let mut head = vec![0; 4096];
    squashfs.read_exact_at(&mut head, 0).unwrap();
    let blocks = (0..iso.metadata().unwrap().len() / 2048).map(|block| block * 2048);
    let mut part = vec![0; head.len()];
    let at = blocks.into_iter().find(|&at| iso.read_exact_at(&mut part, at).is_ok() && part == head);
    let at = at.expect("the SquashFS lies on a block");
    let size = squashfs.metadata().unwrap().len();
    let (mut ours, mut theirs) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    for from in (0..size).step_by(1 << 20) {
        let length = usize::try_from((size - from).min(1 << 20)).unwrap();
        squashfs.read_exact_at(&mut ours[..length], from).unwrap();
        iso.read_exact_at(&mut theirs[..length], at + from).unwrap();
        assert!(ours[..length] == theirs[..length], "block at {from}");
    }
}
