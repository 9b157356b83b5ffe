//! Relations between packages: `Depends`, `Pre-Depends`, `Provides` and their kin, after Debian Policy 7.1.

use std::cmp::Ordering;
use std::fmt;

use crate::version::{NotAVersion, Version};

/// Most alternatives in all clauses of one field.
pub const MAX_ALTERNATIVES: usize = 20_000;

/// How the version of a package must compare with the one named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `<<`
    Earlier,
    /// `<=`, and the obsolete `<`
    AtMost,
    /// `=`
    Exactly,
    /// `>=`, and the obsolete `>`
    AtLeast,
    /// `>>`
    Later,
}

impl Operator {
    /// Whether `left OPERATOR right` holds.
    pub fn holds(self, left: Version<'_>, right: Version<'_>) -> bool {
        let order = left.cmp(&right);
        match self {
            Self::Earlier => order == Ordering::Less,
            Self::AtMost => order != Ordering::Greater,
            Self::Exactly => order == Ordering::Equal,
            Self::AtLeast => order != Ordering::Less,
            Self::Later => order == Ordering::Greater,
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Earlier => "<<",
            Self::AtMost => "<=",
            Self::Exactly => "=",
            Self::AtLeast => ">=",
            Self::Later => ">>",
        })
    }
}

/// One package that would satisfy a clause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation<'a> {
    /// Package name.
    pub name: &'a str,
    /// What follows a colon: `any`, `native` or an architecture.
    pub qualifier: Option<&'a str>,
    /// The condition on the version.
    pub version: Option<(Operator, Version<'a>)>,
    /// The list in brackets; the flag is true for a name with `!` before it.
    pub architectures: Vec<(bool, &'a str)>,
    /// The restriction lists in angle brackets, uninterpreted; they occur in source packages only.
    pub profiles: Vec<&'a str>,
}

/// A clause: any one of these relations satisfies it.
pub type Alternatives<'a> = Vec<Relation<'a>>;

/// Why a field is not a list of relations.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at} of the relations: {kind}")]
pub struct NotRelations {
    /// Byte offset in the field.
    pub at: usize,
    /// The rule that is broken.
    pub kind: Rule,
}

/// A rule of the syntax.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// Not a package name, qualifier or architecture where one must be.
    #[error("{what} expected")]
    Expected {
        /// What must be here.
        what: &'static str,
    },
    /// The version in parentheses is not one.
    #[error(transparent)]
    Version(#[from] NotAVersion),
    /// More than [`MAX_ALTERNATIVES`].
    #[error("more than {MAX_ALTERNATIVES} alternatives")]
    TooMany,
}

impl Relation<'_> {
    /// Whether the version of a package of this name is acceptable.
    pub fn accepts(&self, version: Version<'_>) -> bool {
        self.version.is_none_or(|(operator, wanted)| operator.holds(version, wanted))
    }

    /// Whether a `Provides` of this name is acceptable: without a version it satisfies only unversioned relations.
    pub fn accepts_provided(&self, version: Option<Version<'_>>) -> bool {
        match (self.version, version) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some((operator, wanted)), Some(version)) => operator.holds(version, wanted),
        }
    }

    /// Whether the relation applies on `architecture`, by the list in brackets. Wildcards other than `any` and
    /// `linux-any` are compared as plain names.
    pub fn applies_on(&self, architecture: &str) -> bool {
        let named = |name: &str| name == architecture || matches!(name, "any" | "linux-any");
        let Some(&(negated, _)) = self.architectures.first() else {
            return true;
        };
        self.architectures.iter().any(|&(_, name)| named(name)) != negated
    }
}

/// Reads a field such as `a (>= 1) | b:any, c [amd64 i386] <!nocheck>`. An empty field has no clauses.
pub fn parse(text: &str) -> Result<Vec<Alternatives<'_>>, NotRelations> {
    let mut cursor = Cursor { text, at: 0 };
    let (mut clauses, mut total) = (Vec::new(), 0);
    loop {
        // Empty clauses (`a, , b`, a trailing comma) occur in real files and mean nothing.
        while cursor.take(b',') {}
        if cursor.peek().is_none() {
            return Ok(clauses);
        }
        let mut alternatives = Vec::new();
        loop {
            total += 1;
            if total > MAX_ALTERNATIVES {
                return Err(cursor.error(Rule::TooMany));
            }
            alternatives.push(cursor.relation()?);
            if !cursor.take(b'|') {
                break;
            }
        }
        clauses.push(alternatives);
        if cursor.peek().is_some_and(|byte| byte != b',') {
            return Err(cursor.expected("comma, bar or end"));
        }
    }
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn error(&self, kind: Rule) -> NotRelations {
        NotRelations { at: self.at, kind }
    }

    fn expected(&self, what: &'static str) -> NotRelations {
        self.error(Rule::Expected { what })
    }

    /// The next byte that is not blank.
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while matches!(bytes.get(self.at), Some(b' ' | b'\t' | b'\n')) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn must(&mut self, byte: u8, what: &'static str) -> Result<(), NotRelations> {
        if self.take(byte) { Ok(()) } else { Err(self.expected(what)) }
    }

    /// The run of bytes for which `of` holds; at least one.
    fn word(&mut self, what: &'static str, of: impl Fn(u8) -> bool) -> Result<&'a str, NotRelations> {
        self.peek();
        let rest = &self.text[self.at..];
        let len = rest.bytes().position(|byte| !of(byte)).unwrap_or(rest.len());
        match rest.get(..len) {
            Some(word) if !word.is_empty() => {
                self.at += len;
                Ok(word)
            }
            _ => Err(self.expected(what)),
        }
    }

    fn relation(&mut self) -> Result<Relation<'a>, NotRelations> {
        let name = self.word("package name", is_name_byte)?;
        // The qualifier follows the name without a blank.
        let qualifier = if self.text.as_bytes().get(self.at) == Some(&b':') {
            self.at += 1;
            Some(self.word("architecture qualifier", is_architecture_byte)?)
        } else {
            None
        };
        let version = if self.take(b'(') { Some(self.version()?) } else { None };
        let mut architectures = Vec::new();
        if self.take(b'[') {
            while !self.take(b']') {
                let negated = self.take(b'!');
                architectures.push((negated, self.word("architecture", is_architecture_byte)?));
            }
        }
        let mut profiles = Vec::new();
        while self.take(b'<') {
            profiles.push(self.word("build profile", |byte| !matches!(byte, b'<' | b'>' | b','))?);
            self.must(b'>', "closing angle bracket")?;
        }
        Ok(Relation { name, qualifier, version, architectures, profiles })
    }

    fn version(&mut self) -> Result<(Operator, Version<'a>), NotRelations> {
        let operator = match self.word("version operator", |byte| matches!(byte, b'<' | b'=' | b'>'))? {
            "<<" => Operator::Earlier,
            "<=" | "<" => Operator::AtMost,
            "=" => Operator::Exactly,
            ">=" | ">" => Operator::AtLeast,
            ">>" => Operator::Later,
            _ => return Err(self.expected("version operator")),
        };
        let text = self.word("version", |byte| byte.is_ascii_alphanumeric() || b".+-~:".contains(&byte))?;
        let version = Version::parse(text).map_err(|error| self.error(error.into()))?;
        self.must(b')', "closing parenthesis")?;
        Ok((operator, version))
    }
}

/// Bytes of package names. Policy 5.6.1 wants lower case; virtual packages have been seen with upper case and `_`.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+-._".contains(&byte)
}

fn is_architecture_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_field_with_everything() {
        let clauses =
            parse("a (>= 1:2~) |b:any\n ,\tc [!amd64 !i386] <!nocheck> <x y>, d:amd64(=3), ,e ( << 2 ) ,")
                .unwrap();
        let names: Vec<Vec<_>> = clauses.iter().map(|c| c.iter().map(|r| r.name).collect()).collect();
        assert_eq!(names, [vec!["a", "b"], vec!["c"], vec!["d"], vec!["e"]]);
        let (operator, version) = clauses[0][0].version.unwrap();
        assert_eq!((operator, version.to_string().as_str()), (Operator::AtLeast, "1:2~"));
        assert_eq!(clauses[0][1].qualifier, Some("any"));
        assert_eq!(clauses[1][0].architectures, [(true, "amd64"), (true, "i386")]);
        assert_eq!(clauses[1][0].profiles, ["!nocheck", "x y"]);
        assert!(!clauses[1][0].applies_on("amd64") && clauses[1][0].applies_on("arm64"));
        assert_eq!(clauses[3][0].version.unwrap().0, Operator::Earlier);
        assert_eq!(parse("").unwrap(), Vec::<Alternatives<'_>>::new());
        assert_eq!(parse(" \n ").unwrap().len(), 0);
    }

    #[test]
    fn versions_decide() {
        fn clause(text: &str) -> Relation<'_> {
            parse(text).unwrap().remove(0).remove(0)
        }
        let v = |text| Version::parse(text).unwrap();
        for (operator, earlier, equal, later) in [
            ("<<", true, false, false),
            ("<=", true, true, false),
            ("<", true, true, false),
            ("=", false, true, false),
            (">=", false, true, true),
            (">", false, true, true),
            (">>", false, false, true),
        ] {
            let text = format!("a ({operator} 2)");
            let relation = clause(&text);
            assert_eq!(
                ["1", "2", "3"].map(|text| relation.accepts(v(text))),
                [earlier, equal, later],
                "{operator}"
            );
            assert!(!relation.accepts_provided(None));
        }
        assert!(clause("a").accepts(v("1")) && clause("a").accepts_provided(None));
        assert!(clause("a [amd64]").applies_on("amd64") && !clause("a [amd64]").applies_on("i386"));
    }

    #[test]
    fn bad_syntax_is_refused_where_it_is() {
        for (text, message) in [
            ("a b", "byte 2 of the relations: comma, bar or end expected"),
            ("a |", "byte 3 of the relations: package name expected"),
            ("| a", "byte 0 of the relations: package name expected"),
            ("a (1)", "byte 3 of the relations: version operator expected"),
            ("a (== 1)", "byte 5 of the relations: version operator expected"),
            ("a (>= )", "byte 6 of the relations: version expected"),
            ("a (>= 1", "byte 7 of the relations: closing parenthesis expected"),
            (
                "a (>= x)",
                "byte 7 of the relations: \"x\" is not a version: upstream part does not start with a digit",
            ),
            ("a [", "byte 3 of the relations: architecture expected"),
            ("a <", "byte 3 of the relations: build profile expected"),
            ("a <b", "byte 4 of the relations: closing angle bracket expected"),
            ("a:", "byte 2 of the relations: architecture qualifier expected"),
            ("é", "byte 0 of the relations: package name expected"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), message, "{text}");
        }
        let many = "a,".repeat(MAX_ALTERNATIVES + 1);
        assert_eq!(parse(&many).unwrap_err().kind, Rule::TooMany);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-c0-2 |,()\\[\\]<>=:!~é\n-]{0,40}") {
            let _ = parse(&text);
        }
    }
}
