//! Programs that differ, in each form.

use std::process::Command;

use selfsame_testkit::{TestEnvironment, oracle_text, which};
use serde_json::Value;

use crate::world;

const SOURCE: &str = "int limit = 10;\n\
    __attribute__((noinline)) int helper(int x) { return x * 3 + limit; }\n\
    int main(int argc, char **argv) { (void)argv; return helper(argc); }\n";

/// Two programs that differ in one function; nothing without a compiler.
fn programs(world: &TestEnvironment) -> Option<()> {
    for (name, text) in [("a", SOURCE.to_owned()), ("b", SOURCE.replace("x * 3", "x * 5"))] {
        world.write(format!("{name}.c"), text);
        let mut cc = Command::new("cc");
        cc.current_dir(world.root()).args(["-O1", "-Wl,--build-id=sha1", "-o", name, &format!("{name}.c")]);
        oracle_text(&mut cc)?;
    }
    Some(())
}

#[test]
fn a_function_that_differs_is_named_in_every_form() {
    let world = world();
    let Some(()) = programs(&world) else { return };
    let text = world.run(["diff", "a", "b"]).answer(1);
    assert!(text.contains("    function helper in .text, ") && text.contains("\n  build ID: "), "{text}");
    assert!(!text.contains("main"), "{text}");
    for form in ["--html", "--markdown", "--diffoscope-json", "--json"] {
        let mut call = vec!["diff", "a", "b", form];
        call.extend((form != "--json").then_some("-"));
        let page = world.run(call).answer(1);
        assert!(page.contains("helper") && page.contains("build"), "{form}: {page}");
    }
    let report: Value = serde_json::from_str(&world.run(["diff", "a", "b", "--json"]).answer(1)).unwrap();
    let program = &report["root"]["program"];
    let symbol = &program["symbols"][0];
    assert_eq!((&symbol["kind"], &symbol["name"]), (&"function".into(), &"helper".into()), "{program}");
    assert!(symbol["code"].is_null() && program["build_ids"][1].is_string(), "{program}");
}

#[test]
fn instructions_are_those_of_objdump() {
    let world = world();
    let Some(()) = programs(&world) else { return };
    let Some(all) = oracle_text(Command::new("objdump").current_dir(world.root()).args([
        "-d",
        "--no-show-raw-insn",
        "a",
    ])) else {
        return;
    };
    let text = world.run(["diff", "a", "b", "--disassemble"]).answer(1);
    assert!(text.contains("not all instructions were compared: objdump is not installed\n"), "{text}");
    std::os::unix::fs::symlink(which("objdump").unwrap(), world.root().join("tmp/objdump")).unwrap();
    let text = world.run(["diff", "a", "b", "--disassemble"]).answer(1);
    let (_, rest) = text.split_once("function helper in .text").unwrap();
    let lines = rest.lines().skip(1).map_while(|line| line.strip_prefix("      "));
    let removed: Vec<_> = lines.filter_map(|line| line.strip_prefix('-')?.split_once(": ")).collect();
    assert!(!removed.is_empty(), "{text}");
    let (_, body) = all.split_once("<helper>:\n").unwrap();
    let body: Vec<_> = body.lines().collect();
    for (number, instruction) in removed {
        let line = body[number.parse::<usize>().unwrap() - 1];
        let words = line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ");
        assert_eq!(instruction, words, "{all}");
    }
    // In HTML they are lines as well.
    let page = world.run(["diff", "a", "b", "--disassemble", "--html", "-"]).answer(1);
    assert!(page.contains("<del>-") && page.contains("<ins>+"), "{page}");
}

#[test]
fn what_was_not_checked_is_said_by_name() {
    let world = world();
    world.write("a/x", "one\n");
    world.write("b/x", "two\n");
    let text = world.run(["diff", "a", "b"]).answer(1);
    assert!(text.contains("not checked: owners, times and hard links of directories"), "{text}");
    world.write("good.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0");
    world.write("bad.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xff\0\0\0\0\0\0\0\0\0");
    let text = world.run(["diff", "good.gz", "bad.gz"]).answer(1);
    assert!(text.contains("not checked: ") && text.contains("the second cannot be read as gzip"), "{text}");
    let report: Value =
        serde_json::from_str(&world.run(["diff", "good.gz", "bad.gz", "--json"]).answer(1)).unwrap();
    assert_eq!(report["unchecked"].as_array().unwrap().len(), 1, "{report}");
}
