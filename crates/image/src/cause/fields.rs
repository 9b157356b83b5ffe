//! Causes that fields of structures tell of.

use super::Findings;
use crate::compare::{Change, FieldChange};
use crate::extent::Role;

/// How attributes of overlayfs begin.
const OVERLAY: &[u8] = b"trusted.overlay.";

/// Notes what the fields of a structure that differs tell of.
pub(super) fn recognise(change: &Change, found: &mut Findings) {
    let place = || match change.path.is_empty() {
        true => change.structure.to_owned(),
        false => format!("{} of {}", change.structure, change.path.escape_ascii()),
    };
    if change.same_content {
        found.add("compression", place);
    }
    for field in change.fields.iter().filter(|field| field.role == Role::Value) {
        if let Some(cause) = cause(change.structure, &change.path, field) {
            found.add(cause, || {
                let [a, b] = field.values.each_ref().map(|value| value.as_deref().unwrap_or("none"));
                format!("{}, {}: {a} -> {b}", place(), field.name)
            });
        }
    }
}

fn cause(structure: &str, path: &[u8], field: &FieldChange) -> Option<&'static str> {
    if structure == "gzip header" {
        return matches!(&*field.name, "mtime" | "name").then_some("gzip-header");
    }
    // Of pictures: the chunks tIME and tEXt, the latter with its key.
    if structure == "time of last change" || structure == "text" && path.starts_with(b"tEXt date:") {
        return Some("picture-date");
    }
    if path.windows(OVERLAY.len()).any(|part| part == OVERLAY) {
        return Some("overlay-residue");
    }
    let [Some(a), Some(b)] = &field.values else { return None };
    if matches!(structure, "local file header" | "central directory entry") && is_dated(a) && is_dated(b) {
        return Some("zip-time");
    }
    if is_dated(a) && is_dated(b) {
        return Some("time-stamp");
    }
    // Entries of tables begin with the name of their partition.
    let name = field.name.rsplit(": ").next().unwrap_or_default();
    match name {
        "uuid" | "journal_uuid" | "hash_seed" | "disk" | "disk_id" | "id" | "serial" => Some("random-id"),
        "mode" | "permissions" => Some("mode"),
        "uid" | "gid" | "uid_high" | "gid_high" | "user" | "group" => Some("owner"),
        "accessed_date" | "created_fine" => Some("time-stamp"),
        _ => None,
    }
}

/// Whether a value has a date as this crate writes them: `2026-08-01T00:00:00Z`.
fn is_dated(value: &str) -> bool {
    value.as_bytes().windows(20).any(|text| {
        let shape = text.iter().zip(b"0000-00-00T00:00:00Z");
        shape.into_iter().all(|(byte, like)| if *like == b'0' { byte.is_ascii_digit() } else { byte == like })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(structure: &'static str, name: &str, values: [&str; 2]) -> Vec<(&'static str, String)> {
        let values = values.map(|value| Some(value.to_owned()));
        let field = FieldChange { name: name.to_owned(), values, role: Role::Value };
        let change = Change { structure, path: b"/a".to_vec(), fields: vec![field], ..Change::default() };
        let mut found = Findings::default();
        recognise(&change, &mut found);
        found.0.into_values().map(|finding| (finding.cause, finding.seen)).collect()
    }

    #[test]
    fn fields_tell_of_causes() {
        let dates = ["2026-08-01T00:00:00Z (1785542400)", "2023-11-14T22:13:20Z (1700000000)"];
        let seen =
            "inode of /a, mtime: 2026-08-01T00:00:00Z (1785542400) -> 2023-11-14T22:13:20Z (1700000000)";
        assert_eq!(told("inode", "mtime", dates), [("time-stamp", seen.to_owned())]);
        assert_eq!(told("gzip header", "mtime", dates)[0].0, "gzip-header");
        assert_eq!(told("GPT entries", "partition 1: id", ["a", "b"])[0].0, "random-id");
        assert_eq!(told("inode", "mode", ["0o644", "0o664"])[0].0, "mode");
        assert_eq!(told("cpio header", "uid", ["0", "1000"])[0].0, "owner");
        assert_eq!(told("inode", "size", ["1", "2"]), []);
    }
}
