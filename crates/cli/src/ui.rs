//! How selfsame talks: results on standard output, everything else on standard error.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::failure::{Failure, Line};
use crate::settings::Settings;

/// A result that can be shown as text; as JSON it is what serde makes of it.
pub trait Present: Serialize {
    /// Writes the text form, whole lines only.
    fn text(&self, to: &mut dyn Write) -> io::Result<()>;
}

/// In which form a command gives its result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Output {
    /// Print the result as one JSON document
    #[arg(long)]
    pub json: bool,
}

/// The two streams and how progress is shown on the second. Cheap to clone; all clones share the streams.
#[derive(Clone)]
pub struct Ui {
    out: Arc<Mutex<Box<dyn Write + Send>>>,
    err: Log,
    quiet: bool,
    /// Whether results may be coloured.
    colour: bool,
}

/// Standard error: lines, and bars below them on a terminal.
#[derive(Clone)]
struct Log {
    to: Arc<Mutex<Box<dyn Write + Send>>>,
    bars: Option<MultiProgress>,
    colour: bool,
}

impl Ui {
    /// Talks to the streams of this process. `quiet` leaves results, warnings and errors only.
    pub fn new(settings: &Settings, quiet: bool) -> Self {
        let terminal = io::stderr().is_terminal();
        let bars =
            (terminal && !quiet).then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Self {
            out: Arc::new(Mutex::new(Box::new(io::stdout()))),
            err: Log {
                to: Arc::new(Mutex::new(Box::new(io::stderr()))),
                bars,
                colour: terminal && !settings.no_color,
            },
            quiet,
            colour: io::stdout().is_terminal() && !settings.no_color,
        }
    }

    /// Whether standard output is a terminal at which colours are wanted.
    pub fn colours(&self) -> bool {
        self.colour
    }

    /// Prints the result of the command, the only thing that goes to standard output.
    ///
    /// A reader that went away (`| head`) is no failure.
    pub fn result(&self, form: Output, value: &impl Present) -> Result<(), Failure> {
        let mut out = lock(&self.out);
        let written = if form.json {
            // Whole before any of it is written: half a document would be worse than none.
            serde_json::to_string_pretty(value)
                .map_err(io::Error::from)
                .and_then(|text| writeln!(out, "{text}"))
        } else {
            value.text(&mut *out)
        };
        match written.and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::environment(error).context("cannot write to standard output"))
            }
            _ => Ok(()),
        }
    }

    /// Says something useful to know; nothing if quiet.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.err.line(None, text);
        }
    }

    /// Says something that may be wrong.
    pub fn warn(&self, text: &str) {
        self.err.line(Some(("warning", "33;1")), text);
    }

    /// Says why the command failed.
    pub fn failure(&self, failure: &Failure) {
        for line in failure.lines() {
            let colour = match line {
                Line::Error(_) => "31;1",
                Line::Cause(_) => "31",
                Line::Hint(_) => "36",
            };
            self.err.line(Some((line.label(), colour)), &line.text());
        }
    }

    /// Starts showing work called `name` that consists of `total` of `unit` (unknown: `None`).
    pub fn task(&self, name: &str, unit: Unit, total: Option<u64>) -> Task {
        let bar = self.err.bars.as_ref().map(|bars| bars.add(bar(name, unit, total)));
        let lines = bar.is_none() && !self.quiet;
        if lines {
            self.err.line(None, &format!("{name} ..."));
        }
        let now = Instant::now();
        let state = State { done: 0, total, spoke: now };
        let log = (!self.quiet).then(|| self.err.clone());
        Task { name: name.to_owned(), unit, started: now, bar, log, state: Mutex::new(state) }
    }
}

impl Log {
    /// Writes one line above all bars. An error is ignored: there is nobody left to tell.
    fn line(&self, label: Option<(&str, &str)>, text: &str) {
        let text = harmless(text);
        let line = match label {
            None => format!("{text}\n"),
            Some((label, colour)) if self.colour => format!("\x1b[{colour}m{label}:\x1b[0m {text}\n"),
            Some((label, _)) => format!("{label}: {text}\n"),
        };
        let write = || {
            let mut to = lock(&self.to);
            let _ = to.write_all(line.as_bytes()).and_then(|()| to.flush());
        };
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }
}

/// `text` with control characters (but line feed and tab) and invisible ones written as `\u{1b}`, so that no name in an
/// image and no output of a hook can drive the terminal, or look like another one.
pub fn harmless(text: &str) -> Cow<'_, str> {
    escaped(text, |c| deceives(c) && c != '\n' && c != '\t')
}

/// Like [`harmless`] for a text that may be put at one place of a line: line feeds and tabs are written as `\n` and `\t`.
pub fn harmless_line(text: &str) -> Cow<'_, str> {
    escaped(text, deceives)
}

fn escaped(text: &str, odd: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&odd) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if odd(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// Whether `c` is a control character, has no width, or changes the direction of what is around it: Unicode's general
/// categories Cc, Cf, Zl and Zp, but for signs that are seen.
fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// What a task counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes, shown in binary multiples.
    Bytes,
    /// Things of this name (plural), for example `packages`.
    Things(&'static str),
    /// Milliseconds: how long the work took last time. It moves by itself and need not be advanced.
    LastTime,
}

/// Work that is being shown. Dropping it without [`Task::finish`] removes it from the screen.
#[must_use]
pub struct Task {
    name: String,
    unit: Unit,
    started: Instant,
    bar: Option<ProgressBar>,
    /// Where lines go; `None` when quiet.
    log: Option<Log>,
    state: Mutex<State>,
}

struct State {
    done: u64,
    total: Option<u64>,
    /// When the last line was written.
    spoke: Instant,
}

/// How often a long task says where it is when there is no terminal.
const INTERVAL: Duration = Duration::from_secs(10);

impl Task {
    /// `more` units are done. May be called from any thread.
    pub fn advance(&self, more: u64) {
        let mut state = lock(&self.state);
        state.done = state.done.saturating_add(more);
        if let Some(bar) = &self.bar {
            bar.set_position(state.done);
        } else if let Some(log) = &self.log
            && state.spoke.elapsed() >= INTERVAL
        {
            state.spoke = Instant::now();
            log.line(
                None,
                &progress_line(&self.name, self.unit, state.done, state.total, self.started.elapsed()),
            );
        }
    }

    /// The total became known.
    pub fn set_total(&self, total: u64) {
        lock(&self.state).total = Some(total);
        if let Some(bar) = &self.bar {
            bar.set_length(total);
        }
    }

    /// Removes the bar and leaves one line: the name, what came of it and how long it took.
    pub fn finish(self, outcome: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if let Some(log) = &self.log {
            let seconds = self.started.elapsed().as_secs_f64();
            log.line(None, &format!("{}: {outcome}, {seconds:.1} s", self.name));
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(name: &str, unit: Unit, total: Option<u64>) -> ProgressBar {
    let template = match (unit, total) {
        (Unit::LastTime, Some(_)) => "{prefix:<14} {spinner} {elapsed}, last time {last_time}",
        (_, None) => "{prefix:<14} {spinner} {elapsed}",
        (Unit::Bytes, Some(_)) => {
            "{prefix:<14} [{bar:30}] {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left"
        }
        (Unit::Things(_), Some(_)) => "{prefix:<14} [{bar:30}] {pos} of {len} {msg}, {eta} left",
    };
    let last_time = |state: &indicatif::ProgressState, to: &mut dyn std::fmt::Write| {
        let _ = write!(to, "{} s", state.len().unwrap_or(0).div_ceil(1000));
    };
    let style = ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("last_time", last_time)
        .progress_chars("#>-");
    let bar = match total {
        Some(total) => ProgressBar::new(total),
        None => ProgressBar::no_length(),
    };
    let message = if let Unit::Things(things) = unit { things } else { "" };
    let bar = bar.with_style(style).with_prefix(name.to_owned()).with_message(message);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn progress_line(name: &str, unit: Unit, done: u64, total: Option<u64>, elapsed: Duration) -> String {
    let amount = |n: u64| match unit {
        Unit::Bytes => binary_size(n),
        Unit::Things(_) => n.to_string(),
        Unit::LastTime => format!("{} s", n.div_ceil(1000)),
    };
    let things = if let Unit::Things(things) = unit { format!(" {things}") } else { String::new() };
    let left = total.and_then(|total| time_left(done, total, elapsed));
    let left = left.map_or(String::new(), |left| format!(", about {} s left", left.as_secs().max(1)));
    match total {
        Some(total) if unit == Unit::LastTime => {
            format!("{name}: {} s, last time {}", elapsed.as_secs(), amount(total))
        }
        Some(total) => format!("{name}: {} of {}{things}{left}", amount(done), amount(total)),
        None => format!("{name}: {}{things}, {} s", amount(done), elapsed.as_secs()),
    }
}

/// How long the rest takes if it goes on like this; `None` while nothing is done or everything is.
fn time_left(done: u64, total: u64, elapsed: Duration) -> Option<Duration> {
    if done == 0 || done >= total {
        return None;
    }
    let seconds = elapsed.as_secs_f64() * (total - done) as f64 / done as f64;
    Duration::try_from_secs_f64(seconds).ok()
}

/// `bytes` in the largest binary unit that keeps at least one digit before the point: `980 B`, `12.5 MiB`.
pub fn binary_size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would print as 1024.0.
    while value >= 1023.95 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", units[unit])
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A stream that can be read after the test.
    #[derive(Clone, Default)]
    pub struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Captured {
        /// Everything written so far.
        pub fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn boxed(stream: &Captured) -> Arc<Mutex<Box<dyn Write + Send>>> {
        Arc::new(Mutex::new(Box::new(stream.clone())))
    }

    fn captured(quiet: bool, colour: bool) -> (Ui, Captured, Captured) {
        let (out, err) = (Captured::default(), Captured::default());
        let log = Log { to: boxed(&err), bars: None, colour };
        (Ui { out: boxed(&out), err: log, quiet, colour }, out, err)
    }

    #[derive(Serialize)]
    struct Answer {
        n: u32,
    }

    impl Present for Answer {
        fn text(&self, to: &mut dyn Write) -> io::Result<()> {
            writeln!(to, "the answer is {}", self.n)
        }
    }

    fn talk(ui: &Ui) {
        ui.note("a note");
        ui.warn("a warning");
        ui.failure(&Failure::input("no").hint("yes"));
        let task = ui.task("fetch", Unit::Things("packages"), Some(2));
        task.advance(2);
        task.finish("2 packages");
        ui.result(Output { json: false }, &Answer { n: 42 }).unwrap();
        ui.result(Output { json: true }, &Answer { n: 42 }).unwrap();
    }

    #[test]
    fn standard_output_has_results_and_nothing_else() {
        let (ui, out, err) = captured(false, false);
        talk(&ui);
        assert_eq!(out.text(), "the answer is 42\n{\n  \"n\": 42\n}\n");
        let lines: Vec<String> = err.text().lines().map(str::to_owned).collect();
        assert_eq!(lines[..5], ["a note", "warning: a warning", "error: no", "hint: yes", "fetch ..."]);
        assert!(lines[5].starts_with("fetch: 2 packages, 0."), "{}", lines[5]);
        assert_eq!(lines.len(), 6);
    }

    #[test]
    fn quiet_leaves_warnings_and_errors() {
        let (ui, out, err) = captured(true, true);
        talk(&ui);
        assert!(out.text().starts_with("the answer is 42\n"));
        assert_eq!(
            err.text(),
            "\x1b[33;1mwarning:\x1b[0m a warning\n\x1b[31;1merror:\x1b[0m no\n\x1b[36mhint:\x1b[0m yes\n"
        );
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure_and_a_full_disk_is() {
        struct Broken(io::ErrorKind);
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (mut ui, _, _) = captured(false, false);
        ui.out = Arc::new(Mutex::new(Box::new(Broken(io::ErrorKind::BrokenPipe))));
        for json in [false, true] {
            ui.result(Output { json }, &Answer { n: 1 }).unwrap();
        }
        ui.out = Arc::new(Mutex::new(Box::new(Broken(io::ErrorKind::StorageFull))));
        for json in [false, true] {
            let failure = ui.result(Output { json }, &Answer { n: 1 }).unwrap_err();
            assert!(failure.to_string().contains("cannot write to standard output"), "{failure}");
        }
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let (ui, _, err) = captured(false, false);
        ui.warn("a\x1b[2Jb\u{9b}c\td\ne\r");
        assert_eq!(err.text(), "warning: a\\u{1b}[2Jb\\u{9b}c\td\ne\\r\n");
        assert_eq!(harmless("a\u{202e}b\u{200b}é ü🙂"), "a\\u{202e}b\\u{200b}é ü🙂");
        assert_eq!(harmless_line("a\nb\tc"), "a\\nb\\tc");
    }

    #[test]
    fn progress_lines_give_total_and_time_left() {
        let line = |unit, done, total, seconds| {
            progress_line("fetch", unit, done, total, Duration::from_secs(seconds))
        };
        assert_eq!(
            line(Unit::Things("packages"), 50, Some(200), 10),
            "fetch: 50 of 200 packages, about 30 s left"
        );
        assert_eq!(line(Unit::Things("packages"), 0, Some(200), 10), "fetch: 0 of 200 packages");
        assert_eq!(
            line(Unit::Bytes, 3 << 20, Some(4 << 20), 10),
            "fetch: 3.0 MiB of 4.0 MiB, about 3 s left"
        );
        assert_eq!(line(Unit::Bytes, 1023, None, 10), "fetch: 1023 B, 10 s");
        assert_eq!(line(Unit::LastTime, 0, Some(35_000), 10), "fetch: 10 s, last time 35 s");
    }

    #[test]
    fn sizes_have_binary_units() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(binary_size(bytes), text);
        }
    }
}
