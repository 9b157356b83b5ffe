//! What a stage depends on, by name: kept from build to build, so that the next one can say what changed.

use std::collections::BTreeMap;

use selfsame_image::Digest;
use selfsame_store::Store;
use serde::{Deserialize, Serialize};

use crate::event::Stage;

/// Kind of the records that hold what the last build of an image depended on.
const KIND: &str = "stages";

/// How much of the digest of a value is kept. It answers "the same as last time?" to people; keys decide for builds.
const SHORT: usize = 16;

/// Inputs that follow from others. They are only worth a word if no other input differs.
const DERIVED: &[&str] = &["script", "automatic marks", "lock"];

/// Inputs of a stage: what people call them, and a short digest of what they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Facts(BTreeMap<String, String>);

impl Facts {
    /// Notes that the input `name` has `value`. What is noted again with another value counts as one input with both.
    pub(crate) fn note(&mut self, name: &str, value: &str) {
        let short = |text: &str| Digest::of(text.as_bytes()).to_string()[..SHORT].to_owned();
        let value = short(value);
        match self.0.get_mut(name) {
            Some(known) if *known != value => *known = short(&format!("{known} {value}")),
            Some(_) => {}
            None => drop(self.0.insert(name.to_owned(), value)),
        }
    }
}

/// Everything a stage depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageInputs {
    /// The stage.
    pub stage: Stage,
    /// Digest of all of it.
    pub key: Digest,
    /// The parts of it.
    pub facts: Facts,
}

/// How an input differs from what it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// It was not there.
    Added(String),
    /// It is not there any more.
    Removed(String),
    /// It is another one.
    Changed(String),
    /// The inputs are the same, but in another order.
    Order,
    /// The result of an earlier stage is another one.
    After(Stage),
}

/// What `now` has otherwise than `then`, for a stage whose key changed: never empty. Its own inputs come first.
pub fn changes(then: &Facts, now: &Facts) -> Vec<Change> {
    let gone = then.0.keys().filter(|name| !now.0.contains_key(*name)).map(|name| (name, None));
    let here = now.0.keys().map(|name| (name, now.0.get(name)));
    let differ = gone.chain(here).filter(|(name, value)| then.0.get(*name) != *value);
    let mut changes: Vec<(bool, Change)> = differ
        .map(|(name, value)| {
            let change = match (then.0.get(name), value, stage_after(name)) {
                (_, _, Some(stage)) => Change::After(stage),
                (None, _, _) => Change::Added(name.clone()),
                (_, None, _) => Change::Removed(name.clone()),
                _ => Change::Changed(name.clone()),
            };
            (DERIVED.contains(&name.as_str()), change)
        })
        .collect();
    if changes.iter().any(|(derived, _)| !derived) {
        changes.retain(|(derived, _)| !derived);
    }
    let mut changes: Vec<Change> = changes.into_iter().map(|(_, change)| change).collect();
    changes.sort();
    if changes.is_empty() { vec![Change::Order] } else { changes }
}

/// The name of the input that is the result of `stage`.
pub(crate) fn after(stage: Stage) -> String {
    format!("after {stage}")
}

fn stage_after(name: &str) -> Option<Stage> {
    let name = name.strip_prefix("after ")?;
    Stage::ALL.into_iter().find(|stage| stage.name() == name)
}

/// What the last build of an image depended on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastBuild {
    stages: BTreeMap<String, LastStage>,
    /// Digest of what mkinitramfs could read, and the key of the stage that left it.
    visible: Option<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct LastStage {
    key: String,
    facts: Facts,
}

impl LastBuild {
    /// What is known of the last build of the image `name`. A record that cannot be read says nothing.
    pub fn find(store: &Store, name: &str) -> Option<Self> {
        let bytes = store.record_get(KIND, &record_key(name)).ok().flatten()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Keeps this for [`LastBuild::find`].
    ///
    /// Only words depend on it, so a store that cannot be written is no reason to fail.
    pub(crate) fn keep(&self, store: &Store, name: &str) {
        let bytes = serde_json::to_vec(self).expect("strings are always JSON");
        let _ = store.record_put(KIND, &record_key(name), &bytes);
    }

    /// Takes note of the stages that were done. Those that were not keep what they had.
    pub(crate) fn note<'a>(&mut self, stages: impl IntoIterator<Item = &'a StageInputs>) {
        for StageInputs { stage, key, facts } in stages {
            let last = LastStage { key: key.to_string(), facts: facts.clone() };
            self.stages.insert(stage.name().to_owned(), last);
        }
    }

    /// Takes note of what mkinitramfs could read after the stage with `key`.
    pub(crate) fn note_visible(&mut self, key: Digest, visible: Digest) {
        self.visible = Some((key.to_string(), visible.to_string()));
    }

    /// What mkinitramfs can read after the stage with `key`, if the last build had that.
    pub(crate) fn visible(&self, key: Digest) -> Option<Digest> {
        let (then, visible) = self.visible.as_ref()?;
        if *then == key.to_string() { visible.parse().ok() } else { None }
    }

    /// How `now` differs from what the stage depended on; empty if it does not, `None` if the stage was never done.
    pub fn changes(&self, now: &StageInputs) -> Option<Vec<Change>> {
        let then = self.stages.get(now.stage.name())?;
        let same = then.key == now.key.to_string() && then.facts == now.facts;
        Some(if same { Vec::new() } else { changes(&then.facts, &now.facts) })
    }
}

fn record_key(name: &str) -> Digest {
    Digest::of(format!("stages {name}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(list: &[(&str, &str)]) -> Facts {
        let mut facts = Facts::default();
        list.iter().for_each(|(name, value)| facts.note(name, value));
        facts
    }

    #[test]
    fn what_differs_is_named_and_what_follows_from_it_is_not() {
        let then = facts(&[("script", "1"), ("package nano", "1"), ("package vim", "1"), ("overlay", "1")]);
        let now = facts(&[("script", "2"), ("package nano", "2"), ("package ed", "1"), ("overlay", "1")]);
        let [added, removed, changed] = ["package ed", "package vim", "package nano"].map(str::to_owned);
        let expected = vec![Change::Added(added), Change::Removed(removed), Change::Changed(changed)];
        assert_eq!(changes(&then, &now), expected);
        let script = facts(&[("script", "1")]);
        let expected = vec![Change::Changed("script".into())];
        assert_eq!(changes(&script, &facts(&[("script", "2")])), expected);
        assert_eq!(changes(&script, &script), [Change::Order]);
    }

    #[test]
    fn an_earlier_stage_is_named_after_the_inputs_of_its_own() {
        let then = facts(&[("after settings", "1"), ("overlay", "1")]);
        let now = facts(&[("after settings", "2"), ("overlay", "2")]);
        let expected = vec![Change::Changed("overlay".into()), Change::After(Stage::Settings)];
        assert_eq!(changes(&then, &now), expected);
    }

    #[test]
    fn two_values_under_one_name_both_count() {
        let both = |a, b| facts(&[("hook x", a), ("hook x", b)]);
        assert_eq!(both("1", "1"), facts(&[("hook x", "1")]));
        assert_ne!(both("1", "2"), both("1", "3"));
    }

    #[test]
    fn the_last_build_is_found_under_its_name_and_keeps_what_was_not_done_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let inputs = |stage, value: &str| StageInputs {
            stage,
            key: Digest::of(value.as_bytes()),
            facts: facts(&[("script", value)]),
        };
        let (install, pack) = (inputs(Stage::Install, "1"), inputs(Stage::Pack, "1"));
        let mut last = LastBuild::default();
        last.note([&install, &pack]);
        last.note_visible(install.key, pack.key);
        last.keep(&store, "live");
        assert_eq!(LastBuild::find(&store, "other"), None);
        let mut found = LastBuild::find(&store, "live").unwrap();
        assert_eq!(found, last);
        assert_eq!(found.visible(install.key), Some(pack.key));
        assert_eq!(found.visible(Digest::of(b"other")), None);
        let newer = inputs(Stage::Install, "2");
        let changed = vec![Change::Changed("script".into())];
        assert_eq!(found.changes(&newer), Some(changed));
        assert_eq!(found.changes(&inputs(Stage::Assemble, "1")), None);
        found.note([&newer]);
        assert_eq!(found.changes(&newer), Some(Vec::new()));
        assert_eq!(found.changes(&pack), Some(Vec::new()));
    }
}
