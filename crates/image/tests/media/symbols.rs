//! Symbols of ELF files that differ, held against what the compiler was given and against readelf.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::Path;
use std::process::Command;

use selfsame_image::compare::{Disassemble, Options, Program, Symbol, compare};
use selfsame_testkit::oracle_text;

use crate::compare::{compared, source};
use crate::elf::{SHAPES, Writer};
use crate::support::{load, mutations, save, scratch};

/// Name, type and binding, section (0 or `.text`), first byte and length of a symbol.
type Row = (&'static str, u64, u64, u64, u64);

const TEXT: u64 = 0x100;
/// Where `.text` is when the program runs.
const ADDRESS: u64 = 0x1100;

/// An ELF file with these bytes in `.text`, and these symbols.
fn program((wide, big): (bool, bool), text: &[u8], symbols: &[Row]) -> Vec<u8> {
    let mut out = Writer { wide, big, bytes: b"\x7fELF".to_vec() };
    let number = |len: usize| u64::try_from(len).unwrap();
    let entry = if wide { 24 } else { 16 };
    let names =
        [&b"\0"[..], &symbols.iter().flat_map(|row| [row.0.as_bytes(), b"\0"]).collect::<Vec<_>>().concat()];
    let names = names.concat();
    let sections = b"\0.text\0.symtab\0.strtab\0";
    let table = (TEXT + number(text.len())).next_multiple_of(8);
    let strings = table + entry * number(symbols.len() + 1);
    let headers = (strings + number(names.len() + sections.len())).next_multiple_of(8);
    let (header, section) = if wide { (64, 64) } else { (52, 40) };
    out.bytes.extend([if wide { 2 } else { 1 }, if big { 2 } else { 1 }, 1]);
    out.fill(16);
    out.numbers(2, &[3, if wide { 62 } else { 3 }]);
    out.number(1, 4);
    [0, 0, headers].iter().for_each(|value| out.word(*value));
    out.number(0, 4);
    out.numbers(2, &[header, 0, 0, section, 5, 4]);
    out.fill(usize::try_from(TEXT).unwrap());
    out.bytes.extend(text);
    out.fill(usize::try_from(table + entry).unwrap());
    let mut name = 1;
    for (text, info, index, start, len) in symbols {
        let value = if *index == 0 { 0 } else { ADDRESS + start };
        out.number(name, 4);
        if !wide {
            [value, *len].iter().for_each(|value| out.word(*value));
        }
        out.numbers(1, &[*info, 0]);
        out.number(*index, 2);
        if wide {
            [value, *len].iter().for_each(|value| out.word(*value));
        }
        name += number(text.len()) + 1;
    }
    out.bytes.extend(&names);
    out.bytes.extend(sections);
    out.fill(usize::try_from(headers).unwrap());
    let end = strings + number(names.len());
    for (name, kind, flags, address, start, len, link, entry) in [
        (0, 0, 0, 0, 0, 0, 0, 0),
        (1, 1, 6, ADDRESS, TEXT, number(text.len()), 0, 0),
        (7, 2, 0, 0, table, strings - table, 3, entry),
        (15, 3, 0, 0, strings, number(names.len()), 0, 0),
        (15, 3, 0, 0, end, number(sections.len()), 0, 0),
    ] {
        out.numbers(4, &[name, kind]);
        [flags, address, start, len].iter().for_each(|value| out.word(*value));
        out.numbers(4, &[link, 0]);
        [1, entry].iter().for_each(|value| out.word(*value));
    }
    out.bytes
}

const FUNCTION: u64 = 0x12;
const OBJECT: u64 = 0x11;
const ELSEWHERE: u64 = 0x10;
const WEAK: u64 = 0x20;

const FIRST: [Row; 6] = [
    ("same", FUNCTION, 1, 0, 4),
    ("changed", FUNCTION, 1, 4, 8),
    ("longer", FUNCTION, 1, 12, 4),
    ("word", OBJECT, 1, 16, 4),
    ("gone", FUNCTION, 1, 20, 4),
    ("import", ELSEWHERE, 0, 0, 0),
];
const SECOND: [Row; 6] = [
    ("same", FUNCTION, 1, 0, 4),
    ("changed", FUNCTION, 1, 4, 8),
    ("longer", FUNCTION, 1, 12, 6),
    ("term", OBJECT, 1, 18, 4),
    ("import", WEAK, 0, 0, 0),
    ("new import", ELSEWHERE, 0, 0, 0),
];
const BYTES: [&[u8; 24]; 2] = [b"same_changedlongwordgone", b"same_chanGedlongerword.."];

fn pair(shape: (bool, bool)) -> [Vec<u8>; 2] {
    [program(shape, BYTES[0], &FIRST), program(shape, BYTES[1], &SECOND)]
}

fn shown(program: &Program) -> String {
    let mut text = String::new();
    for symbol in &program.symbols {
        let Symbol { kind, name, renamed, section, places, differing, fields, .. } = symbol;
        let word = |bytes: &[u8]| bytes.escape_ascii().to_string();
        let renamed = renamed.as_ref().map_or_else(String::new, |name| format!(" -> {}", word(name)));
        text += &format!("{kind} {}{renamed} in {:?}: {places:x?}, {differing}\n", word(name), word(section));
        fields.iter().for_each(|field| text += &format!("    {}: {:?}\n", field.name, field.values));
    }
    text
}

fn program_of(a: &[u8], b: &[u8]) -> Program {
    let report = compared(a, b);
    assert_eq!(report.unexplained(), 0);
    report.root.unwrap().program.expect("symbols differ")
}

#[test]
fn symbols_that_differ_are_told_with_their_section_and_bytes() {
    let first = shown(&program_of(&pair(SHAPES[0])[0], &pair(SHAPES[0])[1]));
    insta::assert_snapshot!(first);
    for shape in SHAPES {
        let [a, b] = pair(shape);
        assert_eq!(shown(&program_of(&a, &b)), first, "{shape:?}");
        let back = shown(&program_of(&b, &a));
        assert!(back.contains("object term -> word") && back.contains("function gone"), "{back}");
    }
}

#[test]
fn readelf_finds_the_symbols_of_the_fixture() {
    let dir = scratch();
    for (number, shape) in SHAPES.into_iter().enumerate() {
        let path = save(dir.path(), &format!("{number}.elf"), &pair(shape)[0]);
        let Some(list) = oracle_text(Command::new("readelf").arg("-sW").arg(path)) else { return };
        for (name, _, index, start, len) in FIRST {
            let listed = symbols(&list);
            let value = if index == 0 { 0 } else { ADDRESS + start };
            assert_eq!(listed.get(name), Some(&(value, len)), "{list}");
        }
    }
}

#[test]
fn damaged_symbols_make_no_comparison_panic() {
    let [a, b] = pair(SHAPES[0]);
    mutations(&a, 2_000, |bad| {
        assert_eq!(compared(&b, bad).unexplained(), 0);
    });
}

#[test]
fn symbols_that_overlap_are_not_read_without_end() {
    let rows: Vec<Row> = (0..60_000).map(|_| ("same", FUNCTION, 1, 0, 24)).collect();
    let mut text = *BYTES[0];
    let a = program(SHAPES[0], &text, &rows);
    text[3] ^= 1;
    let found = program_of(&a, &program(SHAPES[0], &text, &rows));
    assert!(!found.unlooked && found.symbols.len() == 32 && found.more == 59_968, "{found:?}");
    // Each symbol is as long as a large section, which the file has once.
    let text = vec![0x90; 1 << 20];
    let rows: Vec<Row> = (0..10_000).map(|_| ("same", FUNCTION, 1, 0, 1 << 20)).collect();
    let mut other = text.clone();
    other[1 << 19] = 0xc3;
    let found = program_of(&program(SHAPES[0], &text, &rows), &program(SHAPES[0], &other, &rows));
    assert!(found.unlooked && (1..8).contains(&found.symbols.len()) && found.more == 0, "{found:?}");
}

/// Names, values and lengths in the list that readelf makes of symbols.
fn symbols(list: &str) -> BTreeMap<String, (u64, u64)> {
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [number, value, len, _, _, _, _, name @ ..] = &words[..] else { return None };
        let len =
            len.strip_prefix("0x").map_or_else(|| len.parse().ok(), |len| u64::from_str_radix(len, 16).ok());
        let value = u64::from_str_radix(value, 16).ok()?;
        number.strip_suffix(':').filter(|number| number.parse::<u32>().is_ok())?;
        Some((name.join(" "), (value, len?)))
    };
    list.lines().filter_map(row).collect()
}

const SOURCE: &str = "int limit = 10;\nstatic int table[4] = {1, 2, 3, 4};\n\
    __attribute__((noinline)) int helper(int x) { return x * 3 + limit; }\n\
    __attribute__((noinline)) int other(int x) { return table[x & 3]; }\n\
    int main(int argc, char **argv) { (void)argv; return helper(argc) + other(argc); }\n";

/// What the compiler of this machine makes of a program.
fn compiled(dir: &Path, name: &str, text: &str, options: &[&str]) -> Option<std::path::PathBuf> {
    save(dir, &format!("{name}.c"), text.as_bytes());
    let mut cc = Command::new("cc");
    cc.current_dir(dir).args(["-O1", "-o", name, &format!("{name}.c")]).args(options);
    oracle_text(&mut cc)?;
    Some(dir.join(name))
}

#[test]
fn what_was_changed_in_a_program_is_named() {
    let dir = scratch();
    let changed = SOURCE.replace("x * 3", "x * 5").replace("3, 4}", "3, 5}");
    let link = ["-Wl,--build-id=sha1"];
    for options in [&link[..], &["-c"]] {
        let Some(first) = compiled(dir.path(), "first", SOURCE, options) else { return };
        let second = compiled(dir.path(), "second", &changed, options).unwrap();
        let found = program_of(&load(&first), &load(&second));
        let names: Vec<_> =
            found.symbols.iter().map(|one| (one.kind, &one.name[..], &one.section[..])).collect();
        assert!(names.contains(&("function", b"helper", b".text")), "{names:?}");
        assert!(names.iter().any(|(kind, name, _)| (*kind, *name) == ("object", b"table")), "{names:?}");
        assert!(
            !names.iter().any(|(_, name, _)| [&b"main"[..], b"other", b"limit"].contains(name)),
            "{names:?}"
        );
        let Some(list) = oracle_text(Command::new("readelf").arg("-sW").arg(&first)) else { return };
        let helper = found.symbols.iter().find(|one| one.name == b"helper").unwrap();
        assert_eq!(helper.places[0].unwrap().1, symbols(&list)["helper"].1, "{list}");
        let linked = options == link;
        assert_eq!(found.build_ids.is_some(), linked);
        if let Some(ids) = found.build_ids {
            for (path, id) in [first, second].iter().zip(ids) {
                let Some(notes) = oracle_text(Command::new("readelf").arg("-nW").arg(path)) else { return };
                assert!(notes.contains(&format!("Build ID: {}", id.unwrap())), "{notes}");
            }
        }
    }
}

#[test]
fn instructions_are_compared_as_they_are_read_with_names_for_addresses() {
    let [a, b] = pair(SHAPES[0]);
    let read = |code: selfsame_image::compare::Code<'_>| {
        assert_eq!((code.machine, code.wide, code.big), (62, true, false));
        let own = code.address + 2;
        let bytes = code.bytes.escape_ascii();
        Ok(format!(
            "push {bytes}\njmp {own:#x}\ncall {:#x}\nlea 0x8(%rip),%rax # {:#x}\n",
            ADDRESS + 1,
            ADDRESS
        ))
    };
    let options = Options::new(NonZero::<usize>::MIN);
    let asked = options.clone().disassembled(Disassemble::new(read));
    let report = compare(&source(&a), &source(&b), &asked).unwrap();
    let symbols = report.root.unwrap().program.unwrap().symbols;
    let told: Vec<_> = symbols.iter().filter_map(|one| Some((&one.name[..], one.code.as_ref()?))).collect();
    let names: Vec<_> = told.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, [&b"longer"[..], b"changed"]);
    // But for the first line, all are the same: the addresses have names.
    let lines: Vec<_> =
        told[1].1.lines.iter().map(|line| (line.side, line.number, line.text.as_str())).collect();
    assert_eq!(lines, [(0, 1, "push _changed\n"), (1, 1, "push _chanGed\n")]);
    // What cannot be read is said, and nothing else is missing.
    let refused = options.disassembled(Disassemble::new(|_| Err("no".to_owned())));
    let report = compare(&source(&a), &source(&b), &refused).unwrap();
    let program = report.root.unwrap().program.unwrap();
    assert_eq!((program.not_disassembled.as_deref(), program.symbols.len()), (Some("no"), symbols.len()));
}
