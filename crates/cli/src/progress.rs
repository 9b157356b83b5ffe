//! Events of a lock or a build, shown as tasks, lines and warnings.

use std::collections::BTreeMap;
use std::sync::Mutex;

use selfsame_build::event::{Event, Observer, Stage};

use crate::ui::{Task, Ui, Unit};

/// Shows what happens, in the user's words.
pub struct Progress {
    ui: Ui,
    /// Whether lines that programs in the sandbox print are shown.
    verbose: bool,
    tasks: Mutex<BTreeMap<Stage, Task>>,
}

impl Progress {
    /// Shows events on `ui`, with the output of programs if `verbose`.
    pub fn new(ui: &Ui, verbose: bool) -> Self {
        Self { ui: ui.clone(), verbose, tasks: Mutex::default() }
    }

    fn with(&self, stage: Stage, act: impl FnOnce(&Task)) {
        let tasks = self.tasks.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(task) = tasks.get(&stage) {
            act(task);
        }
    }
}

fn unit(stage: Stage) -> Unit {
    match stage {
        Stage::Fetch | Stage::Pack | Stage::Assemble => Unit::Bytes,
        Stage::Install => Unit::Things("package steps"),
        _ => Unit::Things("packages"),
    }
}

impl Observer for Progress {
    fn on(&self, event: Event) {
        match event {
            Event::StageStarted { stage, .. } => {
                let task = self.ui.task(stage.name(), unit(stage), None);
                self.tasks.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).insert(stage, task);
            }
            Event::Total { stage, amount } => self.with(stage, |task| task.set_total(amount)),
            Event::Advanced { stage, amount } => self.with(stage, |task| task.advance(amount)),
            Event::StageFinished { stage, cached } => {
                let task = self.tasks.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).remove(&stage);
                match task {
                    Some(task) => task.finish(if cached { "taken from the store" } else { "done" }),
                    None => self.ui.note(&format!("{stage}: taken from the store")),
                }
            }
            Event::Output { stage, line } if self.verbose => self.ui.note(&format!("[{stage}] {line}")),
            Event::Warning { warning } => self.ui.warn(&warning.to_string()),
            _ => {}
        }
    }
}
