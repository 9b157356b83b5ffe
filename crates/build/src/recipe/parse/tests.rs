//! What is read, and what is refused where.

use std::path::Path;

use super::super::Output;
use super::{RecipeError, parse};

const GOOD: &str = r#"format = 1
[image]
name = "live"
outputs = ["iso", "squashfs"]
epoch = "2025-05-17T00:00:00Z"
[squashfs]
codec = "xz:6:dict=1048576:x86"
block-size = "1M"
[archives.debian]
suites = ["bookworm"]
keys = "debian"
[packages]
priority = "important"
include = ["nano", "linux-image-amd64"]
[files]
overlay = "files"
[[hooks]]
run = "hooks/10-x"
"#;

fn wrong(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from));
    parse(Path::new("r"), &GOOD.replacen(from, to, 1)).unwrap_err().to_string()
}

#[test]
fn reads_what_it_says_and_fills_in_defaults() {
    let recipe = parse(Path::new("r"), GOOD).unwrap();
    assert_eq!(recipe.outputs, [Output::Iso, Output::Squashfs]);
    assert_eq!(recipe.volume_id, "LIVE");
    assert_eq!(recipe.squashfs.block_size, 1 << 20);
    assert_eq!(recipe.packages.include, ["linux-image-amd64", "nano"]);
    assert_eq!(recipe.archives["debian"].mirrors, ["auto"]);
    assert_eq!(recipe.archives["debian"].components, ["main"]);
    assert_eq!(recipe.system.hostname, "localhost");
}

#[test]
fn xz_has_a_dictionary_of_one_block_if_none_is_given() {
    for (codec, block_size, expected) in [
        ("xz:6", "128K", "xz:6:dict=131072"),
        ("xz:9:x86", "1M", "xz:9:dict=1048576:x86"),
        ("xz:6:x86:dict=8192", "4K", "is no codec for such blocks"),
        ("xz:6:dict=98304", "128K", "xz:6:dict=98304"),
        ("lz4", "128K", "lz4:9"),
    ] {
        let text = GOOD.replacen("xz:6:dict=1048576:x86", codec, 1).replacen("1M", block_size, 1);
        let found = match parse(Path::new("r"), &text) {
            Ok(recipe) => recipe.squashfs.codec.to_string(),
            Err(error) => {
                assert!(error.to_string().starts_with("r/selfsame.toml:7:9: xz dictionary of"), "{error}");
                "is no codec for such blocks".to_owned()
            }
        };
        assert_eq!(found, expected, "{codec}");
    }
}

#[test]
fn errors_name_line_and_column() {
    let cases = [
        (
            "format = 1",
            "format = 2",
            "r/selfsame.toml:1:10: format 2 is not known to this version, which reads 1",
        ),
        ("\"iso\"", "\"isso\"", "r/selfsame.toml:4:12: \"isso\" is not one of iso, squashfs, tar"),
        (
            "[archives.debian]",
            "sort = \"/boot.sort\"\n[archives.debian]",
            "r/selfsame.toml:9:8: \"/boot.sort\" leaves the recipe: paths are relative to it and without ..",
        ),
        (
            "[archives.debian]",
            "[initramfs]\ncodec = \"lz4\"\n[archives.debian]",
            "r/selfsame.toml:10:9: \"lz4\" is for SquashFS only: an initramfs is zstd, gzip or xz",
        ),
        ("\"1M\"", "\"3M\"", "r/selfsame.toml:8:14: \"3M\" is not a power of two from 4K to 1M"),
        (
            "\"files\"",
            "\"../files\"",
            "r/selfsame.toml:16:11: \"../files\" leaves the recipe: paths are relative to it and without ..",
        ),
        (
            "\"files\"",
            "\"./.\"",
            "r/selfsame.toml:16:11: \"./.\" is the recipe itself: name a file or directory in it",
        ),
        (
            "\"hooks/10-x\"",
            "\"/bin/sh\"",
            "r/selfsame.toml:18:7: \"/bin/sh\" leaves the recipe: paths are relative to it and without ..",
        ),
        (
            "[\"bookworm\"]",
            "[\"bookworm\", \"bookworm\"]",
            "r/selfsame.toml:10:23: \"bookworm\" is listed twice",
        ),
        (
            "keys = \"debian\"",
            "keys = \"debian\"\ncomponents = [\"main\", \"main\"]",
            "r/selfsame.toml:12:23: \"main\" is listed twice",
        ),
        (
            "keys = \"debian\"",
            "keys = \"debian\"\nserial = \"2026071101\"",
            "r/selfsame.toml:12:10: \"2026071101\" is not \"latest\" or the name of a snapshot like \"20260711T101637Z\"",
        ),
        (
            "[archives.debian]",
            "[boot]\ncmdline = 'a=\"b c\"'\n[archives.debian]",
            "r/selfsame.toml:10:11: a kernel command line cannot have \", which boot loaders change",
        ),
        ("\"nano\"", "\"Nano\"", "r/selfsame.toml:14:12: \"Nano\" cannot be a package name"),
        (
            "keys = \"debian\"",
            "keys = \"ubuntu\"",
            "r/selfsame.toml:11:8: \"ubuntu\" is no built-in set of keys: \"debian\" is the only one",
        ),
    ];
    for (from, to, message) in cases {
        assert_eq!(wrong(from, to), message);
    }
    assert!(wrong("name = \"live\"", "name = ").starts_with("r/selfsame.toml:3:8: "));
}

/// The keys of the table that begins after `header` in a recipe that has all tables, as serde lists them when it
/// meets another one.
fn known_keys(header: &str) -> Vec<String> {
    let all = format!(
        "{GOOD}[initramfs]\n[boot]\n[system]\n[[system.users]]\n[[overlay]]\nname = \"x\"\ndirectory = \"y\"\n"
    );
    assert!(all.contains(header), "{header}");
    let message = parse(Path::new("r"), &all.replacen(header, &format!("{header}other = 1\n"), 1));
    let message = message.unwrap_err().to_string();
    let (_, expected) = message.split_once("expected ").unwrap_or_else(|| panic!("{message}"));
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_page_on_recipes_has_exactly_these_keys() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/recipe.md");
    let page = std::fs::read_to_string(page).unwrap();
    let section = |title: &str| {
        let (_, rest) = page.split_once(&format!("# {title}\n")).unwrap_or_else(|| panic!("no {title}"));
        rest.split("\n#").next().unwrap_or(rest)
    };
    let rows = |title: &str| -> Vec<String> {
        let key = |line: &str| Some(line.strip_prefix("| `")?.split('`').next()?.to_owned());
        section(title).lines().filter_map(key).collect()
    };
    for (header, title) in [
        ("[image]\n", "`[image]`"),
        ("[squashfs]\n", "`[squashfs]`"),
        ("[initramfs]\n", "`[initramfs]`"),
        ("[boot]\n", "`[boot]`"),
        ("[archives.debian]\n", "`[archives.NAME]`"),
        ("[[overlay]]\n", "`[[overlay]]`"),
        ("[packages]\n", "`[packages]`"),
        ("[system]\n", "`[system]`"),
        ("[[system.users]]\n", "`[[system.users]]`"),
        ("[files]\n", "`[files]`"),
        ("[[hooks]]\n", "`[[hooks]]`"),
    ] {
        assert_eq!(rows(title), known_keys(header), "{title}");
    }
    assert_eq!(rows("Table `keys`"), ["file", "fingerprints"]);
    for key in known_keys("") {
        assert!(section("At the top").contains(&format!("`{key}`")), "{key}");
    }
}

#[test]
fn unknown_keys_suggest_the_nearest() {
    let text = GOOD.replacen("block-size", "blocksize", 1);
    let RecipeError::Invalid { line: 8, hint: Some(hint), .. } = parse(Path::new("r"), &text).unwrap_err()
    else {
        panic!("no hint");
    };
    assert_eq!(hint, "did you mean `block-size`?");
}

const OVERLAY: &str = r#"[[overlay]]
name = "mine"
directory = "debs"
priority = 990
[packages]
from = { "linux-*" = "debian", nano = "mine" }
"#;

#[test]
fn directories_of_packages_priorities_and_guards_are_read() {
    let text = GOOD.replacen("[packages]\n", OVERLAY, 1).replacen(
        "keys = \"debian\"\n",
        "keys = \"debian\"\npriority = 100\n",
        1,
    );
    let recipe = parse(Path::new("r"), &text).unwrap();
    let mine = &recipe.local["mine"];
    assert_eq!((mine.directory.to_str(), mine.priority), (Some("debs"), Some(990)));
    assert_eq!(recipe.archives["debian"].priority, Some(100));
    assert_eq!(recipe.packages.from["linux-*"], "debian");
    for (from, to, message) in [
        ("name = \"mine\"", "name = \"debian\"", "13:8: there is another archive \"debian\""),
        ("\"debs\"", "\"../debs\"", "14:13: \"../debs\" leaves the recipe"),
        ("priority = 990", "priority = 0", "15:12: a priority is 1 to 1000"),
        ("priority = 990", "priority = 1001", "15:12: a priority is 1 to 1000"),
        ("nano = \"mine\"", "nano = \"debia\"", "there is no archive \"debia\""),
        ("\"linux-*\"", "\"Linux\"", "17:10: \"Linux\" is not the name of a package"),
        ("\"linux-*\"", "\"a/b\"", "17:10: \"a/b\" is not the name of a package"),
    ] {
        let text = GOOD.replacen("[packages]\n", &OVERLAY.replacen(from, to, 1), 1);
        let error = parse(Path::new("r"), &text).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}
