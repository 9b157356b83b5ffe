//! Fields of a JSON document that anybody may have written: each complaint names the field.

use serde_json::Value;

/// A place in a document, and what is there.
#[derive(Clone, Debug)]
pub(super) struct Field<'a> {
    value: Option<&'a Value>,
    /// As `experiments[2].seed`; empty for the whole.
    path: String,
}

impl<'a> Field<'a> {
    /// The whole document.
    pub(super) fn whole(value: &'a Value) -> Self {
        Self { value: Some(value), path: String::new() }
    }

    /// The field `name` of this object, there or not.
    pub(super) fn get(&self, name: &str) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        let value = self.value.and_then(|value| value.get(name));
        Self { value, path: format!("{}{dot}{name}", self.path) }
    }

    /// This field, if it is there and not null.
    pub(super) fn optional(self) -> Option<Self> {
        self.value.is_some_and(|value| !value.is_null()).then_some(self)
    }

    /// Says that this field should be `expected`.
    pub(super) fn wrong(&self, expected: &str) -> String {
        let path = if self.path.is_empty() { "the whole".to_owned() } else { format!("`{}`", self.path) };
        let found = match self.value {
            None => return format!("{path} is missing: it should be {expected}"),
            Some(Value::Null) => "null".to_owned(),
            Some(Value::Bool(value)) => value.to_string(),
            Some(Value::Number(value)) => value.to_string(),
            Some(Value::String(text)) => format!("{:?}", crate::markup::short(text, 60)),
            Some(Value::Array(_)) => "a list".to_owned(),
            Some(Value::Object(_)) => "an object".to_owned(),
        };
        format!("{path} is {found}: it should be {expected}")
    }

    fn read<T>(&self, expected: &str, of: impl FnOnce(&'a Value) -> Option<T>) -> Result<T, String> {
        self.value.and_then(of).ok_or_else(|| self.wrong(expected))
    }

    /// Fails unless this is an object.
    pub(super) fn object(&self) -> Result<(), String> {
        self.read("an object", |value| value.as_object().map(drop))
    }

    pub(super) fn text(&self) -> Result<&'a str, String> {
        self.read("a string", Value::as_str)
    }

    pub(super) fn number(&self) -> Result<u64, String> {
        self.read("a number from 0 on", Value::as_u64)
    }

    /// A number of seconds, perhaps with a fraction.
    pub(super) fn seconds(&self) -> Result<f64, String> {
        self.read("a number of seconds", |value| {
            value.as_f64().filter(|seconds| (0.0..1e9).contains(seconds))
        })
    }

    pub(super) fn truth(&self) -> Result<bool, String> {
        self.read("true or false", Value::as_bool)
    }

    /// The entries of this list.
    pub(super) fn list(&self) -> Result<impl Iterator<Item = Self> + use<'a>, String> {
        let entries = self.read("a list", Value::as_array)?;
        let path = self.path.clone();
        let entry = move |(index, value)| Self { value: Some(value), path: format!("{path}[{index}]") };
        Ok(entries.iter().enumerate().map(entry))
    }

    /// A text of which `is_good`.
    pub(super) fn text_that(
        &self,
        expected: &str,
        is_good: impl FnOnce(&str) -> bool,
    ) -> Result<String, String> {
        self.read(expected, |value| value.as_str().filter(|text| is_good(text))).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_names_the_field() {
        let value = serde_json::json!({"a": [{"b": "x"}, {"b": 1}], "c": null});
        let whole = Field::whole(&value);
        let second = whole.get("a").list().unwrap().nth(1).unwrap();
        assert_eq!(second.get("b").text().unwrap_err(), "`a[1].b` is 1: it should be a string");
        assert_eq!(
            second.get("d").number().unwrap_err(),
            "`a[1].d` is missing: it should be a number from 0 on"
        );
        assert_eq!(whole.list().err().unwrap(), "the whole is an object: it should be a list");
        assert!(whole.get("c").optional().is_none() && whole.get("c").truth().is_err());
    }
}
