//! "Did you mean": the known names nearest to an unknown one.

/// The candidates that `unknown` may be a misspelling of, best first, at most three.
///
/// A candidate counts when at most a third of the letters of the longer name would have to change (insert, delete,
/// replace, swap two neighbours), or when one name begins with the other and at least three letters agree.
/// Equal distances keep the order of `candidates`.
pub fn nearest<'a>(unknown: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut found: Vec<(usize, &str)> = candidates
        .into_iter()
        .filter_map(|candidate| {
            let distance = distance(unknown, candidate);
            let longer = unknown.chars().count().max(candidate.chars().count());
            let begins = unknown.len().min(candidate.len()) >= 3
                && (candidate.starts_with(unknown) || unknown.starts_with(candidate));
            (distance * 3 <= longer || begins).then_some((distance, candidate))
        })
        .collect();
    found.sort_by_key(|(distance, _)| *distance);
    found.truncate(3);
    found.into_iter().map(|(_, candidate)| candidate).collect()
}

/// A hint that names `nearest`, or nothing if there is none.
pub fn hint(nearest: &[&str]) -> Option<String> {
    match nearest {
        [] => None,
        [one] => Some(format!("did you mean `{one}`?")),
        [first @ .., last] => Some(format!("did you mean `{}` or `{last}`?", first.join("`, `"))),
    }
}

/// How many letters must be inserted, deleted, replaced or swapped with their neighbour to turn `a` into `b`
/// (optimal string alignment distance).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before_last[j - 2] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("nano", "nano", 0),
            ("naon", "nano", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!((distance(a, b), distance(b, a)), (expected, expected), "{a} {b}");
        }
    }

    #[test]
    fn a_misspelling_finds_its_word_and_nonsense_finds_none() {
        let known = ["codec", "block-size", "volume-id", "outputs", "output"];
        assert_eq!(nearest("volume_id", known), ["volume-id"]);
        assert_eq!(nearest("ouputs", known), ["outputs", "output"]);
        assert_eq!(nearest("vol", known), ["volume-id"]);
        assert_eq!(nearest("xyzzy", known), [""; 0]);
        assert_eq!(hint(&["a", "b", "c"]).unwrap(), "did you mean `a`, `b` or `c`?");
        assert_eq!(hint(&[]), None);
    }
}
