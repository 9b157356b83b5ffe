//! Partition tables, boot file systems and hybrid images, held against the reference programs for each.

mod gpt;
mod support;
