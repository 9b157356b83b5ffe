//! The two formats of apt's source lists, sources.list(5).

use std::io;
use std::path::{Path, PathBuf};

/// One entry of the machine's source lists that is switched on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemSource {
    /// The file it is in.
    pub path: PathBuf,
    /// Its first line there, from 1.
    pub line: u32,
    /// `deb`, `deb-src` or both.
    pub types: Vec<String>,
    /// Base URLs as they are written. All methods of apt may be there.
    pub uris: Vec<String>,
    /// Suites, or exact paths with a slash at the end.
    pub suites: Vec<String>,
    /// Components; none with an exact path.
    pub components: Vec<String>,
    /// Key file or fingerprints the archive must be signed with, or keys themselves, as they are written.
    pub signed_by: Option<String>,
}

impl SystemSource {
    /// Whether nothing speaks against this being a mirror of Debian: it has binary packages of `main`, and the key file, if
    /// one is given, has Debian in its name.
    pub(super) fn may_be_debian(&self) -> bool {
        let has = |list: &[String], word: &str| list.iter().any(|have| have == word);
        let foreign =
            self.signed_by.as_ref().is_some_and(|keys| keys.starts_with('/') && !keys.contains("debian"));
        has(&self.types, "deb") && has(&self.components, "main") && !foreign
    }
}

/// Why the source lists could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    /// An entry that apt would refuse too.
    #[error("{}:{line}: {fault}", path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u32,
        /// What is wrong.
        fault: SourceFault,
    },
    /// A file or directory could not be read.
    #[error("cannot read {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl SourcesError {
    pub(super) fn reading(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// What is wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceFault {
    /// The type is neither `deb` nor `deb-src`.
    #[error("{0:?} is not a type of source")]
    Type(String),
    /// A bracket or quote is not closed.
    #[error("a bracket or quote is not closed")]
    Unclosed,
    /// Something every entry needs is not there.
    #[error("the {0} is missing")]
    Missing(&'static str),
    /// An exact path (with a slash at the end) has components, or a suite has none.
    #[error("suite {0:?} and its components do not fit")]
    Components(String),
    /// A line of a `.sources` file that is neither field nor continuation nor comment.
    #[error("{0:?} is not a field")]
    Field(String),
}

/// Reads source lists. Names ending in `.sources` are taken for deb822 stanzas, others for one-line entries. Entries that
/// are switched off or commented out are left out.
pub fn system_sources(files: &[(&Path, &str)]) -> Result<Vec<SystemSource>, SourcesError> {
    let mut sources = Vec::new();
    for (path, text) in files {
        if path.extension().is_some_and(|ending| ending == "sources") {
            stanzas(path, text, &mut sources)?;
        } else {
            for (line, text) in (1..).zip(text.lines()) {
                let fail = |fault| SourcesError::Entry { path: path.to_path_buf(), line, fault };
                sources.extend(one_line(path, line, text).map_err(fail)?);
            }
        }
    }
    Ok(sources)
}

/// `deb [ option=value ... ] uri suite component...`
fn one_line(path: &Path, line: u32, text: &str) -> Result<Option<SystemSource>, SourceFault> {
    let mut rest = without_comment(text).trim();
    if rest.is_empty() {
        return Ok(None);
    }
    let kind = word(&mut rest)?;
    // apt reads these as one-line entries too; what they mean is not for us.
    if !matches!(kind.as_str(), "deb" | "deb-src") {
        return Err(SourceFault::Type(kind.chars().take(80).collect()));
    }
    let mut signed_by = None;
    if let Some(options) = rest.strip_prefix('[') {
        let (options, after) = options.split_once(']').ok_or(SourceFault::Unclosed)?;
        for (name, value) in options.split_whitespace().filter_map(|option| option.split_once('=')) {
            match name.trim_end_matches(['+', '-']) {
                "signed-by" => signed_by = Some(value.to_owned()),
                "enabled" if is_no(value) => return Ok(None),
                _ => {}
            }
        }
        rest = after.trim_start();
    }
    let mut words = Vec::new();
    while !rest.is_empty() {
        words.push(word(&mut rest)?);
    }
    let mut words = words.into_iter();
    let uri = words.next().ok_or(SourceFault::Missing("URI"))?;
    let suite = words.next().ok_or(SourceFault::Missing("suite"))?;
    let components: Vec<String> = words.collect();
    if suite.ends_with('/') != components.is_empty() {
        return Err(SourceFault::Components(suite.chars().take(80).collect()));
    }
    Ok(Some(SystemSource {
        path: path.to_owned(),
        line,
        types: vec![kind],
        uris: vec![uri],
        suites: vec![suite],
        components,
        signed_by,
    }))
}

/// A `#` starts a comment anywhere but in brackets, which `cdrom:` labels may have.
fn without_comment(line: &str) -> &str {
    let mut in_brackets = false;
    for (at, c) in line.char_indices() {
        match c {
            '[' => in_brackets = line[at..].contains(']'),
            ']' => in_brackets = false,
            '#' if !in_brackets => return &line[..at],
            _ => {}
        }
    }
    line
}

/// Takes the next word off `rest`. Brackets and double quotes may hold spaces; the quotes themselves go.
fn word(rest: &mut &str) -> Result<String, SourceFault> {
    let mut out = String::new();
    let mut closing = None;
    let mut end = rest.len();
    for (at, c) in rest.char_indices() {
        match (closing, c) {
            (None, '"') => closing = Some('"'),
            (None, '[') => closing = Some(']'),
            (None, c) if c.is_whitespace() => {
                end = at;
                break;
            }
            (Some(close), c) if close == c => closing = None,
            _ => {}
        }
        if c != '"' {
            out.push(c);
        }
    }
    if closing.is_some() {
        return Err(SourceFault::Unclosed);
    }
    *rest = rest[end..].trim_start();
    Ok(out)
}

/// The fields of a stanza, with names in lower case, and its first line.
#[derive(Default)]
struct Stanza {
    line: u32,
    fields: Vec<(String, String)>,
}

fn stanzas(path: &Path, text: &str, sources: &mut Vec<SystemSource>) -> Result<(), SourcesError> {
    let mut stanza = Stanza::default();
    let fail = |line, fault| SourcesError::Entry { path: path.to_owned(), line, fault };
    for (line, text) in (1..).zip(text.lines().chain([""])) {
        if text.starts_with('#') {
            continue;
        }
        if text.trim().is_empty() {
            let whole = std::mem::take(&mut stanza);
            let at = whole.line;
            sources.extend(entry(path, whole).map_err(|fault| fail(at, fault))?);
        } else if text.starts_with([' ', '\t']) {
            let Some((_, value)) = stanza.fields.last_mut() else {
                return Err(fail(line, SourceFault::Field(text.chars().take(80).collect())));
            };
            value.push('\n');
            value.push_str(text.trim());
        } else {
            let Some((name, value)) = text.split_once(':') else {
                return Err(fail(line, SourceFault::Field(text.chars().take(80).collect())));
            };
            if stanza.fields.is_empty() {
                stanza.line = line;
            }
            stanza.fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    Ok(())
}

fn entry(path: &Path, stanza: Stanza) -> Result<Option<SystemSource>, SourceFault> {
    // The last one counts if a field is there twice, as with apt.
    let get = |name: &str| {
        stanza.fields.iter().rev().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    };
    let list = |name: &str| -> Vec<String> {
        get(name).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    };
    if stanza.fields.is_empty() || get("enabled").is_some_and(is_no) {
        return Ok(None);
    }
    let [types, uris, suites, components] = ["types", "uris", "suites", "components"].map(list);
    for (field, name) in [(&types, "field Types"), (&uris, "field URIs"), (&suites, "field Suites")] {
        if field.is_empty() {
            return Err(SourceFault::Missing(name));
        }
    }
    if let Some(other) = types.iter().find(|kind| !matches!(kind.as_str(), "deb" | "deb-src")) {
        return Err(SourceFault::Type(other.chars().take(80).collect()));
    }
    if let Some(unfit) = suites.iter().find(|suite| suite.ends_with('/') != components.is_empty()) {
        return Err(SourceFault::Components(unfit.chars().take(80).collect()));
    }
    let signed_by = get("signed-by").map(str::to_owned);
    Ok(Some(SystemSource {
        path: path.to_owned(),
        line: stanza.line,
        types,
        uris,
        suites,
        components,
        signed_by,
    }))
}

/// The words apt takes for "no".
fn is_no(value: &str) -> bool {
    matches!(value.trim().to_ascii_lowercase().as_str(), "no" | "false" | "without" | "off" | "disable" | "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, text: &str) -> Result<Vec<SystemSource>, String> {
        system_sources(&[(Path::new(name), text)]).map_err(|error| error.to_string())
    }

    fn short(source: &SystemSource) -> String {
        let SystemSource { path, line, types, uris, suites, components, signed_by } = source;
        format!(
            "{}:{line} {types:?} {uris:?} {suites:?} {components:?} {}",
            path.display(),
            signed_by.as_deref().unwrap_or("-")
        )
    }

    fn shorts(name: &str, text: &str) -> Vec<String> {
        one(name, text).unwrap().iter().map(short).collect()
    }

    #[test]
    fn one_line_entries() {
        let text = "\
# deb http://off.example/debian bookworm main
deb http://a.example/debian bookworm main contrib # all of it
\tdeb-src  [ arch=amd64,arm64 signed-by=/k#1.gpg lang-=de ]   http://b.example/ sid main

deb [enabled=no] http://c.example/ sid main
deb cdrom:[Debian 12 # 1 - amd64]/ bookworm main
deb \"file:/a b\" ./
";
        assert_eq!(
            shorts("sources.list", text),
            [
                r#"sources.list:2 ["deb"] ["http://a.example/debian"] ["bookworm"] ["main", "contrib"] -"#,
                r#"sources.list:3 ["deb-src"] ["http://b.example/"] ["sid"] ["main"] /k#1.gpg"#,
                r#"sources.list:6 ["deb"] ["cdrom:[Debian 12 # 1 - amd64]/"] ["bookworm"] ["main"] -"#,
                r#"sources.list:7 ["deb"] ["file:/a b"] ["./"] [] -"#,
            ]
        );
    }

    #[test]
    fn deb822_stanzas() {
        let text = "\
# Debian
Types: deb deb-src
URIs: http://a.example/debian
 http://b.example/debian
# in the middle
Suites: bookworm bookworm-updates
components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc

Enabled: no
Types: deb
\t
Types: deb
URIs: file:/x
Suites: ./
X-Unknown: y
";
        assert_eq!(
            shorts("debian.sources", text),
            [
                "debian.sources:2 [\"deb\", \"deb-src\"] [\"http://a.example/debian\", \"http://b.example/debian\"] \
                 [\"bookworm\", \"bookworm-updates\"] [\"main\"] \n-----BEGIN PGP PUBLIC KEY BLOCK-----\n.\nabc",
                "debian.sources:16 [\"deb\"] [\"file:/x\"] [\"./\"] [] -",
            ]
        );
    }

    #[test]
    fn errors_name_file_and_line() {
        for (name, text, message) in [
            ("a.list", "rpm http://x y z", "a.list:1: \"rpm\" is not a type of source"),
            ("a.list", "\ndeb", "a.list:2: the URI is missing"),
            ("a.list", "deb [arch=amd64 http://x y z", "a.list:1: a bracket or quote is not closed"),
            ("a.list", "deb cdrom:[x y z", "a.list:1: a bracket or quote is not closed"),
            ("a.list", "deb http://x sid", "a.list:1: suite \"sid\" and its components do not fit"),
            ("a.list", "deb http://x ./ main", "a.list:1: suite \"./\" and its components do not fit"),
            ("a.sources", "Types: deb\nURIs: x\n", "a.sources:1: the field Suites is missing"),
            ("a.sources", "\n\nTypes: deb\noops\n", "a.sources:4: \"oops\" is not a field"),
            ("a.sources", " x\n", "a.sources:1: \" x\" is not a field"),
            ("a.sources", "Types: rpm\nURIs: x\nSuites: y\n", "a.sources:1: \"rpm\" is not a type of source"),
        ] {
            assert_eq!(one(name, text).unwrap_err(), message);
        }
    }

    #[test]
    fn any_text_is_read_or_refused() {
        let good = "deb [ a=b ] \"http://a.example/d\" bookworm main\nTypes: deb\nURIs: é\n x\nSuites: s\n\n";
        let mut state = 7u32;
        for _ in 0..4000 {
            let mut bytes = good.as_bytes().to_vec();
            for _ in 0..3 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = state as usize / 7 % bytes.len();
                match state >> 30 {
                    0 => bytes.truncate(at + 1),
                    1 => bytes[at] ^= 1 << (state >> 8 & 7),
                    2 => bytes.insert(at, b" #\"[]:\n\xc3"[state as usize >> 12 & 7]),
                    _ => drop(bytes.remove(at)),
                }
                if bytes.is_empty() {
                    bytes.push(b'#');
                }
            }
            let text = String::from_utf8_lossy(&bytes);
            for name in ["a.list", "a.sources"] {
                for source in one(name, &text).unwrap_or_default() {
                    assert!(!source.uris.is_empty() && source.line > 0);
                }
            }
        }
    }
}
