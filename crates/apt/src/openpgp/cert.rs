//! Certificates: which of their keys may sign, and when.
//!
//! Everything is decided once, from the certificate alone. The newest statement of the primary key about an expiry is
//! the one that counts, as in GnuPG: a keyring that was extended says so for the past too.

use std::collections::BTreeMap;

use pgp::composed::SignedPublicKey;
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{
    KeyFlags, PublicKey, PublicSubkey, RevocationCode, Signature, SignatureConfig, SignatureType,
    SignatureVersion, SubpacketData,
};
use pgp::ser::Serialize;
use pgp::types::{KeyDetails, KeyId, PublicParams, Tag};

use super::{Fingerprint, KeyProblem};

/// A certificate, reduced to what decides about signatures.
#[derive(Clone, Debug)]
pub(super) struct Cert {
    pub(super) fingerprint: Fingerprint,
    pub(super) keys: Vec<Key>,
}

/// One key of a certificate.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) fingerprint: Fingerprint,
    pub(super) id: KeyId,
    pub(super) material: Material,
    life: Result<Life, KeyProblem>,
}

/// The key itself.
#[derive(Clone, Debug)]
pub(super) enum Material {
    Primary(PublicKey),
    Subkey(PublicSubkey),
}

/// When a key may sign; times in seconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug)]
struct Life {
    born: i64,
    expires: Option<i64>,
    retired: Option<i64>,
}

impl Key {
    /// Whether the key may have signed at time `at`.
    pub(super) fn check(&self, at: i64) -> Result<(), KeyProblem> {
        let Life { born, expires, retired } = self.life?;
        if at < born {
            return Err(KeyProblem::NotYet(born));
        }
        if let Some(retired) = retired.filter(|&retired| at >= retired) {
            return Err(KeyProblem::Retired(retired));
        }
        match expires {
            Some(expires) if at >= expires => Err(KeyProblem::Expired(expires)),
            _ => Ok(()),
        }
    }
}

/// Revocations of one key.
#[derive(Clone, Copy, Debug, Default)]
struct Revocations {
    hard: bool,
    soft: Option<i64>,
}

impl Revocations {
    fn add(&mut self, revocation: &Signature) {
        use RevocationCode::{KeyRetired, KeySuperseded};
        let soft = matches!(revocation.revocation_reason_code(), Some(KeyRetired | KeySuperseded));
        match revocation.created().filter(|_| soft) {
            Some(created) => {
                let created = i64::from(created.as_secs());
                self.soft = Some(self.soft.map_or(created, |earlier| earlier.min(created)));
            }
            None => self.hard = true,
        }
    }
}

impl Cert {
    /// Judges a certificate; `None` if its key version has no fingerprint that is known here.
    pub(super) fn judge(certificate: &SignedPublicKey) -> Option<Self> {
        let primary = &certificate.primary_key;
        let fingerprint = Fingerprint::of(&primary.fingerprint())?;
        let statements = statements(certificate);
        let revocations = primary_revocations(certificate, &statements);
        let newest = statements.iter().max_by_key(|statement| statement.created());
        let life = if revocations.hard {
            Err(KeyProblem::Revoked)
        } else if weak(primary) {
            Err(KeyProblem::Weak)
        } else {
            newest.ok_or(KeyProblem::Unbound).map(|newest| life(primary, newest, revocations.soft))
        };
        // Old primaries have no key flags; a primary may then sign (RFC 9580, 5.2.3.29 leaves it open; GnuPG allows it).
        let signs = newest.is_some_and(|newest| flags(newest).is_none_or(|flags| flags.sign()));
        let may_sign = if signs { life } else { life.and(Err(KeyProblem::NotForSigning)) };
        let mut keys = vec![Key {
            fingerprint,
            id: primary.legacy_key_id(),
            material: Material::Primary(primary.clone()),
            life: may_sign,
        }];
        for (fingerprint, (subkey, signatures)) in subkeys(certificate) {
            keys.push(Key {
                fingerprint,
                id: subkey.legacy_key_id(),
                material: Material::Subkey(subkey.clone()),
                life: life.and_then(|of_primary| subkey_life(primary, of_primary, subkey, &signatures)),
            });
        }
        Some(Self { fingerprint, keys })
    }
}

/// Statements of the primary key about itself that carry its expiry and flags: certifications of its user ids, and
/// direct signatures if they say something about either (Debian's name revokers only).
fn statements(certificate: &SignedPublicKey) -> Vec<&Signature> {
    let primary = &certificate.primary_key;
    let (mut valid, details) = (Vec::new(), &certificate.details);
    for signature in &details.direct_signatures {
        let speaks = signature.key_expiration_time().is_some() || flags(signature).is_some();
        if speaks && acceptable(signature, primary) && signature.verify_key(primary).is_ok() {
            valid.push(signature);
        }
    }
    for user in &details.users {
        let (mut given, mut revoked) = (Vec::new(), None);
        for signature in &user.signatures {
            let is_revocation = signature.typ() == Some(SignatureType::CertRevocation);
            if (is_revocation || acceptable(signature, primary))
                && signature.verify_certification(primary, Tag::UserId, &user.id).is_ok()
            {
                match is_revocation {
                    true => revoked = revoked.max(signature.created()),
                    false => given.push(signature),
                }
            }
        }
        valid.extend(given.into_iter().filter(|signature| signature.created() > revoked));
    }
    valid
}

/// Revocations of the whole certificate. One by a designated revoker counts without being verified: their keys are
/// not in an archive keyring, and to refuse is the safe side.
fn primary_revocations(certificate: &SignedPublicKey, statements: &[&Signature]) -> Revocations {
    let primary = &certificate.primary_key;
    let direct = certificate.details.direct_signatures.iter();
    let revokers: Vec<&[u8]> = direct
        .filter(|signature| acceptable(signature, primary) && signature.verify_key(primary).is_ok())
        .chain(statements.iter().copied())
        .filter_map(|signature| signature.revocation_key())
        .map(|revoker| revoker.fingerprint.as_slice())
        .collect();
    let mut found = Revocations::default();
    for signature in &certificate.details.revocation_signatures {
        let by_revoker = || {
            let fingerprints = signature.issuer_fingerprint();
            let ids = signature.issuer_key_id();
            revokers.iter().any(|revoker| {
                fingerprints.iter().any(|issuer| issuer.as_bytes() == *revoker)
                    || ids.iter().any(|id| revoker.ends_with(id.as_ref()))
            })
        };
        if signature.verify_key(primary).is_ok() || by_revoker() {
            found.add(signature);
        }
    }
    found
}

/// Subkeys with all their signatures; the same subkey given twice is one.
fn subkeys(certificate: &SignedPublicKey) -> BTreeMap<Fingerprint, (&PublicSubkey, Vec<&Signature>)> {
    let mut all = BTreeMap::new();
    for subkey in &certificate.public_subkeys {
        if let Some(fingerprint) = Fingerprint::of(&subkey.key.fingerprint()) {
            let (_, signatures) = all.entry(fingerprint).or_insert((&subkey.key, Vec::new()));
            signatures.extend(&subkey.signatures);
        }
    }
    all
}

fn subkey_life(
    primary: &PublicKey,
    of_primary: Life,
    subkey: &PublicSubkey,
    signatures: &[&Signature],
) -> Result<Life, KeyProblem> {
    let (mut revocations, mut binding) = (Revocations::default(), None::<&Signature>);
    for &signature in signatures {
        let is_revocation = signature.typ() == Some(SignatureType::SubkeyRevocation);
        if !(is_revocation || acceptable(signature, subkey))
            || signature.verify_subkey_binding(primary, subkey).is_err()
        {
            continue;
        }
        if is_revocation {
            revocations.add(signature);
        } else if binding.is_none_or(|other| other.created() < signature.created()) {
            binding = Some(signature);
        }
    }
    if revocations.hard {
        return Err(KeyProblem::Revoked);
    }
    let binding = binding.ok_or(KeyProblem::Unbound)?;
    if weak(subkey) {
        return Err(KeyProblem::Weak);
    }
    let agreed = || {
        back_signatures(binding)
            .any(|back| acceptable(back, subkey) && back.verify_primary_key_binding(subkey, primary).is_ok())
    };
    if !flags(binding).is_some_and(|flags| flags.sign()) || !agreed() {
        return Err(KeyProblem::NotForSigning);
    }
    let own = life(subkey, binding, revocations.soft);
    let earlier = |a: Option<i64>, b: Option<i64>| [a, b].into_iter().flatten().min();
    Ok(Life {
        born: own.born.max(of_primary.born),
        expires: earlier(own.expires, of_primary.expires),
        retired: earlier(own.retired, of_primary.retired),
    })
}

/// Statements of the subkey that it belongs to the primary. GnuPG puts them in the area that is not hashed, so each one
/// found is to be verified on its own.
fn back_signatures(binding: &Signature) -> impl Iterator<Item = &Signature> {
    let config = binding.config().into_iter();
    config.flat_map(|config| config.hashed_subpackets().chain(config.unhashed_subpackets())).filter_map(
        |subpacket| match &subpacket.data {
            SubpacketData::EmbeddedSignature(signature) => Some(&**signature),
            _ => None,
        },
    )
}

fn life(key: &impl KeyDetails, statement: &Signature, retired: Option<i64>) -> Life {
    let born = i64::from(key.created_at().as_secs());
    let lasts = statement.key_expiration_time().map(|lasts| i64::from(lasts.as_secs()));
    Life { born, expires: lasts.filter(|&lasts| lasts != 0).map(|lasts| born + lasts), retired }
}

fn flags(signature: &Signature) -> Option<&KeyFlags> {
    signature.config()?.hashed_subpackets().find_map(|subpacket| match &subpacket.data {
        SubpacketData::KeyFlags(flags) => Some(flags),
        _ => None,
    })
}

/// Whether a signature over a key can be relied on: understood, with a strong hash, not older than the key.
fn acceptable(signature: &Signature, key: &impl KeyDetails) -> bool {
    let Some(config) = signature.config() else {
        return false;
    };
    understood(config).is_ok()
        && strong(config.hash_alg)
        && signature.created().is_some_and(|created| created >= key.created_at())
}

/// Whether the hash can be relied on.
pub(super) fn strong(hash: HashAlgorithm) -> bool {
    use HashAlgorithm::{Sha3_256, Sha3_512, Sha256, Sha384, Sha512};
    matches!(hash, Sha256 | Sha384 | Sha512 | Sha3_256 | Sha3_512)
}

/// Whether the signature is of a known version, says once when it was made, and sets no condition that is unknown.
pub(super) fn understood(config: &SignatureConfig) -> Result<(), &'static str> {
    if !matches!(config.version(), SignatureVersion::V4 | SignatureVersion::V6) {
        return Err("version");
    }
    let unknown = |data: &SubpacketData| {
        matches!(
            data,
            SubpacketData::Notation(_) | SubpacketData::Experimental(..) | SubpacketData::Other(..)
        )
    };
    if config.hashed_subpackets().any(|subpacket| subpacket.is_critical && unknown(&subpacket.data)) {
        return Err("critical subpacket");
    }
    let times = config
        .hashed_subpackets()
        .filter(|one| matches!(one.data, SubpacketData::SignatureCreationTime(_)))
        .count();
    if times == 1 { Ok(()) } else { Err("creation time") }
}

/// Whether the key itself is too weak: RSA below 2048 bits, DSA, and whatever does not sign.
fn weak(key: &impl KeyDetails) -> bool {
    match key.public_params() {
        // The first field is the modulus, an MPI, which starts with its length in bits (RFC 9580, 3.2).
        params @ PublicParams::RSA(_) => match params.to_bytes().as_deref() {
            Ok([high, low, ..]) => u16::from_be_bytes([*high, *low]) < 2048,
            _ => true,
        },
        PublicParams::ECDSA(_)
        | PublicParams::EdDSALegacy(_)
        | PublicParams::Ed25519(_)
        | PublicParams::Ed448(_) => false,
        _ => true,
    }
}
