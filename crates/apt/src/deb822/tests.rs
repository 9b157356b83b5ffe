use proptest::prelude::*;

use super::*;

fn error(text: &str) -> String {
    paragraphs(text.as_bytes()).find_map(Result::err).expect("an error").to_string()
}

#[test]
fn fields_keep_order_case_and_lines() {
    let text = b"\n\nPackage: a\nDescription: short\n long\n .\n\tmore \n\nPACKAGE:b\nEmpty:\n";
    let all: Vec<_> = paragraphs(text).map(Result::unwrap).collect();
    assert_eq!(all.len(), 2);
    let names: Vec<_> = all[0].fields().iter().map(Field::name).collect();
    assert_eq!(names, ["Package", "Description"]);
    let description = all[0].get("DESCRIPTION").unwrap();
    assert_eq!(description.raw(), b" short\n long\n .\n\tmore ");
    assert_eq!(description.lines().collect::<Vec<_>>(), [&b"short"[..], b"long", b".", b"more"]);
    assert!(!description.is_single_line());
    assert_eq!(&text[all[0].range()], b"Package: a\nDescription: short\n long\n .\n\tmore \n");
    assert_eq!(all[1].get("package").unwrap().text(), Some("b"));
    assert_eq!(all[1].get("empty").unwrap().value(), b"");
    assert!(all[1].get("version").is_none());
}

#[test]
fn what_readers_could_read_differently_is_refused() {
    for (text, message) in [
        ("a: 1\nA: 2\n", "line 2 (byte 5): field A is given twice"),
        ("a: 1\n \t\nb: 2\n", "line 2 (byte 5): line of blanks only"),
        (" a: 1\n", "line 1 (byte 0): continuation line without a field"),
        ("a: 1\n\n b\n", "line 3 (byte 6): continuation line without a field"),
        ("a: 1\nb\n", "line 2 (byte 5): line is neither a field, a continuation nor empty"),
        ("a: 1\r\n", "line 1 (byte 4): byte 0x0d is not allowed"),
        ("a: 1\nb: \0\n", "line 2 (byte 8): byte 0x00 is not allowed"),
        ("#a: 1\n", "line 1 (byte 0): \"#a\" is not a field name"),
        ("-a: 1\n", "line 1 (byte 0): \"-a\" is not a field name"),
        (": 1\n", "line 1 (byte 0): \"\" is not a field name"),
        ("a b: 1\n", "line 1 (byte 0): \"a b\" is not a field name"),
        ("\u{feff}a: 1\n", "line 1 (byte 0): \"\\u{feff}a\" is not a field name"),
    ] {
        assert_eq!(error(text), message, "{text:?}");
    }
    assert!(error(&format!("{}: 1\n", "n".repeat(MAX_NAME + 1))).contains("is not a field name"));
    let many: String = (0..=MAX_FIELDS).map(|n| format!("f{n}: x\n")).collect();
    assert!(error(&many).contains("more than 1024 fields"));
    let twice: String = (0..200).chain([77]).map(|n| format!("f{n}: x\n")).collect();
    assert!(error(&twice).contains("line 201 (byte 1490): field f77 is given twice"), "{}", error(&twice));
}

#[test]
fn single_wants_exactly_one() {
    assert!(single(b"").unwrap().is_none());
    assert!(single(b"a: 1\n\nb: 2\n").unwrap().is_none());
    assert_eq!(single(b"a: 1").unwrap().unwrap().fields().len(), 1);
    assert!(single(b"a: 1\n\nb\n").is_err());
}

fn name() -> impl Strategy<Value = String> {
    "[A-Za-z!$-,.-9;-~][!-9;-~]{0,12}"
}

fn value() -> impl Strategy<Value = String> {
    let line = "[ -~é]{0,20}";
    let continuation = "[ \t][ -~]{0,10}[!-~]";
    (line, prop::collection::vec(continuation, 0..3))
        .prop_map(|(first, more)| std::iter::once(first).chain(more).collect::<Vec<_>>().join("\n"))
}

proptest! {
    #[test]
    fn what_is_written_is_read(fields in prop::collection::vec((name(), value()), 1..60), blank in 1..4usize) {
        let mut seen = std::collections::BTreeSet::new();
        let fields: Vec<_> =
            fields.into_iter().filter(|(name, _)| seen.insert(name.to_ascii_lowercase())).collect();
        let one: String = fields.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let text = format!("{one}{}{one}", "\n".repeat(blank));
        let all: Vec<_> = paragraphs(text.as_bytes()).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(all.len(), 2);
        for paragraph in all {
            prop_assert_eq!(&text.as_bytes()[paragraph.range()], one.as_bytes());
            let read: Vec<_> = paragraph
                .fields()
                .iter()
                .map(|f| (f.name().to_owned(), String::from_utf8(f.raw().to_vec()).unwrap()))
                .collect();
            prop_assert_eq!(&read, &fields);
        }
    }

    #[test]
    fn no_input_panics(text in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b':'), Just(b' '), any::<u8>()], 0..200)) {
        for paragraph in paragraphs(&text).flatten() {
            prop_assert!(paragraph.range().end <= text.len());
            prop_assert!(!paragraph.fields().is_empty());
        }
    }
}
