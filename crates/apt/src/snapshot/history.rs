//! What was seen before: an append-only list that makes going back, and telling two stories, visible.
//!
//! A signature says that a state was real once, not that it is the newest. apt notices an older one only if it has a
//! newer one in its lists, which a fresh build environment never has; this list is kept outside of it.

use std::collections::BTreeMap;

use selfsame_image::Digest;

use crate::date;

/// Every `InRelease` file that was accepted, by archive and codename. Its text has one line for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    seen: BTreeMap<(String, String), BTreeMap<i64, Digest>>,
}

/// What a history knows of a file that it does not contradict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Novelty {
    /// Nothing of this archive and codename was seen before.
    First,
    /// The newest one known is older.
    Newer,
    /// The same file was the newest already.
    Known,
}

/// How a file contradicts a history.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// A newer one was seen.
    #[error("{} is older than {}, which was seen before", date::serial(*.date), date::serial(*.newest))]
    Rollback {
        /// Its date.
        date: i64,
        /// The newest date that was seen.
        newest: i64,
    },
    /// Another one of the same date was seen.
    #[error("{found} and {seen} have the same date {}", date::serial(*.date))]
    Equivocation {
        /// Their date.
        date: i64,
        /// Digest of the one that was seen before.
        seen: Digest,
        /// Digest of this one.
        found: Digest,
    },
}

/// A line that is not `archive codename date digest`, or contradicts a line before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is not archive, codename, date and digest of a file")]
pub struct NotAHistory {
    /// Number of the line, counted from 1.
    pub line: usize,
}

impl History {
    /// Reads the text form: lines of `archive codename date digest`, the date in seconds since 1970-01-01 UTC.
    pub fn parse(text: &str) -> Result<Self, NotAHistory> {
        let mut history = Self::default();
        for (index, line) in text.lines().enumerate() {
            let wrong = || NotAHistory { line: index + 1 };
            let words: Vec<_> = line.split(' ').collect();
            let &[archive, codename, date, digest] = &words[..] else {
                return Err(wrong());
            };
            let date = date.parse().map_err(|_| wrong())?;
            let digest: Digest = digest.parse().map_err(|_| wrong())?;
            if archive.is_empty() || codename.is_empty() {
                return Err(wrong());
            }
            let dates = history.seen.entry((archive.to_owned(), codename.to_owned())).or_default();
            if dates.insert(date, digest).is_some_and(|other| other != digest) {
                return Err(wrong());
            }
        }
        Ok(history)
    }

    /// The file of that date, if one was seen.
    pub fn at(&self, archive: &str, codename: &str, date: i64) -> Option<Digest> {
        self.seen.get(&(archive.to_owned(), codename.to_owned()))?.get(&date).copied()
    }

    /// Date of the newest file, if one was seen.
    pub fn newest(&self, archive: &str, codename: &str) -> Option<i64> {
        let dates = self.seen.get(&(archive.to_owned(), codename.to_owned()))?;
        dates.last_key_value().map(|(&date, _)| date)
    }

    /// Whether a file fits to what was seen.
    pub fn check(
        &self,
        archive: &str,
        codename: &str,
        date: i64,
        digest: &Digest,
    ) -> Result<Novelty, Contradiction> {
        let Some(dates) = self.seen.get(&(archive.to_owned(), codename.to_owned())) else {
            return Ok(Novelty::First);
        };
        if let Some(&seen) = dates.get(&date).filter(|&seen| seen != digest) {
            return Err(Contradiction::Equivocation { date, seen, found: *digest });
        }
        match dates.last_key_value() {
            Some((&newest, _)) if date < newest => Err(Contradiction::Rollback { date, newest }),
            Some((&newest, _)) if date == newest => Ok(Novelty::Known),
            _ => Ok(Novelty::Newer),
        }
    }

    /// Adds a file that was accepted, and returns the line to append to the text form; `None` if it is in it already.
    ///
    /// Only accepted files may be added: one from the future would make all true ones look like going back.
    pub fn add(
        &mut self,
        archive: &str,
        codename: &str,
        date: i64,
        digest: Digest,
    ) -> Result<Option<String>, Contradiction> {
        if self.check(archive, codename, date, &digest)? == Novelty::Known {
            return Ok(None);
        }
        self.seen.entry((archive.to_owned(), codename.to_owned())).or_default().insert(date, digest);
        Ok(Some(format!("{archive} {codename} {date} {digest}\n")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_forward_and_tells_one_story() {
        let [a, b] = [b"a", b"b"].map(|bytes| Digest::of(bytes));
        let mut history = History::default();
        assert_eq!(history.check("debian", "sid", 5, &a), Ok(Novelty::First));
        let mut text = history.add("debian", "sid", 5, a).unwrap().unwrap();
        assert_eq!(text, format!("debian sid 5 {a}\n"));
        assert_eq!(history.add("debian", "sid", 5, a), Ok(None));
        assert_eq!(
            history.check("debian", "sid", 5, &b).unwrap_err(),
            Contradiction::Equivocation { date: 5, seen: a, found: b }
        );
        assert_eq!(history.check("debian", "sid", 6, &b), Ok(Novelty::Newer));
        text += &history.add("debian", "sid", 6, b).unwrap().unwrap();
        assert_eq!(
            history.check("debian", "sid", 5, &a).unwrap_err().to_string(),
            "19700101T000005Z is older than 19700101T000006Z, which was seen before"
        );
        assert_eq!(history.check("debian", "trixie", 1, &a), Ok(Novelty::First));
        assert_eq!(history.check("other", "sid", 1, &a), Ok(Novelty::First));
        assert_eq!(History::parse(&text).unwrap(), history);
        assert_eq!((history.at("debian", "sid", 5), history.at("debian", "sid", 7)), (Some(a), None));
        assert_eq!((history.newest("debian", "sid"), history.newest("debian", "x")), (Some(6), None));
        assert_eq!(History::parse("").unwrap(), History::default());
    }

    #[test]
    fn a_damaged_text_is_refused() {
        let line = format!("debian sid 5 {}", Digest::of(b"a"));
        let other = format!("debian sid 5 {}", Digest::of(b"b"));
        for bad in ["x", "\n", &line[1..].replace("sid ", ""), &format!("{line} "), &line.replace('5', "x")] {
            assert!(History::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(History::parse(&format!("{line}\n{other}\n")), Err(NotAHistory { line: 2 }));
    }
}
