//! Throw-away OpenPGP keys. The secret is a function of the name, so fixtures have the same bytes in every run.

use pgp::armor::{self, BlockType};
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::crypto::{ed25519, eddsa_legacy};
use pgp::packet::{
    KeyFlags, Notation, Packet, PubKeyInner, PublicKey, PublicSubkey, RevocationCode, SecretKey,
    SecretSubkey, Signature, SignatureConfig, SignatureType, Subpacket, SubpacketData, UserId,
};
use pgp::types::{
    Duration, KeyDetails, KeyVersion, PacketHeaderVersion, Password, PlainSecretParams, PublicParams,
    SecretParams, SigningKey, Tag, Timestamp,
};
use selfsame_image::Digest;

use super::NOW;

const YEAR: u32 = 365 * 86_400;

/// How a key revokes itself or a subkey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Reason code of RFC 9580, 5.2.3.31; `None` writes no reason. 1 and 3 are soft.
    pub reason: Option<u8>,
    /// When.
    pub at: i64,
}

/// How a subkey agrees to its binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackSignature {
    /// In the area that is not hashed, as GnuPG does.
    Unhashed,
    /// In the hashed area.
    Hashed,
    /// Made by another key, in the area that is not hashed.
    Forged,
    /// Not at all.
    None,
}

/// A signing subkey.
#[derive(Clone, Debug)]
pub struct SubkeySpec {
    /// When it was made.
    pub created: i64,
    /// After how many seconds it expires.
    pub lifetime: Option<u32>,
    /// Its agreement.
    pub back_signature: BackSignature,
    /// Its revocation.
    pub revoked: Option<Revocation>,
    /// Whether the binding allows it to sign.
    pub may_sign: bool,
}

impl Default for SubkeySpec {
    fn default() -> Self {
        Self {
            created: NOW - i64::from(YEAR),
            lifetime: Some(40 * YEAR),
            back_signature: BackSignature::Unhashed,
            revoked: None,
            may_sign: true,
        }
    }
}

/// What a key shall be.
#[derive(Clone, Debug)]
pub struct KeySpec {
    /// Seed of the secret and part of the user id.
    pub name: String,
    /// When it was made.
    pub created: i64,
    /// After how many seconds it expires.
    pub lifetime: Option<u32>,
    /// A later self-signature, at the time given, with another lifetime.
    pub extended: Option<(i64, u32)>,
    /// Its subkey.
    pub subkey: Option<SubkeySpec>,
    /// Its revocation.
    pub revoked: Option<Revocation>,
    /// Whether there is a user id, and so a statement about expiry.
    pub bound: bool,
}

impl KeySpec {
    /// A key that was made a year before [`NOW`], lasts forty years and signs with a subkey, as Debian's do.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            created: NOW - i64::from(YEAR),
            lifetime: Some(40 * YEAR),
            extended: None,
            subkey: Some(SubkeySpec::default()),
            revoked: None,
            bound: true,
        }
    }
}

/// A secret key and its certificate.
#[derive(Debug)]
pub struct Key {
    primary: SecretKey,
    subkey: Option<SecretSubkey>,
    certificate: Vec<Packet>,
}

/// One signature that is to be made.
#[derive(Clone, Copy, Debug)]
pub struct Sign<'a> {
    /// The key.
    pub key: &'a Key,
    /// When it claims to be made.
    pub created: i64,
    /// After how many seconds it runs out.
    pub lifetime: Option<u32>,
    /// Whether the primary key signs although there is a subkey.
    pub by_primary: bool,
    /// Whether it is a binary signature, not one of text.
    pub binary: bool,
    /// Whether it carries a critical notation that nobody knows.
    pub critical: bool,
}

impl<'a> Sign<'a> {
    /// A text signature by the subkey, if there is one, at `created`.
    pub fn new(key: &'a Key, created: i64) -> Self {
        Self { key, created, lifetime: None, by_primary: false, binary: false, critical: false }
    }

    /// The signature packet over `text`, whose lines end with LF: of a binary one over these bytes.
    pub fn packet(&self, text: &str) -> Signature {
        let typ = if self.binary { SignatureType::Binary } else { SignatureType::Text };
        let mut data = Vec::new();
        if let Some(lifetime) = self.lifetime {
            data.push(SubpacketData::SignatureExpirationTime(Duration::from_secs(lifetime)));
        }
        let mut config = match (&self.key.subkey, self.by_primary) {
            (Some(subkey), false) => config(typ, subkey, self.created, data),
            _ => config(typ, &self.key.primary, self.created, data),
        };
        if self.critical {
            let notation = Notation { readable: true, name: "unknown@example.org".into(), value: "x".into() };
            config.hashed_subpackets.push(Subpacket::critical(SubpacketData::Notation(notation)).unwrap());
        }
        let canonical = if self.binary { text.to_owned() } else { text.replace('\n', "\r\n") };
        match (&self.key.subkey, self.by_primary) {
            (Some(subkey), false) => config.sign(subkey, &Password::empty(), canonical.as_bytes()),
            _ => config.sign(&self.key.primary, &Password::empty(), canonical.as_bytes()),
        }
        .unwrap()
    }
}

/// The cleartext-signed form of `text`, with all signatures in one block. A final newline and blanks at line ends are
/// not signed.
pub fn clearsign(text: &str, signatures: &[Sign<'_>]) -> String {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let lines: Vec<&str> = text.split('\n').map(|line| line.trim_end_matches([' ', '\t'])).collect();
    let text = &lines.join("\n");
    let packets: Vec<Packet> = signatures.iter().map(|sign| sign.packet(text).into()).collect();
    let escaped: Vec<String> = text
        .split('\n')
        .map(|line| if line.starts_with('-') { format!("- {line}") } else { line.to_owned() })
        .collect();
    let block = armored(&packets, BlockType::Signature);
    format!("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{}\n{block}", escaped.join("\n"))
}

/// `Release` and `Release.gpg` as apt-swarm hands them on: in the form of a cleartext-signed file, with signatures of the text
/// with its last newline.
pub fn collected(text: &str, signatures: &[Sign<'_>]) -> String {
    assert!(text.ends_with('\n') && !text.contains("\n-"), "a Release file");
    let packets: Vec<Packet> = signatures.iter().map(|sign| sign.packet(text).into()).collect();
    format!("-----BEGIN PGP SIGNED MESSAGE-----\n\n{text}{}", armored(&packets, BlockType::Signature))
}

/// The armored certificates of several keys in one block.
pub fn certificate(keys: &[&Key]) -> String {
    let packets: Vec<Packet> = keys.iter().flat_map(|key| key.certificate.iter().cloned()).collect();
    armored(&packets, BlockType::PublicKey)
}

fn armored(packets: &[Packet], kind: BlockType) -> String {
    let mut out = Vec::new();
    armor::write(&Packets(packets), kind, &mut out, None, true).unwrap();
    String::from_utf8(out).unwrap()
}

struct Packets<'a>(&'a [Packet]);

impl pgp::ser::Serialize for Packets<'_> {
    fn to_writer<W: std::io::Write>(&self, writer: &mut W) -> pgp::errors::Result<()> {
        self.0.iter().try_for_each(|packet| pgp::ser::Serialize::to_writer(packet, writer))
    }

    fn write_len(&self) -> usize {
        self.0.iter().map(pgp::ser::Serialize::write_len).sum()
    }
}

impl Key {
    /// A key as [`KeySpec::new`] describes it.
    pub fn new(name: &str) -> Self {
        Self::from_spec(&KeySpec::new(name))
    }

    /// Makes the key that is described.
    pub fn from_spec(spec: &KeySpec) -> Self {
        let primary = {
            let (inner, secret) = material(&spec.name, "primary", spec.created);
            SecretKey::new(PublicKey::from_inner(inner).unwrap(), secret).unwrap()
        };
        let public = primary.public_key().clone();
        let mut certificate: Vec<Packet> = vec![public.clone().into()];
        let password = Password::empty();
        if let Some(Revocation { reason, at }) = spec.revoked {
            let config = config(SignatureType::KeyRevocation, &primary, at, revocation(reason));
            certificate.push(config.sign_key(&primary, &password, &public).unwrap().into());
        }
        if spec.bound {
            let id = format!("Fixture {} <{}@example.org>", spec.name, spec.name);
            let id = UserId::from_str(PacketHeaderVersion::New, id).unwrap();
            certificate.push(id.clone().into());
            for (at, lifetime) in [(spec.created, spec.lifetime)]
                .into_iter()
                .chain(spec.extended.map(|(at, lifetime)| (at, Some(lifetime))))
            {
                let config =
                    config(SignatureType::CertPositive, &primary, at, statement(lifetime, true, true));
                let signature = config.sign_certification(&primary, &public, &password, Tag::UserId, &id);
                certificate.push(signature.unwrap().into());
            }
        }
        let subkey = spec.subkey.as_ref().map(|sub| bind(&spec.name, sub, &primary, &mut certificate));
        Self { primary, subkey, certificate }
    }

    /// Fingerprint of the primary key, in upper-case hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        self.primary.fingerprint().to_string().to_uppercase()
    }

    /// Fingerprint of the key that signs, in upper-case hexadecimal digits.
    pub fn signing_fingerprint(&self) -> String {
        match &self.subkey {
            Some(subkey) => subkey.fingerprint().to_string().to_uppercase(),
            None => self.fingerprint(),
        }
    }

    /// The certificate, binary.
    pub fn certificate(&self) -> Vec<u8> {
        pgp::ser::Serialize::to_bytes(&Packets(&self.certificate)).unwrap()
    }
}

fn bind(name: &str, sub: &SubkeySpec, primary: &SecretKey, certificate: &mut Vec<Packet>) -> SecretSubkey {
    let password = Password::empty();
    let public = primary.public_key();
    let (inner, secret) = material(name, "subkey", sub.created);
    let subkey = SecretSubkey::new(PublicSubkey::from_inner(inner).unwrap(), secret).unwrap();
    certificate.push(subkey.public_key().clone().into());
    let back = || {
        let config = config(SignatureType::KeyBinding, &subkey, sub.created, Vec::new());
        let signature = match sub.back_signature {
            BackSignature::Forged => {
                config.sign_primary_key_binding(primary, subkey.public_key(), &password, public)
            }
            _ => config.sign_primary_key_binding(&subkey, subkey.public_key(), &password, public),
        };
        Subpacket::regular(SubpacketData::EmbeddedSignature(Box::new(signature.unwrap()))).unwrap()
    };
    let mut binding = config(
        SignatureType::SubkeyBinding,
        primary,
        sub.created,
        statement(sub.lifetime, sub.may_sign, false),
    );
    match sub.back_signature {
        BackSignature::Hashed => binding.hashed_subpackets.push(back()),
        BackSignature::Unhashed | BackSignature::Forged => binding.unhashed_subpackets.push(back()),
        BackSignature::None => {}
    }
    let binding = binding.sign_subkey_binding(primary, public, &password, subkey.public_key()).unwrap();
    certificate.push(binding.into());
    if let Some(Revocation { reason, at }) = sub.revoked {
        let config = config(SignatureType::SubkeyRevocation, primary, at, revocation(reason));
        let signature = config.sign_subkey_binding(primary, public, &password, subkey.public_key());
        certificate.push(signature.unwrap().into());
    }
    subkey
}

fn material(name: &str, part: &str, created: i64) -> (PubKeyInner, SecretParams) {
    let seed = Digest::of(format!("selfsame fixture {name} {part}").as_bytes()).0;
    let secret = ed25519::SecretKey::try_from_bytes(seed, ed25519::Mode::EdDSALegacy).unwrap();
    let params = PublicParams::EdDSALegacy((&secret).into());
    let inner =
        PubKeyInner::new(KeyVersion::V4, PublicKeyAlgorithm::EdDSALegacy, time(created), None, params)
            .unwrap();
    let secret = PlainSecretParams::EdDSALegacy(eddsa_legacy::SecretKey::Ed25519(secret));
    (inner, SecretParams::Plain(secret))
}

fn config(
    typ: SignatureType,
    signer: &impl SigningKey,
    created: i64,
    data: Vec<SubpacketData>,
) -> SignatureConfig {
    let mut config = SignatureConfig::v4(typ, signer.algorithm(), HashAlgorithm::Sha256);
    config.hashed_subpackets = [
        SubpacketData::IssuerFingerprint(signer.fingerprint()),
        SubpacketData::SignatureCreationTime(time(created)),
    ]
    .into_iter()
    .chain(data)
    .map(|data| Subpacket::regular(data).unwrap())
    .collect();
    let id = SubpacketData::IssuerKeyId(signer.legacy_key_id());
    config.unhashed_subpackets = vec![Subpacket::regular(id).unwrap()];
    config
}

fn statement(lifetime: Option<u32>, sign: bool, certify: bool) -> Vec<SubpacketData> {
    let mut flags = KeyFlags::default();
    flags.set_sign(sign);
    flags.set_certify(certify);
    let lifetime = lifetime.map(|lifetime| SubpacketData::KeyExpirationTime(Duration::from_secs(lifetime)));
    [SubpacketData::KeyFlags(flags)].into_iter().chain(lifetime).collect()
}

fn revocation(reason: Option<u8>) -> Vec<SubpacketData> {
    let reason = reason.map(RevocationCode::from);
    reason.map(|code| SubpacketData::RevocationReason(code, "fixture".into())).into_iter().collect()
}

fn time(seconds: i64) -> Timestamp {
    Timestamp::from_secs(u32::try_from(seconds).expect("fixture times are between 1970 and 2106"))
}
