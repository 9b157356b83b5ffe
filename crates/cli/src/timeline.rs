//! A picture of a build: which stage ran when. An SVG that needs nothing from elsewhere.

use std::fmt::Write;

/// One line of the picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// What ran.
    pub name: &'static str,
    /// Seconds since the build began.
    pub start: f64,
    /// How many seconds it took.
    pub seconds: f64,
    /// Whether its result was taken from the store.
    pub cached: bool,
}

/// Width of the names, of the time axis, and of the figures after it, in pixels.
const WIDTHS: [f64; 3] = [100.0, 620.0, 80.0];
/// Height of a line, and of what is above and below all lines.
const ROW: f64 = 24.0;
const MARGIN: f64 = 32.0;
/// About how many marks the time axis has at most.
const MARKS: f64 = 8.0;

/// Draws `bars`, one below the other. Equal bars give equal text.
pub fn svg(bars: &[Bar]) -> String {
    let end = bars.iter().map(|bar| bar.start + bar.seconds).fold(0.1, f64::max);
    let [names, axis, figures] = WIDTHS;
    let at = |seconds: f64| names + axis * seconds / end;
    let bottom = MARGIN + ROW * bars.len() as f64;
    let (width, height) = (names + axis + figures, bottom + MARGIN);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>Stages of the build, in seconds</title>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    let step = step(end);
    let mut mark = 0.0;
    while mark <= end {
        let x = at(mark);
        let label = round(mark);
        let _ = writeln!(
            text,
            "<path d=\"M{x:.1} {MARGIN}V{bottom}\" stroke=\"#dddddd\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#666666\">{label} s</text>",
            bottom + 18.0
        );
        mark += step;
    }
    for (row, bar) in (0_u32..).zip(bars) {
        let top = MARGIN + ROW * f64::from(row);
        let baseline = top + ROW - 8.0;
        // What took no time is seen all the same.
        let (x, length) = (at(bar.start), (axis * bar.seconds / end).max(1.0));
        let fill = if bar.cached { "#bbbbbb" } else { "#3465a4" };
        let figure = if bar.cached { "kept".to_owned() } else { format!("{:.1} s", bar.seconds) };
        let _ = writeln!(
            text,
            "<text x=\"{:.1}\" y=\"{baseline:.1}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{length:.1}\" height=\"{:.1}\" fill=\"{fill}\"/>\
             <text x=\"{:.1}\" y=\"{baseline:.1}\" fill=\"#666666\">{figure}</text>",
            names - 8.0,
            bar.name,
            top + 4.0,
            ROW - 8.0,
            x + length + 6.0
        );
    }
    text.push_str("</svg>\n");
    text
}

/// The seconds between two marks of an axis that ends at `end`: 1, 2 or 5 times a power of ten.
fn step(end: f64) -> f64 {
    let least = end / MARKS;
    let power = 10_f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= least);
    factor.unwrap_or(10.0) * power
}

/// `seconds` with as few digits as are needed.
fn round(seconds: f64) -> String {
    let text = format!("{seconds:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_has_a_line_where_it_ran() {
        let bar = |name, start, seconds, cached| Bar { name, start, seconds, cached };
        let bars =
            [bar("install", 0.0, 0.0, true), bar("customise", 0.5, 7.5, false), bar("warm", 1.0, 3.0, false)];
        let text = svg(&bars);
        assert_eq!(text, svg(&bars));
        insta::assert_snapshot!(text, @r##"
        <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 136" width="800" height="136" font-family="sans-serif" font-size="12">
        <title>Stages of the build, in seconds</title>
        <rect width="800" height="136" fill="#ffffff"/>
        <path d="M100.0 32V104" stroke="#dddddd"/><text x="100.0" y="122.0" text-anchor="middle" fill="#666666">0 s</text>
        <path d="M177.5 32V104" stroke="#dddddd"/><text x="177.5" y="122.0" text-anchor="middle" fill="#666666">1 s</text>
        <path d="M255.0 32V104" stroke="#dddddd"/><text x="255.0" y="122.0" text-anchor="middle" fill="#666666">2 s</text>
        <path d="M332.5 32V104" stroke="#dddddd"/><text x="332.5" y="122.0" text-anchor="middle" fill="#666666">3 s</text>
        <path d="M410.0 32V104" stroke="#dddddd"/><text x="410.0" y="122.0" text-anchor="middle" fill="#666666">4 s</text>
        <path d="M487.5 32V104" stroke="#dddddd"/><text x="487.5" y="122.0" text-anchor="middle" fill="#666666">5 s</text>
        <path d="M565.0 32V104" stroke="#dddddd"/><text x="565.0" y="122.0" text-anchor="middle" fill="#666666">6 s</text>
        <path d="M642.5 32V104" stroke="#dddddd"/><text x="642.5" y="122.0" text-anchor="middle" fill="#666666">7 s</text>
        <path d="M720.0 32V104" stroke="#dddddd"/><text x="720.0" y="122.0" text-anchor="middle" fill="#666666">8 s</text>
        <text x="92.0" y="48.0" text-anchor="end">install</text><rect x="100.0" y="36.0" width="1.0" height="16.0" fill="#bbbbbb"/><text x="107.0" y="48.0" fill="#666666">kept</text>
        <text x="92.0" y="72.0" text-anchor="end">customise</text><rect x="138.8" y="60.0" width="581.2" height="16.0" fill="#3465a4"/><text x="726.0" y="72.0" fill="#666666">7.5 s</text>
        <text x="92.0" y="96.0" text-anchor="end">warm</text><rect x="177.5" y="84.0" width="232.5" height="16.0" fill="#3465a4"/><text x="416.0" y="96.0" fill="#666666">3.0 s</text>
        </svg>
        "##);
    }

    #[test]
    fn an_axis_has_few_round_marks() {
        for (end, expected) in [(0.1, 0.02), (8.0, 1.0), (9.0, 2.0), (40.0, 5.0), (700.0, 100.0)] {
            assert!((step(end) - expected).abs() < 1e-9, "{end}: {}", step(end));
        }
    }
}
