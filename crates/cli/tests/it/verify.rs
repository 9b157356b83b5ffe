//! `selfsame verify`: results of rebuilders, and the policy that judges them.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use selfsame_image::Digest;
use selfsame_release::dsse::{IN_TOTO, seal};
use selfsame_release::{Output, Rebuild, SecretKey};
use selfsame_testkit::TestEnvironment;

use crate::{assert_says, pipe, program, world};

/// Secret keys of the bytes 1, 2 and 3, and their public halves, as OpenSSL wrote them.
pub(crate) const KEYS: [(&str, &str); 3] = [
    (
        "MC4CAQAwBQYDK2VwBCIEIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB",
        "MCowBQYDK2VwAyEAiojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w=",
    ),
    (
        "MC4CAQAwBQYDK2VwBCIEIAICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC",
        "MCowBQYDK2VwAyEAgTl3Dqh9F19Wo1Rmw0x+zMuNipG07jeiXfYPW4/Js5Q=",
    ),
    (
        "MC4CAQAwBQYDK2VwBCIEIAMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMD",
        "MCowBQYDK2VwAyEA7UkoxijRwsbq6QM4kFmVYSlZJzpcY/k2NsFGFKyHN9E=",
    ),
];

pub(crate) fn secret_pem(key: usize) -> String {
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", KEYS[key].0)
}

pub(crate) fn public_pem(key: usize) -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", KEYS[key].1)
}

/// The commit of all results here.
const COMMIT: &str = "434d434d434d434d434d434d434d434d434d434d";

/// A result on `x.iso` by one of [`KEYS`].
fn result(key: usize, published: &str, built: &str) -> String {
    result_of(key, published, built, "lock", Some(COMMIT))
}

fn result_of(key: usize, published: &str, built: &str, lock: &str, commit: Option<&str>) -> String {
    let output = Output {
        name: "x.iso".into(),
        published: Digest::of(published.as_bytes()),
        built: Digest::of(built.as_bytes()),
    };
    let rebuild = Rebuild {
        outputs: vec![output],
        lock: Digest::of(lock.as_bytes()),
        commit: commit.map(str::to_owned),
        epoch: 1,
        selfsame: env!("CARGO_PKG_VERSION").into(),
    };
    let secret = SecretKey::from_pem(&secret_pem(key)).unwrap();
    seal(IN_TOTO, rebuild.statement().as_bytes(), &secret)
}

/// An image `x.iso`, and a policy that needs two of Alice, Bob and Carol.
fn scene(head: &str) -> TestEnvironment {
    let world = world();
    world.write("x.iso", "image");
    let mut policy = head.to_owned();
    for (key, name) in ["Alice", "Bob", "Carol"].into_iter().enumerate() {
        world.write(format!("trust/{name}.pem"), public_pem(key));
        policy += &format!("[[operator]]\nname = {name:?}\nkeys = [\"{name}.pem\"]\n");
    }
    world.write("trust/policy.toml", policy);
    world
}

const VERIFY: [&str; 4] = ["verify", "x.iso", "--policy", "trust/policy.toml"];

#[test]
fn two_of_three_operators_verify_an_image_and_all_else_is_told() {
    let world = scene("threshold = 2\n");
    for (name, text) in [
        ("1.json", result(0, "image", "image")),
        ("2.json", result(1, "older", "older")),
        ("3.link", "{}".to_owned()),
        ("4.json", result(0, "image", "image")),
        ("5.json", result(1, "image", "image").replace("\"sig\":\"", "\"sig\":\"AA")),
    ] {
        world.write(format!("results/{name}"), text);
    }
    let run = [&VERIFY[..], &["results"]].concat();
    let text = world.run(&run).answer(1);
    let lock = Digest::of(b"lock");
    assert_says(
        &text,
        &[
            &format!("counted: results/1.json: Alice, x.iso, lock {lock}, commit {COMMIT}\n"),
            "not counted: results/2.json: Bob, it is about another image\n",
            "not counted: results/3.link: it is no result of a rebuilder: it is neither",
            "not counted: results/4.json: Alice, the operator is counted already\n",
            "not counted: results/5.json: the signature is not one of the key that it names, ",
            " of Bob\n",
            "\nnot verified: 1 operator built these bytes, 2 needed\n",
        ],
    );
    world.write("bob.json", result(1, "image", "image"));
    let text = world.run([&run[..], &["bob.json"]].concat()).success();
    assert_says(
        &text,
        &["counted: bob.json: Bob, ", "\nverified: 2 operators built these bytes, 2 needed\n"],
    );
    let json = world.run([&run[..], &["bob.json", "--json"]].concat()).success();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["verdict"], "verified");
    assert_eq!(json["sha256"], Digest::of(b"image").to_string());
    assert_eq!((json["threshold"].as_u64(), json["votes"][1]["operator"].as_str()), (Some(2), Some("Bob")));
    assert_eq!(json["votes"][1]["names"], serde_json::json!(["x.iso"]));
    assert_eq!(
        (&json["votes"][1]["lock"], &json["votes"][1]["commit"]),
        (&lock.to_string().into(), &COMMIT.into())
    );
    let reasons: Vec<_> =
        json["not_counted"].as_array().unwrap().iter().map(|one| one["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["other-image", "malformed", "counted", "bad-signature"]);
}

#[test]
fn a_bad_result_stops_verification_or_warns() {
    let world = scene("threshold = 2\n");
    world.write("r/a.json", result(0, "image", "image"));
    world.write("r/b.json", result(1, "image", "image"));
    world.write("r/c.json", result(2, "image", "other"));
    let run = [&VERIFY[..], &["r"]].concat();
    let text = world.run(&run).answer(1);
    let other = Digest::of(b"other");
    assert_says(
        &text,
        &[
            &format!("not counted: r/c.json: Carol, BAD: the rebuild gave {other}\n"),
            "\nnot verified: 2 operators built these bytes, but other bytes came out for Carol\n",
        ],
    );
    // Whoever said bad once does not unsay it with a good result.
    world.write("r/d.json", result(2, "image", "image"));
    let text = world.run(&run).answer(1);
    assert_says(
        &text,
        &["contradiction: Carol says both good and bad\n", "but other bytes came out for Carol\n"],
    );
    let policy = std::fs::read_to_string(world.root().join("trust/policy.toml")).unwrap();
    world.write("trust/policy.toml", format!("bad = \"warn\"\n{policy}"));
    let warned = world.run(&run);
    assert_says(&warned.stderr, &["warning: other bytes came out for Carol\n"]);
    assert_says(
        &warned.success(),
        &[
            "BAD: ",
            "\nverified: 2 operators built these bytes, 2 needed, but other bytes came out for Carol\n",
        ],
    );
}

#[test]
fn what_cannot_be_judged_is_no_answer() {
    let world = scene("threshold = 4\n");
    world.write("a.json", result(0, "image", "image"));
    let run = [&VERIFY[..], &["a.json"]].concat();
    let message = world.run(&run).failure(3);
    assert_says(
        &message,
        &["trust/policy.toml:1:13: the threshold is 4, but there are 3 operators", "hint: lower"],
    );
    world.write("trust/policy.toml", "threshold = 1\n[[operator]]\nname = \"A\"\nkeys = [\"no.pem\"]\n");
    assert_says(
        &world.run(&run).failure(3),
        &["trust/policy.toml:4:9: cannot read \"no.pem\": ", "hint: keys are"],
    );
    let double = "[[operator]]\nname = \"NAME\"\nkeys = [\"Alice.pem\"]\n";
    let double = [double.replace("NAME", "A"), double.replace("NAME", "B")].concat();
    world.write("trust/policy.toml", format!("threshold = 2\n{double}"));
    assert_says(
        &world.run(&run).failure(3),
        &["\"A\" and \"B\" have the same key ", "hint: who shares a key"],
    );
    let world = scene("threshold = 1\n");
    assert_says(
        &world.run([&VERIFY[..], &["no.json"]].concat()).failure(3),
        &["cannot read the result no.json"],
    );
    world.write("a.json", result(0, "image", "image"));
    let missing = ["verify", "no.iso", "--policy", "trust/policy.toml", "a.json"];
    assert_says(&world.run(missing).failure(3), &["cannot read no.iso"]);
    world.run(VERIFY).failure(2);
}

#[test]
fn hashing_a_large_image_ends_on_ctrl_c() {
    let world = scene("threshold = 1\n");
    let image = std::fs::File::create(world.root().join("x.iso")).unwrap();
    image.set_len(1 << 40).unwrap();
    world.write("a.json", result(0, "image", "image"));
    let mut command = program(&world, &[], &[&VERIFY[..], &["a.json"]].concat());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Whoever reads the image has arranged to be interrupted.
    let files = format!("/proc/{}/fd", child.id());
    let reads = || {
        let mut files = std::fs::read_dir(&files).unwrap().flatten();
        files.any(|file| std::fs::read_link(file.path()).is_ok_and(|path| path.ends_with("x.iso")))
    };
    while !reads() {
        std::thread::yield_now();
    }
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::INT).unwrap();
    let message = world.outcome(child.wait_with_output().unwrap()).failure(130);
    assert_says(&message, &["error: interrupted"]);
}

#[test]
fn the_name_of_a_file_cannot_look_like_an_answer() {
    let world = scene("threshold = 1\n");
    world.write("r/a\nverified: 9 operators.json", "{}");
    let text = world.run([&VERIFY[..], &["r"]].concat()).answer(1);
    assert!(text.lines().all(|line| !line.starts_with("verified")), "{text}");
}

#[test]
fn junk_beyond_the_limit_does_not_hide_a_bad_result() {
    let world = scene("threshold = 1\n");
    world.write("r/0.json", result(0, "image", "image"));
    for junk in 0..selfsame_release::MAX_RESULTS - 1 {
        world.write(format!("r/j{junk}.json"), "{}");
    }
    let run = [&VERIFY[..], &["r"]].concat();
    world.run(&run).success();
    world.write("r/z.json", result(1, "image", "other"));
    let refused = world.run(&run);
    assert_eq!(refused.stdout, "", "nothing is judged");
    assert_says(&refused.failure(3), &["there are 1001 results, and no more than 1000", "hint: give fewer"]);
}

#[test]
fn what_cannot_be_read_in_a_directory_is_not_passed_over() {
    let world = scene("threshold = 1\n");
    world.write("r/A.JSON", result(0, "image", "image"));
    let run = [&VERIFY[..], &["r"]].concat();
    world.write("r/notes.txt", "not a result");
    let first = world.run(&run);
    assert_says(&first.stderr, &["1 other file in r was passed over\n"]);
    assert_says(&first.success(), &["counted: r/A.JSON: Alice, "]);
    std::fs::remove_file(world.root().join("r/notes.txt")).unwrap();
    std::os::unix::fs::symlink("nowhere", world.root().join("r/b.json")).unwrap();
    world.write("r/c.Link/x", "");
    let text = world.run(&run).answer(1);
    assert_says(
        &text,
        &[
            "not counted: r/b.json: it cannot be read: ",
            "not counted: r/c.Link: it cannot be read: it is not a regular file\n",
            "\nnot verified: 1 operator built these bytes, but not all could be read: 2 results\n",
        ],
    );
    let json = world.run([&run[..], &["--json"]].concat()).answer(1);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((json["verdict"].as_str(), json["unseen"].as_u64()), (Some("incomplete"), Some(2)));
    // Whoever names it asks for it.
    world.run([&VERIFY[..], &["r/b.json"]].concat()).failure(3);
}

#[test]
fn a_signed_result_that_cannot_be_read_refuses_or_warns() {
    let world = scene("threshold = 1\n");
    world.write("r/a.json", result(0, "image", "image"));
    let secret = SecretKey::from_pem(&secret_pem(1)).unwrap();
    world.write("r/b.json", seal(IN_TOTO, b"{\"later\":1}", &secret));
    let run = [&VERIFY[..], &["r"]].concat();
    assert_says(
        &world.run(&run).answer(1),
        &[
            "not counted: r/b.json: Bob, it is signed, and this version cannot read what it says: ",
            "not verified: 1 operator built these bytes, but not all could be read: a result that Bob signed\n",
        ],
    );
    let policy = std::fs::read_to_string(world.root().join("trust/policy.toml")).unwrap();
    world.write("trust/policy.toml", format!("bad = \"warn\"\n{policy}"));
    let warned = world.run(&run);
    assert_says(&warned.stderr, &["warning: not all could be read: a result that Bob signed\n"]);
    warned.success();
}

#[test]
fn a_bad_result_is_disputed_however_few_good_ones_there_are() {
    let world = scene("threshold = 2\n");
    world.write("a.json", result(0, "image", "other"));
    let json = world.run([&VERIFY[..], &["a.json", "--json"]].concat()).answer(1);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["verdict"], "disputed");
}

#[test]
fn it_is_told_of_what_an_image_was_built_and_a_policy_may_want_it() {
    let world = scene("threshold = 1\n");
    world.write("a.json", result(0, "image", "image"));
    world.write("b.json", result_of(1, "image", "image", "another", Some(&"5".repeat(40))));
    world.write("c.json", result_of(2, "image", "image", "lock", None));
    let run = |image: &str, results: &[&str]| {
        let words = ["verify", image, "--policy", "trust/policy.toml"];
        world.run([&words[..], results].concat())
    };
    let quiet = run("x.iso", &["a.json"]);
    assert_eq!(quiet.stderr, "");
    quiet.success();
    world.write("y.iso", "image");
    let doubtful = run("y.iso", &["a.json", "b.json", "c.json"]);
    assert_says(
        &doubtful.stderr,
        &[
            "warning: the counted results are of different locks\n",
            "warning: the counted results are of different commits\n",
            "warning: no commit is named by Carol: what they built is not known\n",
            "warning: no result is about a file of this name: they have these bytes as x.iso\n",
        ],
    );
    doubtful.success();
    let policy = std::fs::read_to_string(world.root().join("trust/policy.toml")).unwrap();
    let lock = Digest::of(b"lock");
    let wanted = format!("name = \"x.iso\"\nlock = \"{lock}\"\ncommit = \"{COMMIT}\"\n{policy}");
    world.write("trust/policy.toml", wanted);
    run("x.iso", &["a.json"]).success();
    assert_says(
        &run("x.iso", &["b.json", "c.json"]).answer(1),
        &[
            "not counted: b.json: Bob, it is of the lock ",
            "not counted: c.json: Carol, it is of the commit that it does not say, and the policy wants 434d",
            "not verified: 0 operators built these bytes, 1 needed\n",
        ],
    );
}

#[test]
fn names_that_are_not_unicode_give_whole_documents_and_a_pipe_is_not_waited_for() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let world = scene("threshold = 1\n");
    world.write("a.json", result(0, "image", "image"));
    let odd = OsStr::from_bytes(b"x\xff.iso");
    std::fs::write(world.root().join(odd), "image").unwrap();
    let words = |image| {
        let words = [VERIFY[0].as_ref(), image, VERIFY[2].as_ref(), VERIFY[3].as_ref()];
        [&words[..], &["a.json", "--json"].map(OsStr::new)].concat()
    };
    let json = world.run(words(odd)).success();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["image"], "x\u{fffd}.iso");
    pipe(&world, "pipe");
    assert_says(&world.run(words(OsStr::new("pipe"))).failure(3), &["it is not a regular file"]);
}
