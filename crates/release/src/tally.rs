//! Counting what rebuilders say of one image.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use selfsame_image::Digest;
use serde::{Serialize, Serializer};

use crate::json::Malformed;
use crate::key::KeyId;
use crate::policy::{OnBad, Policy, Wanted};
use crate::rebuild::Verdict;
use crate::signed::{Finding, Meaning, Signature, Signed};

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
    #[error("the signature is not one of the key that it names, {key} of {claimed}")]
    BadSignature {
        /// The key.
        key: String,
        /// The operator whose key it is.
        claimed: String,
    },
    /// An operator signed it, and it may say anything of the image.
    #[error("it is signed, and this version cannot read what it says: {0}")]
    Unreadable(Malformed),
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
    /// It is good, and of something else than the policy wants.
    #[error("it is of {}, and the policy wants {wanted}", says(.what, .found))]
    Unwanted {
        /// `the name`, `the lock` or `the commit`.
        what: &'static str,
        /// What the result says; empty if it does not say it.
        found: String,
        /// What the policy says.
        wanted: String,
    },
    /// It was there, but could not be looked at.
    #[error("it cannot be read: {0}")]
    NotRead(String),
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
            Self::BadSignature { .. } => "bad-signature",
            Self::OtherImage => "other-image",
            Self::Bad(_) => "bad",
            Self::Counted => "counted",
            Self::Contradicts => "contradicts",
            Self::Unreadable(_) => "unreadable",
            Self::Unwanted { .. } => "unwanted",
            Self::NotRead(_) => "not-read",
            Self::TooMany => "too-many",
        }
    }
}

/// What a signature says it is of.
fn named(keyid: &str) -> String {
    if keyid.is_empty() { "it names none".to_owned() } else { format!("it names {keyid:?}") }
}

/// What a result is of.
fn says(what: &str, found: &str) -> String {
    if found.is_empty() { format!("{what} that it does not say") } else { format!("{what} {found}") }
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
    /// The names that the result has for the image; never empty.
    pub names: Vec<String>,
    /// SHA-256 of the lock that was built; `None` if the result does not say it.
    pub lock: Option<Digest>,
    /// The commit of the recipe that was built; `None` if the result does not say it.
    pub commit: Option<String>,
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
    /// An operator got other bytes, and the policy does not pass over that, however many got the same.
    Disputed,
    /// Too few got the same bytes.
    BelowThreshold,
    /// Enough got the same bytes, but there is more that could not be read, and may say otherwise.
    Incomplete,
}

impl Outcome {
    /// One word for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Disputed => "disputed",
            Self::BelowThreshold => "below-threshold",
            Self::Incomplete => "incomplete",
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
    /// Operators that signed something about the image which this version cannot read, in the order of the policy.
    pub unreadable: Vec<String>,
    /// How many results were given that were not looked at: more than [`MAX_RESULTS`], or not to be read.
    pub unseen: usize,
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
    /// Places of operators that signed what cannot be read.
    unreadable: BTreeSet<usize>,
    /// Results that were not looked at.
    unseen: usize,
    refused: BTreeMap<usize, Refusal>,
    /// How many results and signatures there were.
    seen: usize,
}

impl<'p> Tally<'p> {
    /// Nobody said anything yet of the image with this SHA-256.
    pub fn new(policy: &'p Policy, image: Digest) -> Self {
        Self {
            policy,
            image,
            results: 0,
            said: BTreeMap::new(),
            unreadable: BTreeSet::new(),
            unseen: 0,
            refused: BTreeMap::new(),
            seen: 0,
        }
    }

    /// Takes the result `bytes`, which came from `source`. Whatever it is, it ends in [`Decision::votes`] or
    /// [`Decision::refused`].
    pub fn add(&mut self, source: &str, bytes: &[u8]) {
        self.results += 1;
        if self.results > MAX_RESULTS {
            self.unseen += 1;
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
                    let reason = match self.keys().find(|(_, key)| ours(&key.id())) {
                        Some((operator, _)) => {
                            let claimed = self.policy.operators[operator].name.clone();
                            Reason::BadSignature { key: keyid, claimed }
                        }
                        None => Reason::UnknownKey(keyid),
                    };
                    self.refuse(source, None, reason);
                }
            }
        }
    }

    /// Says that there is a result at `source` that cannot be read, because of `why`. It might be a bad one, so that without
    /// it nothing is verified.
    pub fn cannot_read(&mut self, source: &str, why: &str) {
        self.unseen += 1;
        self.refuse(source, None, Reason::NotRead(why.to_owned()));
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
        let reason = match signed.meaning(self.image) {
            Meaning::Finding(finding) => {
                let said = Said { at: self.seen, source: source.to_owned(), key, finding };
                self.seen += 1;
                return self.said.entry(operator).or_default().push(said);
            }
            Meaning::OtherImage => Reason::OtherImage,
            Meaning::Nothing(error) => error.into(),
            Meaning::Unreadable(error) => {
                self.unreadable.insert(operator);
                Reason::Unreadable(error)
            }
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
                    Verdict::Good => match unwanted(&self.policy.wanted, &finding) {
                        Some(reason) => reason,
                        None if counted => Reason::Counted,
                        None => {
                            counted = true;
                            let Finding { names, lock, commit, .. } = finding;
                            votes.push(Vote { operator: name.clone(), source, key, names, lock, commit });
                            continue;
                        }
                    },
                };
                self.refused.insert(at, Refusal { source, operator: Some(name.clone()), reason });
            }
        }
        let name = |operator: &usize| self.policy.operators[*operator].name.clone();
        let unreadable: Vec<String> = self.unreadable.iter().map(name).collect();
        let refuses = self.policy.bad == OnBad::Refuse;
        // Who says both has said bad: a good result beside it must not make it unsaid.
        let objected = !(bad.is_empty() && contradicting.is_empty());
        let outcome = match () {
            () if refuses && objected => Outcome::Disputed,
            () if votes.len() < self.policy.threshold => Outcome::BelowThreshold,
            () if self.unseen > 0 || refuses && !unreadable.is_empty() => Outcome::Incomplete,
            () => Outcome::Verified,
        };
        Decision {
            outcome,
            threshold: self.policy.threshold,
            votes,
            bad,
            contradicting,
            unreadable,
            unseen: self.unseen,
            refused: self.refused.into_values().collect(),
        }
    }
}

/// What of a good result is not as the policy wants it.
fn unwanted(wanted: &Wanted, finding: &Finding) -> Option<Reason> {
    let differs = |what, wanted: &Option<String>, found: &[String]| {
        let wanted = wanted.as_ref().filter(|wanted| !found.contains(wanted))?.clone();
        Some(Reason::Unwanted { what, found: found.join(" and "), wanted })
    };
    let text = |digest: Digest| digest.to_string();
    let lock: Vec<String> = finding.lock.map(text).into_iter().collect();
    differs("the name", &wanted.name, &finding.names)
        .or_else(|| differs("the lock", &wanted.lock.map(text), &lock))
        .or_else(|| differs("the commit", &wanted.commit, finding.commit.as_slice()))
}

#[cfg(test)]
mod tests;
