//! `selfsame verify`: results of rebuilders, and the policy that judges them.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use selfsame_image::Digest;
use selfsame_release::dsse::{IN_TOTO, seal};
use selfsame_release::{Output, Rebuild, SecretKey};
use selfsame_testkit::TestEnvironment;

use crate::{assert_says, program, world};

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

/// A result on `x.iso` by one of [`KEYS`].
fn result(key: usize, published: &str, built: &str) -> String {
    let output = Output {
        name: "x.iso".into(),
        published: Digest::of(published.as_bytes()),
        built: Digest::of(built.as_bytes()),
    };
    let rebuild = Rebuild {
        outputs: vec![output],
        lock: Digest::of(b"lock"),
        commit: None,
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
        ("notes.txt", "not a result".to_owned()),
    ] {
        world.write(format!("results/{name}"), text);
    }
    let run = [&VERIFY[..], &["results"]].concat();
    let text = world.run(&run).answer(1);
    assert_says(
        &text,
        &[
            "counted: results/1.json: Alice, key ",
            "not counted: results/2.json: Bob, it is about another image\n",
            "not counted: results/3.link: it is no result of a rebuilder: it is neither",
            "not counted: results/4.json: Alice, the operator is counted already\n",
            "not counted: results/5.json: the signature is not one of the key that it names, ",
            "\nnot verified: 1 operator built these bytes, 2 needed\n",
        ],
    );
    assert!(!text.contains("notes"), "{text}");
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
