//! Causes that lines of text tell of.

use super::Findings;
use super::pattern::{Kind, patterns};
use crate::compare::{Line, Lines};

/// How the lines of two texts that differ are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Order {
    /// They are not the same lines.
    #[default]
    Other,
    /// The same lines.
    Same,
    /// The same lines, sorted by bytes in one and by the rules of a language in the other.
    Locale,
}

impl Order {
    /// Of two texts.
    pub(crate) fn of(texts: [&[&str]; 2]) -> Self {
        let [mut a, mut b] = texts.map(<[&str]>::to_vec);
        // Only the end of the last line differs.
        if a == b {
            return Self::Other;
        }
        a.sort_unstable();
        b.sort_unstable();
        if a != b {
            return Self::Other;
        }
        let by_bytes = texts.iter().any(|text| text.is_sorted());
        // As most languages do: letters and digits first, case and everything else only to decide.
        let key = |line: &&str| -> String {
            line.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
        };
        let by_language = texts.iter().any(|text| !text.is_sorted() && text.is_sorted_by_key(key));
        if by_bytes && by_language { Self::Locale } else { Self::Same }
    }
}

/// Longest line in which patterns are looked for, in bytes.
const LONGEST: usize = 4096;

/// Notes what the lines that differ tell of.
pub(super) fn recognise(text: &Lines, found: &mut Findings) {
    match text.order {
        Order::Other => {}
        Order::Same => return found.add("order", || format!("{} lines", text.removed)),
        Order::Locale => return found.add("locale-sort", || format!("{} lines", text.removed)),
    }
    for hunk in text.lines.chunk_by(|a, b| a.side <= b.side) {
        let middle = hunk.partition_point(|line| line.side == 0);
        let (before, after) = hunk.split_at(middle);
        // Only lines that were changed one by one can be set beside each other.
        if before.len() == after.len() {
            before.iter().zip(after).for_each(|(a, b)| pair(a, b, found));
        }
    }
}

/// Notes what two lines tell of by what they begin with; false if that is nothing. `last` is whether nothing else tells.
fn labelled(a: &Line, b: &Line, last: bool, found: &mut Findings) -> bool {
    let label =
        |line: &Line| line.text.trim_start_matches('"').split_once(':').map(|(label, _)| label.to_owned());
    let Some(name) = label(a).filter(|name| label(b).as_ref() == Some(name)) else { return false };
    let cause = match name.as_str() {
        "POT-Creation-Date" | "PO-Revision-Date" => "translation-date",
        "#" if [a, b].iter().all(|line| line.text.starts_with("#: ")) => "translation-reference",
        _ if !last => return false,
        // As /proc/cpuinfo writes them, proc(5).
        "model name\t" | "vendor_id\t" | "cpu family\t" | "cpu MHz\t\t" | "bogomips\t" | "flags\t\t"
        | "microcode\t" => "processor",
        // Of deb822(5): the package that it belongs to is another one.
        "Package" | "Version" => "package-version",
        _ => return false,
    };
    let short = |line: &Line| line.text.chars().take(60).collect::<String>();
    found.add(cause, || format!("line {}: {} -> {}", a.number, short(a), short(b)));
    true
}

/// Notes what two lines tell of that differ in patterns only.
fn pair(a: &Line, b: &Line, found: &mut Findings) {
    if labelled(a, b, false, found) {
        return;
    }
    if !patterned(a, b, found) {
        labelled(a, b, true, found);
    }
}

/// Notes what two lines tell of that differ in patterns only; false if that is nothing.
fn patterned(a: &Line, b: &Line, found: &mut Findings) -> bool {
    // What is looked for in a line can take as long as its length squared.
    if a.text.len().max(b.text.len()) > LONGEST {
        return false;
    }
    let mut told = false;
    let (first, second) = (patterns(&a.text), patterns(&b.text));
    if first.len() != second.len() || first.iter().zip(&second).any(|(a, b)| !a.is_like(b)) {
        return false;
    }
    for (one, other) in first.iter().zip(&second).filter(|(one, other)| one.text != other.text) {
        let cause = match one.kind {
            Kind::Literal => return told,
            Kind::Date => "date",
            Kind::Uuid => "random-id",
            Kind::Address => "address",
            Kind::Kernel => "kernel-version",
            Kind::Temporary => "temporary-name",
            Kind::Directory => "build-path",
            Kind::Hex if shortened(one.text, other.text) => "git-id",
            Kind::Hex
                if one.text.len() == other.text.len()
                    && one.text.len() != 32
                    && follows_commit(&a.text, one.text) =>
            {
                "commit-id"
            }
            Kind::Hex if one.text.len() == other.text.len() => "digest",
            Kind::Builder => "host-name",
            Kind::Number if speaks_of_pid(&a.text) => "process-id",
            Kind::Hex | Kind::Number => continue,
        };
        found.add(cause, || format!("line {}: {} -> {}", a.number, one.text, other.text));
        told = true;
    }
    told
}

/// Whether "pid" is a word of a line: `rapid` and `pidgin` have it too.
fn speaks_of_pid(line: &str) -> bool {
    line.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word.eq_ignore_ascii_case("pid"))
}

/// Whether a hash in this line is said to be one of Git.
fn follows_commit(line: &str, hash: &str) -> bool {
    let before = line.split(hash).next().unwrap_or_default();
    let mut words = before.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let last = words.next_back().unwrap_or_default();
    ["commit", "git", "revision", "HEAD"].iter().any(|one| last.eq_ignore_ascii_case(one))
}

/// Whether in lines of shadow(5) the day of the last change of somebody's password differs.
pub(super) fn password_day(text: &Lines) -> bool {
    let entries = |side: usize| {
        let lines = text.lines.iter().filter(move |line| line.side == side);
        lines.filter_map(|line| {
            let mut fields = line.text.split(':');
            Some((fields.next()?, fields.nth(1)?))
        })
    };
    entries(0).any(|(user, day)| entries(1).any(|(other, also)| user == other && day != also))
}

/// Whether one id is the start of the other.
fn shortened(a: &str, b: &str) -> bool {
    a.len() != b.len() && (a.starts_with(b) || b.starts_with(a))
}

#[cfg(test)]
mod tests {
    use selfsame_testkit::Numbers;

    use super::*;

    fn causes(a: &str, b: &str) -> Vec<String> {
        let line = |side, text: &str| Line {
            side,
            number: 7,
            text: text.to_owned(),
            before: Vec::new(),
            after: Vec::new(),
        };
        let lines = Lines { lines: vec![line(0, a), line(1, b)], removed: 1, added: 1, order: Order::Other };
        let mut found = Findings::default();
        recognise(&lines, &mut found);
        found.0.into_values().map(|finding| format!("{} {}", finding.cause, finding.seen)).collect()
    }

    #[test]
    fn lines_that_differ_in_a_pattern_tell_of_a_cause() {
        for (a, b, expected) in [
            ("Built on 2026-08-01.", "Built on 2026-08-02.", "date"),
            ("at 2026-08-01T10:00:00Z!", "at 2026-08-01T10:00:01Z!", "date"),
            ("Sat, 01 Aug 2026 00:00:00 +0000", "Sun, 02 Aug 2026 00:00:00 +0000", "date"),
            ("Sat Aug  1 00:00:00 UTC 2026", "Sun Aug  2 00:00:00 UTC 2026", "date"),
            ("built: 1785542400", "built: 1785542401", "date"),
            ("version 20260801.1", "version 20260802.1", "date"),
            (
                "id=0b9a3c1e-7f7d-4a53-8d6e-0123456789ab",
                "id=0b9a3c1e-7f7d-4a53-8d6e-fedcba987654",
                "random-id",
            ),
            ("object at 0x7f3a91b2c3d0", "object at 0x7f11aa22bb40", "address"),
            ("commit 1a2b3c4", "commit 1a2b3c4d", "git-id"),
            ("d41d8cd98f00b204e9800998ecf8427e  a", "0cc175b9c0f1b6a831c399e269772661  a", "digest"),
            ("from /tmp/tmp.aB3dE9xYz1/x.c", "from /tmp/tmp.Zz93kkqPQ0/x.c", "temporary-name"),
            ("from /home/alice/src/x.c", "from /home/bob/src/x.c", "build-path"),
            ("started as pid 4711", "started as pid 12", "process-id"),
            ("main_pid: 4711", "main_pid: 12", "process-id"),
            ("see file:///build/a/x.c", "see file:///build/b/x.c", "build-path"),
            (".TH A 1 \"August 2026\"", ".TH A 1 \"July 2026\"", "date"),
            ("Aug  1 10:00 started", "Aug  2 10:01 started", "date"),
            ("on August 1, 2026", "on August 2, 2026", "date"),
            (
                "commit d41d8cd98f00b204e9800998ecf8427ed41d8cd9",
                "commit 0cc175b9c0f1b6a831c399e2697726610cc175b9",
                "commit-id",
            ),
            ("built by alice@buildd1 now", "built by bob@buildd2.example.org now", "host-name"),
            ("model name\t: Old", "model name\t: New Processor", "processor"),
            (
                "\"POT-Creation-Date: 2026-08-01 10:00+0200\\n\"",
                "\"POT-Creation-Date: 2026-08-02 10:00+0200\\n\"",
                "translation-date",
            ),
            ("#: src/a.c:12", "#: src/a.c:14", "translation-reference"),
            ("Version: 1.2-3", "Version: 1.2-4+deb12u1", "package-version"),
            ("Version: 1.2-3", "Version: 1.2-4", "package-version"),
            ("Version: 20260801", "Version: 20260802", "date"),
            ("flags: -g0=/build/a", "flags: -g0=/build/b", "build-path"),
            (
                "d41d8cd98f00b204e9800998ecf8427ed41d8cd9  bin/git",
                "0cc175b9c0f1b6a831c399e2697726610cc175b9  bin/git",
                "digest",
            ),
            ("kernel 6.1.0-18-amd64", "kernel 6.1.0-21-amd64", "kernel-version"),
        ] {
            let found = causes(a, b);
            assert!(found.len() == 1 && found[0].starts_with(expected), "{a} / {b}: {found:?}");
        }
    }

    #[test]
    fn lines_that_differ_otherwise_tell_of_nothing() {
        for (a, b) in [
            ("color=red", "color=blue"),
            ("count 12", "count 13"),
            ("1 file", "2 files"),
            ("on 2026-08-01: red", "on 2026-08-02: blue"),
            ("deadbeef", "cafe"),
            ("rapid 17 pidgin", "rapid 18 pidgin"),
            ("from ./build/a/x.c", "from ./build/b/x.c"),
            ("from ..//build/a/x.c", "from ..//build/b/x.c"),
            ("from ./tmp/a/x.c", "from ./tmp/b/x.c"),
            ("mail root@", "mail user@"),
            ("lodash@4.17.20", "lodash@4.17.21"),
            ("getty@tty1.service", "getty@tty2.service"),
            (" foo@Base 1.0", " bar@Base 1.0"),
            ("flags: red", "flags: blue"),
            ("#: see below", "# : see above"),
            ("May 4 apples", "May 5 apples"),
        ] {
            assert_eq!(causes(a, b), [""; 0], "{a} / {b}");
        }
        assert_eq!(causes("at 2026-08-01", "at 2026-08-02"), ["date line 7: 2026-08-01 -> 2026-08-02"]);
    }

    #[test]
    fn the_same_lines_in_another_order_are_known() {
        let order = |a: &[&str], b: &[&str]| Order::of([a, b]);
        assert_eq!(order(&["b", "a", "c"], &["a", "b", "c"]), Order::Same);
        assert_eq!(order(&["a", "b"], &["a", "c"]), Order::Other);
        assert_eq!(order(&["a", "a", "b"], &["a", "b", "b"]), Order::Other);
        assert_eq!(order(&["Alpha", "Zeta", "beta"], &["Alpha", "beta", "Zeta"]), Order::Locale);
        assert_eq!(order(&["Zeta", "Alpha", "beta"], &["Alpha", "beta", "Zeta"]), Order::Same);
    }

    #[test]
    fn a_long_line_takes_no_time() {
        for letters in [".", "-", "a-", "a@", "1 ", "Aug "] {
            let line = letters.repeat(1 << 20);
            assert_eq!(causes(&line, &format!("{line}.")), [""; 0], "{letters}");
            // Ones that are just looked at.
            causes(&line[..LONGEST], &line[1..=LONGEST]);
        }
    }

    #[test]
    fn any_text_can_be_looked_at() {
        let parts = [
            "2026-", "Aug", " ", "é", "0x7f", "/tmp/", "12345678", "-", ":", "deadbeef", "pid", "Z", "\u{0}",
        ];
        let mut random = Numbers(1);
        let mut text = || -> String {
            let count = random.below(9);
            (0..count).map(|_| parts[random.below(parts.len())]).collect()
        };
        for _ in 0..20_000 {
            let (a, b) = (text(), text());
            assert_eq!(patterns(&a).iter().map(|pattern| pattern.text).collect::<String>(), a);
            causes(&a, &b);
        }
    }
}
