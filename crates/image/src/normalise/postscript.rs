//! PostScript: the comment about its creation (Adobe's Document Structuring Conventions 3.0, 5.1), which nothing reads.

use super::date::{self, Found};
use super::edit::Edit;
use super::{File, Left, Outcome, Rules, find, left};

/// Bytes in which the comments in front are.
const HEADER: usize = 64 << 10;
const KEY: &[u8] = b"%%CreationDate:";

pub(super) fn run(file: &File<'_>, rules: &Rules) -> Result<Outcome, Left> {
    let mut edit = Edit::new(file.bytes);
    let header = &file.bytes[..HEADER.min(file.bytes.len())];
    let mut at = 0;
    for line in header.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
        if line.starts_with(b"%%EndComments") {
            break;
        }
        if let Some(value) = line.strip_prefix(KEY) {
            let text = value.trim_ascii();
            let text = text.strip_prefix(b"(").and_then(|text| text.strip_suffix(b")")).unwrap_or(text);
            let text = text.strip_prefix(b"D:").unwrap_or(text);
            let start = KEY.len() + find(value, text).unwrap_or(0);
            let patterns = [date::POSTSCRIPT, date::PDF].concat();
            match date::whole(&patterns, text, rules.times) {
                Some(Found::Late(new)) => edit.put(at + start, &new, "date of creation"),
                Some(Found::Good) => {}
                None if text.is_empty() => {}
                None => {
                    let text = String::from_utf8_lossy(&text[..text.len().min(60)]).into_owned();
                    return left(format!("its date of creation is not understood: {text:?}"));
                }
            }
        }
        at += line.len();
    }
    edit.finish()
}
