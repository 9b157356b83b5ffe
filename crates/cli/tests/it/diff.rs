//! `selfsame diff`

use std::io::Write;
use std::process::Stdio;

use selfsame_testkit::TestEnvironment;

use crate::inspect::live_iso;
use crate::{pipe, world};

#[test]
fn a_text_in_a_file_system_in_an_image_is_shown_with_the_way_to_it() {
    let world = world();
    let (first, mut second) = (live_iso(b"selfsame\n"), live_iso(b"amnesia\n\x1b[31m"));
    // What no file has: the boot code.
    second[3] ^= 1;
    world.write("a.iso", &first);
    world.write("b.iso", &second);
    assert!(world.run(["diff", "a.iso", "a.iso"]).success().starts_with("differing bytes: 0,"));
    let differing =
        first.iter().zip(&second).filter(|(a, b)| a != b).count() + first.len().abs_diff(second.len());
    let text = world.run(["diff", "a.iso", "b.iso"]).answer(1);
    let way =
        ["/live/filesystem.squashfs (squashfs, ", "etc/hostname (text, ", "-1: selfsame\n", "+1: amnesia\n"];
    let mut rest = text.as_str();
    for part in way {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part:?} is not in {text}"));
        rest = &rest[at + part.len()..];
    }
    assert!(text.contains("master boot record at 0x0+0x200") && !text.contains('\x1b'), "{text}");
    let last = format!("differing bytes: {differing}, explained: {differing}, unexplained: 0");
    assert_eq!(text.lines().last(), Some(last.as_str()));
    let paths = world.run(["diff", "a.iso", "b.iso", "--paths"]).answer(1);
    assert!(paths.lines().any(|line| line == "/live/filesystem.squashfs: etc/hostname"), "{paths}");
}

#[test]
fn the_answer_is_data_too() {
    let world = world();
    world.write("a", "one\ntwo\n");
    world.write("b", "one\nTwo\nthree\n");
    insta::assert_snapshot!(world.run(["diff", "a", "b", "--json"]).answer(1));
    let same: serde_json::Value =
        serde_json::from_str(&world.run(["diff", "a", "a", "--json"]).success()).unwrap();
    assert_eq!(same["verdict"], "identical");
    assert_eq!(same.get("root"), None);
}

/// Two streams that differ in a byte, and that nobody can decompress.
pub(crate) fn damaged_streams(world: &TestEnvironment) {
    let mut stream = b"\x1f\x8b\x08\0\0\0\0\0\0\x03".to_vec();
    stream.extend([0xff; 40]);
    world.write("a.gz", &stream);
    stream[20] = 0;
    world.write("b.gz", &stream);
}

#[test]
fn what_is_damaged_on_both_sides_is_never_called_explained() {
    let world = world();
    damaged_streams(&world);
    let text = world.run(["diff", "a.gz", "b.gz"]).answer(5);
    assert!(text.contains("! the first cannot be read as gzip: "), "{text}");
    assert!(text.ends_with("differing bytes: 1, explained: 0, unexplained: 1\n"), "{text}");
}

#[test]
fn what_is_no_file_is_refused() {
    let world = world();
    world.write("a", "text");
    assert!(world.run(["diff", "a", "b"]).failure(3).starts_with("error: cannot read b\n"));
    let message = world.run(["diff", "a", "."]).failure(3);
    assert!(message.starts_with("error: . is not a regular file\nhint: "), "{message}");
    // Nobody writes to it: it must not be waited for.
    pipe(&world, "pipe");
    let message = world.run(["diff", "a", "pipe"]).failure(3);
    assert!(message.starts_with("error: pipe is not a regular file\nhint: "), "{message}");
    world.run(["diff", "a"]).failure(2);
}

#[test]
fn directories_are_compared_by_path_kind_and_content() {
    use std::fs::{Permissions, create_dir_all, set_permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};
    let world = world();
    for (root, host, target, mode) in [
        ("a", &b"selfsame\n"[..], "old", 0o644),
        ("b", b"amnesia\n", "new", 0o755),
        ("c", b"selfsame\n", "old", 0o644),
    ] {
        world.write(format!("{root}/out/live.iso"), live_iso(host));
        set_permissions(world.write(format!("{root}/same"), "same"), Permissions::from_mode(mode)).unwrap();
        symlink(target, world.root().join(root).join("link")).unwrap();
        create_dir_all(world.root().join(root).join("empty")).unwrap();
    }
    assert!(world.run(["diff", "a", "c"]).success().starts_with("differing bytes: 0, "));
    world.write("b/new", "12345");
    symlink("nowhere", world.root().join("a/kind")).unwrap();
    world.write("b/kind", "123");
    let text = world.run(["diff", "a", "b"]).answer(1);
    for part in [
        "entry of same\n    mode: 0644 -> 0755\n",
        "entry of link\n    target: old -> new\n",
        "    kind: symbolic link -> regular file\n",
        "regular file of new only in the second at 0x0+0x5\n",
        "  out/live.iso (iso9660, ",
        "etc/hostname (text, 9 -> 8 bytes)\n",
        "-1: selfsame\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    assert!(!text.contains("empty"), "{text}");
    // The bytes of what is in both, and of what only one has.
    let (a, b) = (live_iso(b"selfsame\n"), live_iso(b"amnesia\n"));
    let bytes = a.iter().zip(&b).filter(|(a, b)| a != b).count() + a.len().abs_diff(b.len()) + 5 + 3;
    assert!(
        text.ends_with(&format!("differing bytes: {bytes}, explained: {bytes}, unexplained: 0\n")),
        "{text}"
    );
    // Permissions alone are a difference, of which no byte tells.
    set_permissions(world.root().join("c/same"), Permissions::from_mode(0o600)).unwrap();
    let json = world.run(["diff", "a/", "c", "--json"]).answer(1);
    assert!(json.contains("\"verdict\": \"different\"") && json.contains("\"differing\": "), "{json}");
}

#[test]
fn causes_are_told_where_they_are_seen_and_all_together() {
    let world = world();
    world.write("a", "Built on 2026-08-01.\n");
    world.write("b", "Built on 2026-08-02.\n");
    let text = world.run(["diff", "a", "b"]).answer(1);
    assert!(text.contains("  looks like date: line 1: 2026-08-01 -> 2026-08-02\n"), "{text}");
    assert!(text.contains("likely causes: date (1); `selfsame explain CAUSE` says more\n"), "{text}");
    let pages = ["--html", "page.html", "--markdown", "page.md", "--diffoscope-json", "page.json"];
    world.run(["diff", "a", "b"].iter().chain(&pages)).answer(1);
    for page in ["page.html", "page.md", "page.json"] {
        let page = std::fs::read_to_string(world.root().join(page)).unwrap();
        assert!(page.contains("likely causes: date (1)") && page.contains("looks like date"), "{page}");
    }
}

#[test]
fn standard_input_is_a_file_too() {
    let world = world();
    world.write("a", "one\n");
    let b = world.write("b", "two\n");
    let through = |stdin: Stdio, text: Option<&str>, arguments: [&str; 3]| {
        let mut command = world.command(arguments);
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        if let (Some(mut pipe), Some(text)) = (child.stdin.take(), text) {
            pipe.write_all(text.as_bytes()).unwrap();
        }
        world.outcome(child.wait_with_output().unwrap())
    };
    let piped = through(Stdio::piped(), Some("two\n"), ["diff", "a", "-"]).answer(1);
    assert!(piped.contains("-1: one\n") && piped.contains("+1: two\n"), "{piped}");
    let file = std::fs::File::open(b).unwrap();
    assert_eq!(through(file.into(), None, ["diff", "a", "-"]).answer(1), piped);
    assert!(
        through(Stdio::piped(), Some("one\n"), ["diff", "-", "a"]).success().contains("differing bytes: 0")
    );
    assert!(through(Stdio::piped(), None, ["diff", "-", "-"]).failure(2).contains("cannot be both"));
}

#[test]
fn what_looks_the_same_is_not_called_identical() {
    use std::os::unix::ffi::OsStrExt;
    let world = world();
    for (directory, target) in [("x", b"\xff"), ("y", b"\xfe")] {
        std::fs::create_dir(world.root().join(directory)).unwrap();
        let target = std::ffi::OsStr::from_bytes(target);
        std::os::unix::fs::symlink(target, world.root().join(directory).join("link")).unwrap();
    }
    let text = world.run(["diff", "x", "y"]).answer(1);
    assert!(text.contains("target: \\xff -> \\xfe"), "{text}");
    // The kernel says that they have no bytes.
    world.run(["diff", "/proc/version", "/proc/uptime"]).answer(1);
    assert!(world.run(["diff", "/proc/version", "/proc/version"]).success().contains("differing bytes: 0"));
}

#[test]
fn paths_of_what_only_one_has_are_told() {
    let world = world();
    world.write("p/same", "same");
    world.write("p/old", "old");
    world.write("q/same", "same");
    world.write("q/new", "new");
    assert_eq!(world.run(["diff", "p", "q", "--paths"]).answer(1), "new\nold\n");
}

#[test]
fn holes_are_not_read() {
    use std::os::unix::fs::FileExt as _;
    let world = world();
    let sparse = |name: &str, len: u64| {
        let file = std::fs::File::create(world.root().join(name)).unwrap();
        file.set_len(len).unwrap();
        file
    };
    // Reading them would take many minutes.
    sparse("hole", 1 << 41);
    sparse("other", 1 << 41).write_all_at(b"x", 1 << 40).unwrap();
    let text = world.run(["diff", "hole", "other"]).answer(1);
    assert!(text.ends_with("differing bytes: 1, explained: 1, unexplained: 0\n"), "{text}");
}
