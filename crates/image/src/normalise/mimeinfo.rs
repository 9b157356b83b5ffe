//! mimeinfo.cache of desktop-file-utils: its lines come in the order of a hash table.
//!
//! Who of several programs opens a file is the order inside of a line, and stays.

use super::edit::Edit;
use super::{File, Left, Outcome, Rules, left};

const HEADER: &[u8] = b"[MIME Cache]\n";

pub(super) fn is(file: &File<'_>) -> bool {
    let name = file.name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    name == b"mimeinfo.cache" && file.bytes.starts_with(HEADER)
}

pub(super) fn run(file: &File<'_>, _: &Rules) -> Result<Outcome, Left> {
    let mut edit = Edit::new(file.bytes);
    let rest = &file.bytes[HEADER.len()..];
    if rest.is_empty() {
        return edit.finish();
    }
    let Some(rest) = rest.strip_suffix(b"\n") else { return left("its last line has no end") };
    let mut lines: Vec<&[u8]> = rest.split(|byte| *byte == b'\n').collect();
    let key = |line: &&[u8]| line.iter().position(|byte| *byte == b'=').map(|end| line[..end].to_vec());
    if let Some(odd) =
        lines.iter().position(|line| key(line).is_none_or(|key| key.is_empty() || key[0] == b'['))
    {
        return left(format!("line {} says nothing of a type", odd + 2));
    }
    lines.sort_by_cached_key(key);
    if let Some(pair) = lines.windows(2).find(|pair| key(&pair[0]) == key(&pair[1])) {
        return left(format!(
            "it has two lines of {}",
            String::from_utf8_lossy(&key(&pair[0]).unwrap_or_default())
        ));
    }
    let sorted = lines.join(&b'\n');
    edit.put(HEADER.len(), &sorted, "order of lines");
    edit.finish()
}
