//! Dates, ids, paths and numbers in a line of text.

/// What a part of a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing that is known.
    Literal,
    /// A date, a time of day or both; seconds since 1970.
    Date,
    Uuid,
    /// A pointer as `printf("%p")` writes it.
    Address,
    /// The version of a Debian kernel.
    Kernel,
    /// A path below a directory for temporary files, up to the name in it.
    Temporary,
    /// The home or build directory of somebody.
    Directory,
    /// Who built where: `user@host`.
    Builder,
    /// At least seven hexadecimal digits.
    Hex,
    Number,
}

/// A part of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pattern<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
}

impl Pattern<'_> {
    /// Whether both are the same words, or of the same kind.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.kind == other.kind && (self.kind != Kind::Literal || self.text == other.text)
    }
}

/// A line in parts; together they are all of it.
pub(super) fn patterns(line: &str) -> Vec<Pattern<'_>> {
    let (mut all, mut start, mut at) = (Vec::new(), 0, 0);
    while at < line.len() {
        let before = line[..at].chars().next_back();
        let inside = before.is_some_and(|c| c.is_ascii_alphanumeric());
        // `./build/x` and `a_/build/x` begin elsewhere; `file:///build/x` does not.
        let rooted = !before.is_some_and(|c| "./_-~".contains(c)) || line[..at].ends_with("://");
        let found = if inside || !line.is_char_boundary(at) { None } else { known(&line[at..], rooted) };
        match found {
            Some((kind, len)) => {
                if start < at {
                    all.push(Pattern { kind: Kind::Literal, text: &line[start..at] });
                }
                all.push(Pattern { kind, text: &line[at..at + len] });
                at += len;
                start = at;
            }
            None => at += line[at..].chars().next().map_or(1, char::len_utf8),
        }
    }
    if start < line.len() {
        all.push(Pattern { kind: Kind::Literal, text: &line[start..] });
    }
    all
}

/// How long what a text begins with is, if it is that.
type Match = fn(&str) -> Option<usize>;

/// What a text begins with, and how long that is. `rooted` is whether a slash at its start can be that of the root.
fn known(text: &str, rooted: bool) -> Option<(Kind, usize)> {
    let ends = |len: usize| text.as_bytes().get(len).is_none_or(|byte| !byte.is_ascii_alphanumeric());
    let all: [(Kind, Match); 9] = [
        (Kind::Uuid, uuid),
        (Kind::Date, date),
        (Kind::Kernel, kernel),
        (Kind::Address, address),
        (Kind::Temporary, |text| below(text, &["/tmp/", "/var/tmp/"])),
        (Kind::Directory, |text| below(text, &["/build/", "/home/", "/usr/src/", "/workspace/"])),
        (Kind::Builder, builder),
        (Kind::Hex, hex),
        (Kind::Number, |text| Some(digits(text)).filter(|len| *len > 0)),
    ];
    let rooted = |kind: Kind| rooted || !matches!(kind, Kind::Temporary | Kind::Directory | Kind::Builder);
    let can_be = all.iter().filter(|(kind, _)| rooted(*kind));
    can_be.into_iter().find_map(|(kind, matches)| Some((*kind, matches(text).filter(|len| ends(*len))?)))
}

/// How many digits a text begins with.
fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// Whether a text begins like `shape`, in which `0` is for any digit and `x` for any hexadecimal one.
fn shaped(text: &str, shape: &str) -> bool {
    text.len() >= shape.len()
        && text.bytes().zip(shape.bytes()).all(|(byte, like)| match like {
            b'0' => byte.is_ascii_digit(),
            b'x' => byte.is_ascii_hexdigit(),
            _ => byte == like,
        })
}

fn uuid(text: &str) -> Option<usize> {
    let shape = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    shaped(text, shape).then_some(shape.len())
}

fn address(text: &str) -> Option<usize> {
    // User space of amd64 and arm64: 12 digits, programs from 0x55, libraries and stacks from 0x7f on.
    let rest = text.strip_prefix("0x")?;
    let len = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
    (len == 12 && ["7f", "55", "56"].iter().any(|start| rest.starts_with(start))).then_some(2 + len)
}

fn kernel(text: &str) -> Option<usize> {
    let mut at = 0;
    for separator in [".", ".", "-"] {
        let len = digits(&text[at..]);
        at += len;
        if len == 0 || !text[at..].starts_with(separator) {
            return None;
        }
        at += 1;
    }
    let number = digits(&text[at..]);
    let rest = text[at + number..].strip_prefix('-').filter(|_| number > 0)?;
    let name = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'-').count();
    (name > 0).then_some(at + number + 1 + name)
}

/// A path in one of some directories, up to the name right in it.
fn below(text: &str, directories: &[&str]) -> Option<usize> {
    let directory = directories.iter().find(|directory| text.starts_with(**directory))?;
    let name = text[directory.len()..].bytes();
    let len = name.take_while(|byte| byte.is_ascii_alphanumeric() || b"._-+~".contains(byte)).count();
    (len > 0).then_some(directory.len() + len)
}

fn builder(text: &str) -> Option<usize> {
    // Bounds that names have (useradd(8), RFC 1035), so that a long line takes no longer than its length.
    let word = |text: &str, longest: usize, more: &[u8]| {
        let bytes = text.bytes().take(longest + 1);
        bytes.take_while(|byte| byte.is_ascii_alphanumeric() || more.contains(byte)).count()
    };
    let user = word(text, 32, b"_-.");
    let rest = text.get(user..)?.strip_prefix('@').filter(|_| (1..=32).contains(&user))?;
    let host = word(rest, 253, b"-.");
    let name = rest.get(..host).filter(|_| (1..=253).contains(&host))?;
    // Versions, ids, units of systemd, pictures and symbols have such a sign, too.
    let other =
        [".service", ".socket", ".timer", ".mount", ".png", ".svg"].iter().any(|end| name.ends_with(end))
            || name.bytes().all(|byte| byte.is_ascii_hexdigit())
            || !name.starts_with(|first: char| first.is_ascii_alphabetic())
            || name == "Base";
    (!other).then_some(user + 1 + host)
}

fn hex(text: &str) -> Option<usize> {
    let len = text.bytes().take_while(u8::is_ascii_hexdigit).count();
    // Seven decimal digits are a number, and seven letters a word.
    let some = |is: fn(&u8) -> bool| text.as_bytes()[..len].iter().any(is);
    let mixed = some(u8::is_ascii_digit) && some(u8::is_ascii_alphabetic);
    (mixed && len >= 7 || matches!(len, 32 | 40 | 64 | 128)).then_some(len)
}

fn date(text: &str) -> Option<usize> {
    iso(text).or_else(|| compact(text)).or_else(|| in_words(text)).or_else(|| clock(text))
}

/// `2026-08-01`, with a time or without (ISO 8601, RFC 3339).
fn iso(text: &str) -> Option<usize> {
    let day = ["0000-00-00", "0000/00/00"].iter().any(|shape| shaped(text, shape));
    if !day || !matches!(&text[..2], "19" | "20") {
        return None;
    }
    let mut at = 10;
    let rest = &text[at..];
    if let Some(len) = rest.strip_prefix(['T', ' ', '_']).and_then(clock) {
        at += 1 + len;
        at += zone(&text[at..]);
    }
    Some(at)
}

/// `10:00`, `10:00:01` or `10:00:01.5`
fn clock(text: &str) -> Option<usize> {
    if shaped(text, "00:00:00") {
        let fraction = text[8..].strip_prefix('.').map_or(0, digits);
        return Some(8 + if fraction > 0 { 1 + fraction } else { 0 });
    }
    shaped(text, "00:00").then_some(5)
}

/// `Z`, `+0000`, ` +00:00`, ` UTC`, with what is before it.
fn zone(text: &str) -> usize {
    let space = usize::from(text.starts_with(' '));
    let rest = &text[space..];
    let sign = rest.starts_with(['+', '-']);
    match rest {
        _ if sign && shaped(&rest[1..], "00:00") => space + 6,
        _ if sign && shaped(&rest[1..], "0000") => space + 5,
        _ if rest.starts_with("UTC") || rest.starts_with("GMT") => space + 3,
        _ if space == 0 && rest.starts_with('Z') => 1,
        _ => 0,
    }
}

/// `20260801`, `20260801100000`, or seconds since 1970 of the years 2001 to 2033.
fn compact(text: &str) -> Option<usize> {
    let len = digits(text);
    let number = |from: usize, to: usize| text[from..to].parse::<u32>().unwrap_or(0);
    match len {
        8 | 12 | 14 => {
            let day = matches!(&text[..2], "19" | "20")
                && (1..=12).contains(&number(4, 6))
                && (1..=31).contains(&number(6, 8));
            day.then_some(len)
        }
        10 => text.starts_with('1').then(|| {
            let fraction = text[len..].strip_prefix('.').map_or(0, digits);
            len + if fraction > 0 { 1 + fraction } else { 0 }
        }),
        _ => None,
    }
}

const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `Sat, 01 Aug 2026 00:00:00 +0000`, `Sat Aug  1 00:00:00 UTC 2026`, `August 1, 2026`: words of a date in any order: a
/// month, and of day, weekday, time and year the year or two more (`May 4 apples` is none).
fn in_words(text: &str) -> Option<usize> {
    let (mut at, mut end, mut month, mut others) = (0, 0, false, 0);
    loop {
        let rest = &text[at..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let word = &rest[..letters];
        let begins =
            |names: &[&str]| (3..=9).contains(&letters) && names.iter().any(|name| word.starts_with(name));
        let len = if begins(&MONTHS) {
            month = true;
            letters
        } else if begins(&WEEKDAYS) {
            others += 1;
            letters
        } else if matches!(word, "UTC" | "GMT") {
            letters
        } else if let Some(len) = clock(rest) {
            others += 1;
            len
        } else if matches!(digits(rest), 1 | 2 | 4) {
            others += if matches!(rest.get(..2), Some("19" | "20")) && digits(rest) == 4 { 2 } else { 1 };
            digits(rest)
        } else if end > 0 && zone(rest) > 0 {
            zone(rest)
        } else {
            break;
        };
        if len == 0 {
            break;
        }
        at += len;
        end = at;
        at += text[at..].bytes().take_while(|byte| matches!(byte, b' ' | b',')).count();
    }
    (month && others >= 2).then_some(end)
}
