//! Whom to believe: operators, their keys, and how many of them must agree.

use std::collections::BTreeMap;
use std::ops::Range;

use selfsame_image::Digest;
use serde::Deserialize;
use toml::Spanned;

use crate::key::{KeyId, PublicKey};
use crate::rebuild;

/// The longest policy that is read, in bytes.
const MAX_POLICY: usize = 1 << 18;

/// Most keys in one policy: each signature of a result is tried with all of them.
const MAX_KEYS: usize = 256;

/// What becomes of an image that enough operators rebuilt and another one could not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBad {
    /// It is not verified.
    #[default]
    Refuse,
    /// It is verified; whoever objects is named all the same.
    Warn,
}

/// Somebody who rebuilds: a person or an organisation, with all of its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// Its name; no other operator of the policy has it.
    pub name: String,
    /// Its keys; never empty, and no other operator has one of them.
    pub keys: Vec<PublicKey>,
}

/// What good results must be of, to count. What is `None` may be anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The name that results have for the image: 1 to 255 bytes without `/` and control characters.
    pub name: Option<String>,
    /// SHA-256 of the lock.
    pub lock: Option<Digest>,
    /// The commit of the recipe, 40 or 64 lower-case hexadecimal digits.
    pub commit: Option<String>,
}

/// Who must have rebuilt an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How many operators must have got the same bytes: 1 to the number of operators.
    pub threshold: usize,
    /// What becomes of an image to which somebody objects.
    pub bad: OnBad,
    /// What they must have rebuilt.
    pub wanted: Wanted,
    /// Whose results count, each once.
    pub operators: Vec<Operator>,
}

/// A policy cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct PolicyError {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The rule that is broken, with the value that breaks it.
    pub problem: String,
    /// What to do.
    pub hint: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    threshold: Spanned<u64>,
    #[serde(default)]
    bad: OnBad,
    name: Option<Spanned<String>>,
    lock: Option<Spanned<String>>,
    commit: Option<Spanned<String>>,
    #[serde(default)]
    operator: Vec<RawOperator>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOperator {
    name: Spanned<String>,
    keys: Spanned<Vec<Spanned<String>>>,
}

impl Policy {
    /// Reads a policy. `file` gives the text of a key file, or why it cannot.
    ///
    /// # Errors
    /// If a rule is broken that the fields of [`Policy`] and [`Operator`] state; with the place of what breaks it.
    pub fn read(
        text: &str,
        file: &mut dyn FnMut(&str) -> Result<String, String>,
    ) -> Result<Self, PolicyError> {
        let at = |span: Range<usize>, problem: String, hint: &str| error(text, span, problem, hint);
        if text.len() > MAX_POLICY {
            return Err(at(
                0..0,
                format!("the policy is longer than {MAX_POLICY} bytes"),
                "name fewer operators",
            ));
        }
        let raw: RawPolicy = toml::from_str(text).map_err(|error| {
            let problem = error.message().lines().collect::<Vec<_>>().join(", ");
            let problem = problem.replace("expected u64", "expected a whole number");
            let hint = "a policy has `threshold`, perhaps `bad`, `name`, `lock` and `commit`, and tables \
                        `[[operator]]` with `name` and `keys`";
            at(error.span().unwrap_or(0..0), problem, hint)
        })?;
        let wanted = wanted(text, &raw)?;
        let mut operators: Vec<Operator> = Vec::new();
        let mut owners: BTreeMap<KeyId, String> = BTreeMap::new();
        for one in raw.operator {
            let (span, name) = (one.name.span(), one.name.into_inner());
            if !is_operator(&name) {
                let problem = format!(
                    "{name:?} is no name: 1 to 255 bytes without control characters, characters that are not seen, \
                     and blanks at the ends"
                );
                return Err(at(span, problem, "name who answers for the machine that rebuilds"));
            }
            if operators.iter().any(|other| other.name == name) {
                let problem = format!("there are two operators {name:?}");
                return Err(at(
                    span,
                    problem,
                    "put all keys of one operator into one table: it has one vote",
                ));
            }
            let (span, keys) = (one.keys.span(), one.keys.into_inner());
            if keys.is_empty() {
                return Err(at(
                    span,
                    format!("{name:?} has no keys"),
                    "give at least one key, or remove the operator",
                ));
            }
            let read = |key| one_key(text, key, file, &name, &mut owners);
            let keys = keys.into_iter().map(read).collect::<Result<_, _>>()?;
            operators.push(Operator { name, keys });
        }
        let threshold = threshold(text, raw.threshold, operators.len())?;
        Ok(Self { threshold, bad: raw.bad, wanted, operators })
    }
}

/// How many of the `operators` are needed.
fn threshold(text: &str, given: Spanned<u64>, operators: usize) -> Result<usize, PolicyError> {
    let at = |problem: String, hint: &str| Err(error(text, given.span(), problem, hint));
    let threshold = usize::try_from(*given.get_ref()).unwrap_or(usize::MAX);
    if threshold == 0 {
        return at("a threshold of 0 would verify anything".into(), "ask for 1 operator at least");
    }
    if threshold > operators {
        let there = match operators {
            1 => "is 1 operator".to_owned(),
            count => format!("are {count} operators"),
        };
        let problem = format!("the threshold is {threshold}, but there {there}");
        return at(problem, "lower the threshold, or add operators: each has one vote, however many keys");
    }
    Ok(threshold)
}

/// Whether `name` can name an operator: it is not mistaken for another one.
fn is_operator(name: &str) -> bool {
    // Unicode's general categories Cf, Zl and Zp, but for signs that are seen, and what has no width.
    let unseen = |c: char| {
        matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
    };
    let odd = |c: char| c.is_control() || unseen(c);
    (1..=255).contains(&name.len()) && !name.contains(odd) && name.trim() == name
}

/// What results must be of.
fn wanted(text: &str, raw: &RawPolicy) -> Result<Wanted, PolicyError> {
    let check =
        |given: &Option<Spanned<String>>, what: &str, rule: &str, good: fn(&str) -> bool, hint: &str| {
            let Some(given) = given else { return Ok(None) };
            let value = given.get_ref();
            if good(value) {
                return Ok(Some(value.clone()));
            }
            Err(error(text, given.span(), format!("{what} is {value:?}, which is not {rule}"), hint))
        };
    let hint = "it is the name that the file was built with";
    let name = check(&raw.name, "the name", rebuild::NAME, rebuild::is_name, hint)?;
    let hint = "`sha256sum selfsame.lock` prints it";
    let is_digest = |text: &str| text.parse::<Digest>().is_ok_and(|digest| digest.to_string() == text);
    let rule = "64 lower-case hexadecimal digits";
    let lock = check(&raw.lock, "the lock", rule, is_digest, hint)?.and_then(|text| text.parse().ok());
    let hint = "`git rev-parse TAG^{commit}` prints it";
    let commit = check(&raw.commit, "the commit", rebuild::COMMIT, rebuild::is_commit, hint)?;
    Ok(Wanted { name, lock, commit })
}

/// Reads a key of the operator `name`, and sees to it that nobody else has it.
fn one_key(
    text: &str,
    key: Spanned<String>,
    file: &mut dyn FnMut(&str) -> Result<String, String>,
    name: &str,
    owners: &mut BTreeMap<KeyId, String>,
) -> Result<PublicKey, PolicyError> {
    let at = |problem: String, hint: &str| Err(error(text, key.span(), problem, hint));
    let given = key.get_ref();
    let pem = if given.trim_start().starts_with("-----BEGIN ") { Ok(given.clone()) } else { file(given) };
    let what = if given.lines().count() > 1 { "the key".to_owned() } else { format!("{given:?}") };
    let pem = match pem {
        Ok(pem) => pem,
        Err(why) => {
            return at(
                format!("cannot read {what}: {why}"),
                "keys are PEM files, relative to the policy, or PEM itself",
            );
        }
    };
    let public = match PublicKey::from_pem(&pem) {
        Ok(public) => public,
        Err(why) => {
            let hint = "`openssl pkey -in secret.pem -pubout` writes the public half of a key";
            return at(format!("{what} is no public key of a rebuilder: {why}"), hint);
        }
    };
    if owners.len() == MAX_KEYS {
        return at(format!("there are more than {MAX_KEYS} keys"), "name fewer of them");
    }
    let id = public.id();
    match owners.insert(id, name.to_owned()) {
        None => Ok(public),
        Some(owner) if owner == name => at(format!("{owner:?} has the key {id} twice"), "name it once"),
        Some(owner) => {
            let problem = format!("{owner:?} and {name:?} have the same key {id}");
            at(problem, "who shares a key is one operator, and has one vote")
        }
    }
}

fn error(text: &str, span: Range<usize>, problem: String, hint: &str) -> PolicyError {
    let before = text.get(..span.start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    PolicyError { line, column, problem, hint: hint.to_owned() }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::key::tests::{public_pem, secret};

    /// A policy of operators, each with the keys of these seeds.
    pub(crate) fn policy(threshold: usize, operators: &[(&str, &[u8])]) -> Policy {
        Policy::read(&text(threshold, operators), &mut |_| Err("no files".into())).unwrap()
    }

    fn text(threshold: usize, operators: &[(&str, &[u8])]) -> String {
        let operator = |(name, seeds): &(&str, &[u8])| {
            let keys: Vec<String> = seeds.iter().map(|seed| format!("'''{}'''", public_pem(*seed))).collect();
            format!("[[operator]]\nname = {name:?}\nkeys = [{}]\n", keys.join(", "))
        };
        format!("threshold = {threshold}\n{}", operators.iter().map(operator).collect::<String>())
    }

    fn refused(text: &str) -> PolicyError {
        Policy::read(text, &mut |_| Err("there is no such file".into())).unwrap_err()
    }

    #[test]
    fn keys_are_files_or_written_out() {
        let text = format!(
            "threshold = 2\nbad = \"warn\"\n[[operator]]\nname = \"a\"\nkeys = [\"a.pem\", '''\n{}''']\n\
             [[operator]]\nname = \"b\"\nkeys = [\"b.pem\"]\n",
            public_pem(3)
        );
        let mut asked = Vec::new();
        let mut file = |name: &str| {
            asked.push(name.to_owned());
            Ok(public_pem(if name == "a.pem" { 1 } else { 2 }))
        };
        let policy = Policy::read(&text, &mut file).unwrap();
        assert_eq!((policy.threshold, policy.bad), (2, OnBad::Warn));
        let keys = |index: usize| policy.operators[index].keys.clone();
        assert_eq!(keys(0), [secret(1).public(), secret(3).public()]);
        assert_eq!(keys(1), [secret(2).public()]);
        assert_eq!(asked, ["a.pem", "b.pem"]);
    }

    #[test]
    fn one_key_of_two_operators_is_refused() {
        let error = refused(&text(1, &[("a", &[1]), ("b", &[2, 1])]));
        assert!(error.problem.starts_with("\"a\" and \"b\" have the same key "), "{error}");
        assert!(error.line > 5 && error.hint.contains("one vote"), "{error:?}");
        // Another spelling of a key is the same key.
        let one = crate::key::tests::public_pem(1);
        let other = crate::key::tests::public_pem_with_null(1);
        assert_ne!(one, other);
        let both = text(1, &[("a", &[1]), ("b", &[1])]);
        let (first, second) = both.rsplit_once(&one).unwrap();
        assert!(refused(&format!("{first}{other}{second}")).problem.contains("the same key "));
        assert!(refused(&text(1, &[("a", &[1, 1])])).problem.starts_with("\"a\" has the key "));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_a_remedy() {
        let one = text(1, &[("a", &[1])]);
        let with = |head: &str| one.replacen("threshold = 1", head, 1);
        for (text, (line, column), problem) in [
            (with("threshold = 0"), (1, 13), "a threshold of 0"),
            (with("threshold = 2"), (1, 13), "the threshold is 2, but there is 1 operator"),
            (with("threshold = -1"), (1, 13), "invalid value"),
            (with("threshold = \"2\""), (1, 13), "expected a whole number"),
            (with("threshold = 1\nname = \"a/b\""), (2, 8), "the name is \"a/b\", which is not a file name"),
            (with("threshold = 1\nlock = \"ab\""), (2, 8), "the lock is \"ab\", which is not 64 lower-case"),
            (with("threshold = 1\ncommit = \"main\""), (2, 10), "the commit is \"main\", which is not 40"),
            (one.replace("\"a\"", "\"a\\u202e\""), (3, 8), "\"a\\u{202e}\" is no name"),
            (one.replace("\"a\"", "\"a\\u200b\""), (3, 8), "\"a\\u{200b}\" is no name"),
            (one.replace("\"a\"", "\" a\""), (3, 8), "\" a\" is no name"),
            (one.replace("\"a\"", "\"a\u{a0}\""), (3, 8), " is no name"),
            (with("threshold = 1\nbad = \"ignore\""), (2, 7), "unknown variant `ignore`"),
            (with("threshold = 1\nnotbefore = 1"), (2, 1), "unknown field `notbefore`"),
            (with("bad = \"warn\""), (1, 1), "missing field `threshold`"),
            (one.replace("\"a\"", "\"\""), (3, 8), "\"\" is no name"),
            (one.replace("\"a\"", "\"a\\u001b\""), (3, 8), "\"a\\u{1b}\" is no name"),
            (text(1, &[("a", &[1]), ("a", &[2])]), (9, 8), "there are two operators \"a\""),
            (text(1, &[("a", &[])]), (4, 8), "\"a\" has no keys"),
            (
                "threshold = 1\n[[operator]]\nname = \"a\"\nkeys = [\"x.pem\"]".into(),
                (4, 9),
                "cannot read \"x.pem\": there is no such file",
            ),
            (
                one.replace("PUBLIC", "PRIVATE"),
                (4, 9),
                "the key is no public key of a rebuilder: it is a \"PRIVATE KEY\"",
            ),
            ("threshold = 1".into(), (1, 13), "there are 0 operators"),
            ("#".repeat(MAX_POLICY + 1), (1, 1), "is longer than"),
        ] {
            let error = refused(&text);
            assert!(error.problem.contains(problem), "{text}\n{error}");
            assert_eq!((error.line, error.column), (line, column), "{error}");
            assert!(!error.hint.is_empty());
        }
    }
}
