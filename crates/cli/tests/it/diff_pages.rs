//! `selfsame diff --html`, `--markdown` and `--diffoscope-json`

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::Command;

use selfsame_testkit::{TestEnvironment, oracle, oracle_text};
use serde_json::Value;

use crate::inspect::{live_iso, squashfs_of};
use crate::world;

/// Names that want to be something else: markup, a mention, the end of a table's cell, of a line, of a fence.
const HOSTILE: [&str; 6] = [
    "<script>alert(1)<",
    "\"onload='x' &lt;",
    "a\n| b",
    "\u{202e}gpj.exe\u{200b}",
    "@everyone `` | <details>",
    "\x1b[31mred",
];

/// Two images that differ in a file of each hostile name.
fn hostile(world: &TestEnvironment) {
    for (name, content) in
        [("a.img", "one <b>\n-- x\n```\n"), ("b.img", "two\u{202e} <i>\n++ y\n[ 9 lines removed ]\n")]
    {
        let files: Vec<(&str, &[u8])> = HOSTILE.iter().map(|name| (*name, content.as_bytes())).collect();
        world.write(name, squashfs_of(&files));
    }
}

/// What an independent parser finds on a page: the names of files and structures.
fn names(page: &Path) -> Option<String> {
    let reader = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/diff_pages.py");
    oracle_text(Command::new("python3").arg(reader).arg(page))
}

fn read(world: &TestEnvironment, name: &str) -> String {
    fs::read_to_string(world.root().join(name)).unwrap()
}

#[test]
fn one_comparison_gives_every_form() {
    let world = world();
    world.write("a.iso", live_iso(b"selfsame\n"));
    world.write("b.iso", live_iso(b"amnesia\n"));
    let pages = ["--html", "d.html", "--markdown", "d.md", "--diffoscope-json", "d.json"];
    let last = world.run(["diff", "a.iso", "b.iso"].iter().chain(&pages)).answer(1);
    let text = world.run(["diff", "a.iso", "b.iso"]).answer(1);
    assert_eq!(Some(last.trim_end()), text.lines().last());
    for page in ["d.html", "d.md", "d.json"] {
        let found = read(&world, page);
        for part in ["a.iso", "/live/filesystem.squashfs", "etc/hostname", "amnesia", last.trim_end()] {
            assert!(found.contains(part), "{part:?} is not in {page}:\n{found}");
        }
    }
    if let Some(names) = names(&world.root().join("d.html")) {
        let names: Vec<&str> = names.lines().collect();
        assert!(names.contains(&"/live/filesystem.squashfs") && names.contains(&"etc/hostname"), "{names:?}");
    }
    // The same bytes each time, to a file or to standard output.
    assert_eq!(world.run(["diff", "a.iso", "b.iso", "--html", "-"]).answer(1), read(&world, "d.html"));
    let both = world.run(["diff", "a.iso", "b.iso", "--markdown", "again.md", "--json"]).answer(1);
    assert_eq!(serde_json::from_str::<Value>(&both).unwrap()["verdict"], "different");
    assert_eq!(read(&world, "again.md"), read(&world, "d.md"));
}

#[test]
fn small_differences_in_each_form() {
    let world = world();
    world.write("a", "one\ntwo\n");
    world.write("b", "one\nTwo\nthree\n");
    world.write("a.bin", b"\0\x01<&>");
    world.write("b.bin", b"\0\x02<&>\xff");
    let tree = |page: &str| {
        let (_, rest) = page.split_once("<body>").unwrap();
        rest.split_once("<script>").unwrap().0.to_owned()
    };
    insta::assert_snapshot!("html", tree(&world.run(["diff", "a", "b", "--html", "-"]).answer(1)));
    insta::assert_snapshot!(
        "html_bytes",
        tree(&world.run(["diff", "a.bin", "b.bin", "--html", "-"]).answer(1))
    );
    insta::assert_snapshot!("markdown", world.run(["diff", "a", "b", "--markdown", "-"]).answer(1));
    insta::assert_snapshot!("diffoscope", world.run(["diff", "a", "b", "--diffoscope-json", "-"]).answer(1));
    // What is the same has a page as well.
    for form in ["--html", "--markdown", "--diffoscope-json"] {
        let page = world.run(["diff", "a", "a", form, "-"]).success();
        assert!(page.contains("identical") && page.contains("differing bytes: 0, "), "{page}");
    }
}

#[test]
fn nothing_in_an_image_is_markup() {
    let world = world();
    hostile(&world);
    let pages = ["--html", "d.html", "--markdown", "d.md"];
    world.run(["diff", "a.img", "b.img"].iter().chain(&pages)).answer(1);
    let page = read(&world, "d.html");
    assert!(page.contains("&lt;script&gt;alert(1)&lt;") && !page.contains("<script>alert"), "{page}");
    assert!(page.contains("\\u{202e}gpj.exe\\u{200b}") && page.contains("\\x1b[31mred"), "{page}");
    if let Some(names) = names(&world.root().join("d.html")) {
        assert_eq!(names.lines().filter(|name| *name == HOSTILE[0]).count(), 2, "file and inode: {names}");
        assert!(names.lines().any(|name| name == HOSTILE[1]), "{names}");
    }
    let text = read(&world, "d.md");
    assert!(text.contains("<summary><code>&#60;script&#62;alert(1)&#60;</code></summary>"), "{text}");
    assert!(text.contains("<code>&#64;everyone &#96;&#96; &#124; &#60;details&#62;</code>"), "{text}");
    // Rows of a table have as many cells as its head; a fence is longer than what looks like one.
    let rows = text.lines().filter(|line| line.starts_with("| "));
    assert!(
        rows.clone().count() > HOSTILE.len() && rows.clone().all(|row| row.matches('|').count() == 4),
        "{text}"
    );
    assert_eq!(text.lines().filter(|line| *line == "````diff").count(), HOSTILE.len(), "{text}");
    assert!(!text.contains(['\u{202e}', '\x1b']), "{text}");
    // The program that defines GitHub's Markdown finds no other elements than ours, and names in code only.
    let mut renderer = Command::new("cmark-gfm");
    renderer
        .args(["--unsafe", "-e", "table", "-e", "autolink", "-e", "strikethrough"])
        .arg(world.root().join("d.md"));
    let Some(shown) = oracle_text(&mut renderer) else { return };
    let elements: BTreeSet<&str> = shown
        .split('<')
        .skip(1)
        .map(|rest| rest.split([' ', '>']).next().unwrap().trim_start_matches('/'))
        .collect();
    let ours = "code details h3 p pre summary table tbody td th thead tr";
    assert_eq!(elements.into_iter().collect::<Vec<_>>().join(" "), ours);
    let summaries = shown.split("<summary>").skip(1).map(|rest| rest.split("</summary>").next().unwrap());
    assert!(
        summaries.clone().count() > HOSTILE.len()
            && summaries.clone().all(|one| one == "the whole" || one.starts_with("<code>")),
        "{shown}"
    );
}

#[test]
fn pages_are_bounded_and_say_what_they_leave_out() {
    let world = world();
    let names: Vec<String> = (0..400).map(|index| format!("directory/{index:03}")).collect();
    for (image, sign) in [("a.img", "<"), ("b.img", "&")] {
        let line = format!("{}\n", sign.repeat(600));
        let contents: Vec<String> =
            names.iter().map(|name| (0..40).map(|n| format!("{name} {n} {line}")).collect()).collect();
        let files: Vec<(&str, &[u8])> =
            names.iter().zip(&contents).map(|(name, content)| (name.as_str(), content.as_bytes())).collect();
        world.write(image, squashfs_of(&files));
    }
    let pages = ["--limit", "0", "--html", "d.html", "--markdown", "d.md"];
    world.run(["diff", "a.img", "b.img"].iter().chain(&pages)).answer(1);
    let (page, text) = (read(&world, "d.html"), read(&world, "d.md"));
    assert!((3_000_000..5_000_000).contains(&page.len()), "{}", page.len());
    assert!((30_000..=60_000).contains(&text.len()), "{}", text.len());
    // Room is shared: the last file is there as well.
    assert!(page.contains("directory/399</span>") && page.contains("more lines</p>"));
    assert!(text.contains("Left out here: files that differ: "), "{text}");
    assert!(names_are_balanced(&text), "{text}");
    if let Some(names) = self::names(&world.root().join("d.html")) {
        assert!(names.lines().count() >= 400);
    }
    world.run(["diff", "a.img", "b.img", "--limit", "3", "--html", "few.html"]).answer(1);
    let few = read(&world, "few.html");
    assert!(few.contains("Left out here: files that differ: 397, ") && few.len() < 200_000, "{}", few.len());
}

fn names_are_balanced(text: &str) -> bool {
    text.matches("<details>").count() == text.matches("</details>").count()
}

#[test]
fn files_are_written_whole_and_only_where_they_may_be() {
    let world = world();
    world.write("a", "one\n");
    world.write("b", "two\n");
    world.write("d.html", "before");
    let run = |words: &[&str]| world.run(["diff", "a", "b"].iter().chain(words));
    // All of this is said before anything is compared.
    assert!(
        run(&["--html", "-", "--markdown", "-"])
            .failure(2)
            .contains("only one form can go to standard output")
    );
    assert!(run(&["--html", "-", "--json"]).failure(2).contains("hint: name files"));
    assert!(run(&["--html", "b"]).failure(2).contains("b is written or compared already"));
    assert!(
        run(&["--html", "x", "--markdown", "./x"]).failure(2).contains("./x is written or compared already")
    );
    assert!(run(&["--html", "no/d.html"]).failure(4).contains("error: cannot write no/d.html\ncause: "));
    assert!(run(&["--markdown", "home"]).failure(4).contains("error: cannot write home\n"));
    assert_eq!((read(&world, "b").as_str(), read(&world, "d.html").as_str()), ("two\n", "before"));
    run(&["--html", "d.html", "--markdown", "/dev/null"]).answer(1);
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    assert!(read(&world, "d.html").starts_with("<!doctype html>"));
    let mut left: Vec<_> =
        fs::read_dir(world.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort_unstable();
    assert_eq!(left, ["a", "b", "d.html", "home", "tmp"]);
}

/// Fails unless each hunk has as many lines as its head says.
fn check(node: &Value) -> usize {
    let diff = node["unified_diff"].as_str().unwrap_or_default();
    let mut left = [0_i64; 2];
    for line in diff.lines() {
        if let Some(head) = line.strip_prefix("@@ -") {
            assert_eq!(left, [0, 0], "{diff}");
            let (a, b) = head.strip_suffix(" @@").unwrap().split_once(" +").unwrap();
            left = [a, b].map(|range| range.split_once(',').unwrap().1.parse().unwrap());
        } else {
            left[usize::from(line.starts_with('+'))] -= 1;
            assert!(
                line.starts_with(['-', '+']) && !line.starts_with("--- ") && !line.starts_with("+++ "),
                "{line}"
            );
        }
    }
    assert_eq!(left, [0, 0], "{diff}");
    let inner = node["details"].as_array().map_or(&[][..], Vec::as_slice);
    usize::from(!diff.is_empty()) + inner.iter().map(check).sum::<usize>()
}

#[test]
fn diffoscope_shows_what_differs() {
    let world = world();
    hostile(&world);
    world.write("a.iso", live_iso(b"selfsame\n"));
    world.write("b.iso", live_iso(b"amnesia\n"));
    for (first, second, expected) in [
        ("a.iso", "b.iso", &["/live/filesystem.squashfs", "etc/hostname", "-selfsame", "+amnesia"][..]),
        (
            "a.img",
            "b.img",
            &[
                "<script>alert(1)<",
                "-one <b>",
                "+two\\u{202e} <i>",
                "-\\u{2d}- x",
                "+\\u{5b} 9 lines removed ]",
            ],
        ),
    ] {
        let path = world.root().join("d.json");
        world.run(["diff", first, second, "--diffoscope-json", "d.json"]).answer(1);
        assert!(check(&serde_json::from_str(&read(&world, "d.json")).unwrap()) > 3);
        for form in ["--text", "--html"] {
            let Some(shown) =
                oracle(Command::new("diffoscope").arg("--load-existing-diff").arg(&path).args([form, "-"]))
            else {
                return;
            };
            let complaint = String::from_utf8_lossy(&shown.stderr);
            assert_eq!(shown.status.code(), Some(1), "{complaint}");
            let shown = String::from_utf8_lossy(&shown.stdout);
            let expected = if form == "--text" { expected } else { &expected[..1] };
            for part in expected {
                let part = if form == "--text" {
                    (*part).to_owned()
                } else {
                    part.replace('<', "&lt;").replace('>', "&gt;")
                };
                assert!(shown.contains(&part), "{part:?} is not in {shown}{complaint}");
            }
        }
    }
}

#[test]
fn colours_are_for_terminals_whose_users_want_them() {
    let world = world();
    world.write("a", "one\n");
    world.write("b", "two\n");
    let run = |variables: &[&str]| {
        let line = format!("env {} {} diff a b", variables.join(" "), env!("CARGO_BIN_EXE_selfsame"));
        let mut command = Command::new("script");
        command
            .args(["-qec", &line, "/dev/null"])
            .current_dir(world.root())
            .env("TERM", "xterm")
            .env_remove("NO_COLOR");
        oracle(&mut command).map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let Some(shown) = run(&[]) else { return };
    assert!(
        shown.contains("\x1b[31m-1: one\x1b[0m") && shown.contains("\x1b[32m+1: two\x1b[0m"),
        "{shown:?}"
    );
    for variable in ["NO_COLOR=1", "TERM=dumb"] {
        let shown = run(&[variable]).unwrap();
        assert!(shown.contains("-1: one") && !shown.contains('\x1b'), "{shown:?}");
    }
    assert!(!world.run(["diff", "a", "b"]).answer(1).contains('\x1b'));
}
