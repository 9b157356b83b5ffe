//! JSON of strangers: read strictly, because two readings of one text would be two meanings of one signature.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::{MAX_RESULT, signed::MAX_SIGNATURES};

/// A text is no result of a rebuilder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Longer than [`MAX_RESULT`].
    #[error("it is longer than {MAX_RESULT} bytes")]
    Long,
    /// Not JSON, JSON with a name twice in one object, or nested more than 127 levels deep.
    #[error("it is not JSON that has one meaning: {0}")]
    Json(String),
    /// Neither a DSSE envelope nor a signed in-toto link.
    #[error("it is neither a DSSE envelope (`payload`) nor a signed in-toto link (`signed`)")]
    Kind,
    /// A field that must be there is not, or is of another type.
    #[error("{field} must be {expected}")]
    Field {
        /// Where it is looked for, with dots between names.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// A field that the predicate does not have; it might say that the result does not mean what it seems to.
    #[error("{within} has a field {name:?} that this version does not know")]
    Unknown {
        /// The object it is in.
        within: &'static str,
        /// Its name, cut to 80 characters.
        name: String,
    },
    /// A field says something that cannot be.
    #[error("{field} is {value:?}, which is not {expected}")]
    Value {
        /// Which field.
        field: &'static str,
        /// What it says, cut to 80 characters.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// There are no signatures, or more than [`MAX_SIGNATURES`].
    #[error("it has {0} signatures; 1 to {MAX_SIGNATURES} are read")]
    Signatures(usize),
    /// The verdict on an output does not follow from its digests.
    #[error("it calls {0:?} what its own digests say it is not")]
    Contradiction(String),
    /// A link whose signed form is not the same for all who write links.
    #[error("its canonical form is not certain: it has {0}")]
    Canonical(&'static str),
}

/// One JSON value in which no object has a name twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    /// A number with a fraction or exponent: no field here has one, so its value does not matter.
    Fraction,
    Text(String),
    List(Vec<Self>),
    Object(Object),
}

/// The fields of an object, in byte order of their names.
pub(crate) type Object = BTreeMap<String, Value>;

/// The first 80 characters, for messages.
pub(crate) fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

impl Value {
    /// Reads one value that is all of `bytes`.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_RESULT {
            return Err(Malformed::Long);
        }
        serde_json::from_slice(bytes).map_err(|error| Malformed::Json(error.to_string()))
    }

    /// The fields, if it is an object.
    pub(crate) fn object(&self, field: &'static str) -> Result<&Object, Malformed> {
        match self {
            Self::Object(object) => Ok(object),
            _ => Err(Malformed::Field { field, expected: "an object" }),
        }
    }

    /// The form that is signed in in-toto links and TUF: no white space, names in order, strings as they are.
    ///
    /// Implementations differ in what they do to control characters, quotes and backslashes in strings, and to numbers
    /// with fractions. Such values are refused: of all others there is one form only.
    pub(crate) fn canonical(&self, to: &mut Vec<u8>) -> Result<(), Malformed> {
        match self {
            Self::Null => to.extend(b"null"),
            Self::Bool(value) => to.extend(value.to_string().bytes()),
            Self::Integer(value) => to.extend(value.to_string().bytes()),
            Self::Fraction => return Err(Malformed::Canonical("a number that is not whole")),
            Self::Text(text) => quoted(text, to)?,
            Self::List(values) => {
                to.push(b'[');
                for (at, value) in values.iter().enumerate() {
                    to.extend((at > 0).then_some(b','));
                    value.canonical(to)?;
                }
                to.push(b']');
            }
            Self::Object(fields) => {
                to.push(b'{');
                for (at, (name, value)) in fields.iter().enumerate() {
                    to.extend((at > 0).then_some(b','));
                    quoted(name, to)?;
                    to.push(b':');
                    value.canonical(to)?;
                }
                to.push(b'}');
            }
        }
        Ok(())
    }
}

fn quoted(text: &str, to: &mut Vec<u8>) -> Result<(), Malformed> {
    if text.contains(|c: char| c.is_control() || c == '"' || c == '\\') {
        return Err(Malformed::Canonical("a string with control characters, quotes or backslashes"));
    }
    to.push(b'"');
    to.extend(text.bytes());
    to.push(b'"');
    Ok(())
}

/// The text in the field `name` of `object`; `field` is its name in messages.
pub(crate) fn text<'o>(object: &'o Object, name: &str, field: &'static str) -> Result<&'o str, Malformed> {
    match object.get(name) {
        Some(Value::Text(text)) => Ok(text),
        _ => Err(Malformed::Field { field, expected: "a string" }),
    }
}

/// The whole number from 0 to 4294967295 in the field `name` of `object`.
pub(crate) fn integer(object: &Object, name: &str, field: &'static str) -> Result<u32, Malformed> {
    let expected = "a whole number from 0 to 4294967295";
    match object.get(name) {
        Some(Value::Integer(value)) => u32::try_from(*value).map_err(|_| Malformed::Value {
            field,
            value: cut(&value.to_string()),
            expected,
        }),
        _ => Err(Malformed::Field { field, expected }),
    }
}

/// The list in the field `name` of `object`.
pub(crate) fn list<'o>(
    object: &'o Object,
    name: &str,
    field: &'static str,
) -> Result<&'o [Value], Malformed> {
    match object.get(name) {
        Some(Value::List(values)) => Ok(values),
        _ => Err(Malformed::Field { field, expected: "a list" }),
    }
}

/// The object in the field `name` of `object`.
pub(crate) fn object<'o>(
    object: &'o Object,
    name: &str,
    field: &'static str,
) -> Result<&'o Object, Malformed> {
    object.get(name).ok_or(Malformed::Field { field, expected: "an object" })?.object(field)
}

/// Refuses fields that are not among `known`.
pub(crate) fn only(object: &Object, within: &'static str, known: &[&str]) -> Result<(), Malformed> {
    match object.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(Malformed::Unknown { within, name: cut(name) }),
        None => Ok(()),
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Fraction)
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = from.next_element()? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut fields = Object::new();
        while let Some((name, value)) = from.next_entry::<String, Value>()? {
            if fields.contains_key(&name) {
                return Err(A::Error::custom(format_args!("{:?} stands twice in an object", cut(&name))));
            }
            fields.insert(name, value);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_stands_twice_is_refused_at_every_depth() {
        for text in [r#"{"a":1,"a":1}"#, r#"[{"b":{"a":1,"\u0061":2}}]"#] {
            let error = Value::read(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("\"a\" stands twice in an object"), "{error}");
        }
    }

    #[test]
    fn what_is_long_deep_or_not_all_json_is_refused() {
        assert_eq!(Value::read(&[b' '; MAX_RESULT + 1]), Err(Malformed::Long));
        let nested = |levels| ["[".repeat(levels), "]".repeat(levels)].concat();
        Value::read(nested(127).as_bytes()).unwrap();
        let deep = nested(128);
        for text in [deep.as_str(), "", "{", "{} {}", "nul", "{\"a\":\"\u{1}\"}", "\"\\ud800\""] {
            assert!(matches!(Value::read(text.as_bytes()), Err(Malformed::Json(_))), "{text}");
        }
        assert!(matches!(Value::read(b"\"\xff\""), Err(Malformed::Json(_))));
    }

    #[test]
    fn the_canonical_form_is_the_only_one_or_none() {
        let canonical = |text: &str| {
            let mut bytes = Vec::new();
            Value::read(text.as_bytes()).unwrap().canonical(&mut bytes).map(|()| bytes)
        };
        let text = r#" {"o": {"s":"é", "n":-12, "a":[1, 2], "0":null, "t" : true} } "#;
        let expected = r#"{"o":{"0":null,"a":[1,2],"n":-12,"s":"é","t":true}}"#;
        assert_eq!(canonical(text).unwrap(), expected.as_bytes());
        for text in [
            r#""a\nb""#,
            r#""a\\nb""#,
            r#""a\"b""#,
            r#"{"\u007f":1}"#,
            "1.0",
            "1e3",
            "[99999999999999999999]",
        ] {
            assert!(matches!(canonical(text), Err(Malformed::Canonical(_))), "{text}");
        }
    }
}
