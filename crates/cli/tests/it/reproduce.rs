//! `selfsame reproduce`: the example is built again, and the result is signed and judged.

use std::fs;

use selfsame_image::Digest;

use crate::build::{Recipe, builds_here, shared};
use crate::verify::{public_pem, secret_pem};
use crate::{assert_says, world};

#[test]
fn a_good_and_a_bad_result_are_signed_and_count_as_such() {
    if !builds_here() {
        return;
    }
    let shared = shared();
    let world = Recipe::default().write();
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
    let run = world.run([
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
    ]);
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
        &["counted: result.json: A, ", "\nverified: 1 "],
    );
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
