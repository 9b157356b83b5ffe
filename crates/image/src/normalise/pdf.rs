//! PDF (ISO 32000-1): dates in the document's information (14.3.3), and the same ones in XMP (14.3.2).
//!
//! Texts of the same length take their place, so that nothing moves. What lies in packed streams is not looked at.

use super::date::{self, Found};
use super::edit::Edit;
use super::{File, Left, Outcome, Rules, Times, find, left};

const DATES: [&[u8]; 2] = [b"/CreationDate", b"/ModDate"];
const XMP_DATES: [&[u8]; 3] = [b"xmp:CreateDate", b"xmp:ModifyDate", b"xmp:MetadataDate"];
/// Words of what others have signed or made unreadable, wherever they stand.
const SIGNED: [(&[u8], &str); 3] = [
    (b"/ByteRange", "it is signed"),
    (b"/SigFlags", "it has fields for signatures"),
    (b"/Encrypt", "it is encrypted"),
];

pub(super) fn run(file: &File<'_>, rules: &Rules) -> Result<Outcome, Left> {
    if let Some((_, why)) = SIGNED.iter().find(|(word, _)| find(file.bytes, word).is_some()) {
        return left(*why);
    }
    let mut edit = Edit::new(file.bytes);
    let mut at = 0;
    while at < file.bytes.len() {
        let rest = &file.bytes[at..];
        let outside = stream(rest).unwrap_or(rest.len());
        information(&mut edit, (at, &rest[..outside]), rules.times)?;
        let inside = (outside + b"stream".len()).min(rest.len());
        let end = find(&rest[inside..], b"endstream").map_or(rest.len(), |end| inside + end);
        let content = &rest[inside..end];
        if content.trim_ascii_start().starts_with(b"<?xpacket") {
            xmp(&mut edit, (at + inside, content), rules.times)?;
        }
        at += (end + b"endstream".len()).min(rest.len()).max(1);
    }
    edit.finish()
}

/// Where the next stream begins: its keyword has a line end behind it (7.3.8.1).
fn stream(bytes: &[u8]) -> Option<usize> {
    bytes.windows(7).position(|window| window.starts_with(b"stream") && matches!(window[6], b'\n' | b'\r'))
}

/// Dates outside of streams.
fn information(edit: &mut Edit<'_>, (base, bytes): (usize, &[u8]), times: Times) -> Result<(), Left> {
    for key in DATES {
        let mut at = 0;
        while let Some(found) = find(&bytes[at..], key) {
            at += found + key.len();
            let value = bytes[at..].trim_ascii_start();
            let Some(text) = value.strip_prefix(b"(") else { continue };
            let text = text.strip_prefix(b"D:").unwrap_or(text);
            let start = bytes.len() - text.len();
            let text = &text[..text.iter().position(|byte| *byte == b')').unwrap_or(text.len())];
            match date::whole(date::PDF, text, times) {
                Some(Found::Late(new)) => edit.put(base + start, &new, "date"),
                Some(Found::Good) => {}
                None => return unknown(base + start, text),
            }
        }
    }
    Ok(())
}

/// Dates in XMP, as elements or as attributes.
fn xmp(edit: &mut Edit<'_>, (base, bytes): (usize, &[u8]), times: Times) -> Result<(), Left> {
    for key in XMP_DATES {
        let mut at = 0;
        while let Some(found) = find(&bytes[at..], key) {
            at += found + key.len();
            let (skip, end) = match bytes.get(at..) {
                Some([b'>', ..]) => (1, b'<'),
                Some([b'=', quote @ (b'"' | b'\''), ..]) => (2, *quote),
                _ => continue,
            };
            let text = &bytes[at + skip..];
            let text = &text[..text.iter().position(|byte| *byte == end).unwrap_or(text.len())];
            // What follows on a closing element is no date.
            if bytes[..at - key.len()].ends_with(b"</") {
                continue;
            }
            match date::whole(date::ISO, text, times) {
                Some(Found::Late(new)) => edit.put(base + at + skip, &new, "date in XMP"),
                Some(Found::Good) => {}
                None => return unknown(base + at + skip, text),
            }
        }
    }
    Ok(())
}

/// One date that stays would contradict another that does not.
fn unknown(at: usize, text: &[u8]) -> Result<(), Left> {
    let text = String::from_utf8_lossy(&text[..text.len().min(60)]).into_owned();
    left(format!("the date at {at:#x} is not understood: {text:?}"))
}
