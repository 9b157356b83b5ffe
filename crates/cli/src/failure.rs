//! What goes wrong, from the point of view of whoever ran the command.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

/// Why a command could not do its work. Each kind has its own exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The command line is wrong: nothing was read.
    Usage,
    /// Something the user gave is wrong: recipe, lock, image, package, signature.
    Input,
    /// The machine is in the way: disk, network, permissions, a missing program.
    Environment,
    /// selfsame is wrong.
    Internal,
    /// The user or the system asked to stop.
    Interrupted,
}

/// The work was done and the answer is yes.
pub const SUCCESS: u8 = 0;
/// The work was done and the answer is no: images differ, the awaited text did not appear. Never a failure.
pub const NEGATIVE: u8 = 1;
/// The work was done, the answer is no, and not all of it could be found out.
pub const UNEXPLAINED: u8 = 5;
/// The work was done, the answer is no, and a policy that was named tolerates that.
pub const TOLERATED: u8 = 6;

impl Kind {
    /// Exit statuses are API: documented in docs/exit-status.md and never given another meaning.
    pub const fn exit_status(self) -> u8 {
        match self {
            Self::Usage => 2,
            Self::Input => 3,
            Self::Environment => 4,
            Self::Internal => 70,
            Self::Interrupted => 130,
        }
    }

    /// The kind with this exit status; a bug if there is none.
    pub fn of_exit_status(status: u8) -> Self {
        let all = [Self::Usage, Self::Input, Self::Environment, Self::Interrupted];
        all.into_iter().find(|kind| kind.exit_status() == status).unwrap_or(Self::Internal)
    }
}

/// What a command that did its work answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Yes, done: exit status 0.
    Success,
    /// No: exit status 1.
    Negative,
    /// No, and not everything could be found out: exit status 5.
    Unexplained,
    /// No, but a policy tolerates each difference: exit status 6.
    Tolerated,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(match status {
            Status::Success => SUCCESS,
            Status::Negative => NEGATIVE,
            Status::Unexplained => UNEXPLAINED,
            Status::Tolerated => TOLERATED,
        })
    }
}

/// An error on its way to the user: its kind, its causes and what to do about it.
#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    error: Box<dyn Error + Send + Sync>,
    hints: Vec<String>,
}

impl Failure {
    /// A failure of `kind` caused by `error`. A plain string is an error without causes.
    pub fn new(kind: Kind, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, error: error.into(), hints: Vec::new() }
    }

    /// [`Kind::Usage`].
    pub fn usage(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Kind::Usage, error)
    }

    /// [`Kind::Input`].
    pub fn input(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Kind::Input, error)
    }

    /// [`Kind::Environment`].
    pub fn environment(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Kind::Environment, error)
    }

    /// [`Kind::Internal`].
    pub fn internal(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Kind::Internal, error)
    }

    /// Somebody pressed Ctrl-C or ended the process politely.
    pub fn interrupted() -> Self {
        Self::new(Kind::Interrupted, "interrupted")
    }

    /// Says what is being done when `error` happens: `while`, a colon-free clause such as "cannot read x".
    pub fn context(self, doing: impl Into<String>) -> Self {
        let error = Context { doing: doing.into(), source: self.error };
        Self { error: Box::new(error), ..self }
    }

    /// Adds one remedy, a whole sentence without a full stop. Hints are shown in the order they were added.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Whose fault it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The status the process ends with.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.kind.exit_status())
    }

    /// What there is to say, one item for each line.
    pub fn lines(&self) -> Vec<Line> {
        let mut lines = vec![Line::Error(self.error.to_string())];
        let mut cause = self.error.source();
        while let Some(error) = cause {
            lines.push(Line::Cause(error.to_string()));
            cause = error.source();
        }
        lines.extend(self.hints.iter().cloned().map(Line::Hint));
        if self.kind == Kind::Internal {
            lines
                .push(Line::Hint("this is a bug in selfsame; please report it with the command line".into()));
        }
        lines
    }
}

/// One line (or block, if the text has line breaks) of a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// What happened.
    Error(String),
    /// Why; each cause is caused by the next.
    Cause(String),
    /// What to do.
    Hint(String),
}

impl Line {
    /// The word before the text.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Error(_) => "error",
            Self::Cause(_) => "cause",
            Self::Hint(_) => "hint",
        }
    }

    /// The text, later lines indented below the first.
    pub fn text(&self) -> String {
        let (Self::Error(text) | Self::Cause(text) | Self::Hint(text)) = self;
        text.trim_end().replace('\n', "\n    ")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines().iter().try_for_each(|line| writeln!(f, "{}: {}", line.label(), line.text()))
    }
}

/// An error with the deed it stopped.
#[derive(Debug)]
struct Context {
    doing: String,
    source: Box<dyn Error + Send + Sync>,
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.doing)
    }
}

impl Error for Context {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_and_each_hint_has_its_own_line() {
        let inner = Failure::environment(std::io::Error::other("disk full\nreally"));
        let failure =
            inner.context("cannot write out/live.iso").hint("free 2 GiB").hint("or choose another --out");
        insta::assert_snapshot!(failure, @r"
        error: cannot write out/live.iso
        cause: disk full
            really
        hint: free 2 GiB
        hint: or choose another --out
        ");
        assert_eq!(failure.kind().exit_status(), 4);
    }

    #[test]
    fn the_page_on_exit_statuses_has_exactly_these() {
        let page = std::fs::read_to_string("../../docs/exit-status.md").unwrap();
        let documented: Vec<u8> = page
            .lines()
            .filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok())
            .collect();
        let kinds = [Kind::Usage, Kind::Input, Kind::Environment, Kind::Internal, Kind::Interrupted];
        let mut ours = vec![SUCCESS, NEGATIVE, UNEXPLAINED, TOLERATED];
        ours.extend(kinds.map(Kind::exit_status));
        ours.sort_unstable();
        assert_eq!(documented, ours);
        for kind in kinds {
            let row = format!("| {} | {kind:?} |", kind.exit_status());
            assert!(page.contains(&row), "no row {row:?}");
        }
    }
}
