//! Wrong command lines, wrong recipes, wrong settings.

use crate::world;

#[test]
fn a_wrong_command_line_is_status_2_and_suggests() {
    let run = world().run(["bild"]);
    assert_eq!((run.status, run.stdout.as_str()), (Some(2), ""));
    assert!(run.stderr.contains("'build'"), "{}", run.stderr);
    for wrong in [
        &["build", "--jobs", "0"][..],
        &["build", "--jobs", "many"],
        &["build", "--mirror", "debian"],
        &["build", "--mirror", "debian=ftp://host/"],
        &["boot", "x.iso", "--memory", "1"],
        &["boot", "x.iso", "--until", ""],
        &["boot", "x.iso", "--as", "floppy"],
        &[],
    ] {
        let run = world().run(wrong);
        assert_eq!((run.status, run.stdout.as_str()), (Some(2), ""), "{wrong:?}");
    }
}

#[test]
fn a_missing_recipe_is_status_3_with_a_remedy() {
    let world = world();
    world.write("empty/x", "");
    for command in ["lock", "build"] {
        let message = world.run([command, "nowhere"]).failure(3);
        assert!(message.starts_with("error: there is no recipe directory nowhere\ncause: "), "{message}");
        let message = world.run([command, "empty"]).failure(3);
        assert!(
            message.starts_with("error: cannot read the recipe empty/selfsame.toml\ncause: "),
            "{message}"
        );
        assert!(message.ends_with("hint: `selfsame init empty` writes one to start from\n"), "{message}");
    }
    assert!(!world.root().join("out").exists(), "nothing is half-written");
}

#[test]
fn a_malformed_source_date_epoch_is_named_before_anything_is_done() {
    let mut world = world();
    world.write("r/selfsame.toml", "format = 1\n");
    for (value, word) in [("yesterday", "\"yesterday\""), ("", "\"\""), ("4294967295", "lies in the future")]
    {
        let message = world.set("SOURCE_DATE_EPOCH", value).run(["build", "r"]).failure(3);
        assert!(message.starts_with("error: SOURCE_DATE_EPOCH is ") && message.contains(word), "{message}");
    }
    assert!(!world.root().join("out").exists(), "nothing is half-written");
    assert!(!world.root().join("home/.cache").exists(), "nothing is half-written");
}

#[test]
fn without_a_home_the_store_must_be_named() {
    let mut world = world();
    let message = world.set("HOME", "").run(["store", "stat"]).failure(4);
    assert!(message.contains("--store DIR"), "{message}");
}
