//! `selfsame explain`

use std::io::{self, Write};

use selfsame_image::cause::{self, CAUSES};
use serde::Serialize;

use super::Context;
use crate::failure::{Failure, Status};
use crate::ui::{Output, Present};

/// Say where a difference between builds comes from, and what helps
///
/// Without a name: all causes that `selfsame diff` recognises.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  selfsame explain
  selfsame explain time-stamp
  selfsame explain order locale-sort --json")]
pub struct Args {
    /// Names of causes, as `selfsame diff` tells them
    #[arg(value_name = "CAUSE")]
    causes: Vec<String>,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Serialize)]
struct Explained {
    causes: Vec<Cause>,
    /// Whether the names are all there is to say.
    #[serde(skip)]
    list: bool,
}

#[derive(Debug, Serialize)]
struct Cause {
    cause: &'static str,
    title: &'static str,
    /// Where it comes from as a rule.
    origin: &'static str,
    remedy: &'static str,
    /// Pages, and bugs of Debian's tracker as `#NNNNNN`.
    see: &'static [&'static str],
}

impl From<&'static cause::Cause> for Cause {
    fn from(cause: &'static cause::Cause) -> Self {
        let cause::Cause { id, title, origin, remedy, see } = *cause;
        Self { cause: id, title, origin, remedy, see }
    }
}

/// Runs the command.
pub fn run(args: &Args, cx: &Context) -> Result<Status, Failure> {
    let named = args.causes.iter().map(|name| {
        cause::cause(name).map(Cause::from).ok_or_else(|| {
            Failure::usage(format!("no cause is called `{name}`"))
                .hint("`selfsame explain` without a name lists all of them")
        })
    });
    let mut causes = named.collect::<Result<Vec<_>, _>>()?;
    let list = causes.is_empty();
    if list {
        causes.extend(CAUSES.iter().map(Cause::from));
    }
    cx.ui.result(args.output, &Explained { causes, list })?;
    Ok(Status::Success)
}

impl Present for Explained {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        for (index, Cause { cause, title, origin, remedy, see }) in self.causes.iter().enumerate() {
            if self.list {
                writeln!(to, "{cause:<18}{title}")?;
                continue;
            }
            if index > 0 {
                writeln!(to)?;
            }
            writeln!(to, "{cause}: {title}\n\n  From: {origin}\n  Help: {remedy}")?;
            for one in *see {
                writeln!(to, "  See:  {one}")?;
            }
        }
        Ok(())
    }
}
