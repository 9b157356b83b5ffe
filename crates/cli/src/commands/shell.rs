//! `selfsame build --shell STAGE`

use std::io::{self, IsTerminal, Read as _, Write as _};
use std::os::fd::AsFd as _;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use selfsame_build::event::Stage;
use selfsame_build::execute::Request;
use selfsame_build::execute::shell::{AFTER, Console, shell};
use selfsame_build::sandbox::{self, Stream, Terminal};

use super::Context;
use crate::failure::{Failure, Status};

/// Reads the value of `--shell`.
pub fn after() -> impl TypedValueParser<Value = Stage> {
    let stage = |name: String| AFTER.into_iter().find(|stage| stage.name() == name);
    PossibleValuesParser::new(AFTER.map(Stage::name))
        .try_map(move |name| stage(name).ok_or("no stage has this name"))
}

/// Opens the shell. The answer is yes if it ends with status 0, and no if it ends otherwise.
pub fn run(request: &Request<'_>, stage: Stage, cx: &Context) -> Result<Status, Failure> {
    let ready = || {
        cx.ui.note(&format!(
            "a shell in the image after stage {stage}; nothing that is changed there is kept"
        ));
    };
    let (input, output) = (io::stdin(), io::stdout());
    let exit = if input.is_terminal() && output.is_terminal() {
        let terminal = Terminal { input: input.as_fd(), output: output.as_fd() };
        let kind = cx.settings.terminal.clone().unwrap_or_else(|| "dumb".into());
        shell(request, stage, ready, Console::Terminal(terminal, kind))?
    } else {
        let mut commands = Vec::new();
        input.lock().read_to_end(&mut commands).map_err(|error| {
            Failure::environment(error).context("cannot read the commands from standard input")
        })?;
        // The lines are the result, and go on whatever becomes of them.
        let mut print = |stream: Stream, line: &[u8]| {
            let line = [line, b"\n"].concat();
            let _ = match stream {
                Stream::Out => output.lock().write_all(&line),
                Stream::Err => io::stderr().lock().write_all(&line),
            };
        };
        shell(request, stage, ready, Console::Commands(commands, &mut print))?
    };
    for attempt in &exit.network_attempts {
        cx.ui.warn(&format!("{} tried to reach the network; there is none", attempt.program));
    }
    match exit.status {
        sandbox::Status::Exited(0) => Ok(Status::Success),
        sandbox::Status::Exited(status) => {
            cx.ui.note(&format!("the shell ended with exit status {status}"));
            Ok(Status::Negative)
        }
        sandbox::Status::Signalled(signal) => {
            cx.ui.note(&format!("the shell was ended by signal {signal}"));
            Ok(Status::Negative)
        }
        sandbox::Status::Interrupted => Err(Failure::interrupted()),
        sandbox::Status::Disk => {
            Err(Failure::environment("the shell was ended: the disk of the store is full"))
        }
        sandbox::Status::Memory => {
            Err(Failure::environment("the shell was ended: the memory of this machine is full"))
        }
        sandbox::Status::Time => Err(Failure::environment("the shell was ended: its commands ran too long")),
        sandbox::Status::Output => {
            Err(Failure::environment("the shell was ended: its commands printed too much"))
        }
    }
}
