//! The checks as JUnit XML, of the form that GitLab, Jenkins and others read.

use std::fmt::Write;

use super::model::{Cell, Check, Finding, columns};
use crate::markup::html;

/// Characters of a name, of a line, and of a message; so many findings are told of a variation.
const SHORT: usize = 100;
const LONG: usize = 500;
const MOST: usize = 200;

/// The name of the test case of what no variation explains.
const ANYWAY: &str = "whatever is varied";

/// The document: a suite for each check, and in it a case for each variation.
pub(super) fn document(checks: &[&Check]) -> String {
    let mut text =
        String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"selfsame check\">\n");
    for check in checks {
        suite(check, &mut text);
    }
    text.push_str("</testsuites>\n");
    text
}

fn suite(check: &Check, text: &mut String) {
    let columns = columns([check].into_iter());
    let cells: Vec<Cell> = columns.iter().map(|name| check.cell(name)).collect();
    let unexplained: Vec<&Finding> = check.unexplained().collect();
    let failed = |cell: &&Cell| matches!(cell, Cell::Differs(_) | Cell::Fails);
    let failures = cells.iter().filter(failed).count() + usize::from(!unexplained.is_empty());
    let skipped = cells.iter().filter(|cell| **cell == Cell::NotVaried).count();
    let seconds: f64 = check.experiments.iter().map(|one| one.seconds).sum();
    let recipe = xml(&check.recipe, SHORT);
    let moment =
        check.started.as_ref().map(|moment| format!(" timestamp=\"{}\"", moment.trim_end_matches('Z')));
    let _ = writeln!(
        text,
        "  <testsuite name=\"{recipe}\" tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\" \
         time=\"{seconds:.3}\"{}>\n    <properties>",
        cells.len() + 1,
        moment.unwrap_or_default()
    );
    let mut property = |name: &str, value: &str| {
        let _ = writeln!(text, "      <property name=\"{name}\" value=\"{}\"/>", xml(value, LONG));
    };
    property("seed", &check.seed.to_string());
    let known = [("commit", &check.commit), ("lock", &check.lock), ("version", &check.program)];
    known.into_iter().for_each(|(name, value)| value.iter().for_each(|value| property(name, value)));
    check.images.iter().take(MOST).for_each(|image| property(&xml(&image.name, SHORT), &image.sha256));
    text.push_str("    </properties>\n");
    for (name, cell) in columns.iter().zip(cells) {
        let of: Vec<&Finding> = check.of(name).collect();
        case(&recipe, name, cell == Cell::NotVaried, &of, text);
    }
    case(&recipe, ANYWAY, false, &unexplained, text);
    text.push_str("  </testsuite>\n");
}

/// One variation: it passes if nothing is told of it.
fn case(recipe: &str, name: &str, skipped: bool, found: &[&Finding], text: &mut String) {
    let name = xml(name, SHORT);
    let _ = write!(text, "    <testcase classname=\"selfsame.check.{recipe}\" name=\"{name}\"");
    let Some(first) = found.first() else {
        text.push_str(if skipped { "><skipped message=\"not varied\"/></testcase>\n" } else { "/>\n" });
        return;
    };
    let more = if found.len() > 1 { format!(", and {} more", found.len() - 1) } else { String::new() };
    let message = format!("{}{more}", line(first));
    let _ = writeln!(text, "><failure type=\"difference\" message=\"{message}\">");
    for one in found.iter().take(MOST) {
        let _ = writeln!(text, "{}", line(one));
        for name in one.causes.iter().take(MOST) {
            let _ = writeln!(text, "  looks like {0}: selfsame explain {0}", xml(name, SHORT));
        }
        for said in one.failed.iter().flat_map(|error| error.lines()).take(MOST) {
            let _ = writeln!(text, "  {}", xml(said, LONG));
        }
    }
    if found.len() > MOST {
        let _ = writeln!(text, "and {} more", found.len() - MOST);
    }
    text.push_str("</failure></testcase>\n");
}

fn line(one: &Finding) -> String {
    let stage = one.stage.as_ref().map(|stage| format!(", first in stage {}", xml(stage, SHORT)));
    format!("{} {}{}", xml(&one.what, LONG), xml(&one.reason(), LONG), stage.unwrap_or_default())
}

/// Text of others. XML cannot have these two characters in any form (XML 1.0, 2.2).
fn xml(text: &str, most: usize) -> String {
    html(text, most).replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}
