//! `selfsame report`

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use selfsame_testkit::readme::workspace;
use selfsame_testkit::{TestEnvironment, oracle, oracle_text};
use serde_json::{Value, json};

use crate::build::{Recipe, builds_here, files_below, names_in, shared};
use crate::inspect::squashfs_of;
use crate::{assert_says, pipe, world};

/// Texts that want to be something else: markup, an end of a line or a cell, a mention, an escape of a terminal.
const HOSTILE: [&str; 6] = [
    "<script>alert(1)</script>",
    "\"onload='x' &lt; ]]> -->",
    "a\n| b",
    "\u{202e}gpj.exe\u{200b}\u{ffff}",
    "@everyone `` | <details>",
    "\x1b[31mred\0",
];

/// The report of a check with these experiments' variations and findings.
fn report(started: &str, varied: &[&str], findings: &Value) -> Value {
    let varied: Vec<Value> =
        varied.iter().map(|name| json!({"name": name, "value": format!("other {name}")})).collect();
    let differing: Vec<&Value> = findings.as_array().unwrap().iter().map(|one| &one["what"]).collect();
    json!({
        "format": 1,
        "recipe": "live",
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "epoch": "2026-08-01T00:00:00Z",
        "lock": "5".repeat(64),
        "program": "0.1.0",
        "started": started,
        "identical": differing.is_empty(),
        "seed": 7,
        "control": [
            {"path": "results/control/live.iso", "sha256": "a".repeat(64)},
            {"path": "results/control/live.record.json", "sha256": "b".repeat(64)},
        ],
        "experiments": [
            {"number": 1, "seed": 7, "varied": varied, "from": "bootstrap", "differing": differing, "seconds": 12.5},
        ],
        "findings": findings,
        "results": "/somewhere/results",
    })
}

fn finding(what: &str, varied: &[&str]) -> Value {
    let values: Vec<Value> = varied.iter().map(|name| json!({"name": name, "value": "C"})).collect();
    let culprit = ["nothing", "varied", "together"][varied.len().min(2)];
    json!({"what": what, "culprit": culprit, "varied": values, "stage": "customise", "experiment": 1})
}

/// Findings of one check: with a diff, with two culprits, of a build that fails, and of none.
fn findings() -> Value {
    let mut all = [
        finding("/etc/motd", &["locale"]),
        finding("/etc/order", &["directory-order", "hash-seed"]),
        finding("the build", &["umask"]),
        finding("/etc/date", &[]),
    ];
    all[0]["diff"] = json!("diffs/1-live.iso");
    all[0]["causes"] = json!(["time-stamp", "no-such-cause"]);
    all[2]["failed"] =
        json!("stage customise: it ended with exit status 9; it said:\n    no <umask> but 022");
    Value::Array(all.into())
}

fn put(world: &TestEnvironment, place: &str, report: &Value) {
    world.write(format!("{place}/report.json"), report.to_string());
    world.write(format!("{place}/plan.toml"), "format = 1\nseed = 7\nexperiments = 1\nvary = [\"clock\"]\n");
    world.write(format!("{place}/control/live.record.json"), "{}\n");
}

/// Two checks of a recipe, and one that did not end. The newer one has differences, and the diff of one of them.
fn history(world: &TestEnvironment) {
    let varied = ["clock", "locale", "umask", "directory-order", "hash-seed"];
    put(world, "all/build-2", &report("2026-11-02T10:11:12Z", &varied, &findings()));
    put(world, "all/build-1", &report("2026-11-01T09:08:07Z", &["clock", "moon"], &json!([])));
    fs::create_dir(world.root().join("all/build-3")).unwrap();
    for (name, content) in [("a.img", "one\n"), ("b.img", "two\n")] {
        world.write(name, squashfs_of(&[("etc/motd", content.as_bytes())]));
    }
    let diff = world.run(["diff", "a.img", "b.img", "--json"]).answer(1);
    world.write("all/build-2/diffs/1-live.iso.json", diff);
}

/// What the independent reader of pages says.
fn read_by(mode: &str, path: &Path) -> Option<String> {
    let reader = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/report_site.py");
    oracle_text(Command::new("python3").arg(reader).arg(mode).arg(path))
}

fn text_of(world: &TestEnvironment, name: &str) -> String {
    fs::read_to_string(world.root().join(name)).unwrap()
}

/// The directory of the page of the check that began at `started`, a part of its name.
fn page_of(world: &TestEnvironment, started: &str) -> String {
    let names = names_in(&world.root().join("site"));
    let found: Vec<&String> = names.iter().filter(|name| name.starts_with(started)).collect();
    assert_eq!(found.len(), 1, "{names:?}");
    format!("site/{}", found[0])
}

#[test]
fn the_site_shows_checks_by_variation_and_leads_to_their_diffs() {
    let world = world();
    history(&world);
    let run = world.run(["report", "all", "--out", "site"]);
    assert_eq!(run.stderr, "directories without a report, as of a check that did not end: 1\n");
    assert_eq!(run.success(), "checks: 2, identical: 1, with differences: 1\nsite/index.html\n");
    let index = text_of(&world, "site/index.html");
    // The newest first, and a column for what this program does not know.
    let rows: Vec<&str> = index.split("<tr><th scope=\"row\">").skip(1).collect();
    assert_eq!(rows.len(), 2);
    assert_says(rows[0], &["build-2", "2026-11-02 10:11", "4 differences", "the build fails", "not varied"]);
    assert_eq!(rows[0].matches("1 difference<").count(), 4, "{}", rows[0]);
    assert_says(rows[1], &["build-1", "2026-11-01 09:08", "identical"]);
    assert!(index.contains("<span>moon</span>"));
    let newest = page_of(&world, "20261102T101112Z");
    let page = text_of(&world, &format!("{newest}/index.html"));
    let commit = "0123456789abcdef0123456789abcdef01234567";
    assert_says(
        &page,
        &[
            &format!("<dt>commit</dt><dd><code>{commit}</code></dd>"),
            &"5".repeat(64),
            &"a".repeat(64),
            "<dt>seed</dt><dd>7</dd>",
            "selfsame check RECIPE --plan plan.toml",
            "differs because of locale (C)",
            "differs if all of these are varied: directory-order (C), hash-seed (C)",
            "fails because of umask (C)",
            "    no &lt;umask&gt; but 022",
            "differs from build to build",
            "looks like <code>time-stamp</code>: ",
            "looks like <code>no-such-cause</code></p>",
            "<a href=\"diffs/1-live.iso.html#q=etc/motd\">",
            "<a href=\"live.record.json\">",
        ],
    );
    let diff = text_of(&world, &format!("{newest}/diffs/1-live.iso.html"));
    assert_says(&diff, &["<code>control/live.iso</code>", "<code>1/live.iso</code>", "etc/motd", "1: two"]);
    let Some(pages) = read_by("pages", &world.root().join("site")) else { return };
    assert_says(&pages, &["index.html|Checks|live\n", "index.html|live, 2026-11-02 10:11|What differs|"]);
}

#[test]
fn pages_are_readable_on_a_phone_by_day_and_by_night() {
    if oracle(Command::new("chromium").arg("--version")).is_none() {
        return;
    }
    let world = world();
    history(&world);
    hostile(&world);
    world.run(["report", "all", "--out", "site"]).success();
    assert_eq!(read_by("shown", &world.root().join("site")).as_deref(), Some("5\n"));
}

#[test]
fn a_test_case_for_each_variation() {
    let world = world();
    history(&world);
    world.run(["report", "all", "--junit", "j.xml"]).success();
    let Some(cases) = read_by("junit", &world.root().join("j.xml")) else { return };
    let (newest, before) = cases.split_at(cases.find("live|moon|passed|").unwrap());
    assert_says(
        newest,
        &[
            "live|clock|passed|\n",
            "live|locale|failed|/etc/motd differs because of locale (C), first in stage customise\n",
            "live|hash-seed|failed|/etc/order differs if all of these are varied: ",
            "live|umask|failed|the build fails because of umask (C), first in stage customise\n",
            "live|kernel|skipped|\n",
            "live|whatever is varied|failed|/etc/date differs from build to build, ",
        ],
    );
    assert_eq!(before, "live|moon|passed|\nlive|whatever is varied|passed|\n");
}

#[test]
fn the_summary_fits_a_comment() {
    let world = world();
    history(&world);
    let text = world.run(["report", "all", "--markdown", "-"]).success();
    insta::assert_snapshot!("summary", text);
    // However much there is to say.
    let many: Vec<Value> =
        (0..3000).map(|index| finding(&format!("/{index}/{}", "|`<".repeat(200)), &[])).collect();
    for index in 0..60 {
        let mut report = report("2026-11-01T09:08:07Z", &["clock"], &Value::Array(many.clone()));
        report["recipe"] = json!(format!("recipe {index}"));
        put(&world, &format!("many/{index}"), &report);
    }
    let text = world.run(["report", "many", "--markdown", "-"]).success();
    assert!((20_000..60_000).contains(&text.len()), "{}", text.len());
    assert_says(&text, &["And 2999 more.\n", " more recipes, for which there is no room here.\n"]);
    // Pages have bounds, too.
    world.run(["report", "many/0", "--out", "site"]).success();
    let page = text_of(&world, &format!("{}/index.html", page_of(&world, "20261101")));
    assert!(
        page.len() < 3_000_000 && page.contains("And 2000 more: <a href=\"report.json\">"),
        "{}",
        page.len()
    );
}

/// A check whose every text is hostile.
fn hostile(world: &TestEnvironment) {
    let of = |text: &str| {
        let mut one = finding(text, &["locale"]);
        one["stage"] = json!(text);
        one["causes"] = json!([text]);
        one["varied"][0]["value"] = json!(text);
        one["failed"] = json!(text);
        one
    };
    let long = "huge ".repeat(50_000);
    let findings = HOSTILE.iter().copied().chain([long.as_str()]).map(of).collect();
    let mut hostile = report("2026-11-03T00:00:00Z", &["locale"], &Value::Array(findings));
    hostile["recipe"] = json!(HOSTILE[0]);
    hostile["program"] = json!(HOSTILE[1]);
    hostile["experiments"][0]["from"] = json!(HOSTILE[0]);
    hostile["experiments"][0]["varied"][0]["value"] = json!(HOSTILE[3]);
    hostile["experiments"][0]["failed"] = json!(HOSTILE[5]);
    hostile["control"][0]["path"] = json!(format!("../../{}", HOSTILE[4]));
    put(world, "all/hostile", &hostile);
}

#[test]
fn nothing_in_results_is_markup() {
    let world = world();
    hostile(&world);
    world.run(["report", "all", "--out", "site", "--junit", "j.xml", "--markdown", "m.md"]).success();
    let page = text_of(&world, &format!("{}/index.html", page_of(&world, "20261103")));
    assert_says(
        &page,
        &["&lt;script&gt;alert(1)", "\\u{202e}gpj.exe\\u{200b}", "\\u{1b}[31mred\\u{0}", "more bytes)"],
    );
    assert!(!page.contains("<script") && page.len() < 100_000, "{}", page.len());
    let text = text_of(&world, "m.md");
    let rows = text.lines().filter(|line| line.starts_with("| ") && line.contains("because of"));
    assert!(rows.clone().all(|row| row.matches('|').count() == 5), "{text}");
    assert!(!text.contains(['\u{202e}', '\x1b']) && text.len() < 60_000, "{text}");
    let Some(pages) = read_by("pages", &world.root().join("site")) else { return };
    assert!(pages.contains("|<script>alert(1)</script>, 2026-11-03 00:00|"), "{pages}");
    let cases = read_by("junit", &world.root().join("j.xml")).unwrap();
    assert_says(
        &cases,
        &["<script>alert(1)</script>|locale|failed|<script>alert(1)</script> fails", ", and 6 more"],
    );
    let mut renderer = Command::new("cmark-gfm");
    renderer.args(["--unsafe", "-e", "table", "-e", "autolink"]).arg(world.root().join("m.md"));
    let Some(shown) = oracle_text(&mut renderer) else { return };
    assert!(!shown.contains("<script") && !shown.contains("<details") && !shown.contains("<a "), "{shown}");
}

#[test]
fn the_same_results_give_the_same_site() {
    let (first, mut second) = (world(), world());
    for world in [&first, &second] {
        history(world);
        hostile(world);
    }
    second.set("TZ", "America/St_Johns").set("LC_ALL", "C").umask("0022");
    let words = |places: &'static [&'static str]| {
        let forms = ["--out", "site", "--junit", "j.xml", "--markdown", "m.md"];
        ["report"].into_iter().chain(places.iter().copied()).chain(forms).collect::<Vec<_>>()
    };
    first.run(words(&["all"])).success();
    // The same results given twice are there once.
    second.run(words(&["all/../all", "all"])).success();
    let names = |world: &TestEnvironment| {
        let root = world.root().join("site");
        let relative = |path: std::path::PathBuf| path.strip_prefix(&root).unwrap().to_owned();
        files_below(&root).into_iter().map(relative).collect::<Vec<_>>()
    };
    assert_eq!(names(&first), names(&second));
    let files = names(&first).into_iter().map(|name| Path::new("site").join(name));
    for name in files.chain(["j.xml".into(), "m.md".into()]) {
        let read = |world: &TestEnvironment| fs::read(world.root().join(&name)).unwrap();
        assert!(read(&first) == read(&second), "{}", name.display());
    }
}

#[test]
fn a_broken_report_is_refused_with_file_and_field() {
    let world = world();
    let good = || report("2026-11-02T10:11:12Z", &["clock"], &findings());
    let broken = |change: &dyn Fn(&mut Value)| {
        let mut report = good();
        change(&mut report);
        report.to_string()
    };
    let wrong = [
        ("{".into(), "EOF while parsing"),
        ("[]".into(), "the whole is a list: it should be an object"),
        (
            broken(&|it| it["format"] = json!(2)),
            "its format is 2, and this selfsame reads 1: use a newer one",
        ),
        (
            broken(&|it| drop(it.as_object_mut().unwrap().remove("seed"))),
            "`seed` is missing: it should be a number",
        ),
        (broken(&|it| it["seed"] = json!(-1)), "`seed` is -1: it should be a number from 0 on"),
        (
            broken(&|it| it["lock"] = json!("5/../..")),
            "`lock` is \"5/../..\": it should be 64 hexadecimal digits",
        ),
        (
            broken(&|it| it["started"] = json!("../../../x")),
            "`started` is \"../../../x\": it should be a moment",
        ),
        (
            broken(&|it| it["identical"] = json!(true)),
            "`identical` is true: it should be true if there are no",
        ),
        (broken(&|it| it["experiments"][0]["seconds"] = json!("1")), "`experiments[0].seconds` is \"1\""),
        (broken(&|it| it["findings"][1]["culprit"] = json!("moon")), "`findings[1].culprit` is \"moon\""),
        (
            broken(&|it| it["findings"][0]["varied"][0]["name"] = json!("A b")),
            "`findings[0].varied[0].name` is \"A b\"",
        ),
        (broken(&|it| it["findings"][3]["culprit"] = json!("varied")), "`findings[3].varied` is a list"),
        (
            broken(&|it| it["findings"][0]["diff"] = json!("../1-live.iso")),
            "`findings[0].diff` is \"../1-live.iso\"",
        ),
        (broken(&|it| it["findings"][0]["diff"] = json!("diffs/1-../x")), "it should be as diffs/1-live.iso"),
        (broken(&|it| it["control"][0]["sha256"] = json!(5)), "`control[0].sha256` is 5"),
        (" ".repeat(40 << 20), "it is longer than 33554432 bytes"),
        ("[".repeat(100_000), "recursion limit exceeded"),
    ];
    for (text, why) in wrong {
        world.write("results/report.json", text);
        let error = world.run(["report", "--out", "site", "--junit", "j.xml"]).failure(3);
        assert_says(&error, &["results/report.json is not usable", why, "hint: give results as"]);
    }
    // Nothing was written, and what was given but has no results is said.
    assert_eq!(names_in(world.root()), ["home", "results", "tmp"]);
    assert!(world.run(["report", "tmp", "--out", "site"]).failure(3).contains("there are no results in tmp"));
    assert!(world.run(["report"]).failure(2).contains("--out"));
}

#[test]
fn nothing_outside_of_results_is_read() {
    let world = world();
    history(&world);
    world.write("secret.json", "{\"secret\": 1}");
    let at = |name: &str| world.root().join("all/build-2").join(name);
    for (name, place) in [
        ("diffs/1-live.iso.json", "all/build-2/diffs/1-live.iso.json"),
        ("control/live.record.json", "all/build-2/control/live.record.json"),
        ("plan.toml", "all/build-2/plan.toml"),
        ("report.json", "all/build-2/report.json"),
    ] {
        let kept = fs::read(at(name)).unwrap();
        fs::remove_file(at(name)).unwrap();
        symlink(world.root().join("secret.json"), at(name)).unwrap();
        let error = world.run(["report", "all", "--out", "site"]).failure(3);
        assert_says(&error, &[&format!("{place} is not usable"), "it is a link"]);
        fs::remove_file(at(name)).unwrap();
        pipe(&world, place);
        assert_says(
            &world.run(["report", "all", "--out", "site"]).failure(3),
            &[&format!("{place} is not usable"), "it is not a regular file"],
        );
        fs::remove_file(at(name)).unwrap();
        fs::write(at(name), kept).unwrap();
    }
    // A page beside the diff is nothing to go by: it is made of the JSON form, and that must be one.
    world.write("all/build-2/diffs/1-live.iso.html", "<script>");
    world.run(["report", "all", "--out", "site"]).success();
    let page = text_of(&world, &format!("{}/diffs/1-live.iso.html", page_of(&world, "20261102")));
    assert!(page.contains("Content-Security-Policy") && page.contains("1: two"));
    let good = text_of(&world, "all/build-2/diffs/1-live.iso.json");
    let mut odd: Value = serde_json::from_str(&good).unwrap();
    odd["root"]["bytes"] = json!([{"at": [0, 0], "hex": ["<s cr ", "00"]}]);
    for (text, why) in [
        (good.replace("\"format\": 1", "\"format\": 2"), "its format is 2, not 1"),
        (good.replace("\"different\"", "\"<b>\""), "there is no verdict"),
        (odd.to_string(), "a field `hex` has something else"),
        ("{}".into(), "missing field"),
    ] {
        world.write("all/build-2/diffs/1-live.iso.json", text);
        let error = world.run(["report", "all", "--out", "other"]).failure(3);
        assert_says(&error, &["all/build-2/diffs/1-live.iso.json is not usable", why]);
    }
    assert!(!names_in(world.root()).iter().any(|name| name.contains("other")));
}

#[test]
fn a_site_is_replaced_whole_and_nothing_else_is() {
    let world = world();
    history(&world);
    world.run(["report", "all/build-1", "--out", "site"]).success();
    let before = files_below(&world.root().join("site")).len();
    world.run(["report", "all", "--out", "site"]).success();
    assert!(files_below(&world.root().join("site")).len() > before);
    world.run(["report", "all/build-1", "--out", "site"]).success();
    assert_eq!(files_below(&world.root().join("site")).len(), before);
    // Whatever is not of an earlier report stays.
    world.write("site/notes.txt", "mine");
    let error = world.run(["report", "all", "--out", "site"]).failure(2);
    assert_says(&error, &["cannot write the report to ", "notes.txt is there, and is no page", "--out"]);
    assert_eq!(files_below(&world.root().join("site")).len(), before + 1);
    assert!(
        world.run(["report", "all", "--out", "all"]).failure(2).contains("is no page of an earlier report")
    );
    // To an empty directory, and to one below a new one.
    fs::create_dir(world.root().join("empty")).unwrap();
    for place in ["empty", "new/site"] {
        assert!(world.run(["report", "all", "--out", place]).success().ends_with("/index.html\n"));
    }
    assert!(
        world.run(["report", "all", "--junit", "-", "--markdown", "-"]).failure(2).contains("only one form")
    );
    assert!(world.run(["report", "all", "--junit", "no/j.xml"]).failure(4).contains("cannot write no/j.xml"));
    let told: Value =
        serde_json::from_str(&world.run(["report", "all", "--out", "empty", "--json"]).success()).unwrap();
    assert_eq!(told["checks"][0]["differences"], 4);
    let names = names_in(world.root());
    assert_eq!(names, ["a.img", "all", "b.img", "empty", "home", "new", "site", "tmp"]);
}

#[test]
fn a_check_that_finds_something_has_a_page_that_leads_to_the_diff() {
    if !builds_here() {
        return;
    }
    let shared = shared();
    let world = Recipe::with_hook().write();
    world.write("r/hook", "#!/bin/sh\necho $USER > /etc/user\n");
    let store = shared.store.to_str().unwrap();
    let words = ["check", "r", "--store", store, "--offline", "--seed", "3", "--vary", "home,user-name"];
    let run = world.run(words);
    assert_eq!(run.status, Some(1), "{}", run.stderr);
    let report: Value = serde_json::from_str(&text_of(&world, "results/report.json")).unwrap();
    assert_eq!((&report["recipe"], &report["format"]), (&json!("tiny"), &json!(1)));
    let record: Value = serde_json::from_str(&text_of(&world, "results/control/tiny.record.json")).unwrap();
    assert_eq!(report["lock"], record["predicate"]["lock"]["sha256"]);
    assert_eq!(report["epoch"], record["predicate"]["epoch"]["date"]);
    let diff = report["findings"][0]["diff"].as_str().unwrap();
    let page = text_of(&world, &format!("results/{diff}.html"));
    assert_says(&page, &["etc/user", "control/tiny."]);
    // A site of it, opened by the path that a reader takes.
    world.run(["report", "--out", "site", "--junit", "j.xml"]).success();
    let started: String =
        report["started"].as_str().unwrap().chars().filter(char::is_ascii_alphanumeric).collect();
    let place = page_of(&world, &started);
    let check = text_of(&world, &format!("{place}/index.html"));
    assert_says(&check, &[&format!("href=\"{diff}.html#q=etc/user\""), "differs because of user-name ("]);
    assert_eq!(text_of(&world, &format!("{place}/{diff}.html")), page);
    assert_eq!(text_of(&world, &format!("{place}/plan.toml")), text_of(&world, "results/plan.toml"));
    shared.assert_clean();
    let Some(cases) = read_by("junit", &world.root().join("j.xml")) else { return };
    assert_says(&cases, &["tiny|home|passed|\n", "tiny|user-name|failed|/etc/user differs because of "]);
    read_by("pages", &world.root().join("site")).unwrap();
}

#[test]
fn examples_for_ci_have_commands_that_work() {
    for (example, shell) in [("gitlab-ci.yml", "- "), ("github-actions.yml", ""), ("Jenkinsfile", "")] {
        let world = world();
        put(&world, "results", &report("2026-11-02T10:11:12Z", &["clock"], &json!([])));
        let text = fs::read_to_string(workspace().join("examples/ci").join(example)).unwrap();
        let lines = text.lines().map(|line| line.trim().strip_prefix(shell).unwrap_or(line.trim()));
        let commands: Vec<Vec<&str>> = lines
            .filter_map(|line| line.strip_prefix("selfsame "))
            .map(|words| words.split_whitespace().collect())
            .collect();
        assert_eq!(
            commands.iter().map(|words| words[0]).collect::<Vec<_>>(),
            ["check", "report"],
            "{example}"
        );
        // There is no recipe: that is an error of what is given, and not of the command line.
        let error = world.run(&commands[0]).failure(3);
        assert!(error.contains("my-image"), "{error}");
        world.run(&commands[1]).success();
        // What the example keeps is what there is.
        let site = commands[1].iter().skip_while(|word| **word != "--out").nth(1).unwrap();
        assert!(world.root().join(site).join("index.html").is_file());
        assert!(text.contains("report.xml") && world.root().join("report.xml").is_file());
    }
}
