//! `selfsame reproduce`: the example is built again, and the result is signed and judged.

use std::fs;
use std::path::Path;
use std::process::Command;

use selfsame_image::Digest;
use selfsame_testkit::{TestEnvironment, oracle_text};

use crate::build::{Recipe, builds_here, shared};
use crate::verify::{public_pem, secret_pem};
use crate::{assert_says, world};

/// Commits the recipe `r`, and lets the program find git; the commit.
fn commit(world: &mut TestEnvironment) -> Option<String> {
    let program = oracle_text(Command::new("sh").args(["-c", "command -v git || true"]))?;
    let directory = Path::new(program.trim()).parent()?.to_str()?.to_owned();
    world.set("PATH", directory);
    let world = &*world;
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.arg("-C").arg(world.root().join("r")).args([
            "-c",
            "user.name=x",
            "-c",
            "user.email=x@example.org",
        ]);
        oracle_text(git.args(["-c", "commit.gpgsign=false"]).args(arguments))
    };
    git(&["init", "--quiet"])?;
    git(&["add", "."])?;
    git(&["commit", "--quiet", "-m", "all"])?;
    git(&["rev-parse", "HEAD"]).map(|text| text.trim().to_owned())
}

#[test]
fn a_good_and_a_bad_result_are_signed_and_count_as_such() {
    if !builds_here() {
        return;
    }
    let shared = shared();
    let mut world = Recipe::default().write();
    let commit = commit(&mut world);
    let at = |name: &str| world.root().join(name);
    shared.build(&world, &["--offline", "--out", "published"]).success();
    world.write("key.pem", secret_pem(0));
    world.write("key.pub", public_pem(0));
    world.write("policy.toml", "threshold = 1\n[[operator]]\nname = \"A\"\nkeys = [\"key.pub\"]\n");
    // One of the two files was changed after it was built.
    let mut tar = fs::read(at("published/tiny.tar")).unwrap();
    let true_tar = Digest::of(&tar);
    tar.push(0);
    world.write("published/tiny.tar", &tar);
    let store = shared.store.to_str().unwrap();
    let mut words = vec![
        "reproduce",
        "r",
        "published/tiny.squashfs",
        "published/tiny.tar",
        "--store",
        store,
        "--offline",
        "--key",
        "key.pem",
        "--out-result",
        "result.json",
    ];
    if commit.is_none() {
        words.push("--allow-uncommitted");
    }
    let run = world.run(words);
    assert_says(
        &run.stderr,
        &[
            "the signed result is result.json\n",
            "`selfsame diff published/tiny.tar rebuilt/tiny.tar` says what differs",
        ],
    );
    let squashfs = Digest::of(&fs::read(at("published/tiny.squashfs")).unwrap());
    let expected = format!(
        "identical  tiny.squashfs  {squashfs}\n\
         different  tiny.tar\n  published  {}\n  built      {true_tar}\n",
        Digest::of(&tar)
    );
    assert_eq!((run.status, run.stdout), (Some(1), expected), "{}", run.stderr);
    let verify = |image| world.run(["verify", image, "--policy", "policy.toml", "result.json"]);
    assert_says(
        &verify("published/tiny.squashfs").success(),
        &["counted: result.json: A, tiny.squashfs, lock ", "\nverified: 1 "],
    );
    if let Some(commit) = commit {
        let text = verify("published/tiny.squashfs").success();
        assert_says(&text, &[&format!(", commit {commit}\n")]);
    }
    let text = verify("published/tiny.tar").answer(1);
    assert_says(&text, &[&format!("A, BAD: the rebuild gave {true_tar}"), "not verified: 0 operators"]);
    // What came out in place of the published file was not published.
    assert_says(&verify("rebuilt/tiny.tar").answer(1), &["A, it is about another image"]);
    // What is published is never written over, and not compared with itself.
    let own = world.run(["reproduce", "r", "rebuilt/tiny.tar", "--store", store, "--offline"]).failure(2);
    assert_says(&own, &["would write over what was published", "hint: choose another directory with --out"]);
    shared.assert_clean();
}

#[test]
fn what_came_out_is_told_though_the_result_cannot_be_written() {
    if !builds_here() {
        return;
    }
    let shared = shared();
    let world = Recipe::default().write();
    world.write("tiny.tar", "published");
    world.write("key.pem", secret_pem(0));
    // Too long beside its temporary name.
    let long = "n".repeat(250);
    let mut words =
        vec!["reproduce", "r", "tiny.tar", "--store", shared.store.to_str().unwrap(), "--offline"];
    words.extend(["--key", "key.pem", "--allow-uncommitted", "--out-result", &long]);
    let run = world.run(words);
    assert_says(&run.stdout, &[&format!("different  tiny.tar\n  published  {}\n", Digest::of(b"published"))]);
    assert_says(
        &run.stderr,
        &["warning: the result names no commit: git finds none", "error: cannot write the result nnn"],
    );
    assert_eq!(run.status, Some(4));
    shared.assert_clean();
}

#[test]
fn what_cannot_be_compared_or_signed_is_told_before_anything_is_built() {
    let world = world();
    world.write("x.tar", "published");
    world.write("key.pem", public_pem(0));
    let message = world.run(["reproduce", "r", "x.tar", "--key", "key.pem"]).failure(3);
    assert_says(
        &message,
        &["cannot sign with key.pem", "it is a \"PUBLIC KEY\", not a \"PRIVATE KEY\"", "hint: `openssl"],
    );
    world.run(["reproduce", "r", "x.tar", "--out-result", "x.json"]).failure(2);
    world.run(["reproduce", "r"]).failure(2);
    if !builds_here() {
        return;
    }
    let world = Recipe::default().write();
    world.write("x.tar", "published");
    let run = |words: &[&str]| world.run([&["reproduce", "r", "--store", "s", "--offline"], words].concat());
    assert_says(
        &run(&["x.tar"]).failure(3),
        &["makes no file of the name of x.tar", "it makes tiny.squashfs, tiny.tar, "],
    );
    assert_says(&run(&["tiny.tar"]).failure(3), &["cannot read what was published, tiny.tar"]);
    world.write("tiny.tar", "published");
    world.write("a/tiny.tar", "published");
    assert_says(
        &run(&["tiny.tar", "a/tiny.tar"]).failure(2),
        &["two published files have the name tiny.tar"],
    );
}

/// A recipe `r` that was committed, a key, and what was published; `None` without Git.
fn to_sign() -> Option<(TestEnvironment, String)> {
    let mut world = Recipe::default().write();
    world.write("tiny.tar", "published");
    world.write("key.pem", secret_pem(0));
    let commit = commit(&mut world)?;
    Some((world, commit))
}

const SIGN: [&str; 8] = ["reproduce", "r", "tiny.tar", "--store", "s", "--offline", "--key", "key.pem"];

#[test]
fn what_others_would_not_build_is_not_signed() {
    let Some((mut world, _)) = to_sign() else { return };
    world.set("SOURCE_DATE_EPOCH", "1");
    assert_says(
        &world.run(SIGN).failure(3),
        &["SOURCE_DATE_EPOCH dates the image 1970-01-01T00:00:01Z, and the recipe", "hint: unset"],
    );
    let recipe = fs::read_to_string(world.root().join("r/selfsame.toml")).unwrap();
    world.write("r/selfsame.toml", format!("{recipe}# mine\n"));
    world.set("SOURCE_DATE_EPOCH", "1785542400");
    assert_says(
        &world.run(SIGN).failure(3),
        &[
            "a result that others cannot get is not signed",
            "there is no commit to name: not committed as it is: selfsame.toml",
            "--allow-uncommitted",
        ],
    );
    let world = Recipe::default().write();
    world.write("tiny.tar", "published");
    world.write("key.pem", secret_pem(0));
    assert_says(&world.run(SIGN).failure(3), &["git finds none that the recipe belongs to"]);
    world.run(["reproduce", "r", "tiny.tar", "--allow-uncommitted"]).failure(2);
}

#[test]
fn a_result_is_written_over_nothing_that_is_needed() {
    let Some((world, _)) = to_sign() else { return };
    std::os::unix::fs::symlink("key.pem", world.root().join("link")).unwrap();
    world.write("rebuilt/x", "");
    for (to, words) in [
        ("key.pem", "it would be written over key.pem"),
        ("./r/../key.pem", "it would be written over key.pem"),
        ("link", "it would be written over key.pem"),
        ("tiny.tar", "it would be written over tiny.tar"),
        ("r/selfsame.lock", "it would be written over r/selfsame.lock"),
        ("rebuilt/tiny.tar", "the build makes a file tiny.tar there"),
        ("r", "it is a directory"),
    ] {
        let message = world.run([&SIGN[..], &["--out-result", to]].concat()).failure(2);
        assert_says(&message, &["cannot write the result ", words]);
    }
    let message = world.run([&SIGN[..], &["--out-result", "no/x.json"]].concat()).failure(4);
    assert_says(&message, &["cannot write the result no/x.json"]);
    // Nor where the build would make it.
    let message = world.run([&SIGN[..], &["--out", "new", "--out-result", "new/tiny.tar"]].concat());
    assert_says(&message.failure(2), &["the build makes a file tiny.tar there"]);
    assert_eq!(fs::read_to_string(world.root().join("key.pem")).unwrap(), secret_pem(0));
    assert!(!world.root().join("s").exists(), "nothing was begun");
}
