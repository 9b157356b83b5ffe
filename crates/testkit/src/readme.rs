//! What README promises, in a form that tests can hold it to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The root of the workspace.
///
/// # Panics
/// Never: this crate lies two directories below it.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("crates/testkit has a grandparent")
        .to_owned()
}

/// The promised SHA-256 of each output of each example: `(example, output)` to 64 hexadecimal digits.
///
/// Read from table rows of the form ``| `examples/tiny` | squashfs | `<sha256>` |``; other rows are passed over.
pub fn promised_digests(markdown: &str) -> BTreeMap<(String, String), String> {
    let mut promised = BTreeMap::new();
    for line in markdown.lines() {
        let cells: Vec<&str> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        if let ["", example, output, digest, ""] = cells[..]
            && example.starts_with("examples/")
            && digest.len() == 64
            && digest.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase())
        {
            promised.insert((example.to_owned(), output.to_owned()), digest.to_owned());
        }
    }
    promised
}

/// The commands of the code blocks marked `sh`, one for each line that is neither empty nor a comment.
pub fn commands(markdown: &str) -> Vec<String> {
    let mut inside = false;
    let mut commands = Vec::new();
    for line in markdown.lines() {
        if line.starts_with("```") {
            inside = line == "```sh";
        } else if inside && !line.trim().is_empty() && !line.starts_with('#') {
            commands.push(line.to_owned());
        }
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_with_digests_are_promises() {
        let digest = "0123456789abcdef".repeat(4);
        let text = format!(
            "| recipe | output | SHA-256 |\n|---|---|---|\n| `examples/tiny` | tar | `{digest}` |\n\
             | examples/live | iso | pending |\n| other | tar | {digest} |\n"
        );
        let promised = promised_digests(&text);
        assert_eq!(
            promised.into_iter().collect::<Vec<_>>(),
            [(("examples/tiny".into(), "tar".into()), digest)]
        );
    }

    #[test]
    fn commands_come_from_shell_blocks_only() {
        let text = "```sh\n# one\nmake\n\n```\n```toml\nx = 1\n```\nmake it\n";
        assert_eq!(commands(text), ["make"]);
    }
}
