//! Which files lie at the front of an image: sort files, as mksquashfs reads them.
//!
//! Contents that are read one after the other while a machine starts are read faster if they lie one behind the other.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Priorities of paths: contents with a higher one are stored before those with a lower one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sort {
    /// By path without a leading slash; the root is the empty path.
    named: BTreeMap<Vec<u8>, i16>,
}

/// A line of a sort file that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct SortError {
    /// Number of the line, from 1.
    pub line: usize,
    /// The rule that it breaks, with the value that breaks it.
    pub problem: String,
}

impl Sort {
    /// Reads a sort file: on each line a path from the root of the image, blanks, and a priority from -32768 to 32767.
    ///
    /// A directory stands for all that is below it and has no line, or directory with a line, of its own. What has none
    /// at all has priority 0, and so has what the image does not hold: a list may be longer than one image. A backslash
    /// takes the character behind it as it is (`\\ ` for a blank in a name). Empty lines, and those that begin with `#`,
    /// say nothing. Paths may begin with `/` or `./`.
    ///
    /// # Errors
    /// The first line that has another form, `.` or `..` inside its path, or a path that has a line already.
    pub fn parse(text: &[u8]) -> Result<Self, SortError> {
        let mut named = BTreeMap::new();
        for (line, text) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let wrong = |problem: String| SortError { line, problem };
            let text = text.trim_ascii();
            if text.is_empty() || text.starts_with(b"#") {
                continue;
            }
            let (written, rest) = word(text);
            let show = String::from_utf8_lossy(&written).into_owned();
            let rest = String::from_utf8_lossy(rest.trim_ascii()).into_owned();
            if rest.is_empty() {
                return Err(wrong(format!("{show:?} has no priority behind it")));
            }
            let priority =
                rest.parse().map_err(|_| wrong(format!("{rest:?} is no priority from -32768 to 32767")))?;
            match named
                .entry(path(&written).ok_or_else(|| wrong(format!("{show:?} is no path of an image")))?)
            {
                Entry::Vacant(free) => free.insert(priority),
                Entry::Occupied(_) => return Err(wrong(format!("{show:?} has a priority already"))),
            };
        }
        Ok(Self { named })
    }

    /// Priority of what lies at `path`, which has no leading slash.
    pub fn priority(&self, path: &[u8]) -> i16 {
        let mut end = path.len();
        loop {
            if let Some(priority) = self.named.get(&path[..end]) {
                return *priority;
            }
            if end == 0 {
                return 0;
            }
            end = path[..end].iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        }
    }
}

/// The first word of `text` without its backslashes, and what follows it.
fn word(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut word = Vec::new();
    let mut at = 0;
    while let Some(byte) = text.get(at).filter(|byte| !byte.is_ascii_whitespace()) {
        at += usize::from(*byte == b'\\');
        word.extend(text.get(at));
        at += 1;
    }
    (word, text.get(at..).unwrap_or_default())
}

/// `written` without what may be around a path from the root.
fn path(written: &[u8]) -> Option<Vec<u8>> {
    let from_root = written.strip_prefix(b".").filter(|rest| rest.is_empty() || rest.starts_with(b"/"));
    let mut parts: Vec<_> = from_root.unwrap_or(written).split(|byte| *byte == b'/').collect();
    parts.retain(|part| !part.is_empty());
    let odd = |part: &&[u8]| matches!(*part, b"." | b"..") || part.contains(&0);
    if parts.iter().any(odd) { None } else { Some(parts.join(&b'/')) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_above_decides() {
        let sort = b"# boot\n\nusr -1\r\n/usr/lib 32767\n  ./usr/lib/slow\t-32768 \nbig\\ file\\# 7\n";
        let sort = Sort::parse(sort).unwrap();
        for (path, priority) in [
            ("", 0),
            ("etc/passwd", 0),
            ("usr", -1),
            ("usr/bin/ls", -1),
            ("usr/lib", 32767),
            ("usr/lib/a", 32767),
            ("usr/library", -1),
            ("usr/lib/slow/a/b", -32768),
            ("big file#", 7),
            ("big", 0),
        ] {
            assert_eq!(sort.priority(path.as_bytes()), priority, "{path}");
        }
        assert_eq!(Sort::parse(b"/ 3").unwrap().priority(b"a/b"), 3);
        assert_eq!(Sort::parse(b"").unwrap(), Sort::default());
    }

    #[test]
    fn lines_of_another_form_are_refused_by_number() {
        for (text, error) in [
            ("a 1\nb", "line 2: \"b\" has no priority behind it"),
            ("a\\ 1", "line 1: \"a 1\" has no priority behind it"),
            ("a\\", "line 1: \"a\" has no priority behind it"),
            ("a 32768", "line 1: \"32768\" is no priority from -32768 to 32767"),
            ("a 1 2", "line 1: \"1 2\" is no priority from -32768 to 32767"),
            ("a 1\n#\n/a 2", "line 3: \"/a\" has a priority already"),
            ("../a 2", "line 1: \"../a\" is no path of an image"),
            ("a/./b 2", "line 1: \"a/./b\" is no path of an image"),
        ] {
            assert_eq!(Sort::parse(text.as_bytes()).unwrap_err().to_string(), error);
        }
    }
}
