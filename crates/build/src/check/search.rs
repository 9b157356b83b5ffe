//! Which variation makes which file differ, found with few builds.

use std::collections::{BTreeMap, BTreeSet};

/// What was found out about something that differs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Culprit<V> {
    /// It differs although nothing was varied: time goes on, and random numbers are others.
    Nothing,
    /// It differs when this alone is varied.
    One(V),
    /// It differs when all these are varied, and not with either part of them.
    Together(Vec<V>),
    /// It did not differ again when it was to.
    Unsteady,
    /// There was no time to find out.
    Unsearched,
}

/// Finds the culprit of each of `differing`, which is what differs when all of `variations` are varied. `build` builds with
/// some of them and gives what differs then.
///
/// First nothing is varied; then halves, and their halves, as long as something is unexplained. For one culprit among *n*
/// that is at most 1 + 2 log *n* builds. If several variations change the same file, one of them is found. What is known when a
/// build fails is in `found`.
pub fn search<V, K, E>(
    variations: &[V],
    differing: &BTreeSet<K>,
    build: &mut impl FnMut(&[V]) -> Result<BTreeSet<K>, E>,
    found: &mut BTreeMap<K, Culprit<V>>,
) -> Result<(), E>
where
    V: Clone,
    K: Clone + Ord,
{
    if differing.is_empty() {
        return Ok(());
    }
    let random = build(&[])?;
    let (unvaried, rest) = differing.iter().cloned().partition(|key| random.contains(key));
    note(found, unvaried, &Culprit::Nothing);
    halve(variations, rest, build, found)
}

fn note<V: Clone, K: Ord>(found: &mut BTreeMap<K, Culprit<V>>, keys: BTreeSet<K>, culprit: &Culprit<V>) {
    found.extend(keys.into_iter().map(|key| (key, culprit.clone())));
}

/// Explains `keys`, which differ with all of `variations`.
fn halve<V, K, E>(
    variations: &[V],
    keys: BTreeSet<K>,
    build: &mut impl FnMut(&[V]) -> Result<BTreeSet<K>, E>,
    found: &mut BTreeMap<K, Culprit<V>>,
) -> Result<(), E>
where
    V: Clone,
    K: Clone + Ord,
{
    if keys.is_empty() {
        return Ok(());
    }
    let (left, right) = match variations {
        [] => {
            note(found, keys, &Culprit::Unsteady);
            return Ok(());
        }
        [one] => {
            note(found, keys, &Culprit::One(one.clone()));
            return Ok(());
        }
        _ => variations.split_at(variations.len() / 2),
    };
    let mut rest = keys;
    for half in [left, right] {
        if rest.is_empty() {
            break;
        }
        let differ = build(half)?;
        let (here, others) = rest.into_iter().partition(|key| differ.contains(key));
        halve(half, here, build, found)?;
        rest = others;
    }
    together(left, right, rest, build, found)
}

/// Explains `keys`, which differ with both halves and with neither alone.
fn together<V, K, E>(
    left: &[V],
    right: &[V],
    mut keys: BTreeSet<K>,
    build: &mut impl FnMut(&[V]) -> Result<BTreeSet<K>, E>,
    found: &mut BTreeMap<K, Culprit<V>>,
) -> Result<(), E>
where
    V: Clone,
    K: Clone + Ord,
{
    while let Some(key) = keys.first().cloned() {
        let mut differs = |with: &[V]| Ok(build(with)?.contains(&key));
        let second = fewest(right, left, &mut differs)?;
        let first = fewest(left, &second, &mut differs)?;
        let all = [first, second].concat();
        let differ = build(&all)?;
        let (same, others): (BTreeSet<K>, _) = keys.into_iter().partition(|key| differ.contains(key));
        keys = others;
        note(found, same, &Culprit::Together(all));
        // The very one that was followed may not differ again.
        if keys.remove(&key) {
            found.insert(key, Culprit::Unsteady);
        }
    }
    Ok(())
}

/// A part of `candidates`, as small as halving makes it, with which and `held` the thing still differs.
fn fewest<V: Clone, E>(
    candidates: &[V],
    held: &[V],
    differs: &mut impl FnMut(&[V]) -> Result<bool, E>,
) -> Result<Vec<V>, E> {
    let mut list = candidates;
    'smaller: while list.len() > 1 {
        let (left, right) = list.split_at(list.len() / 2);
        for half in [left, right] {
            if differs(&[held, half].concat())? {
                list = half;
                continue 'smaller;
            }
        }
        break;
    }
    Ok(list.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files and the variations that change them: any of a list.
    fn searched(
        causes: &[(&'static str, &'static [u32])],
        together: &[(&'static str, &'static [u32])],
        random: &[&'static str],
    ) -> (BTreeMap<&'static str, Culprit<u32>>, usize) {
        let all: Vec<u32> = (0..16).collect();
        let differ = |with: &[u32]| -> BTreeSet<&'static str> {
            let any = causes.iter().filter(|(_, of)| of.iter().any(|one| with.contains(one)));
            let whole = together.iter().filter(|(_, of)| of.iter().all(|one| with.contains(one)));
            any.chain(whole).map(|(file, _)| *file).chain(random.iter().copied()).collect()
        };
        let mut builds = 0;
        let mut build = |with: &[u32]| {
            builds += 1;
            Ok::<_, ()>(differ(with))
        };
        let mut found = BTreeMap::new();
        search(&all, &differ(&all), &mut build, &mut found).unwrap();
        (found, builds)
    }

    #[test]
    fn one_culprit_takes_few_builds() {
        for culprit in 0..16 {
            let list: &'static [u32] = Vec::leak(vec![culprit]);
            let (found, builds) = searched(&[("file", list)], &[], &[]);
            assert_eq!(found["file"], Culprit::One(culprit));
            assert!(builds <= 9, "{builds} builds for {culprit}");
        }
    }

    #[test]
    fn each_file_has_its_own_culprit() {
        let (found, _) = searched(&[("a", &[3]), ("b", &[12]), ("c", &[3, 9])], &[], &["random"]);
        assert_eq!(found["a"], Culprit::One(3));
        assert_eq!(found["b"], Culprit::One(12));
        assert_eq!(found["c"], Culprit::One(3));
        assert_eq!(found["random"], Culprit::Nothing);
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn what_takes_two_is_said_of_both() {
        let (found, _) = searched(&[], &[("file", &[2, 3])], &[]);
        assert_eq!(found["file"], Culprit::Together(vec![2, 3]));
        let (found, _) = searched(&[], &[("file", &[0, 15]), ("same", &[0, 15]), ("other", &[4, 9])], &[]);
        assert_eq!(found["file"], Culprit::Together(vec![0, 15]));
        assert_eq!(found["same"], Culprit::Together(vec![0, 15]));
        assert_eq!(found["other"], Culprit::Together(vec![4, 9]));
    }

    #[test]
    fn what_is_known_when_time_is_spent_is_told() {
        let all: Vec<u32> = (0..16).collect();
        let keys = BTreeSet::from(["random", "first", "last"]);
        let mut builds = 0;
        let mut found = BTreeMap::new();
        let spent = search(
            &all,
            &keys,
            &mut |with: &[u32]| {
                builds += 1;
                let first = with.contains(&0).then_some("first");
                let last = with.contains(&15).then_some("last");
                if builds > 5 {
                    Err("spent")
                } else {
                    Ok(["random"].into_iter().chain(first).chain(last).collect())
                }
            },
            &mut found,
        );
        assert_eq!(spent, Err("spent"));
        assert_eq!(found, BTreeMap::from([("random", Culprit::Nothing), ("first", Culprit::One(0))]));
    }

    #[test]
    fn nothing_that_differs_takes_no_build() {
        assert_eq!(searched(&[], &[], &[]), (BTreeMap::new(), 0));
    }
}
