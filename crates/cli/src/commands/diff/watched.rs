//! How far a comparison is, for people who wait for it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use selfsame_image::compare::{Step, Watch};

use crate::commands::Context;
use crate::ui::{Task, Unit};

/// Nothing is said of what takes less.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Default)]
struct State {
    inside: bool,
    done: u64,
    task: Option<Task>,
}

/// Shows how far a comparison is. `total` is the bytes of all that is compared, if these are several
/// files; what is inside them is not shown then.
pub(super) fn watch(cx: &Context, total: Option<u64>) -> Watch {
    let (ui, started) = (cx.ui.clone(), Instant::now());
    let state = Mutex::new(State::default());
    Watch::new(move |step| {
        let (inside, more, of) = match step {
            Step::Outside { more, of } => (false, more, Some(total.unwrap_or(of))),
            Step::Inside { .. } if total.is_some() => return,
            Step::Inside { more } => (true, more, None),
        };
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.inside != inside {
            *state = State { inside, ..State::default() };
        }
        state.done += more;
        let done = state.done;
        if let Some(task) = &state.task {
            task.advance(more);
        } else if started.elapsed() >= PATIENCE {
            let task = ui.task(if inside { "look inside" } else { "compare" }, Unit::Bytes, of);
            task.advance(done);
            state.task = Some(task);
        }
    })
}
