//! What a tree says about itself, whatever format it came from.

use selfsame_image::tree::{Entry, Item, Kind, Tree};

use super::part::{Fact, Part};

/// Adds how many inodes of each kind `tree` has and how long its files are together.
pub fn describe<C>(tree: &Tree<C>, size: impl Fn(&C) -> u64, part: Part) -> Part {
    let mut directories = 0;
    // The visitor never fails, so neither does the walk.
    let _ = tree.walk(|_, entry: Entry<'_, C>| {
        directories += u64::from(matches!(entry.item, Item::Dir(_)));
        Ok::<(), ()>(())
    });
    let (mut files, mut links, mut others, mut bytes) = (0_u64, 0_u64, 0_u64, 0_u64);
    for leaf in tree.leaves() {
        match &leaf.kind {
            Kind::File(content) => {
                files += 1;
                bytes = bytes.saturating_add(size(content));
            }
            Kind::Symlink(_) => links += 1,
            _ => others += 1,
        }
    }
    let part = part.fact("files", files).fact("content", Fact::Bytes(bytes)).fact("directories", directories);
    let part = part.fact("symbolic links", links);
    if others > 0 { part.fact("devices, pipes, sockets", others) } else { part }
}

/// The installed packages in the text of dpkg's status file, each as `name version architecture`.
pub fn packages(status: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(status);
    let mut found = Vec::new();
    for stanza in text.split("\n\n") {
        let field = |name: &str| {
            stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
        };
        if field("Status").ends_with(" installed") {
            found.push(format!("{} {} {}", field("Package"), field("Version"), field("Architecture")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_that_are_not_installed_do_not_count() {
        let status = "Package: nano\nStatus: install ok installed\nArchitecture: amd64\nVersion: 7.2-1\n\n\
                      Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n\n";
        assert_eq!(packages(status.as_bytes()), ["nano 7.2-1 amd64"]);
        assert_eq!(packages(b"\xff\n\n\n"), [""; 0]);
    }
}
