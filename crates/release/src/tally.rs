//! Counting what rebuilders say of one image.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use selfsame_image::Digest;
use serde::{Serialize, Serializer};

use crate::json::Malformed;
use crate::key::KeyId;
use crate::policy::{OnBad, Policy};
use crate::rebuild::Verdict;
use crate::signed::{Finding, Signature, Signed};

/// Most results that are looked at: all that are given are somebody's word for how much work to do.
pub const MAX_RESULTS: usize = 1000;

/// Why a result, or one signature of it, does not count as a vote for the image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It cannot be read.
    #[error("it is no result of a rebuilder: {0}")]
    Malformed(#[from] Malformed),
    /// No key of the policy made the signature.
    #[error("no key of the policy made the signature ({})", named(.0))]
    UnknownKey(String),
    /// It says to be signed by a key of the policy, and is not.
    #[error("the signature is not one of the key that it names, {0}")]
    BadSignature(String),
    /// It is signed by an operator, and speaks of other files only.
    #[error("it is about another image")]
    OtherImage,
    /// An operator got other bytes.
    #[error("BAD: the rebuild gave {0}")]
    Bad(Digest),
    /// The operator's vote is counted already.
    #[error("the operator is counted already")]
    Counted,
    /// The operator says both good and bad.
    #[error("the operator says both good and bad of this image")]
    Contradicts,
    /// More than [`MAX_RESULTS`] were given.
    #[error("it is one too many: {MAX_RESULTS} results are looked at")]
    TooMany,
}

impl Reason {
    /// One word for programs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::UnknownKey(_) => "unknown-key",
            Self::BadSignature(_) => "bad-signature",
            Self::OtherImage => "other-image",
            Self::Bad(_) => "bad",
            Self::Counted => "counted",
            Self::Contradicts => "contradicts",
            Self::TooMany => "too-many",
        }
    }
}

/// What a signature says it is of.
fn named(keyid: &str) -> String {
    if keyid.is_empty() { "it names none".to_owned() } else { format!("it names {keyid:?}") }
}

/// A vote for the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    /// Name of the operator.
    pub operator: String,
    /// Where the result came from, as given.
    pub source: String,
    /// The key that signed it.
    pub key: KeyId,
}

/// A result, or one signature of it, that is no vote for the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Where the result came from, as given.
    pub source: String,
    /// Who signed it, if an operator of the policy did.
    pub operator: Option<String>,
    /// Why it does not count.
    pub reason: Reason,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Enough operators got the same bytes.
    Verified,
    /// Enough got the same bytes, another one did not, and the policy does not pass over that.
    Disputed,
    /// Too few got the same bytes.
    BelowThreshold,
}

impl Outcome {
    /// One word for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Disputed => "disputed",
            Self::BelowThreshold => "below-threshold",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

/// What all results together come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The answer.
    pub outcome: Outcome,
    /// How many votes are needed.
    pub threshold: usize,
    /// One for each operator that got the same bytes and never others, in the order of the policy.
    pub votes: Vec<Vote>,
    /// Operators that got other bytes, in the order of the policy.
    pub bad: Vec<String>,
    /// Operators that said both, which count as neither, in the order of the policy.
    pub contradicting: Vec<String>,
    /// Each result that is no vote, and why, in the order given.
    pub refused: Vec<Refusal>,
}

/// What one operator said of the image, once.
#[derive(Clone, Debug)]
struct Said {
    /// Which of all results and signatures it is: those that count nothing keep the order given.
    at: usize,
    source: String,
    key: KeyId,
    finding: Finding,
}

/// Counts results for one image. They can be of any size together: of each only what it says is kept.
#[derive(Clone, Debug)]
pub struct Tally<'p> {
    policy: &'p Policy,
    image: Digest,
    results: usize,
    /// By place of the operator in the policy.
    said: BTreeMap<usize, Vec<Said>>,
    refused: BTreeMap<usize, Refusal>,
    /// How many results and signatures there were.
    seen: usize,
}

impl<'p> Tally<'p> {
    /// Nobody said anything yet of the image with this SHA-256.
    pub fn new(policy: &'p Policy, image: Digest) -> Self {
        Self { policy, image, results: 0, said: BTreeMap::new(), refused: BTreeMap::new(), seen: 0 }
    }

    /// Takes the result `bytes`, which came from `source`. Whatever it is, it ends in [`Decision::votes`] or
    /// [`Decision::refused`].
    pub fn add(&mut self, source: &str, bytes: &[u8]) {
        self.results += 1;
        if self.results > MAX_RESULTS {
            return self.refuse(source, None, Reason::TooMany);
        }
        let signed = match Signed::read(bytes) {
            Ok(signed) => signed,
            Err(error) => return self.refuse(source, None, error.into()),
        };
        // Nothing of the payload is looked at before a signature of an operator was found to be over it.
        for signature in &signed.signatures {
            match self.signer(signature, &signed.message) {
                Some((operator, key)) => self.believe(source, operator, key, &signed),
                None => {
                    let keyid = signature.keyid.clone();
                    let ours = |key: &KeyId| key.to_string() == keyid;
                    let reason = match self.keys().any(|(_, key)| ours(&key.id())) {
                        true => Reason::BadSignature(keyid),
                        false => Reason::UnknownKey(keyid),
                    };
                    self.refuse(source, None, reason);
                }
            }
        }
    }

    /// All keys of the policy, with the place of their operator in it.
    fn keys(&self) -> impl Iterator<Item = (usize, &'p crate::PublicKey)> + use<'p> {
        let operators = self.policy.operators.iter().enumerate();
        operators.flat_map(|(index, operator)| operator.keys.iter().map(move |key| (index, key)))
    }

    /// Whose signature it is. All keys are tried: the name of a key beside a signature is not signed, and decides nothing.
    fn signer(&self, signature: &Signature, message: &[u8]) -> Option<(usize, KeyId)> {
        let (operator, key) = self.keys().find(|(_, key)| signature.is_of(key, message))?;
        Some((operator, key.id()))
    }

    /// Takes what `signed` says, because the operator at this place of the policy signed it.
    fn believe(&mut self, source: &str, operator: usize, key: KeyId, signed: &Signed) {
        let reason = match signed.finding(self.image) {
            Ok(Some(finding)) => {
                let said = Said { at: self.seen, source: source.to_owned(), key, finding };
                self.seen += 1;
                return self.said.entry(operator).or_default().push(said);
            }
            Ok(None) => Reason::OtherImage,
            Err(error) => error.into(),
        };
        let name = self.policy.operators[operator].name.clone();
        self.refuse(source, Some(name), reason);
    }

    fn refuse(&mut self, source: &str, operator: Option<String>, reason: Reason) {
        self.refused.insert(self.seen, Refusal { source: source.to_owned(), operator, reason });
        self.seen += 1;
    }

    /// What it all comes to.
    pub fn decide(mut self) -> Decision {
        let (mut votes, mut bad, mut contradicting) = (Vec::new(), Vec::new(), Vec::new());
        for (operator, said) in std::mem::take(&mut self.said) {
            let name = &self.policy.operators[operator].name;
            let verdicts: BTreeSet<Verdict> = said.iter().map(|said| said.finding.verdict).collect();
            if verdicts.len() > 1 {
                contradicting.push(name.clone());
            } else if verdicts.contains(&Verdict::Bad) {
                bad.push(name.clone());
            }
            let mut counted = false;
            for Said { at, source, key, finding } in said {
                let reason = match finding.verdict {
                    Verdict::Bad => Reason::Bad(finding.built),
                    Verdict::Good if verdicts.len() > 1 => Reason::Contradicts,
                    Verdict::Good if counted => Reason::Counted,
                    Verdict::Good => {
                        counted = true;
                        votes.push(Vote { operator: name.clone(), source, key });
                        continue;
                    }
                };
                self.refused.insert(at, Refusal { source, operator: Some(name.clone()), reason });
            }
        }
        // Who says both has said bad: a good result beside it must not make it unsaid.
        let objected = !(bad.is_empty() && contradicting.is_empty());
        let outcome = match self.policy.bad {
            _ if votes.len() < self.policy.threshold => Outcome::BelowThreshold,
            OnBad::Refuse if objected => Outcome::Disputed,
            OnBad::Refuse | OnBad::Warn => Outcome::Verified,
        };
        let refused = self.refused.into_values().collect();
        Decision { outcome, threshold: self.policy.threshold, votes, bad, contradicting, refused }
    }
}

#[cfg(test)]
mod tests;
