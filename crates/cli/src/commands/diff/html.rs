//! The report as one HTML page that needs nothing from elsewhere, and no script to be read.

use std::fmt::Write;

use super::program::{Program, Symbol};
use super::report::{Bytes, Comparison, Field, Lines, Report, Structure, Word};
use super::words::{Kind, Untold, more};
use crate::markup::{self, Room, escape, html as text};
use crate::ui::binary_size;

/// Longest page, in bytes: what a browser opens at once, and mail takes.
const LONGEST: usize = 4_500_000;
/// Room for notes on what is left out of a file, and for end tags, in bytes.
const NOTES: usize = 600;
/// Room that a file inside gets at least, as long as there is any, in bytes.
const LEAST: usize = 2_000;
/// Characters of a line of text or of a value that are shown, and of a path.
const LONGEST_TEXT: usize = 500;
const LONGEST_PATH: usize = 1_000;
/// So many files or structures are open from the start.
const FEW: usize = 5;

const STYLE: &str = concat!(include_str!("../../markup.css"), include_str!("page.css"));
const SCRIPT: &str = include_str!("page.js");

/// The page. `limit` is that of structures and files in each file; the page is bounded whatever it is.
pub(super) fn page(report: &Report, limit: usize) -> String {
    let mut tree = Tree { limit, untold: Untold::default() };
    let body = report.root.as_ref().and_then(|root| tree.file(root, Place::root(root), LONGEST));
    let names = report.names.each_ref().map(|name| text(name, LONGEST_PATH));
    let [a, b] = &names;
    let mut page =
        markup::head(&format!("{}: {a} and {b}", text(&report.verdict, LONGEST_TEXT)), STYLE, Some(SCRIPT));
    let _ = writeln!(page, "<header>\n<h1>What differs between <code>{a}</code> and <code>{b}</code></h1>");
    summary(report, tree.untold, &names, &mut page);
    page.push_str("</header>\n<main>\n");
    match body {
        Some(body) => {
            page.push_str(SEARCH);
            page.push_str(&body);
            page.push_str("</section>\n");
        }
        None => page.push_str("<p>Both files have the same bytes.</p>\n"),
    }
    page.push_str("</main>\n");
    if report.root.is_some() {
        let _ = writeln!(page, "<script>{SCRIPT}</script>");
    }
    page.push_str("</body>\n</html>\n");
    page
}

/// What is above the tree. The search needs the script, which shows it.
const SEARCH: &str = "\
<form id=\"search\" role=\"search\" hidden>\n<label for=\"q\">Paths that contain</label>\n\
<input id=\"q\" type=\"search\" autocomplete=\"off\" spellcheck=\"false\">\n\
<button type=\"button\" id=\"all\">Open all</button>\n<button type=\"button\" id=\"none\">Close all</button>\n\
<output id=\"found\" for=\"q\"></output>\n</form>\n\
<section id=\"tree\" aria-label=\"What differs\">\n\
<p class=\"facts\">Bars: how long a file is, measured by the longest one beside it; the coloured part: \
how much of it differs. Lines with - are only in the first file, lines with + only in the second.</p>\n";

fn summary(report: &Report, untold: Untold, names: &[String; 2], page: &mut String) {
    let meaning = match &*report.verdict {
        "identical" => "every byte is the same",
        "different" => "each byte that differs is in a structure that is named",
        "tolerated" => "they differ, and the policy below tolerates each difference",
        _ => "something could not be found out: it is damaged in both files, or too much for an honest one",
    };
    let verdict = text(&report.verdict, LONGEST_TEXT);
    let _ = writeln!(
        page,
        "<p class=\"verdict {verdict}\"><strong>{verdict}</strong>: {meaning}<br>{}</p>",
        report.completeness()
    );
    for note in report.notes() {
        let _ = writeln!(page, "<p>{}</p>", text(&note, LONGEST_TEXT));
    }
    let Some(root) = &report.root else { return };
    page.push_str("<table class=\"sides\">\n<tr><td></td><th scope=\"col\">first</th><th scope=\"col\">second</th></tr>\n");
    let mut row = |name: &str, cells: [String; 2]| {
        let [a, b] = cells;
        let _ = writeln!(page, "<tr><th scope=\"row\">{name}</th><td>{a}</td><td>{b}</td></tr>");
    };
    row("file", names.each_ref().map(|name| format!("<code>{name}</code>")));
    let format = |format: &Option<Word>| text(format.as_deref().unwrap_or("unknown"), LONGEST_TEXT);
    row("format", root.formats.each_ref().map(format));
    let size = |size: u64| match size {
        0..1024 => format!("{size} bytes"),
        _ => format!("{size} bytes ({})", binary_size(size)),
    };
    row("size", root.sizes.map(size));
    page.push_str("</table>\n");
    page.push_str(&counts(root));
    if let Some(sentence) = untold.sentence() {
        let _ = writeln!(page, "<p class=\"untold\">{}</p>", escape(&sentence));
    }
}

/// How much differs in all files together.
fn counts(root: &Comparison) -> String {
    let count = |of: &dyn Fn(&Comparison) -> usize| root.sum(of);
    let of = |kind: Kind| {
        let own = |one: &Comparison| one.changes.iter().filter(|change| change.kind() == kind).count();
        (format!("structures that {}", kind.of_many()), count(&own))
    };
    let files = ("files inside that differ".to_owned(), count(&|_| 1) - 1);
    let said: Vec<String> = std::iter::once(files)
        .chain(Kind::SHOWN.map(of))
        .filter(|(_, count)| *count > 0)
        .map(|(what, count)| format!("{what}: {count}"))
        .collect();
    if said.is_empty() {
        String::new()
    } else {
        format!("<p class=\"facts\">In all, {}.</p>\n", said.join("; "))
    }
}

/// Where a file is in the tree.
#[derive(Clone, Copy, Debug)]
struct Place {
    depth: usize,
    /// Length of the longest file beside it, in bytes.
    longest: u64,
    /// Whether it can be read without opening it.
    open: bool,
}

impl Place {
    fn root(root: &Comparison) -> Self {
        Self { depth: 0, longest: length(root), open: true }
    }
}

fn length(found: &Comparison) -> u64 {
    found.sizes[0].max(found.sizes[1])
}

/// Writes files and what is in them, each into so much room; what does not fit is counted.
#[derive(Debug)]
struct Tree {
    limit: usize,
    untold: Untold,
}

impl Tree {
    /// A file and what is in it, in at most `room` bytes; `None` if not even its name fits.
    fn file(&mut self, found: &Comparison, place: Place, room: usize) -> Option<String> {
        let mut page = head(found, place);
        let room = room.checked_sub(page.len() + NOTES)?;
        let inside = &found.members[..found.members.len().min(self.limit)];
        let own = Room(if inside.is_empty() { room } else { room / 2 });
        let before = page.len();
        self.own(found, own, &mut page);
        let mut left = Room(room.saturating_sub(page.len() - before));
        let longest = inside.iter().map(length).max().unwrap_or(0);
        let open = place.depth < 8 && inside.len() <= FEW;
        let place = Place { depth: place.depth + 1, longest, open };
        let mut shown = 0;
        for (index, member) in inside.iter().enumerate() {
            // Each gets its share, and what those before it left.
            let share = (left.0 / (inside.len() - index)).max(LEAST).min(left.0);
            let known = self.untold;
            match self.file(member, place, share) {
                Some(piece) if left.put(&mut page, &piece) => shown += 1,
                _ => self.untold = known.and(member.extent()),
            }
        }
        for member in &found.members[inside.len()..] {
            self.untold = self.untold.and(member.extent());
        }
        note(more(found.members.len() - shown, "files that differ"), &mut page);
        page.push_str("</div></details>\n");
        Some(page)
    }

    /// What differs of a file itself.
    fn own(&mut self, found: &Comparison, mut room: Room, page: &mut String) {
        for fault in &found.faults {
            let sentence = text(&fault.sentence(), LONGEST_TEXT);
            room.put(page, &format!("<p class=\"fault\">! {sentence}</p>\n"));
        }
        self.structures(found, &mut room, page);
        for aside in found.asides() {
            room.put(page, &format!("<p class=\"aside\">{}</p>\n", escape(&aside)));
        }
        for guess in found.guesses() {
            room.put(page, &format!("<p class=\"aside\">{}</p>\n", text(&guess, LONGEST_TEXT)));
        }
        if let Some(program) = &found.program {
            self::program(program, self.limit, &mut room, page);
        }
        if let Some(lines) = &found.lines {
            self::lines(lines, "lines", &mut room, page);
        }
        let mut untold = found.more_bytes;
        for one in &found.bytes {
            untold |= !room.put(page, &hex(one));
        }
        note(untold.then(|| "and more bytes differ".to_owned()), page);
    }

    fn structures(&mut self, found: &Comparison, room: &mut Room, page: &mut String) {
        let count = found.shown().count();
        if count == 0 {
            return;
        }
        let open = if count <= FEW { " open" } else { "" };
        let head =
            format!("<details class=\"s\"{open}><summary>structures: {count}</summary><ul class=\"c\">\n");
        let mut shown = 0;
        if room.put(page, &head) {
            let fits = |change| room.put(page, &structure(change));
            shown = found.shown().take(self.limit).map(fits).take_while(|fits| *fits).count();
            page.push_str("</ul></details>\n");
        }
        note(more(count - shown, "structures"), page);
        self.untold.structures += count - shown;
    }
}

/// The line of a file that is seen while it is closed, and the beginning of what is in it.
fn head(found: &Comparison, place: Place) -> String {
    let (item, open) = (if place.depth > 0 { "item " } else { "" }, if place.open { " open" } else { "" });
    let name = match found.name() {
        "" => String::new(),
        name => format!("<span class=\"n\">{}</span> ", text(name, LONGEST_PATH)),
    };
    let mut head = format!(
        "<details class=\"{item}m\"{open}><summary>{name}<span class=\"facts\">{}, {}",
        text(&found.format(), LONGEST_TEXT),
        escape(&found.size())
    );
    let _ =
        write!(head, "; differing: {}; </span><span>{}</span>", found.differing, escape(&found.summary()));
    // A width in percent; what is there is seen.
    let width = |bytes: u64, of: u64| (100.0 * bytes as f64 / of.max(1) as f64).clamp(0.5, 100.0);
    let whole = width(length(found), place.longest);
    let part = if found.differing > 0 { whole * width(found.differing, length(found)) / 100.0 } else { 0.0 };
    let _ = writeln!(
        head,
        "<svg class=\"bar\" viewBox=\"0 0 100 8\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
         <rect class=\"whole\" width=\"{whole:.1}\" height=\"8\"/><rect class=\"part\" width=\"{part:.1}\" height=\"8\"/></svg>\
         </summary><div class=\"in\">"
    );
    head
}

fn structure(change: &Structure) -> String {
    let mut item = format!("<li class=\"item\">{}", text(&change.structure, LONGEST_TEXT));
    if let Some(owner) = change.owner() {
        let _ = write!(item, " of <span class=\"n\">{}</span>", text(&owner, LONGEST_PATH));
    }
    match change.kind().of_one() {
        "" => {}
        what => {
            let _ = write!(item, " <strong>{what}</strong>");
        }
    }
    let place = change.place().map(|place| format!(" <span class=\"at\">at {place}</span>"));
    let _ = writeln!(item, "{}", place.unwrap_or_default());
    item.push_str(&fields(&change.fields));
    note(more(change.more_fields, "fields"), &mut item);
    if let Some(bytes) = &change.bytes {
        item.push_str(&hex(bytes));
    }
    item.push_str("</li>\n");
    item
}

/// Both sides beside each other: offset, bytes and what they are as ASCII; those that differ are underlined.
fn hex(bytes: &Bytes) -> String {
    let digits = bytes.hex.each_ref().map(|hex| hex.as_bytes().chunks(2).collect::<Vec<_>>());
    let mut row = String::from("<div class=\"hex\">");
    if let Some((at, before)) = bytes.context() {
        let pairs = before.as_bytes().chunks(2).map(String::from_utf8_lossy).collect::<Vec<_>>();
        let _ = write!(row, "<code class=\"eq\">&nbsp; {at:#010x} {}</code>", pairs.join(" "));
    }
    for (side, (sign, class)) in [('-', 'a'), ('+', 'b')].into_iter().enumerate() {
        let _ = write!(row, "<code class=\"{class}\">{sign} {:#010x} ", bytes.at[side]);
        let (mut ascii, mut marked) = (String::new(), false);
        for (index, pair) in digits[side].iter().enumerate() {
            let differs = digits[1 - side].get(index) != Some(pair);
            let gap = if index == 0 { "" } else { " " };
            // The blank before is marked only between two bytes that are.
            row.push_str(match (marked, differs) {
                (true, false) => "</b>",
                _ => "",
            });
            row.push_str(gap);
            row.push_str(if differs && !marked { "<b>" } else { "" });
            marked = differs;
            let pair = String::from_utf8_lossy(pair);
            row.push_str(&pair);
            let byte = u8::from_str_radix(&pair, 16).unwrap_or(0);
            ascii.push(if matches!(byte, b' '..=b'~') { char::from(byte) } else { '.' });
        }
        row.push_str(if marked { "</b>" } else { "" });
        match digits[side].is_empty() {
            true => row.push_str("(end)</code>"),
            false => {
                let _ = write!(row, " |{}|</code>", escape(&ascii));
            }
        }
    }
    row.push_str("</div>\n");
    row
}

fn fields(fields: &[Field]) -> String {
    let mut table = String::new();
    for field in fields {
        let role = match &*field.role {
            "value" => String::new(),
            role => format!(" ({})", text(role, LONGEST_TEXT)),
        };
        let _ = writeln!(
            table,
            "<tr><th scope=\"row\">{}{role}</th><td class=\"a\">- {}</td><td class=\"b\">+ {}</td></tr>",
            text(&field.name, LONGEST_TEXT),
            text(field.value(0), LONGEST_TEXT),
            text(field.value(1), LONGEST_TEXT)
        );
    }
    if table.is_empty() { table } else { format!("<table class=\"fields\">\n{table}</table>\n") }
}

/// Symbols of programs, and what differs between the programs themselves.
fn program(program: &Program, limit: usize, room: &mut Room, page: &mut String) {
    let count = program.count();
    if let Some(sentence) = program.identity() {
        room.put(page, &format!("<p class=\"facts\">{}</p>\n", text(&sentence, LONGEST_TEXT)));
    }
    let open = if count <= FEW { " open" } else { "" };
    let head = format!("<details class=\"s\"{open}><summary>symbols: {count}</summary><ul class=\"c\">\n");
    let mut shown = 0;
    if count > 0 && room.put(page, &head) {
        let fits = |one| room.put(page, &symbol(one));
        shown = program.symbols.iter().take(limit).map(fits).take_while(|fits| *fits).count();
        page.push_str("</ul></details>\n");
    }
    program.rest(shown).into_iter().for_each(|what| note(Some(text(&what, LONGEST_TEXT)), page));
}

fn symbol(symbol: &Symbol) -> String {
    let (head, facts) = (text(&symbol.head(), LONGEST_PATH), text(&symbol.facts(), LONGEST_TEXT));
    let mut item =
        format!("<li class=\"item\"><span class=\"n\">{head}</span> <span class=\"at\">{facts}</span>\n");
    item.push_str(&fields(&symbol.fields));
    if let Some(code) = symbol.code.as_ref().filter(|code| !code.lines.is_empty()) {
        lines(code, "instructions", &mut Room(LEAST * 4), &mut item);
    }
    item.push_str("</li>\n");
    item
}

/// A line of a text, with its sign.
fn piece(sign: char, content: &str) -> String {
    let content = text(content, LONGEST_TEXT);
    let element = match sign {
        '-' => "del",
        '+' => "ins",
        _ => "span",
    };
    format!("<{element}>{sign}{content}</{element}>")
}

fn lines(lines: &Lines, what: &str, room: &mut Room, page: &mut String) {
    let mut shown = 0;
    if room.put(page, "<pre>") {
        for line in &lines.lines {
            let piece: String = line.with_context().map(|(sign, content)| piece(sign, &content)).collect();
            if !room.put(page, &piece) {
                break;
            }
            shown += 1;
        }
        page.push_str("</pre>\n");
    }
    note(more(lines.lines.len() - shown + lines.untold(), what), page);
}

fn note(what: Option<String>, page: &mut String) {
    if let Some(what) = what {
        let _ = writeln!(page, "<p class=\"more\">{what}</p>");
    }
}

#[cfg(test)]
mod tests {
    use super::super::markdown;
    use super::super::report::{Fault, Line};
    use super::super::text::Show;
    use super::*;

    fn report(root: Comparison) -> Report {
        let show = Show { limit: usize::MAX, paths: false, brief: false, colour: false };
        let found = selfsame_image::compare::Report { differing: 1, explained: 1, root: None };
        let mut report = Report::new(&found, ["a", "b"].map(|name| name.repeat(5000)), show);
        report.verdict = "different".into();
        report.root = Some(root);
        report
    }

    /// A file with everything that a page can have too much of.
    fn greedy(index: usize, members: Vec<Comparison>) -> Comparison {
        let hostile = "<\u{202e}&|`".repeat(300);
        let root = Comparison::default();
        let change = |at| Structure {
            structure: "inode".into(),
            path: hostile.clone(),
            places: [None, Some((at, 1))],
            ..Structure::default()
        };
        let fault = |_| Fault { file: 1, format: "gzip".into(), message: hostile.clone() };
        let line = |number| Line {
            file: 2,
            number,
            text: hostile.clone(),
            before: vec![hostile.clone()],
            after: Vec::new(),
        };
        Comparison {
            path: Some(format!("{index}{hostile}")),
            faults: (0..index % 5).map(fault).collect(),
            changes: (0..(index % 10) as u64).map(change).collect(),
            lines: Some(Lines { removed: 0, added: 90, lines: (0..12).map(line).collect() }),
            members,
            ..root
        }
    }

    #[test]
    fn no_report_makes_a_page_longer_than_it_may_be() {
        let wide = greedy(0, (0..2000).map(|index| greedy(index, Vec::new())).collect());
        let deep = (0..25).fold(Vec::new(), |members, index| {
            let small = (0..40).map(|index| greedy(index, Vec::new()));
            vec![greedy(index, members.into_iter().chain(small).collect())]
        });
        for root in [wide, greedy(0, deep)] {
            let files = root.extent().files;
            let report = report(root);
            for limit in [1, 100, usize::MAX] {
                let page = page(&report, limit);
                assert!(page.len() < 5_000_000, "{limit}: {}", page.len());
                assert_eq!(page.matches("<details").count(), page.matches("</details>").count());
                // Each file is there or counted.
                let shown = page.matches("<details class=\"item m\"").count() + 1;
                let (_, rest) = page.split_once("Left out here: files that differ: ").unwrap();
                assert_eq!(rest.split(',').next().unwrap().parse(), Ok(files - shown), "{limit}");
                let text = markdown::text(&report, limit);
                assert!(text.len() <= 60_000, "{limit}: {}", text.len());
                assert_eq!(text.matches("<details>").count(), text.matches("</details>").count());
            }
        }
    }
}
