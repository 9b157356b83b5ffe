//! A result with its signatures, of either kind: what was signed, by whom it says, and what it says.

use selfsame_image::Digest;

use crate::dsse;
use crate::json::{self, Malformed, Object, Value, cut};
use crate::key::PublicKey;
use crate::link;
use crate::rebuild::{Rebuild, Verdict};

/// Most signatures that one result may have: each is tried with every key of a policy.
pub const MAX_SIGNATURES: usize = 16;

/// One signature, of which nothing is known yet.
#[derive(Clone, Debug)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) verdict: Verdict,
    /// What came out of the rebuild.
    pub(crate) built: Digest,
}

impl Signed {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let value = Value::read(bytes)?;
        let Value::Object(mut outer) = value else { return Err(Malformed::Kind) };
        // A text that could be read as both is neither.
        match (outer.contains_key("payload"), outer.remove("signed")) {
            (true, None) => {
                let payload = dsse::payload(&outer)?;
                let signatures = signatures(&outer, dsse::decode)?;
                Ok(Self {
                    message: dsse::pae(dsse::IN_TOTO, &payload),
                    signatures,
                    body: Body::Statement(payload),
                })
            }
            (false, Some(signed)) => {
                let signatures = signatures(&outer, hexadecimal)?;
                Ok(Self { message: link::message(&signed)?, signatures, body: Body::Link(signed) })
            }
            _ => Err(Malformed::Kind),
        }
    }

    /// What it says of the image with this SHA-256; `None` if it speaks of others only. To be believed no more than the
    /// signatures are.
    pub(crate) fn finding(&self, image: Digest) -> Result<Option<Finding>, Malformed> {
        match &self.body {
            Body::Statement(payload) => {
                let outputs = Rebuild::read(payload)?.outputs;
                let about = outputs.iter().filter(|output| output.published == image);
                // The same bytes may be published under two names: one that came out otherwise is enough to be bad.
                let worst = about.max_by_key(|output| output.verdict());
                Ok(worst.map(|output| Finding { verdict: output.verdict(), built: output.built }))
            }
            Body::Link(signed) => {
                let built = link::product(signed.object("signed")?)?;
                Ok((built == image).then_some(Finding { verdict: Verdict::Good, built }))
            }
        }
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
    list.iter().map(signature).collect()
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
