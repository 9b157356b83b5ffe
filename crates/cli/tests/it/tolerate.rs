//! `selfsame diff --tolerate`: differences that a policy names

use selfsame_testkit::TestEnvironment;

use crate::diff::damaged_streams;
use crate::inspect::live_iso;
use crate::{assert_says, world};

const HEAD: &str = "format = 1\nname = \"second build\"\n";

fn rule(lines: &str) -> String {
    format!("[[tolerate]]\nreason = \"issue 12\"\n{lines}\n")
}

/// Two directories: a file with other permissions, another with other lines.
fn scene() -> TestEnvironment {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;
    let world = world();
    for (directory, mode, text) in [("a", 0o644, "one\n"), ("b", 0o600, "two\n")] {
        world.write(format!("{directory}/var/same"), "same");
        world.write(format!("{directory}/etc/motd"), text);
        let path = world.root().join(directory).join("var/same");
        set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    world
}

#[test]
fn what_a_policy_names_is_tolerated_and_never_identical() {
    let world = scene();
    let mode = rule("structure = \"entry\"\npath = \"var/**\"\nfields = [\"mode\"]");
    let lines = rule("file = \"etc/*\"\nstructure = \"content\"");
    let unused = rule("file = \"usr/**\"\nstructure = \"content\"");
    world.write("all.toml", [HEAD, &mode, &lines, &unused].concat());
    world.write("some.toml", [HEAD, &mode].concat());
    let text = world.run(["diff", "a", "b", "--tolerate", "all.toml"]).answer(6);
    assert_says(
        &text,
        &[
            "entry of var/same, tolerated\n",
            "its content is tolerated by rule 2\n",
            "policy second build (sha256 ",
            "2 of 2 differences are tolerated\nrule 1 tolerates 1: issue 12\nrule 2 tolerates 1: issue 12\n\
             rule 3 tolerates nothing: issue 12\n",
            "-1: one\n",
        ],
    );
    let text = world.run(["diff", "a", "b", "--tolerate", "some.toml"]).answer(1);
    assert_says(&text, &["1 of 2 differences are tolerated\n"]);
    world.run(["diff", "a", "a", "--tolerate", "all.toml"]).success();

    let pages = ["--html", "d.html", "--markdown", "d.md", "--diffoscope-json", "d.json", "--json"];
    let json = world.run(["diff", "a", "b", "--tolerate", "all.toml"].iter().chain(&pages)).answer(6);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["verdict"], &json["tolerance"]["of"]), (&"tolerated".into(), &2.into()));
    for page in ["d.html", "d.md", "d.json"] {
        let page = std::fs::read_to_string(world.root().join(page)).unwrap();
        assert_says(&page, &["2 of 2 differences are tolerated", "rule 3 tolerates nothing", "tolerated"]);
    }
}

#[test]
fn a_rule_is_about_no_more_than_it_says() {
    let world = scene();
    let content = rule("file = \"etc/motd\"\nstructure = \"content\"");
    for (why, lines) in [
        ("another path", "structure = \"entry\"\npath = \"var/other\""),
        ("another field", "structure = \"entry\"\nfields = [\"target\"]"),
        ("another structure", "structure = \"content\""),
        ("another file", "file = \"**\"\nstructure = \"entry\""),
    ] {
        world.write("p.toml", [HEAD, &content, &rule(lines)].concat());
        let text = world.run(["diff", "a", "b", "--tolerate", "p.toml"]).answer(1);
        assert!(text.contains("1 of 2 differences are tolerated"), "{why}: {text}");
    }
}

#[test]
fn what_is_in_an_image_in_an_image_is_named_by_its_way() {
    let world = world();
    world.write("a.iso", live_iso(b"selfsame\n"));
    world.write("b.iso", live_iso(b"amnesias\n"));
    let hostname = rule("file = \"live/filesystem.squashfs/etc/hostname\"\nstructure = \"content\"");
    world.write("p.toml", [HEAD, &hostname].concat());
    let found = world.run(["diff", "a.iso", "b.iso", "--tolerate", "p.toml", "--json"]).answer(1);
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    // The rest is in the tables around it, which rules may name as well.
    assert_eq!(found["tolerance"]["rules"][0]["count"], 1, "{found}");
}

#[test]
fn another_order_is_a_difference_that_needs_a_rule() {
    let world = world();
    // Two members of an ar archive, in both orders: nothing differs but their places.
    let member = |name: &str| {
        format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n{name}/\n", 7, 0, 0, 644, name.len() + 2)
    };
    let [a, b] = ["aaaaaa", "bbbbbb"].map(member);
    world.write("a.a", format!("!<arch>\n{a}{b}"));
    world.write("b.a", format!("!<arch>\n{b}{a}"));
    world.write("none.toml", HEAD);
    let text = world.run(["diff", "a.a", "b.a", "--tolerate", "none.toml"]).answer(1);
    assert_says(&text, &[": 0 of 1 differences are tolerated"]);
    world.write("place.toml", [HEAD, &rule("structure = \"place\"")].concat());
    world.run(["diff", "a.a", "b.a", "--tolerate", "place.toml"]).answer(6);
}

#[test]
fn what_cannot_be_read_is_never_tolerated() {
    let world = world();
    damaged_streams(&world);
    let every = [rule("structure = \"content\""), rule("file = \"**\"\nstructure = \"content\"")].concat();
    world.write("p.toml", [HEAD, &every].concat());
    world.run(["diff", "a.gz", "b.gz", "--tolerate", "p.toml"]).answer(5);
}

#[test]
fn policies_that_cannot_be_used_say_why() {
    let world = scene();
    for (text, said) in [
        ("format = 2\nname = \"x\"\n", "its format is 2, not 1"),
        ("format = 1\nname = \"<b>\"\n", "its name \"<b>\" is not 1 to 100 letters"),
        ("format = 1\n", "missing field `name`"),
        (
            "format = 1\nname = \"x\"\n[[tolerate]]\nstructure = \"a\"\nreason = \" \"",
            "rule 1 has an empty reason",
        ),
        ("format = 1\nname = \"x\"\n[[tolerate]]\nstructure = \"a\"\n", "missing field `reason`"),
        (
            "format = 1\nname = \"x\"\n[[tolerate]]\nfile = \"a//b\"\n",
            "pattern \"a//b\" has an empty component",
        ),
        ("format = 1\nname = \"x\"\nother = 1\n", "unknown field `other`"),
    ] {
        world.write("p.toml", text);
        let message = world.run(["diff", "a", "b", "--tolerate", "p.toml"]).failure(3);
        assert_says(&message, &["p.toml is no policy of differences", said, "\nhint: "]);
    }
    let message = world.run(["diff", "a", "b", "--tolerate", "none.toml"]).failure(3);
    assert_says(&message, &["cannot read the policy none.toml"]);
}
