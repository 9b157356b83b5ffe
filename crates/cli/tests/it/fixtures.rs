//! The pairs of files that diffoscope is tested with. `scripts/fixtures.sh` fetches them; they are not kept here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use selfsame_testkit::{TestEnvironment, oracle, skip};
use serde_json::Value;

use crate::{program, world};

/// Where they are; `None` if they cannot be fetched, which is an error in CI.
fn fixtures() -> Option<&'static Path> {
    static PLACE: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/fixtures.sh");
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fixtures");
        let output = Command::new(script).arg(place).output().map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout).into()) } else { Err(text(&output.stderr)) }
    });
    match &*PLACE {
        Ok(place) => Some(place),
        Err(why) => {
            skip(format_args!("diffoscope's fixtures cannot be fetched: {why}"));
            None
        }
    }
}

/// All of them, by path below the directory.
fn files(place: &Path) -> BTreeSet<String> {
    let (mut files, mut waiting) = (BTreeSet::new(), vec![place.to_owned()]);
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            files.insert(path.strip_prefix(place).unwrap().to_str().unwrap().to_owned());
        }
    }
    files
}

/// Pairs by name: `test1.tar` and `test2.tar`, `a.tar.gz` and `b.tar.gz`, and those that its tests name.
fn pairs(files: &BTreeSet<String>) -> Vec<[String; 2]> {
    let others = [
        ["base-files_157-r45695_ar71xx.ipk", "base-files_157-r45918_ar71xx.ipk"],
        ["elfmix1.not_a", "elfmix2.a"],
        ["text_ascii2", "text_iso8859"],
        ["text_unicode2", "text_unicode_binary_fallback"],
        ["binary2", "text_ascii1"],
    ];
    let mut pairs: Vec<[String; 2]> = others.map(|pair| pair.map(str::to_owned)).into();
    for name in files.iter().filter(|name| !name.contains("expected")) {
        let letter = |at: Option<usize>| {
            at.and_then(|at| name.as_bytes().get(at)).is_some_and(u8::is_ascii_alphabetic)
        };
        for (at, byte) in name.bytes().enumerate() {
            let next = match byte {
                b'1'..=b'8' => byte + 1,
                b'a' if !letter(at.checked_sub(1)) && !letter(Some(at + 1)) => b'b',
                _ => continue,
            };
            let other = format!("{}{}{}", &name[..at], char::from(next), &name[at + 1..]);
            pairs.push([name.clone(), other]);
        }
        pairs.push([name.clone(), name.replace("/add/", "/mult/")]);
    }
    pairs.retain(|[a, b]| a != b && files.contains(b));
    pairs
}

/// Compares two files with a GiB of memory and a minute, which nothing here needs.
fn compared(world: &TestEnvironment, pair: [&Path; 2], words: &[&str]) -> Output {
    let wrapper = ["timeout", "--signal=KILL", "60", "prlimit", "--as=1073741824"];
    let pair = pair.map(|path| path.to_str().unwrap());
    let output =
        program(world, &wrapper, &[&["diff", pair[0], pair[1]][..], words].concat()).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_some(), "{pair:?}: {}: {complaint}", output.status);
    assert!(!complaint.contains("panicked"), "{pair:?}: {complaint}");
    output
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "{error}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

#[test]
fn every_pair_differs_and_each_of_its_bytes_is_explained() {
    let Some(place) = fixtures() else { return };
    let world = world();
    let (mut wrong, mut count, mut formats) = (String::new(), 0, BTreeSet::new());
    for [a, b] in pairs(&files(place)) {
        let paths = [place.join(&a), place.join(&b)];
        let same = fs::read(&paths[0]).unwrap() == fs::read(&paths[1]).unwrap();
        let output = compared(&world, [&paths[0], &paths[1]], &["--json"]);
        let found = report(&output);
        let expected = if same { (Some(0), "identical") } else { (Some(1), "different") };
        if (output.status.code(), found["verdict"].as_str().unwrap()) != expected || found["unexplained"] != 0
        {
            wrong += &format!("{a} and {b}: {}, {} unexplained\n", output.status, found["unexplained"]);
        }
        count += 1;
        formats.extend(found["root"]["formats"][0].as_str().map(str::to_owned));
    }
    assert!(wrong.is_empty(), "{wrong}");
    // As of version 332.
    assert!(count >= 122 && formats.len() >= 20, "{count} pairs of {formats:?}");
    eprintln!("{count} pairs of {formats:?}");
}

#[test]
fn every_file_is_the_same_as_its_copy() {
    let Some(place) = fixtures() else { return };
    let world = world();
    for name in files(place) {
        let file = place.join(&name);
        let copy = world.write("copy", fs::read(&file).unwrap());
        let output = compared(&world, [&file, &copy], &["--json"]);
        assert_eq!(output.status.code(), Some(0), "{name}");
        assert_eq!(report(&output)["verdict"], "identical", "{name}");
    }
}

/// Everything that a report says: paths, parts, fields with their values, lines.
fn said(value: &Value, all: &mut Vec<String>) {
    match value {
        Value::String(text) => all.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| said(value, all)),
        Value::Object(values) => values.values().for_each(|value| said(value, all)),
        _ => {}
    }
}

/// The names in lines of a listing that differ, as `ls`, `isoinfo` or `zipinfo` print them, and what links lead to.
fn listed(diff: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in diff.lines().filter(|line| line.starts_with(['-', '+'])) {
        let clock = |word: &&str| word.len() == 5 && word.as_bytes()[2] == b':';
        let name = match (line.split_once(".000000 "), line.split_once("]  ")) {
            (Some((_, name)), _) | (None, Some((_, name))) => name.trim(),
            (None, None) => {
                let mut words = line.split_whitespace();
                if !words.any(|word| clock(&word)) {
                    continue;
                }
                words.next().unwrap_or_default()
            }
        };
        names.extend(name.split(" -> ").map(|name| name.trim_end_matches('/').to_owned()));
    }
    names.retain(|name| !name.is_empty());
    names
}

/// The first file of a pair, and what diffoscope expects of it: lists of files, lines of text, and words that say the same
/// as its own.
type Expected = (&'static str, &'static [&'static str], &'static [&'static str], &'static [&'static str]);

const EXPECTED: [Expected; 41] = [
    ("test1.tar", &["tar_listing_expected_diff"], &["text_ascii_expected_diff"], &[]),
    ("test1.cpio", &["cpio_listing_expected_diff"], &["text_ascii_expected_diff"], &[]),
    ("test1.binwalk", &["binwalk_expected_diff"], &["text_ascii_expected_diff"], &[]),
    ("test1.iso", &["iso9660_rockridge_expected_diff"], &["text_ascii_expected_diff"], &[]),
    ("test1.squashfs", &[], &["text_ascii_expected_diff"], &["link", "mkfs_time", "bytes_used"]),
    ("test1_root.squashfs", &[], &[], &["mkfs_time"]),
    ("test1.ext4", &["ext4_expected_diffs"], &[], &["Wed Dec 2 17:01:40 CET 2015"]),
    ("test1.fat12", &["fat12_expected_diffs"], &[], &["test1", "test2"]),
    ("test1.deb", &["deb_metadata_expected_diff"], &[], &["control", "md5sums"]),
    ("test1.zip", &["zip_zipinfo_expected_diff"], &["text_ascii_expected_diff"], &[]),
    ("test_comment1.zip", &[], &[], &["hello", "goodbye"]),
    ("test1.jmod", &["jmod_zipinfo_expected_diff"], &[], &[]),
    ("test1.mozzip", &["mozzip_zipinfo_expected_diff"], &["text_ascii_expected_diff"], &[]),
    ("test1.apk", &["apk_zipinfo_expected_diff"], &[], &[]),
    ("test1.epub", &[], &[], &["toc.ncx", "content.opf"]),
    ("test1.docx", &[], &[], &["word/document.xml"]),
    ("test1.odt", &[], &[], &["content.xml"]),
    ("test1.nupkg", &[], &[], &["[Content_Types].xml"]),
    ("base-files_157-r45695_ar71xx.ipk", &["ipk_metadata_expected_diff"], &[], &[]),
    // diffoscope compares the only file of each; here they are files of other names.
    ("containers/a.tar.gz", &[], &[], &["21stcentury", "limelight"]),
    ("containers/a.tar.xz", &[], &[], &["21stcentury", "limelight"]),
    ("containers/a.tar.bz2", &[], &[], &["21stcentury", "limelight"]),
    ("test1.gz", &[], &["text_ascii_expected_diff"], &[]),
    ("test1.xz", &[], &["text_ascii_expected_diff"], &[]),
    ("test1.bz2", &[], &["text_ascii_expected_diff"], &[]),
    ("test1.lz4", &[], &["text_ascii_expected_diff"], &[]),
    ("test1.lzma", &[], &["text_ascii_expected_diff"], &[]),
    ("test1.a", &["elf_lib_metadata_expected_diff"], &[], &["test.o"]),
    ("test1.rlib", &[], &[], &["alloc_system-d16b8f0e.0.o"]),
    ("test1.o", &[], &[], &[".text"]),
    ("test1.exe", &[], &[], &["time_date_stamp"]),
    ("test1.sqlite3", &[], &[], &["test"]),
    ("test1.mo", &[], &[], &["Another string"]),
    ("test1.png", &[], &[], &["IDAT"]),
    ("test1.pyc-renamed", &[], &[], &["mtime"]),
    (
        "test1-le64.cache-4",
        &[],
        &[],
        &["size", "/usr/share/fonts/truetype/dejavu", "dirs", "set", "checksum"],
    ),
    ("test1.debsrc.tar.gz", &[], &[], &[]),
    ("text_ascii1", &[], &["text_ascii_expected_diff"], &[]),
    ("text_unicode1", &[], &["text_unicode_expected_diff"], &[]),
    ("test1.json", &[], &[], &[]),
    ("quine_a.deb", &["quine_deb_expected_diff"], &[], &[]),
];

/// The second one of a pair.
fn partner<'a>(name: &str, pairs: &'a [[String; 2]]) -> &'a str {
    &pairs.iter().find(|[first, _]| first == name).unwrap_or_else(|| panic!("{name} has no partner"))[1]
}

#[test]
fn what_its_expected_diffs_name_is_named() {
    let Some(place) = fixtures() else { return };
    let (world, pairs) = (world(), pairs(&files(place)));
    let (mut missing, mut count) = (String::new(), 0);
    for (name, lists, texts, words) in EXPECTED {
        let output = compared(&world, [&place.join(name), &place.join(partner(name, &pairs))], &["--json"]);
        let mut all = Vec::new();
        said(&report(&output), &mut all);
        let read = |file: &&str| fs::read_to_string(place.join(file)).unwrap();
        let names: BTreeSet<String> = lists.iter().flat_map(|file| listed(&read(file))).collect();
        let is_said = |name: &str| {
            let plain = |text: &str| text.trim_start_matches("./").trim_matches(['/', '"', '\n']).to_owned();
            // The root is called by a slash or a dot.
            let wanted = plain(if name == "." { "" } else { name });
            let quoted = format!("\"{wanted}\"");
            all.iter().any(|text| plain(text) == wanted || name.len() > 1 && text.contains(&quoted))
        };
        let mut wanted: Vec<String> = names.into_iter().collect();
        for text in texts.iter().map(read) {
            // The first lines of both: what follows may be aligned in another way.
            for sign in ["-", "+"] {
                let mut lines = text.lines().filter(|line| line.starts_with(sign) && line.len() > 4);
                wanted.extend(lines.next().map(|line| line[1..].to_owned()));
            }
        }
        wanted.extend(words.iter().map(|word| (*word).to_owned()));
        count += wanted.len();
        let absent: Vec<_> = wanted.iter().filter(|name| !is_said(name)).collect();
        if !absent.is_empty() {
            missing += &format!("{name}: {absent:?} of {wanted:?}\n");
        }
    }
    assert!(missing.is_empty(), "{missing}");
    eprintln!("{count} names of {} pairs", EXPECTED.len());
}

#[test]
fn quines_have_an_end() {
    let Some(place) = fixtures() else { return };
    let world = world();
    for (name, at) in [("quine.gz", 4), ("quine.zip", 10), ("quine_a.deb", 30)] {
        let file = place.join(name);
        // Its date is another one: it holds itself as before, and not what holds it.
        let mut bytes = fs::read(&file).unwrap();
        bytes[at] ^= 1;
        let changed = world.write(name, &bytes);
        let test = place.join(name.replace("quine", "test1").replace("_a", ""));
        for other in [&changed, &test] {
            let output = compared(&world, [&file, other], &["--json"]);
            let found = report(&output);
            assert_eq!((output.status.code(), &found["unexplained"]), (Some(1), &Value::from(0)), "{name}");
        }
    }
}

/// diffoscope itself shows our form of what it has of its own.
#[test]
fn diffoscope_shows_our_report_of_its_own_pairs() {
    let Some(place) = fixtures() else { return };
    let (world, pairs) = (world(), pairs(&files(place)));
    for (name, expected) in [
        ("test1.tar", &["dir/text", "dir/link", "really-broken"][..]),
        ("test1.iso", &["text", "link"]),
        ("test1.squashfs", &["text", "link"]),
        ("test1.deb", &["control.tar.gz", "data.tar.gz"]),
        ("test1.zip", &["dir/text"]),
        ("test1.ext4", &["date.txt"]),
        ("test1.sqlite3", &["test"]),
        ("containers/a.tar.xz", &["21stcentury", "limelight"]),
    ] {
        let json = world.root().join("d.json");
        let words = ["--diffoscope-json", json.to_str().unwrap()];
        let pair = [place.join(name), place.join(partner(name, &pairs))];
        assert_eq!(compared(&world, [&pair[0], &pair[1]], &words).status.code(), Some(1), "{name}");
        for form in ["--text", "--html"] {
            let mut show = Command::new("diffoscope");
            show.arg("--load-existing-diff").arg(&json).args([form, "-"]);
            let Some(shown) = oracle(&mut show) else { return };
            let complaint = String::from_utf8_lossy(&shown.stderr);
            assert_eq!(shown.status.code(), Some(1), "{name}: {complaint}");
            let text = String::from_utf8_lossy(&shown.stdout).replace("&#x27;", "'").replace("&nbsp;", " ");
            // A page marks what differs inside of a line.
            let expected = if form == "--text" { expected } else { &expected[..1] };
            for part in expected {
                assert!(text.contains(part), "{name}: {part:?} is not in {text}{complaint}");
            }
        }
    }
}
