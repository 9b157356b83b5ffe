//! DSSE envelopes: a payload, its type, and signatures over both (Dead Simple Signing Envelope, version 1.0.2).

use base64ct::{Base64, Base64Url, Encoding as _};
use serde::Serialize;

use crate::json::{self, Malformed, Object, cut};
use crate::key::SecretKey;

/// The payload is an in-toto statement.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// What is signed: the pre-authentication encoding of `payload` of the type `payload_type`.
///
/// ```
/// let bytes = selfsame_release::dsse::pae("http://example.com/HelloWorld", b"hello world");
/// assert_eq!(bytes, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
/// ```
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let header = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [header.as_bytes(), payload].concat()
}

#[derive(Serialize)]
struct Envelope<'a> {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: &'a str,
    signatures: [Signature; 1],
}

#[derive(Serialize)]
struct Signature {
    keyid: String,
    sig: String,
}

/// The envelope of `payload`, signed by `key`: JSON of one line. The same bytes each time.
pub fn seal(payload_type: &str, payload: &[u8], key: &SecretKey) -> String {
    let signature = Signature {
        keyid: key.public().id().to_string(),
        sig: Base64::encode_string(&key.sign(&pae(payload_type, payload))),
    };
    let payload = Base64::encode_string(payload);
    let envelope = Envelope { payload, payload_type, signatures: [signature] };
    let mut text = serde_json::to_string(&envelope).expect("strings are always JSON");
    text.push('\n');
    text
}

/// The payload of an envelope and its type. Fields that the standard does not know are passed over, as it demands.
pub(crate) fn payload(envelope: &Object) -> Result<(&str, Vec<u8>), Malformed> {
    let kind = json::text(envelope, "payloadType", "payloadType")?;
    let text = json::text(envelope, "payload", "payload")?;
    let payload = decode(text).ok_or(Malformed::Field { field: "payload", expected: "base64" })?;
    Ok((kind, payload))
}

/// What is wrong with payloads of the type `kind`, which is not [`IN_TOTO`].
pub(crate) fn foreign(kind: &str) -> Malformed {
    Malformed::Value { field: "payloadType", value: cut(kind), expected: IN_TOTO }
}

/// What is written in base64 of either alphabet: whoever verifies must take both. The padding must be there, and bits that
/// mean nothing must be 0.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    Base64::decode_vec(text).or_else(|_| Base64Url::decode_vec(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Value;
    use crate::key::tests::secret;

    /// The example of the standard (protocol.md, "Test Vectors").
    const EXAMPLE: &str = r#"{"payload": "aGVsbG8gd29ybGQ=",
 "payloadType": "http://example.com/HelloWorld",
 "signatures": [{"sig": "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=="}]}"#;

    #[test]
    fn what_is_signed_is_what_the_standard_says() {
        let expected = "DSSEv1 29 http://example.com/HelloWorld 11 hello world";
        assert_eq!(pae("http://example.com/HelloWorld", b"hello world"), expected.as_bytes());
        assert_eq!(pae("", b""), b"DSSEv1 0  0 ");
        // Lengths are of bytes, not of characters.
        assert_eq!(pae("é", &[0xff, b' ']), b"DSSEv1 2 \xc3\xa9 2 \xff ");
    }

    #[test]
    fn a_payload_is_read_in_both_alphabets_with_its_type() {
        let read = |text: &str| {
            let value = Value::read(text.as_bytes()).unwrap();
            let (kind, payload) = payload(value.object("envelope").unwrap()).unwrap();
            (kind.to_owned(), payload)
        };
        let expected = ("http://example.com/HelloWorld".to_owned(), b"hello world".to_vec());
        assert_eq!(read(EXAMPLE), expected);
        let more = EXAMPLE.replacen('{', r#"{"extension": {"kind": 1.5}, "#, 1);
        assert_eq!(read(&more), expected);
        for (text, bytes) in [("_-8=", Some(vec![0xff, 0xef])), ("/+8=", Some(vec![0xff, 0xef]))] {
            assert_eq!(decode(text), bytes);
        }
        // Both alphabets at once, no padding, bits left over, white space.
        for text in ["_+8=", "/+8", "/+9=", "/+8=\n", "=", "é"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }

    #[test]
    fn an_envelope_is_the_same_each_time() {
        let (first, second) = (seal(IN_TOTO, b"{}", &secret(1)), seal(IN_TOTO, b"{}", &secret(1)));
        assert_eq!(first, second);
        assert!(first.ends_with("\"}]}\n") && first.lines().count() == 1, "{first}");
    }
}
