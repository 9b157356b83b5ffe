//! The pages of the site. They need no script and nothing from elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use selfsame_image::cause;

use super::model::{Cell, Check, Diff, Experiment, Finding, Varied, columns};
use crate::commands::check::plan;
use crate::markup::{self, html};
use crate::ui::binary_size;

const STYLE: &str = concat!(include_str!("../../markup.css"), include_str!("page.css"));

/// Characters of a text, of a path, and of what a failed build said.
const SHORT: usize = 100;
const LONG: usize = 500;
const LONGEST: usize = 4_000;
/// So many findings and experiments of a check are on its page; `report.json` has all.
const MOST: usize = 1_000;
/// So many causes and culprits of a finding are.
const FEW: usize = 20;

/// What a check has beside its page.
#[derive(Debug)]
pub(super) struct Extras {
    pub(super) plan: bool,
    pub(super) record: Option<String>,
    /// The diffs that there are, with the lengths of their pages in bytes.
    pub(super) diffs: BTreeMap<Diff, usize>,
}

/// The first page: of each recipe what was checked, and what of it differs.
pub(super) fn index(checks: &[&Check]) -> String {
    let mut page = markup::head("Checks", STYLE, None);
    let identical = checks.iter().filter(|check| check.findings.is_empty()).count();
    let _ = writeln!(
        page,
        "<header>\n<h1>Checks</h1>\n<p>Images built again on what looks like another machine, and what of it got in.</p>\n\
         <p class=\"facts\">Checks: {}; identical: {identical}; with differences: {}</p>\n{KEY}</header>\n<main>",
        checks.len(),
        checks.len() - identical
    );
    let recipes: BTreeSet<&str> = checks.iter().map(|check| check.recipe.as_str()).collect();
    for (number, recipe) in recipes.into_iter().enumerate() {
        let of: Vec<&Check> = checks.iter().filter(|check| check.recipe == recipe).copied().collect();
        let _ = writeln!(page, "<section aria-labelledby=\"r{number}\">");
        let _ = writeln!(page, "<h2 id=\"r{number}\">{}</h2>", html(recipe, SHORT));
        matrix(&of, &format!("r{number}"), &mut page);
        page.push_str("</section>\n");
    }
    page.push_str("</main>\n");
    page.push_str(END);
    page
}

const KEY: &str = "\
<ul class=\"key\" aria-label=\"Signs\">\n<li><span class=\"cell same\">=</span>varied, and the same bytes</li>\n\
<li><span class=\"cell differs\">≠</span>something differs because of it</li>\n\
<li><span class=\"cell differs\">✕</span>the build fails with it</li>\n\
<li><span class=\"not\">·</span>not varied</li>\n</ul>\n";

const END: &str = "\
<footer>Made by <code>selfsame report</code> from the results of <code>selfsame check</code>. If several variations change the \
same file, the first one is told: mend it and check again.</footer>\n</body>\n</html>\n";

/// The checks of a recipe, the newest first, by variation.
fn matrix(checks: &[&Check], label: &str, page: &mut String) {
    let columns = columns(checks.iter().copied());
    page.push_str(&scroll_by(label));
    page.push_str("<table class=\"matrix\">\n<thead><tr><th scope=\"col\">check</th>");
    for name in columns.iter().map(String::as_str).chain(["whatever is varied"]) {
        let _ = write!(page, "<th scope=\"col\" class=\"v\"><span>{}</span></th>", html(name, SHORT));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for check in checks {
        let class = if check.findings.is_empty() { "same" } else { "differs" };
        let directory = check.directory.as_ref().map(|name| format!("{}: ", html(name, SHORT)));
        let _ = write!(
            page,
            "<tr><th scope=\"row\"><a href=\"{}/index.html\">{}</a><br>{}<span class=\"{class}\">{}</span></th>",
            check.id,
            check.day(),
            directory.unwrap_or_default(),
            check.verdict()
        );
        for name in &columns {
            cell(check.cell(name), &format!("{}/index.html#v-{name}", check.id), page);
        }
        cell(anyway(check), &format!("{}/index.html#v-", check.id), page);
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n</table>\n</div>\n");
}

/// What differs whatever is varied.
fn anyway(check: &Check) -> Cell {
    match check.unexplained().count() {
        0 => Cell::Same,
        count => Cell::Differs(count),
    }
}

fn cell(cell: Cell, target: &str, page: &mut String) {
    let (sign, words) = cell.words();
    let sign = format!("<span aria-hidden=\"true\">{sign}</span><span class=\"hidden\">{words}</span>");
    let _ = match cell {
        Cell::NotVaried => write!(page, "<td class=\"not\">{sign}</td>"),
        Cell::Same => write!(page, "<td class=\"cell same\">{sign}</td>"),
        Cell::Differs(_) | Cell::Fails => {
            write!(page, "<td class=\"cell differs\" title=\"{words}\"><a href=\"{target}\">{sign}</a></td>")
        }
    };
}

/// What is wider than a phone scrolls in its own box, also by keys.
fn scroll_by(label: &str) -> String {
    format!("<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-labelledby=\"{label}\">\n")
}

/// The page of one check.
pub(super) fn check(check: &Check, extras: &Extras) -> String {
    let recipe = html(&check.recipe, SHORT);
    let verdict = check.verdict();
    let mut page = markup::head(&format!("{recipe}, {}: {verdict}", check.day()), STYLE, None);
    let class = if check.findings.is_empty() { "identical" } else { "unexplained" };
    let meaning = match check.findings.is_empty() {
        true => "every byte was the same, whatever was varied",
        false => "what differs, and why, is below",
    };
    let _ = writeln!(
        page,
        "<header>\n<nav aria-label=\"Site\"><a href=\"../index.html\">All checks</a></nav>\n<h1>{recipe}, {}</h1>\n\
         <p class=\"verdict {class}\"><strong>{verdict}</strong> in {}: {meaning}</p>\n</header>\n<main>",
        check.day(),
        check.effort()
    );
    findings(check, extras, &mut page);
    variations(check, &mut page);
    images(check, &mut page);
    provenance(check, extras, &mut page);
    experiments(check, &mut page);
    page.push_str("</main>\n");
    page.push_str(END);
    page
}

fn findings(check: &Check, extras: &Extras, page: &mut String) {
    if check.findings.is_empty() {
        return;
    }
    page.push_str("<h2>What differs</h2>\n<ol class=\"findings\">\n");
    for (index, one) in check.findings.iter().take(MOST).enumerate() {
        finding(index + 1, one, extras, page);
    }
    page.push_str("</ol>\n");
    more(check.findings.len(), page);
}

fn more(count: usize, page: &mut String) {
    if count > MOST {
        let _ = writeln!(
            page,
            "<p>And {} more: <a href=\"{}\">{}</a> has all of them.</p>",
            count - MOST,
            plan::REPORT,
            plan::REPORT
        );
    }
}

fn finding(number: usize, one: &Finding, extras: &Extras, page: &mut String) {
    let _ = writeln!(
        page,
        "<li id=\"f-{number}\"><p class=\"what\">{number}. <code>{}</code></p>",
        html(&one.what, LONG)
    );
    let reason = html(&one.reason(), LONG);
    let _ = writeln!(page, "<p>{reason}</p>");
    if let Some(stage) = &one.stage {
        let _ = writeln!(page, "<p class=\"quiet\">first in stage {}</p>", html(stage, SHORT));
    }
    for name in one.causes.iter().take(FEW) {
        let known = cause::cause(name);
        let remedy =
            known.map(|known| format!(": {}. {}", html(known.title, LONG), html(known.remedy, LONGEST)));
        let _ = writeln!(
            page,
            "<p>looks like <code>{}</code>{}</p>",
            html(name, SHORT),
            remedy.unwrap_or_default()
        );
    }
    if let Some(error) = &one.failed {
        let _ = writeln!(page, "<pre>{}</pre>", block(error));
    }
    let place = one.diff.as_ref().and_then(|diff| Some((diff, extras.diffs.get(diff)?)));
    if let Some((diff, length)) = place {
        let (place, length) = (diff.place(), binary_size(u64::try_from(*length).unwrap_or(u64::MAX)));
        let _ = writeln!(
            page,
            "<p><a href=\"{place}.html{}\">What differs between control and experiment {}</a> \
             <span class=\"quiet\">({length}; as <a href=\"{place}.json\">JSON</a>)</span></p>",
            search(&one.what),
            one.experiment
        );
    } else if one.failed.is_none() {
        let _ = writeln!(page, "<p class=\"quiet\">seen in experiment {}</p>", one.experiment);
    }
    page.push_str("</li>\n");
}

/// The end of an address that opens the page of a diff at a file of the image.
fn search(what: &str) -> String {
    let Some(path) = what.strip_prefix('/').filter(|path| path.len() <= LONG) else { return String::new() };
    let mut search = String::from("#q=");
    for byte in path.bytes() {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                search.push(char::from(byte));
            }
            _ => {
                let _ = write!(search, "%{byte:02X}");
            }
        }
    }
    search
}

/// Lines of others, each harmless.
fn block(text: &str) -> String {
    let text = markup::short(text, LONGEST);
    text.lines().map(|line| html(line, LONGEST)).collect::<Vec<_>>().join("\n")
}

fn variations(check: &Check, page: &mut String) {
    page.push_str("<h2 id=\"variations\">What was varied</h2>\n");
    page.push_str(&scroll_by("variations"));
    page.push_str(
        "<table>\n<thead><tr><th scope=\"col\">variation</th><th scope=\"col\">result</th>\
         <th scope=\"col\">what it does</th></tr></thead>\n<tbody>\n",
    );
    let row = |id: &str, name: &str, cell: Cell, found: &[usize], limits: &str, page: &mut String| {
        let class = match cell {
            Cell::Same => "same",
            Cell::NotVaried => "not",
            Cell::Differs(_) | Cell::Fails => "differs",
        };
        let (sign, words) = cell.words();
        let links: String =
            found.iter().take(FEW).map(|number| format!(" <a href=\"#f-{number}\">({number})</a>")).collect();
        let _ = writeln!(
            page,
            "<tr id=\"v-{id}\"><th scope=\"row\">{name}</th><td class=\"{class} result\"><span aria-hidden=\"true\">{sign}</span> \
             {words}{links}</td><td class=\"quiet wide\">{limits}</td></tr>"
        );
    };
    let numbers = |of: &dyn Fn(&Finding) -> bool| -> Vec<usize> {
        let all = check.findings.iter().take(MOST).enumerate();
        all.filter(|(_, one)| of(one)).map(|(index, _)| index + 1).collect()
    };
    for name in columns([check].into_iter()) {
        let found = numbers(&|one| one.varied.iter().any(|varied| varied.name == name));
        let known = selfsame_build::check::Variation::named(&name);
        let does = known.map_or_else(String::new, |known| match known.limits {
            "" => html(known.experiment, LONG),
            limits => format!("{}; but {}", html(known.experiment, LONG), html(limits, LONG)),
        });
        row(&name, &html(&name, SHORT), check.cell(&name), &found, &does, page);
    }
    let found = numbers(&|one| one.varied.is_empty());
    row("", "whatever is varied", anyway(check), &found, "time that goes by, random numbers", page);
    page.push_str("</tbody>\n</table>\n</div>\n");
}

fn images(check: &Check, page: &mut String) {
    page.push_str("<h2 id=\"images\">Images of the control</h2>\n");
    page.push_str(&scroll_by("images"));
    page.push_str(
        "<table>\n<thead><tr><th scope=\"col\">file</th><th scope=\"col\">SHA-256</th></tr></thead>\n<tbody>\n",
    );
    for image in check.images.iter().take(MOST) {
        let _ = writeln!(
            page,
            "<tr><th scope=\"row\">{}</th><td class=\"digest\"><code>{}</code></td></tr>",
            html(&image.name, SHORT),
            image.sha256
        );
    }
    page.push_str("</tbody>\n</table>\n</div>\n");
}

fn provenance(check: &Check, extras: &Extras, page: &mut String) {
    page.push_str("<h2>Where it comes from</h2>\n<dl>\n");
    let mut term = |name: &str, value: &str| {
        let _ = writeln!(page, "<dt>{name}</dt><dd>{value}</dd>");
    };
    term("recipe", &html(&check.recipe, SHORT));
    let code = |text: &Option<String>| text.as_ref().map(|text| format!("<code>{}</code>", html(text, LONG)));
    let plain = |text: &Option<String>| text.as_ref().map(|text| html(text, LONG));
    for (name, value) in [
        ("commit", code(&check.commit)),
        ("lock, SHA-256", code(&check.lock)),
        ("date of the images", plain(&check.epoch)),
        ("check began", plain(&check.started)),
        ("version of selfsame", plain(&check.program)),
        ("seed", Some(check.seed.to_string())),
        ("record", extras.record.as_ref().map(|record| format!("<a href=\"{record}\">{record}</a>"))),
        ("plan", extras.plan.then(|| format!("<a href=\"{}\">{}</a>", plan::PLAN, plan::PLAN))),
        ("all as JSON", Some(format!("<a href=\"{}\">{}</a>", plan::REPORT, plan::REPORT))),
    ] {
        if let Some(value) = value {
            term(name, &value);
        }
    }
    page.push_str("</dl>\n");
    if extras.plan {
        page.push_str(
            "<p>The same again, with the recipe as it was and the plan from here:</p>\n\
             <pre tabindex=\"0\"><code>selfsame check RECIPE --plan plan.toml</code></pre>\n",
        );
    }
}

fn experiments(check: &Check, page: &mut String) {
    page.push_str("<h2 id=\"experiments\">Experiments</h2>\n");
    page.push_str(&scroll_by("experiments"));
    page.push_str(
        "<table>\n<thead><tr><th scope=\"col\">number</th><th scope=\"col\">result</th><th scope=\"col\">varied</th>\
         <th scope=\"col\">made anew from</th><th scope=\"col\">seed</th><th scope=\"col\">seconds</th></tr></thead>\n<tbody>\n",
    );
    for one in check.experiments.iter().take(MOST) {
        let Experiment { number, seed, varied, from, differing, failed, seconds } = one;
        let (class, result) = match (failed, differing) {
            (Some(_), _) => ("differs", "the build fails".to_owned()),
            (None, 0) => ("same", "identical".to_owned()),
            (None, 1) => ("differs", "1 difference".to_owned()),
            (None, count) => ("differs", format!("{count} differences")),
        };
        let _ = writeln!(
            page,
            "<tr><th scope=\"row\">{number}</th><td class=\"{class}\">{result}</td><td>{}</td><td>{}</td><td>{seed}</td>\
             <td>{seconds:.1}</td></tr>",
            values(varied),
            html(from, SHORT)
        );
    }
    page.push_str("</tbody>\n</table>\n</div>\n");
    more(check.experiments.len(), page);
}

fn values(varied: &[Varied]) -> String {
    match varied {
        [] => "nothing".into(),
        [one] => format!("{} ({})", html(&one.name, SHORT), html(&one.value, SHORT)),
        many => {
            let names: Vec<String> = many.iter().map(|one| html(&one.name, SHORT)).collect();
            let lines: Vec<String> = many
                .iter()
                .map(|one| format!("<li>{}: {}</li>", html(&one.name, SHORT), html(&one.value, SHORT)))
                .collect();
            format!(
                "<details><summary>{}: {}</summary><ul>{}</ul></details>",
                names.len(),
                names.join(", "),
                lines.concat()
            )
        }
    }
}
