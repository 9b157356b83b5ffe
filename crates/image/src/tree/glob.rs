//! Patterns for paths.

use std::fmt;
use std::str::FromStr;

/// A pattern for whole paths in a tree.
///
/// `*` stands for any bytes of one component, `?` for one byte, `[a-z]` and `[!a-z]` for one byte in or outside a
/// set, `**` as a whole component for any number of components (at the end for one or more), and a backslash takes
/// the meaning off the next character. A leading `/` says nothing. Dots at the start of names are not special.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// `**`: any number of components.
    Any,
    One(Vec<Token>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Byte(u8),
    One,
    Star,
    Class { negated: bool, ranges: Vec<(u8, u8)> },
}

/// The text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pattern {text:?} {fault}")]
pub struct NotAPattern {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub fault: &'static str,
}

impl FromStr for Pattern {
    type Err = NotAPattern;

    fn from_str(text: &str) -> Result<Self, NotAPattern> {
        let wrong = |fault| NotAPattern { text: text.to_owned(), fault };
        let bare = text.strip_prefix('/').unwrap_or(text);
        let mut parts = Vec::new();
        for part in bare.split('/') {
            match part {
                "" => return Err(wrong("has an empty component")),
                "." | ".." => return Err(wrong("has a component that no path has")),
                "**" => parts.push(Part::Any),
                _ => parts.push(Part::One(tokens(part.as_bytes()).map_err(wrong)?)),
            }
        }
        if let Some(last @ Part::Any) = parts.last_mut() {
            *last = Part::One(vec![Token::Star]);
            parts.push(Part::Any);
        }
        Ok(Self { text: text.to_owned(), parts })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn tokens(mut part: &[u8]) -> Result<Vec<Token>, &'static str> {
    let mut tokens = Vec::new();
    while let Some((first, rest)) = part.split_first() {
        part = rest;
        tokens.push(match first {
            b'?' => Token::One,
            b'*' if part.first() == Some(&b'*') || tokens.last() == Some(&Token::Star) => {
                return Err("has ** beside other characters");
            }
            b'*' => Token::Star,
            b'[' => class(&mut part)?,
            b'\\' => {
                let (escaped, rest) = part.split_first().ok_or("ends with a backslash")?;
                part = rest;
                Token::Byte(*escaped)
            }
            byte => Token::Byte(*byte),
        });
    }
    Ok(tokens)
}

/// The set after a `[`, up to its `]`, which may be the first member.
fn class(part: &mut &[u8]) -> Result<Token, &'static str> {
    const OPEN: &str = "has a [ without a ]";
    let negated = matches!(part.first(), Some(b'!' | b'^'));
    *part = &part[usize::from(negated)..];
    let mut ranges = Vec::new();
    loop {
        let (low, rest) = part.split_first().ok_or(OPEN)?;
        if *low == b']' && !ranges.is_empty() {
            *part = rest;
            return Ok(Token::Class { negated, ranges });
        }
        let (high, rest) = match rest {
            [b'-', high, rest @ ..] if *high != b']' => (high, rest),
            _ => (low, rest),
        };
        if low > high {
            return Err("has a range that goes backwards");
        }
        ranges.push((*low, *high));
        *part = rest;
    }
}

impl Token {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Self::Byte(wanted) => *wanted == byte,
            Self::One | Self::Star => true,
            Self::Class { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&byte)) != *negated
            }
        }
    }
}

impl Pattern {
    /// Whether the pattern stands for `path`, which has no leading slash. The time is at worst the product of both
    /// lengths.
    pub fn matches(&self, path: &[u8]) -> bool {
        self.matches_components(&path.split(|byte| *byte == b'/').collect::<Vec<_>>())
    }

    /// The same for a path that was split before.
    pub(super) fn matches_components(&self, components: &[&[u8]]) -> bool {
        wildcard(
            &self.parts,
            components,
            |part| *part == Part::Any,
            |part, component| match part {
                Part::Any => true,
                Part::One(tokens) => wildcard(
                    tokens,
                    component,
                    |token| *token == Token::Star,
                    |token, byte| token.takes(*byte),
                ),
            },
        )
    }
}

/// Matches items against a pattern in which some parts stand for any number of items.
///
/// Only the last such part can be worth another try: whatever an earlier one could take, the last one can as well.
fn wildcard<P, I>(
    pattern: &[P],
    items: &[I],
    any: impl Fn(&P) -> bool,
    one: impl Fn(&P, &I) -> bool,
) -> bool {
    let (mut p, mut i) = (0, 0);
    let mut retry = None;
    while i < items.len() {
        match pattern.get(p) {
            Some(part) if any(part) => {
                retry = Some((p + 1, i));
                p += 1;
            }
            Some(part) if one(part, &items[i]) => {
                p += 1;
                i += 1;
            }
            _ => {
                let Some((after, taken)) = retry else { return false };
                retry = Some((after, taken + 1));
                (p, i) = (after, taken + 1);
            }
        }
    }
    pattern[p..].iter().all(any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stand_for_whole_paths() {
        for (pattern, yes, no) in [
            (
                "boot/initrd.img-*",
                &["boot/initrd.img-6.1", "boot/initrd.img-"][..],
                &["boot/initrd.img", "x/boot/initrd.img-6"][..],
            ),
            (
                "/boot/vmlinu[xz]-?",
                &["boot/vmlinuz-6", "boot/vmlinux-5"],
                &["boot/vmlinuy-6", "boot/vmlinuz-61"],
            ),
            ("a[!0-9]", &["ab", "a-"], &["a5", "a", "a/"]),
            ("[]-]", &["]", "-"], &["a"]),
            (
                "var/lib/apt/lists/**",
                &["var/lib/apt/lists/a", "var/lib/apt/lists/a/b"],
                &["var/lib/apt/lists"],
            ),
            (
                "**/__pycache__",
                &["__pycache__", "a/__pycache__", "a/b/__pycache__"],
                &["a/__pycache__/b", "x__pycache__"],
            ),
            ("a/**/b/*.c", &["a/b/x.c", "a/1/2/b/x.c", "a/b/b/.c"], &["a/b/d/x.c", "a/x.c"]),
            ("**", &["a", "a/b"], &[]),
            ("**/**/a", &["a", "b/a", "c/b/a"], &["a/b"]),
            ("*a*b*", &["ab", "xaxbx", "aab"], &["ba", "a/b"]),
            (r"\*\[", &["*["], &["x["]),
            ("tmp/*", &["tmp/.X"], &["tmp", "tmp/a/b"]),
            ("**/*/a", &["b/a", "c/b/a"], &["a"]),
        ] {
            let parsed: Pattern = pattern.parse().unwrap();
            assert_eq!(parsed.to_string(), pattern);
            for path in yes {
                assert!(parsed.matches(path.as_bytes()), "{pattern} does not match {path}");
            }
            for path in no {
                assert!(!parsed.matches(path.as_bytes()), "{pattern} matches {path}");
            }
        }
    }

    #[test]
    fn what_would_not_mean_what_it_says_is_refused() {
        for (text, fault) in [
            ("", "has an empty component"),
            ("a//b", "has an empty component"),
            ("a/", "has an empty component"),
            ("../a", "has a component that no path has"),
            ("a**", "has ** beside other characters"),
            ("***", "has ** beside other characters"),
            ("a[", "has a [ without a ]"),
            ("a[]", "has a [ without a ]"),
            ("a[z-a]", "has a range that goes backwards"),
            ("a\\", "ends with a backslash"),
        ] {
            assert_eq!(text.parse::<Pattern>().unwrap_err().fault, fault, "{text}");
        }
    }

    #[test]
    fn hostile_patterns_take_no_exponential_time() {
        let pattern: Pattern = format!("{}b", "*a".repeat(200)).parse().unwrap();
        assert!(!pattern.matches(&[b'a'; 4_000]));
        let pattern: Pattern = format!("{}b", "**/a/".repeat(200)).parse().unwrap();
        assert!(!pattern.matches("a/".repeat(2_000).trim_end_matches('/').as_bytes()));
    }
}
