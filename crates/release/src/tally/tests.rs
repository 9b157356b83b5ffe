//! What is forged, replayed, said twice or too seldom (docs/attacks.md, S15).

use selfsame_testkit::{Numbers, number};

use super::*;
use crate::dsse::{IN_TOTO, seal};
use crate::key::tests::secret;
use crate::policy::tests::policy;
use crate::rebuild::tests::rebuild;
use crate::{MAX_RESULT, MAX_SIGNATURES};

/// The image that all is about.
const IMAGE: &[u8] = b"iso";

/// Real results of an Arch Linux rebuilder: the links that repro-threshold has among its tests (Apache-2.0 or MIT-0), and
/// the rebuilder's public key.
const LINK: &str = include_str!("../../tests/data/rebuilderd.link");
const LINK_KEY: &str = include_str!("../../tests/data/rebuilderd.pub");
const LINK_PRODUCT: &str = "6b6c3fee7432204840d3b6afc9bc1a68c28f591a47fb220071715c40cca956df";

fn good(seed: u8) -> String {
    seal(IN_TOTO, rebuild(IMAGE, IMAGE).statement().as_bytes(), &secret(seed))
}

fn bad(seed: u8) -> String {
    seal(IN_TOTO, rebuild(IMAGE, b"other").statement().as_bytes(), &secret(seed))
}

/// Results with sources "0", "1" and so on.
fn decide(policy: &Policy, image: Digest, results: &[&str]) -> Decision {
    let mut tally = Tally::new(policy, image);
    for (at, result) in results.iter().enumerate() {
        tally.add(&at.to_string(), result.as_bytes());
    }
    tally.decide()
}

fn on_image(policy: &Policy, results: &[&str]) -> Decision {
    decide(policy, Digest::of(IMAGE), results)
}

/// Source and reason of each refusal.
fn reasons(decision: &Decision) -> Vec<(&str, &'static str)> {
    decision.refused.iter().map(|refusal| (refusal.source.as_str(), refusal.reason.name())).collect()
}

fn voters(decision: &Decision) -> Vec<&str> {
    decision.votes.iter().map(|vote| vote.operator.as_str()).collect()
}

/// `envelope` with its payload exchanged, and the signatures as they were.
fn with_payload(envelope: &str, payload: &str) -> String {
    use base64ct::Encoding as _;
    let mut value: serde_json::Value = serde_json::from_str(envelope).unwrap();
    value["payload"] = base64ct::Base64::encode_string(payload.as_bytes()).into();
    value.to_string()
}

#[test]
fn enough_operators_verify_an_image() {
    let policy = policy(2, &[("a", &[1]), ("b", &[2]), ("c", &[3])]);
    let (a, c) = (good(1), good(3));
    let decision = on_image(&policy, &[&c, &a]);
    assert_eq!((decision.outcome, decision.threshold), (Outcome::Verified, 2));
    assert_eq!(voters(&decision), ["a", "c"]);
    assert_eq!(decision.votes[0].key, secret(1).public().id());
    assert_eq!((decision.votes[0].source.as_str(), reasons(&decision)), ("1", vec![]));
}

#[test]
fn a_forged_signature_counts_for_nobody() {
    let policy = policy(1, &[("a", &[1])]);
    let other = good(9).replace(&secret(9).public().id().to_string(), &secret(1).public().id().to_string());
    let mut value: serde_json::Value = serde_json::from_str(&good(1)).unwrap();
    let mut results = vec![other];
    for sig in [serde_json::json!(""), "AAAA".into(), "A".repeat(86).into()] {
        value["signatures"][0]["sig"] = sig;
        results.push(value.to_string());
    }
    for result in results {
        let decision = on_image(&policy, &[&result]);
        assert_eq!(decision.outcome, Outcome::BelowThreshold);
        assert_eq!(reasons(&decision), [("0", "bad-signature")], "{result}");
    }
}

#[test]
fn a_payload_that_was_changed_counts_for_nobody() {
    let policy = policy(1, &[("a", &[1])]);
    let changed = with_payload(&bad(1), &rebuild(IMAGE, IMAGE).statement());
    let decision = on_image(&policy, &[&changed]);
    assert_eq!(
        (decision.outcome, reasons(&decision)),
        (Outcome::BelowThreshold, vec![("0", "bad-signature")])
    );
    // The type of the payload is signed too: what was signed as something else is no result.
    let statement = rebuild(IMAGE, IMAGE).statement();
    let other = seal("text/plain", statement.as_bytes(), &secret(1));
    assert_eq!(reasons(&on_image(&policy, &[&other])), [("0", "unreadable")]);
    assert_eq!(
        reasons(&on_image(&policy, &[&other.replace("text/plain", IN_TOTO)])),
        [("0", "bad-signature")]
    );
}

#[test]
fn a_key_that_the_policy_does_not_have_counts_for_nobody() {
    let decision = on_image(&policy(1, &[("a", &[1])]), &[&good(2)]);
    assert_eq!(reasons(&decision), [("0", "unknown-key")]);
    assert!(decision.refused[0].reason.to_string().contains(&secret(2).public().id().to_string()));
    assert_eq!(decision.refused[0].operator, None);
}

#[test]
fn the_name_of_a_key_beside_a_signature_decides_nothing() {
    let policy = policy(1, &[("a", &[1]), ("b", &[2])]);
    let id = |seed| secret(seed).public().id().to_string();
    for name in [id(2), id(3), String::new(), "x".into()] {
        let decision = on_image(&policy, &[&good(1).replace(&id(1), &name)]);
        assert_eq!((voters(&decision), decision.votes[0].key), (vec!["a"], secret(1).public().id()));
    }
    let unnamed = good(1).replace(&format!("\"keyid\":\"{}\",", id(1)), "");
    assert_eq!(voters(&on_image(&policy, &[&unnamed])), ["a"]);
}

#[test]
fn a_result_of_another_image_counts_for_nobody() {
    let policy = policy(1, &[("a", &[1])]);
    let decision = decide(&policy, Digest::of(b"another"), &[&good(1)]);
    assert_eq!((decision.outcome, reasons(&decision)), (Outcome::BelowThreshold, vec![("0", "other-image")]));
    assert_eq!(decision.refused[0].operator.as_deref(), Some("a"));
    // Nor is an image rebuilt because it is what came out in place of another.
    let decision = decide(&policy, Digest::of(b"other"), &[&bad(1)]);
    assert_eq!(reasons(&decision), [("0", "other-image")]);
}

#[test]
fn an_operator_counts_once_however_many_keys_and_results_it_has() {
    let policy = policy(2, &[("a", &[1, 2]), ("b", &[3])]);
    let (one, two) = (good(1), good(2));
    let decision = on_image(&policy, &[&one, &two, &one]);
    assert_eq!((decision.outcome, voters(&decision)), (Outcome::BelowThreshold, vec!["a"]));
    assert_eq!(reasons(&decision), [("1", "counted"), ("2", "counted")]);
    // Nor does it help to put both signatures into one envelope.
    let mut both: serde_json::Value = serde_json::from_str(&one).unwrap();
    let second: serde_json::Value = serde_json::from_str(&two).unwrap();
    both["signatures"].as_array_mut().unwrap().push(second["signatures"][0].clone());
    let decision = on_image(&policy, &[&both.to_string()]);
    assert_eq!((voters(&decision), reasons(&decision)), (vec!["a"], vec![("0", "counted")]));
}

#[test]
fn one_envelope_may_have_signatures_of_several_operators() {
    let policy = policy(2, &[("a", &[1]), ("b", &[2])]);
    let mut both: serde_json::Value = serde_json::from_str(&good(1)).unwrap();
    for seed in [2, 3] {
        let more: serde_json::Value = serde_json::from_str(&good(seed)).unwrap();
        both["signatures"].as_array_mut().unwrap().push(more["signatures"][0].clone());
    }
    let decision = on_image(&policy, &[&both.to_string()]);
    assert_eq!((decision.outcome, reasons(&decision)), (Outcome::Verified, vec![("0", "unknown-key")]));
    let signatures = vec![both["signatures"][0].clone(); MAX_SIGNATURES + 1];
    for signatures in [signatures, Vec::new()] {
        both["signatures"] = signatures.into();
        assert_eq!(reasons(&on_image(&policy, &[&both.to_string()])), [("0", "malformed")]);
    }
}

#[test]
fn too_few_operators_do_not_verify_an_image() {
    let policy = policy(2, &[("a", &[1]), ("b", &[2])]);
    for results in [&[][..], &[good(1).as_str()], &[good(1).as_str(), good(9).as_str()]] {
        assert_eq!(on_image(&policy, results).outcome, Outcome::BelowThreshold);
    }
}

#[test]
fn one_bad_result_is_told_and_stands_against_all_good_ones() {
    let mut policy = policy(2, &[("a", &[1]), ("b", &[2]), ("c", &[3])]);
    let results = [good(1), bad(2), good(3)];
    let results = results.each_ref().map(String::as_str);
    let decision = on_image(&policy, &results);
    assert_eq!((decision.outcome, decision.bad.clone()), (Outcome::Disputed, vec!["b".to_owned()]));
    assert_eq!(decision.refused[0].reason, Reason::Bad(Digest::of(b"other")));
    assert_eq!(decision.refused[0].operator.as_deref(), Some("b"));
    // A policy may pass over it; it is told all the same.
    policy.bad = OnBad::Warn;
    let warned = on_image(&policy, &results);
    assert_eq!(warned, Decision { outcome: Outcome::Verified, ..decision });
    // Someone whom the policy does not have cannot object.
    policy.bad = OnBad::Refuse;
    assert_eq!(on_image(&policy, &[results[0], results[2], &bad(9)]).outcome, Outcome::Verified);
}

#[test]
fn an_operator_that_says_both_counts_as_none_and_is_named() {
    let mut policy = policy(1, &[("a", &[1, 2]), ("b", &[3])]);
    let results = [good(1), bad(2), good(1), good(3)];
    let results = results.each_ref().map(String::as_str);
    let decision = on_image(&policy, &results);
    assert_eq!((voters(&decision), decision.contradicting.as_slice()), (vec!["b"], &["a".to_owned()][..]));
    assert_eq!(reasons(&decision), [("0", "contradicts"), ("1", "bad"), ("2", "contradicts")]);
    // What was said against the image stays said.
    assert_eq!((decision.outcome, decision.bad.len()), (Outcome::Disputed, 0));
    policy.bad = OnBad::Warn;
    assert_eq!(on_image(&policy, &results).outcome, Outcome::Verified);
    assert_eq!(on_image(&policy, &results[..3]).outcome, Outcome::BelowThreshold);
}

#[test]
fn links_of_rebuilderd_count() {
    let key = crate::PublicKey::from_pem(LINK_KEY).unwrap();
    let operator = crate::Operator { name: "arch".into(), keys: vec![key] };
    let policy =
        Policy { threshold: 1, bad: OnBad::Refuse, wanted: Wanted::default(), operators: vec![operator] };
    let image: Digest = LINK_PRODUCT.parse().unwrap();
    let decision = decide(&policy, image, &[LINK]);
    // The worker that built it signed too, with a key that nobody named here.
    assert_eq!((decision.outcome, reasons(&decision)), (Outcome::Verified, vec![("0", "unknown-key")]));
    assert_eq!(reasons(&on_image(&policy, &[LINK])), [("0", "unknown-key"), ("0", "other-image")]);
    for (from, to) in [
        // A digit of the product, of a signature, and a field more.
        (LINK_PRODUCT, "7b6c3fee7432204840d3b6afc9bc1a68c28f591a47fb220071715c40cca956df"),
        ("\"sig\":\"5125ba1d", "\"sig\":\"6125ba1d"),
        ("\"command\":[]", "\"command\":[],\"then\":1"),
    ] {
        let changed = LINK.replace(from, to);
        assert_ne!(changed, LINK);
        assert_eq!(reasons(&decide(&policy, image, &[&changed])), [("0", "unknown-key"); 2], "{to}");
    }
    // White space and the order of fields are not signed.
    let value: serde_json::Value = serde_json::from_str(LINK).unwrap();
    let pretty = serde_json::to_string_pretty(&value).unwrap();
    assert_eq!(decide(&policy, image, &[&pretty]).outcome, Outcome::Verified);
    for (from, to) in [
        ("\"command\":[]", "\"command\":[\"a\\nb\"]"),
        ("\"command\":[]", "\"command\":[1.5]"),
        ("{\"signatures\"", "{\"payload\":\"\",\"signatures\""),
    ] {
        let changed = LINK.replacen(from, to, 1);
        assert_ne!(changed, LINK);
        assert_eq!(reasons(&decide(&policy, image, &[&changed])), [("0", "malformed")], "{to}");
    }
}

#[test]
fn links_of_other_steps_do_not_count() {
    let image = Digest::of(IMAGE);
    let link = |step: &str, product: &str| {
        let signed = format!(
            r#"{{"_type":"link","name":"{step}","products":{{"{product}":{{"sha256":"{image}"}}}}}}"#
        );
        let sig: String =
            secret(1).sign(&signed_form(&signed)).iter().map(|byte| format!("{byte:02x}")).collect();
        format!(r#"{{"signatures":[{{"keyid":"","sig":"{sig}"}}],"signed":{signed}}}"#)
    };
    let policy = policy(1, &[("a", &[1])]);
    assert_eq!(on_image(&policy, &[&link("rebuild x.iso", "x.iso")]).outcome, Outcome::Verified);
    for (step, product) in [("download x.iso", "x.iso"), ("rebuild x.iso", "y.iso"), ("x.iso", "x.iso")] {
        assert_eq!(reasons(&on_image(&policy, &[&link(step, product)])), [("0", "malformed")], "{step}");
    }
}

fn signed_form(text: &str) -> Vec<u8> {
    crate::link::message(&crate::json::Value::read(text.as_bytes()).unwrap()).unwrap()
}

#[test]
fn what_is_too_long_too_much_or_of_another_kind_is_told() {
    let policy = policy(1, &[("a", &[1])]);
    let long = format!("{}{}", good(1), " ".repeat(MAX_RESULT));
    let twice = good(1).replacen('{', "{\"payload\":\"\",", 1);
    for result in [long.as_str(), "", "[]", "{}", &twice, &rebuild(IMAGE, IMAGE).statement()] {
        assert_eq!(reasons(&on_image(&policy, &[result])), [("0", "malformed")]);
    }
    let result = good(2);
    let decision = on_image(&policy, &[result.as_str(); MAX_RESULTS + 1]);
    assert_eq!(decision.refused.last().unwrap().reason, Reason::TooMany);
    assert_eq!(decision.outcome, Outcome::BelowThreshold);
}

#[test]
fn nothing_that_was_changed_verifies_or_panics() {
    let policy = policy(1, &[("a", &[1])]);
    let result = good(1);
    let same = |changed: &[u8]| {
        // Only the name of the key may be another one: it is not signed, nor is a field that nobody reads.
        let read = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).ok();
        let (Some(old), Some(new)) = (read(result.as_bytes()), read(changed)) else { return false };
        let sig = |value: &serde_json::Value| value["signatures"][0]["sig"].clone();
        old["payload"] == new["payload"] && old["payloadType"] == new["payloadType"] && sig(&old) == sig(&new)
    };
    for end in 0..result.len() - 1 {
        let decision = on_image(&policy, &[&result[..end]]);
        assert_eq!(decision.outcome, Outcome::BelowThreshold, "{end}");
    }
    let mut numbers = Numbers(15);
    for round in 0..number("RESULT_MUTATIONS", 5000) {
        let mut changed = result.clone().into_bytes();
        for _ in 0..=numbers.below(3) {
            let at = numbers.below(changed.len());
            match numbers.below(4) {
                0 => changed[at] ^= 1 << numbers.below(8),
                1 => changed[at] = br#"{}[]",:\0"#[numbers.below(9)],
                2 => drop(changed.remove(at)),
                _ => changed.insert(at, numbers.bytes(1)[0]),
            }
        }
        let mut tally = Tally::new(&policy, Digest::of(IMAGE));
        tally.add("changed", &changed);
        let decision = tally.decide();
        assert_eq!(decision.votes.len() + decision.refused.len(), 1, "round {round}: nothing is dropped");
        let passed = decision.outcome == Outcome::Verified;
        assert!(!passed || same(&changed), "round {round}: {}", String::from_utf8_lossy(&changed));
    }
}

#[test]
fn nothing_of_a_signed_statement_that_was_changed_panics() {
    // Whoever signs may be hostile too: here each statement is signed as it is.
    let policy = policy(1, &[("a", &[1])]);
    let statement = rebuild(IMAGE, b"other").statement();
    let mut numbers = Numbers(16);
    for _ in 0..number("RESULT_MUTATIONS", 5000) / 5 {
        let mut changed = statement.clone().into_bytes();
        let at = numbers.below(changed.len());
        changed[at] ^= 1 << numbers.below(8);
        changed.truncate(changed.len() - numbers.below(2) * numbers.below(40));
        let decision = on_image(&policy, &[&seal(IN_TOTO, &changed, &secret(1))]);
        assert_ne!(decision.outcome, Outcome::Verified, "{}", String::from_utf8_lossy(&changed));
        assert_eq!(decision.votes, []);
    }
}

#[test]
fn a_whole_result_has_these_bytes() {
    // What OpenSSL and Python make of the same statement and key.
    insta::assert_snapshot!(rebuild(IMAGE, b"other").statement(), @r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"x.iso","digest":{"sha256":"e0e4548df88a35d5854d052281c5deedad16f286f82cb2c23f2f9dea494834ac"}}],"predicateType":"urn:selfsame:rebuild:1","predicate":{"outputs":[{"name":"x.iso","verdict":"bad","built":{"sha256":"d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa"}}],"lock":{"sha256":"0c030586945fe504b604ecc2e875c38ede400cd5cd73da9730302162e6b02c6f"},"epoch":1,"selfsame":"0.1.0"}}"#);
    let signature =
        "YC5qrhrTIPtKF6FISCitE8YURaqHmVaDRk6+E3TP2jjSeaMTH8CjbOGV6c67ptGt0au282Dsg1ybOqD5YvLIAA==";
    assert!(bad(1).contains(&format!("\"sig\":\"{signature}\"")), "{}", bad(1));
    assert_eq!(
        Digest::of(bad(1).as_bytes()).to_string(),
        "bc5b37312bd9674160f0c834b59b3aa5363f560f607d4d1dbf37017369255083"
    );
}

/// `rebuild` of the image, signed, with `from` in its statement replaced.
fn signed_with(seed: u8, built: &[u8], from: &str, to: &str) -> String {
    let text = rebuild(IMAGE, built).statement();
    let changed = text.replacen(from, to, 1);
    assert_ne!(changed, text, "{from}");
    seal(IN_TOTO, changed.as_bytes(), &secret(seed))
}

#[test]
fn what_was_not_looked_at_lets_nothing_be_verified() {
    let mut policy = policy(1, &[("a", &[1]), ("b", &[2])]);
    let (good, junk, bad) = (good(1), "{}".to_owned(), bad(2));
    let mut results = vec![good.as_str()];
    results.resize(MAX_RESULTS, &junk);
    assert_eq!(on_image(&policy, &results).outcome, Outcome::Verified);
    results.push(&bad);
    let decision = on_image(&policy, &results);
    assert_eq!((decision.outcome, decision.unseen), (Outcome::Incomplete, 1));
    policy.bad = OnBad::Warn;
    assert_eq!(on_image(&policy, &results).outcome, Outcome::Incomplete);
    let mut tally = Tally::new(&policy, Digest::of(IMAGE));
    tally.add("0", good.as_bytes());
    tally.cannot_read("1", "it is a directory");
    let decision = tally.decide();
    assert_eq!((decision.outcome, reasons(&decision)), (Outcome::Incomplete, vec![("1", "not-read")]));
}

#[test]
fn what_an_operator_signed_and_nobody_can_read_is_not_passed_over() {
    let mut policy = policy(1, &[("a", &[1]), ("b", &[2])]);
    let good = good(1);
    let image = Digest::of(IMAGE).to_string();
    let link = "{\"_type\":\"later\"}";
    let sig: String = secret(2).sign(&signed_form(link)).iter().map(|byte| format!("{byte:02x}")).collect();
    for later in [
        signed_with(2, b"other", "\"selfsame\":", "\"why\":\"worse\",\"selfsame\":"),
        signed_with(2, b"other", "urn:selfsame:rebuild:1", "urn:selfsame:rebuild:2"),
        signed_with(2, b"other", "\"bad\"", "\"worse\""),
        signed_with(2, b"other", "\"subject\"", "\"subjects\""),
        signed_with(2, b"other", &image, &image.to_uppercase()),
        signed_with(2, b"other", "\"digest\":{\"sha256\"", "\"digest\":{\"sha512\""),
        seal(IN_TOTO, b"\xff", &secret(2)),
        seal("application/later", b"{}", &secret(2)),
        format!("{{\"signatures\":[{{\"keyid\":\"\",\"sig\":\"{sig}\"}}],\"signed\":{link}}}"),
    ] {
        policy.bad = OnBad::Refuse;
        let decision = on_image(&policy, &[&good, &later]);
        assert_eq!((decision.outcome, reasons(&decision)), (Outcome::Incomplete, vec![("1", "unreadable")]));
        assert_eq!(decision.unreadable, ["b"], "{later}");
        policy.bad = OnBad::Warn;
        let decision = on_image(&policy, &[&good, &later]);
        assert_eq!((decision.outcome, decision.unreadable.len()), (Outcome::Verified, 1));
    }
    policy.bad = OnBad::Refuse;
    // What is plainly about another image, or signed by nobody whom the policy has, does not disturb.
    let field = ("\"selfsame\":", "\"why\":1,\"selfsame\":");
    let other = signed_with(2, b"other", field.0, field.1);
    let decision = decide(&policy, Digest::of(b"another"), &[&other]);
    assert_eq!((reasons(&decision), decision.unreadable.len()), (vec![("0", "other-image")], 0));
    for (junk, reason) in [
        (signed_with(9, b"other", field.0, field.1), "unknown-key"),
        (with_payload(&bad(2), "{}"), "bad-signature"),
    ] {
        let decision = on_image(&policy, &[&good, &junk]);
        assert_eq!((decision.outcome, reasons(&decision)), (Outcome::Verified, vec![("1", reason)]));
    }
}

#[test]
fn a_vote_says_of_what_it_is_and_a_policy_may_want_one_thing_only() {
    let mut policy = policy(1, &[("a", &[1]), ("b", &[2])]);
    let (lock, commit) = (Digest::of(b"lock"), "4".repeat(40));
    let field = format!("\"commit\":\"{commit}\",\"epoch\"");
    let full = signed_with(1, IMAGE, "\"epoch\"", &field);
    let decision = on_image(&policy, &[&full]);
    let vote = &decision.votes[0];
    assert_eq!(vote.names, ["x.iso"]);
    assert_eq!((vote.lock, vote.commit.as_ref()), (Some(lock), Some(&commit)));
    let name = Some("x.iso".to_owned());
    policy.wanted = Wanted { name: name.clone(), lock: Some(lock), commit: Some(commit.clone()) };
    assert_eq!(on_image(&policy, &[&full]).outcome, Outcome::Verified);
    let said = "it is of the commit that it does not say, and the policy wants 444";
    for (wanted, result, words) in [
        (Wanted { name: Some("y.iso".into()), ..Wanted::default() }, &full, "it is of the name x.iso, and"),
        (Wanted { lock: Some(Digest::of(b"")), ..Wanted::default() }, &full, "it is of the lock 0c03"),
        (Wanted { commit: Some("5".repeat(40)), ..Wanted::default() }, &full, "it is of the commit 4444"),
        (Wanted { commit: Some(commit.clone()), ..Wanted::default() }, &good(1), said),
    ] {
        policy.wanted = wanted;
        let decision = on_image(&policy, &[result]);
        assert_eq!(
            (decision.outcome, reasons(&decision)),
            (Outcome::BelowThreshold, vec![("0", "unwanted")])
        );
        let message = decision.refused[0].reason.to_string();
        assert!(message.starts_with(words), "{message}");
        // An objection is one whatever it is of, and another result of the same operator may do.
        assert_eq!(on_image(&policy, &[result, &bad(2)]).outcome, Outcome::Disputed);
    }
    assert_eq!(on_image(&policy, &[&good(1), &full]).outcome, Outcome::Verified);
}

#[test]
fn links_are_of_no_lock_and_no_commit() {
    let key = crate::PublicKey::from_pem(LINK_KEY).unwrap();
    let operators = vec![crate::Operator { name: "arch".into(), keys: vec![key] }];
    let mut policy = Policy { threshold: 1, bad: OnBad::Refuse, wanted: Wanted::default(), operators };
    let image: Digest = LINK_PRODUCT.parse().unwrap();
    let vote = decide(&policy, image, &[LINK]).votes.remove(0);
    assert!(LINK.contains(&format!("\"rebuild {}\"", vote.names[0])));
    assert_eq!((vote.lock, vote.commit), (None, None));
    policy.wanted.name = Some(vote.names[0].clone());
    assert_eq!(decide(&policy, image, &[LINK]).outcome, Outcome::Verified);
    policy.wanted.lock = Some(Digest::of(b"lock"));
    assert_eq!(decide(&policy, image, &[LINK]).outcome, Outcome::BelowThreshold);
}

#[test]
fn objections_are_told_before_missing_votes() {
    let mut policy = policy(1, &[("a", &[1])]);
    assert_eq!(on_image(&policy, &[&bad(1)]).outcome, Outcome::Disputed);
    policy.bad = OnBad::Warn;
    assert_eq!(on_image(&policy, &[&bad(1)]).outcome, Outcome::BelowThreshold);
}

#[test]
fn a_signature_that_stands_twice_is_looked_at_once() {
    let policy = policy(1, &[("a", &[1])]);
    let mut value: serde_json::Value = serde_json::from_str(&good(1)).unwrap();
    let mut again = value["signatures"][0].clone();
    again["keyid"] = "another".into();
    value["signatures"].as_array_mut().unwrap().push(again);
    let decision = on_image(&policy, &[&value.to_string()]);
    assert_eq!((voters(&decision), reasons(&decision)), (vec!["a"], vec![]));
}

#[test]
fn a_forged_signature_names_whose_key_was_claimed_and_a_byte_order_mark_does_no_harm() {
    let policy = policy(1, &[("a", &[1])]);
    let changed = with_payload(&good(1), "{}");
    let message = on_image(&policy, &[&changed]).refused[0].reason.to_string();
    assert!(message.ends_with(&format!("{} of a", secret(1).public().id())), "{message}");
    assert_eq!(on_image(&policy, &[&format!("\u{feff}{}", good(1))]).outcome, Outcome::Verified);
}
