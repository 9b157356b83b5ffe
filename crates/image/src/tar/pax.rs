//! PAX extended headers (POSIX.1-2001, pax, "pax Extended Header").

use std::collections::BTreeMap;

use super::Corruption;
use super::sparse::Keys;

/// What extended headers say about an entry in place of its own header.
#[derive(Clone, Debug, Default)]
pub(super) struct Overrides {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) user: Option<Vec<u8>>,
    pub(super) group: Option<Vec<u8>>,
    pub(super) mtime: Option<i64>,
    pub(super) xattrs: BTreeMap<Box<[u8]>, Box<[u8]>>,
    /// What they say of a sparse file. Without it that is refused, as are keys that are not known.
    pub(super) sparse: Option<Keys>,
}

impl Overrides {
    /// Applies the records of one extended header; later records win, an empty value takes an override back.
    pub(super) fn apply(&mut self, mut body: &[u8]) -> Result<(), Corruption> {
        while !body.is_empty() {
            let (record, rest) = split_record(body)
                .ok_or_else(|| Corruption::PaxRecord(shown(&body[..body.len().min(60)])))?;
            body = rest;
            let equals = record.iter().position(|byte| *byte == b'=');
            let (key, value) = equals
                .map(|at| (&record[..at], &record[at + 1..]))
                .ok_or_else(|| Corruption::PaxRecord(shown(record)))?;
            self.set(key, value)?;
        }
        Ok(())
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), Corruption> {
        let bytes = || {
            if value.is_empty() { None } else { Some(value.to_vec()) }
        };
        match key {
            b"path" => self.path = bytes(),
            b"linkpath" => self.link = bytes(),
            b"uname" => self.user = bytes(),
            b"gname" => self.group = bytes(),
            b"size" => self.size = number(key, value)?,
            b"uid" => self.uid = number(key, value)?,
            b"gid" => self.gid = number(key, value)?,
            b"mtime" => self.mtime = seconds(key, value)?,
            b"RHT.security.selinux" => self.xattr(b"security.selinux", value),
            // Times a tree does not have, comments, and what only names the encoding of names, which are bytes here.
            b"atime" | b"ctime" | b"comment" | b"hdrcharset" | b"charset" | b"LIBARCHIVE.creationtime" => {}
            b"SCHILY.dev" | b"SCHILY.ino" | b"SCHILY.nlink" => {}
            _ => match key.strip_prefix(b"SCHILY.xattr.") {
                Some(name) if !name.is_empty() && !name.contains(&0) => self.xattr(&xattr_name(name), value),
                _ if key.starts_with(b"LIBARCHIVE.xattr.") => {}
                _ => return self.unknown(key, value),
            },
        }
        Ok(())
    }

    /// Sparse maps and ACLs change what a file is; other keys might.
    fn unknown(&mut self, key: &[u8], value: &[u8]) -> Result<(), Corruption> {
        let Some(sparse) = &mut self.sparse else { return Err(Corruption::PaxKey(shown(key))) };
        let taken = key.strip_prefix(b"GNU.sparse.").map_or(Some(()), |key| sparse.set(key, value));
        taken.ok_or_else(|| malformed(key, value))
    }

    fn xattr(&mut self, name: &[u8], value: &[u8]) {
        self.xattrs.insert(name.into(), value.into());
    }
}

/// `LENGTH KEY=VALUE\n`, where LENGTH counts the whole record: gives `KEY=VALUE` and what follows.
pub(super) fn split_record(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = body.iter().take(20).position(|byte| *byte == b' ')?;
    let length = digits(&body[..space])?;
    let length = usize::try_from(length).ok().filter(|length| *length <= body.len())?;
    let record = body.get(space + 1..length)?.strip_suffix(b"\n")?;
    Some((record, &body[length..]))
}

fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn number<N: TryFrom<u64>>(key: &[u8], value: &[u8]) -> Result<Option<N>, Corruption> {
    if value.is_empty() {
        return Ok(None);
    }
    let number = digits(value).and_then(|number| N::try_from(number).ok());
    number.map(Some).ok_or_else(|| malformed(key, value))
}

/// A decimal time with an optional sign and fraction, rounded down to whole seconds.
fn seconds(key: &[u8], value: &[u8]) -> Result<Option<i64>, Corruption> {
    if value.is_empty() {
        return Ok(None);
    }
    let (negative, rest) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let point = rest.iter().position(|byte| *byte == b'.').unwrap_or(rest.len());
    let fraction = rest.get(point + 1..).unwrap_or_default();
    let whole = digits(&rest[..point]).and_then(|whole| i64::try_from(whole).ok());
    let Some(whole) = whole.filter(|_| fraction.iter().all(u8::is_ascii_digit)) else {
        return Err(malformed(key, value));
    };
    let up = i64::from(fraction.iter().any(|digit| *digit != b'0'));
    Ok(Some(if negative { (-whole).saturating_sub(up) } else { whole }))
}

fn malformed(key: &[u8], value: &[u8]) -> Corruption {
    Corruption::PaxRecord(format!("{}={}", shown(key), shown(&value[..value.len().min(40)])))
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(120)]).into_owned()
}

/// The key of an extended attribute. A key ends at its first `=`, so GNU tar writes `%3D` for it and `%25` for `%`.
pub(super) fn xattr_key(name: &[u8]) -> Vec<u8> {
    let mut key = b"SCHILY.xattr.".to_vec();
    for byte in name {
        match byte {
            b'%' => key.extend_from_slice(b"%25"),
            b'=' => key.extend_from_slice(b"%3D"),
            _ => key.push(*byte),
        }
    }
    key
}

/// The name of the extended attribute whose key ends with `coded`.
fn xattr_name(mut coded: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(coded.len());
    while let Some((first, rest)) = coded.split_first() {
        (coded, _) = match coded {
            [b'%', b'2', b'5', rest @ ..] => (rest, name.push(b'%')),
            [b'%', b'3', b'D', rest @ ..] => (rest, name.push(b'=')),
            _ => (rest, name.push(*first)),
        };
    }
    name
}

/// One record; its length counts its own digits.
pub(super) fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let bare = key.len() + value.len() + 3;
    let mut length = bare + 1;
    while bare + length.to_string().len() != length {
        length = bare + length.to_string().len();
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(body: &[u8]) -> Result<Overrides, Corruption> {
        let mut overrides = Overrides::default();
        overrides.apply(body).map(|()| overrides)
    }

    #[test]
    fn records_count_their_own_length() {
        for length in [0, 1, 88, 89, 90, 91, 92, 986, 987, 988, 989, 990, 70_000] {
            let mut body = Vec::new();
            let value = vec![b'v'; length];
            record(&mut body, b"path", &value);
            record(&mut body, b"gid", b"7");
            let overrides = applied(&body).unwrap();
            assert_eq!(overrides.path.unwrap_or_default(), value);
            assert_eq!(overrides.gid, Some(7));
        }
    }

    #[test]
    fn times_are_rounded_down() {
        for (text, seconds) in
            [("5", 5), ("5.9", 5), ("5.", 5), ("-1", -1), ("-1.000", -1), ("-1.5", -2), ("-0.1", -1)]
        {
            let mut body = Vec::new();
            record(&mut body, b"mtime", text.as_bytes());
            assert_eq!(applied(&body).unwrap().mtime, Some(seconds), "{text}");
        }
    }

    #[test]
    fn values_may_hold_newlines_and_equals_signs() {
        let mut body = Vec::new();
        record(&mut body, b"SCHILY.xattr.user.a", b"x=\n12 path=evil\n");
        let overrides = applied(&body).unwrap();
        assert_eq!(overrides.path, None);
        assert_eq!(overrides.xattrs[&b"user.a"[..]][..], b"x=\n12 path=evil\n"[..]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for bad in [
            &b"8 path=x\n"[..],
            b"11 path=x\n",
            b"10 path=x\0",
            b"0 path=x\n",
            b" path=x\n",
            b"-1 path=x\n",
            b"99999999999999999999 path=x\n",
            b"8 pathx\n",
        ] {
            assert!(applied(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        for (key, value) in [
            ("size", "1x"),
            ("size", "-1"),
            ("uid", "4294967296"),
            ("mtime", "1e3"),
            ("mtime", "9223372036854775808"),
            ("GNU.sparse.major", "1"),
            ("SCHILY.acl.access", "user::rwx"),
            ("SCHILY.xattr.", "x"),
            ("", ""),
        ] {
            let mut body = Vec::new();
            record(&mut body, key.as_bytes(), value.as_bytes());
            assert!(applied(&body).is_err(), "{key}={value}");
        }
    }
}
