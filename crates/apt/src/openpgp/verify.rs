//! From a signed file to its text.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pgp::packet::{Packet, PacketParser, PacketTrait, Signature, SignatureConfig, SignatureType};

use super::cert::{self, Key, Material};
use super::{
    Counted, Fingerprint, Form, Keyring, PacketProblem, Policy, Reason, SignatureError, Uncounted, Verified,
    cleartext,
};
use crate::release::MAX_FUTURE;

/// Most signatures in one file; each costs a public-key operation.
const MAX_SIGNATURES: usize = 16;

/// Checks a cleartext-signed file against `policy` and returns the text that was signed, and nothing else.
///
/// The result depends on the arguments alone; in particular no clock is read. Signatures by keys that are unknown, not
/// trusted or not valid at the time do not count but do no harm; a wrong signature by a known key does.
pub fn verify_inrelease(file: &[u8], keys: &Keyring, policy: &Policy) -> Result<Verified, SignatureError> {
    let trusted: BTreeSet<_> = policy.primary_fingerprints.iter().copied().collect();
    if policy.threshold == 0 || policy.threshold > trusted.len() {
        return Err(SignatureError::Policy { threshold: policy.threshold, keys: trusted.len() });
    }
    let parts = cleartext::split(file)?;
    let rules = Rules { trusted: &trusted, at: Some(policy.at), form: Form::InRelease };
    enough(parts, keys, &rules, policy.threshold)
}

/// Checks a cleartext-signed file that somebody kept, and may have made of a detached signature: one signature by one of
/// `trusted` is enough, whenever it was made. Whoever calls judges the times.
///
/// Collectors store `Release` with `Release.gpg` in the form of an `InRelease` file, and a file with several signatures as
/// several files. A detached signature covers the text with its last newline, byte for byte: it is checked over exactly what
/// is returned, and a newline.
pub fn verify_collected(
    file: &[u8],
    keys: &Keyring,
    trusted: &[Fingerprint],
) -> Result<(Verified, Form), SignatureError> {
    let trusted: BTreeSet<_> = trusted.iter().copied().collect();
    let parts = cleartext::split(file)?;
    let check = |form, parts| {
        let rules = Rules { trusted: &trusted, at: None, form };
        enough(parts, keys, &rules, 1).map(|verified| (verified, form))
    };
    check(Form::InRelease, parts.clone()).or_else(|error| {
        let mut parts = parts;
        parts.text.push(b'\n');
        let (mut verified, form) = check(Form::Detached, parts).map_err(|_| error)?;
        verified.text.pop();
        Ok((verified, form))
    })
}

/// On which terms signatures count.
struct Rules<'a> {
    /// Primary keys that count.
    trusted: &'a BTreeSet<Fingerprint>,
    /// As of when; `None` leaves the times to whoever asked.
    at: Option<i64>,
    /// How the text was signed.
    form: Form,
}

/// The text and the signatures that count, if they are by `need` different primary keys.
fn enough(
    parts: cleartext::Split,
    keys: &Keyring,
    rules: &Rules<'_>,
    need: usize,
) -> Result<Verified, SignatureError> {
    let (counted, uncounted) = guarded(|| {
        let mut counted = Vec::new();
        let mut uncounted = Vec::new();
        for signature in signatures(&parts.signatures)? {
            match judge(&signature, &parts.text, keys, rules)? {
                Ok(one) => counted.push(one),
                Err(reason) => uncounted.push(Uncounted { issuer: issuer(&signature), reason }),
            }
        }
        Ok((counted, uncounted))
    })
    .unwrap_or(Err(SignatureError::Crashed))?;
    let verified = Verified { text: parts.text, signatures: counted };
    let have = verified.signers().len();
    match have >= need {
        true => Ok(verified),
        false => Err(SignatureError::Threshold { have, need, uncounted }),
    }
}

/// Runs `work`; `None` if it panics, as libraries have on hostile packets (RUSTSEC-2023-0038, 2024-0345 and others).
pub(super) fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// The packets of a signature block, which must be signatures and nothing else.
fn signatures(bytes: &[u8]) -> Result<Vec<Signature>, SignatureError> {
    let mut all = Vec::new();
    for (index, packet) in PacketParser::new(bytes).enumerate() {
        let refuse = |source| SignatureError::Packet { packet: index + 1, source };
        if index == MAX_SIGNATURES {
            return Err(refuse(PacketProblem::TooMany { limit: MAX_SIGNATURES }));
        }
        match packet.map_err(|error| refuse(PacketProblem::of(&error)))? {
            Packet::Signature(signature) => all.push(signature),
            other => {
                return Err(refuse(PacketProblem::Misplaced { tag: other.tag().into() }));
            }
        }
    }
    Ok(all)
}

/// Whether one signature counts. The outer error refuses the whole file.
fn judge(
    signature: &Signature,
    text: &[u8],
    keys: &Keyring,
    rules: &Rules<'_>,
) -> Result<Result<Counted, Reason>, SignatureError> {
    let Some(config) = signature.config() else {
        return Ok(Err(Reason::Unsupported { what: "version" }));
    };
    let candidates: Vec<_> = keys.keys().filter(|(_, key)| made_by(signature, key)).collect();
    let Some(&(_, first)) = candidates.first() else {
        return Ok(Err(Reason::UnknownKey));
    };
    if let Err(reason) = supported(config, rules.form) {
        return Ok(Err(reason));
    }
    let Some(&(primary, key)) = candidates.iter().find(|(_, key)| is_of(signature, key, text)) else {
        return Err(SignatureError::Bad { key: first.fingerprint });
    };
    let Some(created) = signature.created().map(|created| i64::from(created.as_secs())) else {
        return Ok(Err(Reason::Unsupported { what: "creation time" }));
    };
    let until = runs_out(signature, created);
    let timely = rules.at.map_or(Ok(()), |at| timely(created, until, at));
    Ok(timely.and_then(|()| {
        if !rules.trusted.contains(&primary) {
            return Err(Reason::NotTrusted { primary });
        }
        key.check(created).map_err(Reason::Key)?;
        Ok(Counted { primary, key: key.fingerprint, created, until })
    }))
}

/// A text signature of a kind that is understood. In an `InRelease` file binary signatures are refused because apt and gpg
/// disagree about the line endings they cover; a detached one covers bytes.
fn supported(config: &SignatureConfig, form: Form) -> Result<(), Reason> {
    cert::understood(config).map_err(|what| Reason::Unsupported { what })?;
    let fits = match form {
        Form::InRelease => config.typ() == SignatureType::Text,
        Form::Detached => matches!(config.typ(), SignatureType::Text | SignatureType::Binary),
    };
    if !fits {
        return Err(Reason::Unsupported { what: "type" });
    }
    match cert::strong(config.hash_alg) {
        true => Ok(()),
        false => Err(Reason::WeakHash { hash: config.hash_alg.to_string() }),
    }
}

/// When the signature itself runs out, if it does.
fn runs_out(signature: &Signature, created: i64) -> Option<i64> {
    let lasts = signature.signature_expiration_time().map_or(0, |lasts| i64::from(lasts.as_secs()));
    (lasts != 0).then_some(created + lasts)
}

fn timely(created: i64, until: Option<i64>, at: i64) -> Result<(), Reason> {
    if created > at.saturating_add(MAX_FUTURE) {
        return Err(Reason::FromTheFuture { created, at });
    }
    match until {
        Some(until) if until <= at => Err(Reason::RanOut { until }),
        _ => Ok(()),
    }
}

/// Whether the signature names the key as its maker, by fingerprint if it gives one, else by key id.
fn made_by(signature: &Signature, key: &Key) -> bool {
    let fingerprints = signature.issuer_fingerprint();
    if !fingerprints.is_empty() {
        return fingerprints.iter().any(|issuer| issuer.as_bytes() == key.fingerprint.as_bytes());
    }
    signature.issuer_key_id().iter().any(|id| **id == key.id)
}

fn is_of(signature: &Signature, key: &Key, text: &[u8]) -> bool {
    match &key.material {
        Material::Primary(key) => signature.verify(key, text).is_ok(),
        Material::Subkey(key) => signature.verify(key, text).is_ok(),
    }
}

/// The maker's fingerprint or key id, as the signature gives it.
fn issuer(signature: &Signature) -> String {
    let bytes = match (signature.issuer_fingerprint().first(), signature.issuer_key_id().first()) {
        (Some(fingerprint), _) => fingerprint.as_bytes().to_vec(),
        (None, Some(id)) => id.as_ref().to_vec(),
        (None, None) => return "a key without a name".to_owned(),
    };
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_below_is_an_error_above() {
        assert_eq!(guarded(|| 1), Some(1));
        assert_eq!(guarded(|| -> u8 { panic!("this panic is part of the test") }), None);
    }
}
