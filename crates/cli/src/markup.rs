//! Text as HTML and Markdown that whoever wrote it has no say in, and what all pages have in common.

use std::fmt::Write;

use base64ct::{Base64, Encoding as _};
use selfsame_image::Digest;

use crate::ui::harmless_line;

/// The beginning of a page up to its body. `title` is escaped already; `style` begins with `markup.css`, which all pages share.
///
/// The page may use nothing but this style and script: whatever an image or a report smuggles in could neither run nor load
/// anything.
pub fn head(title: &str, style: &str, script: Option<&str>) -> String {
    let digest = |text: &str| Base64::encode_string(&Digest::of(text.as_bytes()).0);
    let mut policy = format!("default-src 'none'; style-src 'sha256-{}'; ", digest(style));
    if let Some(script) = script {
        let _ = write!(policy, "script-src 'sha256-{}'; ", digest(script));
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>{title}</title>\n<style>{style}</style>\n</head>\n<body>\n"
    )
}

/// Text of others as HTML: nothing in it is markup, nothing changes what is around it, and it has at most `most` characters.
pub fn html(text: &str, most: usize) -> String {
    escape(&harmless_line(&short(text, most)))
}

/// Text as HTML, characters that cannot be seen included.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A name of others as code in Markdown, at most `most` characters of it. In code nothing is a mention, a reference or an
/// address. A cell of a table ends at a pipe even there, so that names with one, or with backticks, are written as characters
/// by number.
pub fn code(name: &str, most: usize) -> String {
    let shown = harmless_line(&short(name, most)).into_owned();
    let plain = !shown.is_empty() && !shown.contains(['|', '`', '\\']) && shown.trim() == shown;
    if plain { format!("`{shown}`") } else { tag(name, most) }
}

/// A name of others as an HTML element in Markdown: letters, digits and a few signs as they are, all else by number.
pub fn tag(name: &str, most: usize) -> String {
    let mut tag = String::from("<code>");
    for c in harmless_line(&short(name, most)).chars() {
        if c.is_alphanumeric() || matches!(c, ' ' | '/' | '.' | '-' | ':' | ',' | '…' | '(' | ')') {
            tag.push(c);
        } else {
            let _ = write!(tag, "&#{};", u32::from(c));
        }
    }
    tag.push_str("</code>");
    tag
}

/// At most so many characters of `text`, and how many more there are.
pub fn short(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}… ({} more bytes)", &text[..end], text.len() - end),
    }
}

/// Space on a page of bounded length, in bytes.
#[derive(Debug)]
pub struct Room(pub usize);

impl Room {
    /// Appends `piece` if it fits; whether it did.
    pub fn put(&mut self, page: &mut String, piece: &str) -> bool {
        let fits = piece.len() <= self.0;
        if fits {
            self.0 -= piece.len();
            page.push_str(piece);
        }
        fits
    }
}
