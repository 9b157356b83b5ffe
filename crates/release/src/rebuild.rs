//! What one rebuilder found: an in-toto statement about published files, and what came out when they were built again.

use std::collections::{BTreeMap, BTreeSet};

use selfsame_image::Digest;
use serde::Serialize;

use crate::json::{self, Malformed, Object, Value, cut};

/// Type of the predicate; the number is raised when a reader would misread a newer result.
pub const PREDICATE_TYPE: &str = "urn:selfsame:rebuild:1";

/// Type of the statement around it (in-toto attestation framework, version 1).
const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// Most files that one result speaks of.
const MAX_OUTPUTS: usize = 1000;

/// Whether the same bytes came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The published file and the one that was built are the same.
    Good,
    /// They differ.
    Bad,
}

impl Verdict {
    /// The word for it in a result.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
        }
    }
}

/// One published file, and what was built in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// File name: 1 to 255 bytes without `/` and control characters.
    pub name: String,
    /// SHA-256 of the file that was published.
    pub published: Digest,
    /// SHA-256 of the file that was built.
    pub built: Digest,
}

impl Output {
    /// What follows from the digests.
    pub fn verdict(&self) -> Verdict {
        if self.published == self.built { Verdict::Good } else { Verdict::Bad }
    }
}

/// The result of a rebuild.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuild {
    /// The published files that were compared; never empty, no name twice.
    pub outputs: Vec<Output>,
    /// Digest of the lock that was built from: of everything that went in but the recipe.
    pub lock: Digest,
    /// The commit of the recipe in 40 or 64 hexadecimal digits, if it was in Git and just as committed.
    pub commit: Option<String>,
    /// What the build was dated: seconds since 1970.
    pub epoch: u32,
    /// Version of the program that built.
    pub selfsame: String,
}

#[derive(Serialize)]
struct Statement<'a> {
    #[serde(rename = "_type")]
    kind: &'static str,
    subject: Vec<Subject<'a>>,
    #[serde(rename = "predicateType")]
    predicate_type: &'static str,
    predicate: Predicate<'a>,
}

#[derive(Serialize)]
struct Subject<'a> {
    name: &'a str,
    digest: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
struct Predicate<'a> {
    outputs: Vec<Found<'a>>,
    lock: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<&'a str>,
    epoch: u32,
    selfsame: &'a str,
}

#[derive(Serialize)]
struct Found<'a> {
    name: &'a str,
    verdict: Verdict,
    built: BTreeMap<&'static str, String>,
}

impl<'a> Subject<'a> {
    fn of(output: &'a Output) -> Self {
        Self { name: &output.name, digest: sha256(output.published) }
    }
}

impl<'a> Found<'a> {
    fn of(output: &'a Output) -> Self {
        Self { name: &output.name, verdict: output.verdict(), built: sha256(output.built) }
    }
}

fn sha256(digest: Digest) -> BTreeMap<&'static str, String> {
    BTreeMap::from([("sha256", digest.to_string())])
}

impl Rebuild {
    /// The statement, as JSON of one line: the payload to sign.
    pub fn statement(&self) -> String {
        let statement = Statement {
            kind: STATEMENT_TYPE,
            subject: self.outputs.iter().map(Subject::of).collect(),
            predicate_type: PREDICATE_TYPE,
            predicate: Predicate {
                outputs: self.outputs.iter().map(Found::of).collect(),
                lock: sha256(self.lock),
                commit: self.commit.as_deref(),
                epoch: self.epoch,
                selfsame: &self.selfsame,
            },
        };
        serde_json::to_string(&statement).expect("strings are always JSON")
    }

    /// Reads a statement.
    ///
    /// In the statement fields that in-toto does not know are passed over, as it demands. In our predicate they are refused:
    /// a later version might use one to say that a verdict means less.
    ///
    /// # Errors
    /// If anything is missing, of another type, or contradicts itself.
    pub fn read(statement: &[u8]) -> Result<Self, Malformed> {
        let statement = Value::read(statement)?;
        let statement = statement.object("the statement")?;
        fixed(statement, "_type", STATEMENT_TYPE)?;
        fixed(statement, "predicateType", PREDICATE_TYPE)?;
        let predicate = json::object(statement, "predicate", "predicate")?;
        json::only(predicate, "predicate", &["outputs", "lock", "commit", "epoch", "selfsame"])?;
        let subjects = json::list(statement, "subject", "subject")?;
        let found = json::list(predicate, "outputs", "predicate.outputs")?;
        if subjects.len() != found.len() || subjects.is_empty() || subjects.len() > MAX_OUTPUTS {
            let expected = "as long as the list of subjects, and that 1 to 1000";
            return Err(Malformed::Field { field: "predicate.outputs", expected });
        }
        let outputs: Vec<Output> = subjects
            .iter()
            .zip(found)
            .map(|(subject, found)| output(subject, found))
            .collect::<Result<_, _>>()?;
        let names: BTreeSet<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
        if names.len() != outputs.len() {
            return Err(Malformed::Field {
                field: "subject",
                expected: "a list in which no name stands twice",
            });
        }
        let lock = json::object(predicate, "lock", "predicate.lock")?;
        json::only(lock, "predicate.lock", &["sha256"])?;
        let commit = predicate.get("commit").map(|_| commit(predicate)).transpose()?;
        let epoch = json::integer(predicate, "epoch", "predicate.epoch")?;
        let selfsame = json::text(predicate, "selfsame", "predicate.selfsame")?.to_owned();
        Ok(Self { outputs, lock: digest(lock, "predicate.lock.sha256")?, commit, epoch, selfsame })
    }
}

/// A field that must have this value.
fn fixed(object: &Object, name: &'static str, expected: &'static str) -> Result<(), Malformed> {
    match json::text(object, name, name)? {
        text if text == expected => Ok(()),
        text => Err(Malformed::Value { field: name, value: cut(text), expected }),
    }
}

fn commit(predicate: &Object) -> Result<String, Malformed> {
    let field = "predicate.commit";
    let text = json::text(predicate, "commit", field)?;
    if is_commit(text) {
        return Ok(text.to_owned());
    }
    Err(Malformed::Value { field, value: cut(text), expected: COMMIT })
}

/// What a commit must be.
pub(crate) const COMMIT: &str = "40 or 64 lower-case hexadecimal digits";

/// What the name of a file must be.
pub(crate) const NAME: &str = "a file name: 1 to 255 bytes without `/` and control characters";

pub(crate) fn is_commit(text: &str) -> bool {
    let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    digits && matches!(text.len(), 40 | 64)
}

pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 255 && !text.contains(|c: char| c == '/' || c.is_control())
}

/// Whether a statement that cannot be read may be about the image with this SHA-256: unless it plainly has other subjects.
pub(crate) fn may_concern(statement: &[u8], image: Digest) -> bool {
    let plain = |subject: &Value| {
        let digest = json::object(subject.object("subject").ok()?, "digest", "subject.digest").ok()?;
        json::text(digest, "sha256", "subject.digest.sha256").ok()?.parse::<Digest>().ok()
    };
    let Ok(Value::Object(statement)) = Value::read(statement) else { return true };
    let Ok(subjects) = json::list(&statement, "subject", "subject") else { return true };
    subjects.is_empty() || subjects.iter().any(|subject| plain(subject).is_none_or(|digest| digest == image))
}

/// The SHA-256 in a set of digests.
pub(crate) fn digest(digests: &Object, field: &'static str) -> Result<Digest, Malformed> {
    let text = json::text(digests, "sha256", field)?;
    let expected = "64 lower-case hexadecimal digits";
    let wrong = || Malformed::Value { field, value: cut(text), expected };
    let digest: Digest = text.parse().map_err(|_| wrong())?;
    if digest.to_string() == text { Ok(digest) } else { Err(wrong()) }
}

/// One output, from its subject and what the predicate says of it.
fn output(subject: &Value, found: &Value) -> Result<Output, Malformed> {
    let subject = subject.object("subject")?;
    let digests = json::object(subject, "digest", "subject.digest")?;
    let name = json::text(subject, "name", "subject.name")?;
    if !is_name(name) {
        return Err(Malformed::Value { field: "subject.name", value: cut(name), expected: NAME });
    }
    let found = found.object("predicate.outputs")?;
    json::only(found, "predicate.outputs", &["name", "verdict", "built"])?;
    let same = json::text(found, "name", "predicate.outputs.name")?;
    if same != name {
        let expected = "the name of the subject in the same place";
        return Err(Malformed::Value { field: "predicate.outputs.name", value: cut(same), expected });
    }
    let built = json::object(found, "built", "predicate.outputs.built")?;
    json::only(built, "predicate.outputs.built", &["sha256"])?;
    let output = Output {
        name: name.to_owned(),
        published: digest(digests, "subject.digest.sha256")?,
        built: digest(built, "predicate.outputs.built.sha256")?,
    };
    let verdict = json::text(found, "verdict", "predicate.outputs.verdict")?;
    match [Verdict::Good, Verdict::Bad].into_iter().find(|known| known.name() == verdict) {
        Some(known) if known == output.verdict() => Ok(output),
        Some(_) => Err(Malformed::Contradiction(output.name)),
        None => {
            let field = "predicate.outputs.verdict";
            Err(Malformed::Value { field, value: cut(verdict), expected: "`good` or `bad`" })
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A result on `x.iso` with these contents.
    pub(crate) fn rebuild(published: &[u8], built: &[u8]) -> Rebuild {
        let output =
            Output { name: "x.iso".into(), published: Digest::of(published), built: Digest::of(built) };
        Rebuild {
            outputs: vec![output],
            lock: Digest::of(b"lock"),
            commit: None,
            epoch: 1,
            selfsame: "0.1.0".into(),
        }
    }

    #[test]
    fn a_result_survives_being_written_and_bad_is_said_as_clearly_as_good() {
        let mut result = rebuild(b"iso", b"iso");
        result.commit = Some("0123456789abcdef0123456789abcdef01234567".into());
        result.outputs.push(Output { name: "x.tar".into(), ..rebuild(b"tar", b"other").outputs.remove(0) });
        let text = result.statement();
        assert_eq!(Rebuild::read(text.as_bytes()).unwrap(), result);
        assert_eq!(
            result.outputs.iter().map(Output::verdict).collect::<Vec<_>>(),
            [Verdict::Good, Verdict::Bad]
        );
        assert!(text.contains(r#""verdict":"good""#) && text.contains(r#""verdict":"bad""#), "{text}");
    }

    #[test]
    fn one_change_one_refusal() {
        let text = rebuild(b"iso", b"iso").statement();
        let iso = Digest::of(b"iso").to_string();
        let long = format!("\"{}\"", "n".repeat(256));
        for (from, to, words) in [
            ("Statement/v1", "Statement/v0.1", "_type is"),
            ("rebuild:1", "record:1", "predicateType is \"urn:selfsame:record:1\""),
            ("\"good\"", "\"bad\"", "calls \"x.iso\" what"),
            ("\"good\"", "\"fine\"", "not `good` or `bad`"),
            ("\"good\"", "true", "predicate.outputs.verdict must be a string"),
            (iso.as_str(), &iso[1..], "subject.digest.sha256 is"),
            (iso.as_str(), &iso.to_uppercase(), "lower-case"),
            ("\"x.iso\"", "\"\"", "a file name"),
            ("\"x.iso\"", "\"a/b\"", "a file name"),
            ("\"x.iso\"", "\"a\\nb\"", "a file name"),
            ("\"x.iso\"", &long, "a file name"),
            ("\"name\":\"x.iso\",\"verdict\"", "\"name\":\"y.iso\",\"verdict\"", "the name of the subject"),
            ("\"selfsame\":", "\"but\":1,\"selfsame\":", "a field \"but\" that"),
            ("\"verdict\":", "\"except\":1,\"verdict\":", "a field \"except\" that"),
            ("\"selfsame\":", "\"commit\":\"main\",\"selfsame\":", "predicate.commit is"),
            ("\"selfsame\":", "\"commit\":null,\"selfsame\":", "predicate.commit must"),
            ("\"epoch\":1,", "", "predicate.epoch must be a whole number"),
            ("\"epoch\":1", "\"epoch\":\"1\"", "predicate.epoch must be a whole number"),
            ("\"epoch\":1", "\"epoch\":1.0", "predicate.epoch must be a whole number"),
            ("\"epoch\":1", "\"epoch\":4294967296", "predicate.epoch is \"4294967296\""),
            ("\"lock\":", "\"lock\":1,\"lock\":", "stands twice"),
            ("\"outputs\":[", "\"outputs\":[{},", "as long as"),
            ("\"sha256\"", "\"sha512\"", "subject.digest.sha256 must be"),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{from}");
            let error = Rebuild::read(changed.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(words), "{from} -> {to}: {error}");
        }
    }

    #[test]
    fn no_file_is_judged_twice_and_none_is_no_result() {
        let mut result = rebuild(b"iso", b"iso");
        result.outputs.push(result.outputs[0].clone());
        let error = Rebuild::read(result.statement().as_bytes()).unwrap_err();
        assert!(error.to_string().contains("no name stands twice"), "{error}");
        result.outputs.clear();
        Rebuild::read(result.statement().as_bytes()).unwrap_err();
    }

    #[test]
    fn fields_that_in_toto_may_add_are_passed_over() {
        let result = rebuild(b"iso", b"iso");
        let text = result.statement().replacen('{', "{\"later\":[1.5],", 1);
        let text = text.replacen("\"name\"", "\"uri\":\"https://example.org/x.iso\",\"name\"", 1);
        assert_eq!(Rebuild::read(text.as_bytes()).unwrap(), result);
    }
}
