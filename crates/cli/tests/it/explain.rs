//! `selfsame explain`, and the page of causes.

use std::fmt::Write;

use selfsame_testkit::readme::workspace;
use serde_json::Value;

use crate::world;

#[test]
fn the_page_of_causes_is_what_the_program_says() {
    let world = world();
    let all: Value = serde_json::from_str(&world.run(["explain", "--json"]).success()).unwrap();
    let list = world.run(["explain"]).success();
    let mut page = "# Why builds differ\n\nThe causes that `selfsame diff` recognises, as `selfsame explain CAUSE` tells them. \
                    A cause is a guess from what differs; what was seen is\ntold with it. This page is made from the program: \
                    `UPDATE_DOCS=1 cargo test -p selfsame-cli --test it explain`.\n\n| cause | what it is | where it comes \
                    from | what helps |\n|---|---|---|---|\n"
        .to_owned();
    for cause in all["causes"].as_array().unwrap() {
        let text = |key: &str| cause[key].as_str().unwrap().to_owned();
        assert!(list.contains(&text("title")));
        let of_one = world.run(["explain", &text("cause")]).success();
        assert!(of_one.contains(&text("origin")) && of_one.contains(&text("remedy")), "{of_one}");
        let see: Vec<_> = cause["see"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
        let see = if see.is_empty() { String::new() } else { format!(" See {}.", see.join(", ")) };
        let [id, title, origin, remedy] = ["cause", "title", "origin", "remedy"].map(text);
        writeln!(page, "| `{id}` | {title} | {origin} | {remedy}{see} |").unwrap();
    }
    let path = workspace().join("docs/causes.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), page, "run this test with UPDATE_DOCS=1");
}

#[test]
fn a_cause_that_is_not_known_is_a_wrong_command_line() {
    let text = world().run(["explain", "gremlins"]).failure(2);
    assert!(text.contains("gremlins") && text.contains("selfsame explain"), "{text}");
}
