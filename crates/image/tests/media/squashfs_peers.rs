//! SquashFS with the codecs that are only read.

use std::process::Command;

use selfsame_image::compare::Name;
use selfsame_testkit::oracle::oracle_text;

use crate::compare::{compared, flips};
use crate::support::{load, save, scratch};

/// An image that mksquashfs writes of two files; nothing if it is not installed.
fn mksquashfs(codec: &[&str], motd: &str) -> Option<Vec<u8>> {
    let dir = scratch();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let text: String = (0..20_000).map(|line| format!("line {line} of a longer text\n")).collect();
    save(&root, "long", text.as_bytes());
    save(&root, "motd", motd.as_bytes());
    let image = dir.path().join("image");
    let mut command = Command::new("mksquashfs");
    command.arg(&root).arg(&image).args([
        "-no-progress",
        "-all-time",
        "1700000000",
        "-mkfs-time",
        "1700000000",
        "-comp",
    ]);
    oracle_text(command.args(codec))?;
    Some(load(&image))
}

#[test]
fn codecs_that_are_only_read_are_compared_like_the_others() {
    for (seed, codec) in (31..).zip([&["lzo"][..], &["lzo", "-Xalgorithm", "lzo1x_1_15"], &["lzma"]]) {
        let Some(first) = mksquashfs(codec, "quiet\n") else { return };
        let report = compared(&first, &mksquashfs(codec, "splash\n").unwrap());
        assert_eq!(report.unexplained(), 0);
        let names: Vec<_> = report.root.unwrap().members.into_iter().map(|member| member.name).collect();
        assert!(names.contains(&Name::Path(b"motd".to_vec())), "{codec:?}: {names:?}");
        flips(&format!("{codec:?}"), &first, seed);
    }
}
