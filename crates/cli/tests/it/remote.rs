//! A store that machines share: what one compressed the other one does not, and the bytes stay the same whatever the
//! remote does.

use std::fs;
use std::path::{Path, PathBuf};

use selfsame_testkit::TestEnvironment;
use selfsame_testkit::archive::{Behaviour, Server, serve};
use serde_json::Value;

use crate::build::{Recipe, builds_here, files_below, shared};
use crate::world;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A machine whose key is trusted, what it has, and a server of what it pushed.
struct Machine {
    world: TestEnvironment,
    server: Server,
    key: String,
}

/// Pushes what `store` has of the example.
fn machine(store: &Path) -> Machine {
    let world = Recipe::default().write();
    fs::create_dir(world.root().join("remote")).unwrap();
    let server = serve(&world.root().join("remote"));
    let key = world.run(["store", "key", "k"]).success().trim().to_owned();
    let (url, store) = (server.url(), store.to_str().unwrap());
    let push = ["store", "push", "r", "--store", store, "--remote", &url, "--key", "k", "--json"];
    let pushed = json(&world.run(push).success());
    assert!(pushed["packages"]["pushed"].as_u64() > Some(70), "{pushed}");
    assert!(pushed["blocks"]["pushed"].as_u64() > Some(700), "{pushed}");
    let again = json(&world.run(push).success());
    assert!(["packages", "blocks"].iter().all(|part| again[part]["pushed"] == 0), "{again}");
    Machine { world, server, key }
}

impl Machine {
    /// Builds the example with an empty store and this machine's remote; the report, digests and messages.
    fn build(&self, number: usize) -> (Value, String, String) {
        let (url, store) = (self.server.url(), format!("store{number}"));
        let arguments =
            ["build", "r", "--json", "--store", &store, "--remote", &url, "--remote-key", &self.key];
        let run = self.world.run(arguments);
        assert_eq!(run.status, Some(0), "{}", run.stderr);
        let report = json(&run.stdout);
        let outputs = report["outputs"].as_array().unwrap().iter();
        let line = |file: &Value| {
            format!("{}  {}\n", file["sha256"].as_str().unwrap(), file["path"].as_str().unwrap())
        };
        (report.clone(), outputs.map(line).collect(), run.stderr)
    }

    /// The objects of the remote whose path begins with `start`.
    fn objects(&self, start: &str) -> Vec<PathBuf> {
        files_below(&self.world.root().join("remote").join(start))
    }
}

#[test]
fn a_second_machine_compresses_nothing_and_makes_the_same_bytes() {
    if !builds_here() {
        return;
    }
    let shared = shared();
    let machine = machine(&shared.store);
    let (report, digests, _) = machine.build(1);
    assert_eq!(digests, shared.digests);
    assert_eq!(report["compressed"], 0, "{report}");
    for part in ["packages", "blocks"] {
        let part = &report["remote"][part];
        assert!(part["pulled"].as_u64() > Some(70), "{report}");
        assert!(["missing", "refused", "failed"].iter().all(|figure| part[figure] == 0), "{report}");
    }

    let url = machine.server.url();
    let pull =
        ["store", "pull", "r", "--store", "p", "--remote", &url, "--remote-key", &machine.key, "--json"];
    let pulled = json(&machine.world.run(pull).success());
    assert!(pulled["blocks"]["pulled"].as_u64() > Some(650), "{pulled}");

    // What is not there is not there: the answer is no.
    let path = machine.objects("blobs").pop().unwrap();
    fs::remove_file(&path).unwrap();
    let run = machine.world.run(["store", "pull", "r", "--store", "q", "--remote", &url, "--json"]);
    assert_eq!(run.status, Some(1), "{}", run.stderr);
    assert_eq!(json(&run.stdout)["packages"]["missing"], 1);
}

#[test]
fn a_remote_that_lies_or_disappears_costs_time_and_no_byte() {
    if !builds_here() {
        return;
    }
    let shared = shared();
    let machine = machine(&shared.store);
    for path in machine.objects("entries").iter().step_by(2) {
        let mut bytes = fs::read(path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(path, bytes).unwrap();
    }
    let (report, digests, text) = machine.build(1);
    assert_eq!(digests, shared.digests);
    assert!(report["remote"]["blocks"]["refused"].as_u64() >= Some(3), "{report}");
    assert!(report["compressed"].as_u64() > Some(0), "{report}");
    assert_eq!(text.matches("it is not what its name says, or not whole").count(), 3, "{text}");
    assert_eq!(text.matches("the remote is not used any more").count(), 1, "{text}");

    // In the middle of the packages.
    machine.server.set_after(40, Behaviour::Hangup);
    let (report, digests, text) = machine.build(2);
    assert_eq!(digests, shared.digests);
    assert!(report["remote"]["packages"]["pulled"].as_u64() <= Some(40), "{report}");
    assert_eq!(text.matches(" is not used any more").count(), 1, "{text}");
    let url = machine.server.url();
    let run = machine.world.run(["store", "pull", "r", "--store", "q", "--remote", &url]);
    assert!(run.failure(4).contains("not everything could be asked of the remote"));
}

#[test]
fn what_is_missing_on_the_command_line_is_said() {
    let mut world = world();
    let message = world.run(["store", "push", "--key", "k"]).failure(2);
    assert!(message.contains("no remote is named") && message.contains("SELFSAME_REMOTE"), "{message}");
    world.set("SELFSAME_REMOTE", "file:/nowhere");
    let message = world.run(["store", "push"]).failure(2);
    assert!(message.contains("there is nothing to push"), "{message}");
    let message = world.run(["store", "push", "--key", "k"]).failure(3);
    assert!(message.contains("there is no key k") && message.contains("`selfsame store key k`"), "{message}");
    world.write("k", "a letter");
    let message = world.run(["store", "key", "k"]).failure(3);
    assert!(message.contains("cannot read the key k"), "{message}");
    let message = world.run(["store", "pull", "--remote", "ftp://host"]).failure(2);
    assert!(message.contains("the address of the remote cannot be used"), "{message}");
    let message = world.run(["store", "pull", "--remote-key", "1"]).failure(2);
    assert!(message.contains("the key of the remote cannot be used"), "{message}");
    world.set("SELFSAME_REMOTE_AUTH", "a\nb");
    let message = world.run(["store", "push", "--key", "k"]).failure(2);
    assert!(message.contains("SELFSAME_REMOTE_AUTH cannot be sent"), "{message}");
    let key = world.run(["store", "key", "new"]).success();
    assert_eq!(world.run(["store", "key", "new"]).success(), key);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(world.root().join("new")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}
