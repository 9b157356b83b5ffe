//! Which ids this process has, and which a user may take: `/proc/self/uid_map`, `/etc/subuid` and `/etc/subgid`.

use std::fmt::Write as _;

/// One line of an id map: `count` ids from `inside` on are those from `outside` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub inside: u32,
    pub outside: u32,
    pub count: u32,
}

/// Reads `/proc/PID/uid_map`. Lines that are not three numbers are left out.
pub(crate) fn parse_map(text: &str) -> Vec<Range> {
    let number = |word: Option<&str>| word.and_then(|word| word.parse().ok());
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let (inside, outside) = (number(words.next())?, number(words.next())?);
            Some(Range { inside, outside, count: number(words.next())? })
        })
        .collect()
}

/// True in the initial user namespace, whose map is the identity over all ids.
pub(crate) fn is_initial(map: &[Range]) -> bool {
    map == [Range { inside: 0, outside: 0, count: u32::MAX }]
}

/// True if every id from `first` to `first + count - 1` is mapped.
pub(crate) fn covers(map: &[Range], first: u32, count: u32) -> bool {
    let mut at = u64::from(first);
    let end = at + u64::from(count);
    while at < end {
        let here = |range: &&Range| (u64::from(range.inside)..end_of(range)).contains(&at);
        match map.iter().find(here) {
            Some(range) => at = end_of(range),
            None => return false,
        }
    }
    true
}

fn end_of(range: &Range) -> u64 {
    u64::from(range.inside) + u64::from(range.count)
}

/// The first range of at least `need` ids that the text of `/etc/subuid` or `/etc/subgid` gives to the user called
/// `name` or numbered `uid`, and else how many the largest has. See subuid(5).
pub(crate) fn granted(text: &str, name: Option<&str>, uid: u32, need: u32) -> Result<u32, u32> {
    let mut largest = 0;
    for line in text.lines() {
        let mut fields = line.trim().split(':');
        let Some(owner) = fields.next() else { continue };
        if Some(owner) != name && owner.parse() != Ok(uid) {
            continue;
        }
        let mut number = || fields.next().and_then(|field| field.trim().parse::<u32>().ok());
        let (Some(first), Some(count)) = (number(), number()) else {
            continue;
        };
        if count >= need && first.checked_add(need).is_some() {
            return Ok(first);
        }
        largest = largest.max(count);
    }
    Err(largest)
}

/// The name of the user numbered `uid` in the text of `/etc/passwd`.
pub(crate) fn user_name(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, id) = (fields.next()?, fields.next()?, fields.next()?);
        (id.parse() == Ok(uid)).then_some(name)
    })
}

/// The map of a new user namespace whose ids from 0 on are the `count` ids from `first` on of this one, which has
/// `map`. Where those lie in several ranges so must the new ones: the kernel does not join them.
pub(crate) fn nested(map: &[Range], first: u32, count: u32) -> Vec<Range> {
    let end = first.saturating_add(count);
    map.iter()
        .filter_map(|range| {
            let from = range.inside.max(first);
            let to = range.inside.saturating_add(range.count).min(end);
            (from < to).then(|| Range { inside: from - first, outside: from, count: to - from })
        })
        .collect()
}

/// The text of an id map.
pub(crate) fn map_text(ranges: &[Range]) -> String {
    ranges.iter().fold(String::new(), |mut text, Range { inside, outside, count }| {
        let _ = writeln!(text, "{inside} {outside} {count}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_read_and_measured() {
        let map = parse_map("         0       1000          1\n         1     100000      65535\n");
        assert_eq!(map.len(), 2);
        assert!(covers(&map, 0, 65_536));
        assert!(!covers(&map, 0, 65_537));
        assert!(!covers(&map, 0x6000_0000, 1));
        assert!(!is_initial(&map));
        let all = parse_map("         0          0 4294967295\n");
        assert!(is_initial(&all) && covers(&all, 0x6000_0000, 65_536));
        assert!(!covers(&parse_map("0 1000 1"), 0, 2));
        assert_eq!(parse_map("0 0\nx y z\n"), []);
    }

    #[test]
    fn nested_maps_keep_the_ranges_of_their_parent() {
        let map = parse_map("0 1000 1\n1 100000 65535\n65536 1000000 10\n");
        assert_eq!(map_text(&nested(&map, 0, 65_536)), "0 0 1\n1 1 65535\n");
        assert_eq!(map_text(&nested(&map, 10, 100)), "0 10 100\n");
        let all = parse_map("0 0 4294967295\n");
        assert_eq!(map_text(&nested(&all, 0x6000_0000, 65_536)), "0 1610612736 65536\n");
    }

    #[test]
    fn a_range_is_found_by_name_or_number() {
        let text = "alice:100000:65536\nbob:165536:1000\n1002:300000:65536\nbob:4294967295:65536\nbad line\n";
        assert_eq!(granted(text, Some("alice"), 1000, 65_535), Ok(100_000));
        assert_eq!(granted(text, None, 1002, 65_535), Ok(300_000));
        assert_eq!(granted(text, Some("bob"), 1001, 65_535), Err(65_536), "a range past 2^32 is none");
        assert_eq!(granted(text, Some("carol"), 1003, 65_535), Err(0));
    }

    #[test]
    fn user_names() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/sh\n";
        assert_eq!(user_name(passwd, 1000), Some("alice"));
        assert_eq!(user_name(passwd, 1001), None);
    }
}
