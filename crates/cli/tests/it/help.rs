//! `--help`, and the page that is made of it.

use std::fmt::Write;

use selfsame_testkit::readme::workspace;

use crate::world;

/// Every command, in the order of the page.
const COMMANDS: [&[&str]; 35] = [
    &[],
    &["init"],
    &["lock"],
    &["build"],
    &["check"],
    &["inspect"],
    &["diff"],
    &["explain"],
    &["normalise"],
    &["report"],
    &["boot"],
    &["reproduce"],
    &["verify"],
    &["store"],
    &["store", "stat"],
    &["store", "check"],
    &["store", "gc"],
    &["store", "key"],
    &["store", "push"],
    &["store", "pull"],
    &["snapshot"],
    &["snapshot", "create"],
    &["snapshot", "list"],
    &["snapshot", "show"],
    &["snapshot", "verify"],
    &["snapshot", "import"],
    &["snapshot", "tag"],
    &["snapshot", "serve"],
    &["snapshot", "freeze"],
    &["snapshot", "bump"],
    &["snapshot", "thaw"],
    &["snapshot", "gc"],
    &["vm"],
    &["vm", "list"],
    &["vm", "stop"],
];

#[test]
fn the_page_on_the_command_line_is_what_help_says() {
    let world = world();
    let mut page = String::from(
        "# The command line\n\nMade from `--help` by the test `the_page_on_the_command_line_is_what_help_says`; run it \
         with\n`UPDATE_DOCS=1` to write this page anew. Exit statuses: [exit-status.md](exit-status.md).\n",
    );
    for command in COMMANDS {
        let help = world.run(command.iter().chain(&["--help"])).success();
        let name = ["selfsame"].iter().chain(command).copied().collect::<Vec<_>>().join(" ");
        let help: String = help.lines().map(|line| format!("{}\n", line.trim_end())).collect();
        write!(page, "\n## {name}\n\n```text\n{help}```\n").unwrap();
    }
    let path = workspace().join("docs/cli.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, page, "run this test with UPDATE_DOCS=1");
}

#[test]
fn every_command_is_on_the_page_and_explains_itself_with_examples() {
    let world = world();
    let listed = |path: &[&str]| {
        let help = world.run(path.iter().chain(&["--help"])).success();
        let list =
            help.split_once("Commands:\n").map_or("", |(_, rest)| rest.split("\n\n").next().unwrap_or(""));
        list.lines().map(|line| line.split_whitespace().next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let groups = ["store", "snapshot", "vm"];
    let of_groups = groups.iter().map(|group| (std::slice::from_ref(group), listed(&[group])));
    for (parent, commands) in std::iter::once((&[][..], listed(&[]))).chain(of_groups) {
        assert!(!commands.is_empty());
        for command in commands {
            let path: Vec<&str> = parent.iter().copied().chain([command.as_str()]).collect();
            assert!(COMMANDS.contains(&path.as_slice()), "{path:?} is not on the page");
            let help = world.run(path.iter().chain(&["--help"])).success();
            assert!(
                groups.contains(&command.as_str()) || help.contains("Examples:\n  selfsame "),
                "{path:?} has no examples"
            );
        }
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    assert_eq!(world().run(["--version"]).success(), format!("selfsame {}\n", env!("CARGO_PKG_VERSION")));
}
