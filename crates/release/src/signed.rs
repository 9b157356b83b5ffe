//! A result with its signatures, of either kind: what was signed, by whom it says, and what it says.

use selfsame_image::Digest;

use crate::dsse;
use crate::json::{self, Malformed, Object, Value, cut};
use crate::key::PublicKey;
use crate::link;
use crate::rebuild::{self, Rebuild, Verdict};

/// Most signatures that one result may have: each is tried with every key of a policy.
pub const MAX_SIGNATURES: usize = 16;

/// What some editors write before a text. It is not signed.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// One signature, of which nothing is known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    /// The key that it says it is of, cut to 80 characters. Not signed: a hint at most, for messages.
    pub(crate) keyid: String,
    /// The 64 bytes; `None` if it is something else, which is the signature of nobody.
    bytes: Option<[u8; 64]>,
}

impl Signature {
    /// Whether `key` made it over `message`.
    pub(crate) fn is_of(&self, key: &PublicKey, message: &[u8]) -> bool {
        self.bytes.is_some_and(|bytes| key.verifies(message, &bytes))
    }
}

/// What stands below the signatures.
#[derive(Clone, Debug)]
enum Body {
    /// An in-toto statement, in a DSSE envelope.
    Statement(Vec<u8>),
    /// Something else in a DSSE envelope, of this type.
    Foreign(String),
    /// The object `signed` of an in-toto link.
    Link(Value),
}

/// A result that was taken apart, but of which nothing was verified or believed.
#[derive(Clone, Debug)]
pub(crate) struct Signed {
    /// The bytes that each signature is over.
    pub(crate) message: Vec<u8>,
    /// 1 to [`MAX_SIGNATURES`].
    pub(crate) signatures: Vec<Signature>,
    body: Body,
}

/// What a result says of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) verdict: Verdict,
    /// What came out of the rebuild.
    pub(crate) built: Digest,
    /// The names under which the result has the image; never empty.
    pub(crate) names: Vec<String>,
    /// The lock and the commit that were built, as far as the result says it.
    pub(crate) lock: Option<Digest>,
    pub(crate) commit: Option<String>,
}

/// What becomes of a result that somebody signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// It speaks of the image.
    Finding(Finding),
    /// It speaks of other files only.
    OtherImage,
    /// It is no result, and could not be a bad one.
    Nothing(Malformed),
    /// It may say anything of the image.
    Unreadable(Malformed),
}

impl Signed {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let value = Value::read(bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes))?;
        let Value::Object(mut outer) = value else { return Err(Malformed::Kind) };
        // A text that could be read as both is neither.
        match (outer.contains_key("payload"), outer.remove("signed")) {
            (true, None) => {
                let (kind, payload) = dsse::payload(&outer)?;
                let signatures = signatures(&outer, dsse::decode)?;
                let message = dsse::pae(kind, &payload);
                let body = match kind {
                    dsse::IN_TOTO => Body::Statement(payload),
                    other => Body::Foreign(other.to_owned()),
                };
                Ok(Self { message, signatures, body })
            }
            (false, Some(signed)) => {
                let signatures = signatures(&outer, hexadecimal)?;
                Ok(Self { message: link::message(&signed)?, signatures, body: Body::Link(signed) })
            }
            _ => Err(Malformed::Kind),
        }
    }

    /// What it says of the image with this SHA-256. To be believed no more than the signatures are.
    pub(crate) fn meaning(&self, image: Digest) -> Meaning {
        match &self.body {
            Body::Statement(payload) => match Rebuild::read(payload) {
                Ok(rebuild) => of_rebuild(rebuild, image),
                Err(error) if rebuild::may_concern(payload, image) => Meaning::Unreadable(error),
                Err(_) => Meaning::OtherImage,
            },
            Body::Foreign(kind) => Meaning::Unreadable(dsse::foreign(kind)),
            Body::Link(signed) => of_link(signed, image),
        }
    }
}

fn of_rebuild(rebuild: Rebuild, image: Digest) -> Meaning {
    let about = || rebuild.outputs.iter().filter(|output| output.published == image);
    let names = about().map(|output| output.name.clone()).collect();
    // The same bytes may be published under two names: one that came out otherwise is enough to be bad.
    let Some(worst) = about().max_by_key(|output| output.verdict()) else { return Meaning::OtherImage };
    let (verdict, built) = (worst.verdict(), worst.built);
    Meaning::Finding(Finding { verdict, built, names, lock: Some(rebuild.lock), commit: rebuild.commit })
}

/// A link can say only that the same bytes came out: one that is not understood hides no objection, unless it is no link.
fn of_link(signed: &Value, image: Digest) -> Meaning {
    let link = match signed.object("signed").and_then(|link| link::is_link(link).map(|()| link)) {
        Ok(link) => link,
        Err(error) => return Meaning::Unreadable(error),
    };
    match link::product(link) {
        Ok((name, built)) if built == image => Meaning::Finding(Finding {
            verdict: Verdict::Good,
            built,
            names: vec![name.to_owned()],
            lock: None,
            commit: None,
        }),
        Ok(_) => Meaning::OtherImage,
        Err(error) => Meaning::Nothing(error),
    }
}

fn signatures(outer: &Object, decode: fn(&str) -> Option<Vec<u8>>) -> Result<Vec<Signature>, Malformed> {
    let list = json::list(outer, "signatures", "signatures")?;
    if list.is_empty() || list.len() > MAX_SIGNATURES {
        return Err(Malformed::Signatures(list.len()));
    }
    let signature = |value: &Value| {
        let signature = value.object("signatures")?;
        let keyid = match signature.get("keyid") {
            None => String::new(),
            Some(_) => cut(json::text(signature, "keyid", "signatures.keyid")?),
        };
        let bytes = decode(json::text(signature, "sig", "signatures.sig")?);
        Ok(Signature { keyid, bytes: bytes.and_then(|bytes| bytes.try_into().ok()) })
    };
    let mut signatures: Vec<Signature> = Vec::new();
    for signature in list.iter().map(signature) {
        let signature = signature?;
        // Whoever repeats a signature makes work, and says nothing.
        let again = |other: &Signature| match signature.bytes {
            Some(_) => other.bytes == signature.bytes,
            None => *other == signature,
        };
        if !signatures.iter().any(again) {
            signatures.push(signature);
        }
    }
    Ok(signatures)
}

/// The bytes of lower-case hexadecimal digits.
fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}
