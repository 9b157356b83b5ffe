//! The answer of `inspect`: parts with facts, inside each other.

use std::error::Error;
use std::io::{self, Write};

use serde::{Serialize, Serializer};

use crate::ui::{Present, binary_size, harmless};

/// An image, or something inside one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'static str>,
    /// Offset in bytes in the part around this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<u64>,
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    /// In the order they are shown.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "as_map")]
    facts: Vec<(&'static str, Fact)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parts: Vec<Part>,
}

/// The value of a fact.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Fact {
    /// Anything.
    Text(String),
    /// A count.
    Number(u64),
    /// A length in bytes, shown in binary multiples.
    Bytes(u64),
    /// A long list, of which the text form shows the length only.
    List(Vec<String>),
}

fn as_map<S: Serializer>(facts: &[(&'static str, Fact)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(facts.iter().map(|(name, fact)| (name, fact)))
}

impl Part {
    /// A part of which only the name is known.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), format: None, at: None, size: None, facts: Vec::new(), parts: Vec::new() }
    }

    /// Its format, as [`selfsame_image::detect::Format::name`] has it or more exact.
    pub fn format(mut self, format: &'static str) -> Self {
        self.format = Some(format);
        self
    }

    /// Where it lies in the part around it.
    pub fn at(mut self, at: u64) -> Self {
        self.at = Some(at);
        self
    }

    /// How many bytes it has.
    pub fn size(mut self, size: u64) -> Self {
        self.size = Some(size);
        self
    }

    /// Something that is known about it. An empty text is nothing.
    pub fn fact(mut self, name: &'static str, fact: impl Into<Fact>) -> Self {
        let fact = fact.into();
        if fact != Fact::Text(String::new()) {
            self.facts.push((name, fact));
        }
        self
    }

    /// Why no more is known about it.
    pub fn problem(self, error: &dyn Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        self.fact("problem", text)
    }

    /// Something inside it.
    pub fn part(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    fn lines(&self, to: &mut dyn Write, depth: usize) -> io::Result<()> {
        let indent = "  ".repeat(depth);
        let mut about: Vec<String> = self.format.map(str::to_owned).into_iter().collect();
        about.extend(self.size.map(binary_size));
        about.extend(self.at.map(|at| format!("at {at:#x}")));
        let colon = if about.is_empty() { "" } else { ": " };
        writeln!(to, "{indent}{}{colon}{}", one_line(&self.name), about.join(", "))?;
        for (name, fact) in &self.facts {
            match fact {
                Fact::Text(text) => writeln!(to, "{indent}  {name}: {}", one_line(text))?,
                Fact::Number(number) => writeln!(to, "{indent}  {name}: {number}")?,
                Fact::Bytes(bytes) => writeln!(to, "{indent}  {name}: {}", binary_size(*bytes))?,
                Fact::List(list) => writeln!(to, "{indent}  {name}: {}", list.len())?,
            }
        }
        self.parts.iter().try_for_each(|part| part.lines(to, depth + 1))
    }
}

/// Text from an image, which may hold anything, as part of one line.
fn one_line(text: &str) -> String {
    harmless(text).replace('\n', "\\n")
}

impl Present for Part {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        self.lines(to, 0)
    }
}

impl From<String> for Fact {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Fact {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for Fact {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Part {
        let inner =
            Part::new("partition 1").at(512).size(2048).fact("kind", "EFI\n\x1b[2J").fact("label", "");
        Part::new("disk.img")
            .format("gpt")
            .size(1 << 20)
            .fact("packages", Fact::List(vec!["a 1".into(), "b 2".into()]))
            .fact("plain", Fact::Bytes(4096))
            .part(inner)
            .part(Part::new("nothing").problem(&io::Error::other("no")))
    }

    #[test]
    fn text_is_indented_and_harmless() {
        let mut text = Vec::new();
        example().text(&mut text).unwrap();
        insta::assert_snapshot!(String::from_utf8(text).unwrap(), @r"
        disk.img: gpt, 1.0 MiB
          packages: 2
          plain: 4.0 KiB
          partition 1: 2.0 KiB, at 0x200
            kind: EFI\n\u{1b}[2J
          nothing
            problem: no
        ");
    }

    #[test]
    fn json_has_numbers_and_whole_lists() {
        let json = serde_json::to_string(&example()).unwrap();
        assert_eq!(
            json,
            concat!(
                r#"{"name":"disk.img","format":"gpt","size":1048576,"#,
                r#""facts":{"packages":["a 1","b 2"],"plain":4096},"parts":["#,
                r#"{"name":"partition 1","at":512,"size":2048,"facts":{"kind":"EFI\n\u001b[2J"}},"#,
                r#"{"name":"nothing","facts":{"problem":"no"}}]}"#
            )
        );
    }
}
