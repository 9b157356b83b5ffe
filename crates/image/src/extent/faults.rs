//! What could not be read of a file.

use super::Unreadable;

/// Errors that are told; more of them say nothing new.
const MOST: usize = 16;

/// The first errors, and how many more there were.
#[derive(Default)]
pub(crate) struct Faults {
    told: Vec<Unreadable>,
    more: u64,
}

impl Faults {
    /// Adds an error of a reader.
    pub(crate) fn note(&mut self, format: &'static str, error: &dyn std::error::Error) {
        self.add(format, || Unreadable::new(format, error).message);
    }

    /// Adds an error with a message.
    pub(crate) fn add(&mut self, format: &'static str, message: impl FnOnce() -> String) {
        if self.told.len() < MOST {
            self.told.push(Unreadable { format, message: message() });
        } else {
            self.more += 1;
        }
    }

    /// All that is told, with a line that counts the others if there are any.
    pub(crate) fn finish(mut self) -> Vec<Unreadable> {
        if let Some(last) = self.told.last().filter(|_| self.more > 0) {
            let (format, more) = (last.format, self.more);
            let message = format!("and {more} more {}", if more == 1 { "error" } else { "errors" });
            self.told.push(Unreadable { format, message });
        }
        self.told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_are_not_told_are_counted() {
        let found = |count: usize| {
            let mut faults = Faults::default();
            (0..count).for_each(|number| faults.add("test", || number.to_string()));
            faults.finish().into_iter().map(|fault| fault.message).collect::<Vec<_>>()
        };
        assert_eq!(found(0), [""; 0]);
        assert_eq!(found(MOST).last().unwrap(), "15");
        assert_eq!(found(MOST + 1)[MOST..], ["and 1 more error"]);
        assert_eq!(found(MOST + 1000)[MOST..], ["and 1000 more errors"]);
    }
}
