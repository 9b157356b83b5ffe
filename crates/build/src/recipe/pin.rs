//! Changing which state of an archive a recipe names, and nothing else in its text.

use std::path::Path;

use super::{Recipe, parse};

/// The text of a recipe with another `serial` for the archive `name`, or without one; everything but that line stays.
///
/// `None` if the text has no table `[archives.NAME]` of its own, or if more than the serial would change: then it must be
/// edited by hand.
pub fn with_serial(text: &str, name: &str, serial: Option<&str>) -> Option<String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let code = |line: &str| line.split('#').next().unwrap_or_default().trim().to_owned();
    let headers = [format!("[archives.{name}]"), format!("[archives.\"{name}\"]")];
    let header = lines.iter().position(|line| headers.contains(&code(line)))?;
    let end = lines[header + 1..].iter().position(|line| line.trim_start().starts_with('['));
    let end = end.map_or(lines.len(), |length| header + 1 + length);
    let is_serial = |line: &&str| {
        line.trim_start().strip_prefix("serial").is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    let mut new: Vec<String> = lines[..=header].iter().map(|line| (*line).to_owned()).collect();
    if let Some(last) = new.last_mut().filter(|last| !last.ends_with('\n')) {
        last.push('\n');
    }
    new.extend(serial.map(|serial| format!("serial = \"{serial}\"\n")));
    new.extend(lines[header + 1..end].iter().filter(|line| !is_serial(line)).map(|line| (*line).to_owned()));
    new.extend(lines[end..].iter().map(|line| (*line).to_owned()));
    let new = new.concat();
    let (before, mut wanted) = (read(&new)?, read(text)?);
    wanted.archives.get_mut(name)?.serial = serial.map(str::to_owned);
    (before == wanted).then_some(new)
}

fn read(text: &str) -> Option<Recipe> {
    parse(Path::new("."), text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = "format = 1\n[image]\nname = \"x\"\noutputs = [\"tar\"]\n";

    fn changed(archives: &str, serial: Option<&str>) -> Option<String> {
        with_serial(&format!("{START}{archives}"), "debian", serial)
            .map(|text| text.strip_prefix(START).unwrap().to_owned())
    }

    const SERIAL: Option<&str> = Some("20260711T101637Z");

    #[test]
    fn the_serial_and_nothing_else_changes() {
        let rest = "mirrors = [\"auto\"] # ours\nsuites = [\"bookworm\"]\nkeys = \"debian\"\n\n[packages]\ninclude = []\n";
        let plain = format!("[archives.debian] # the archive\n{rest}");
        let pinned = format!("[archives.debian] # the archive\nserial = \"20260711T101637Z\"\n{rest}");
        assert_eq!(changed(&plain, SERIAL).as_ref(), Some(&pinned));
        assert_eq!(changed(&pinned, None).as_ref(), Some(&plain));
        let newer = changed(&pinned, Some("20270101T000000Z")).unwrap();
        assert_eq!(newer, pinned.replace("20260711T101637Z", "20270101T000000Z"));
        let latest = format!("[archives.debian] # the archive\n  serial  =  \"latest\"\n{rest}");
        assert_eq!(changed(&latest, SERIAL).as_ref(), Some(&pinned));
        assert_eq!(changed(&plain, None).as_ref(), Some(&plain));
        let quoted = plain.replace("[archives.debian]", "[archives.\"debian\"]");
        assert!(changed(&quoted, SERIAL).unwrap().contains("\"debian\"] # the archive\nserial = "));
    }

    #[test]
    fn what_cannot_be_changed_safely_is_left_to_the_user() {
        let inline =
            "[archives]\ndebian = { mirrors = [\"auto\"], suites = [\"bookworm\"], keys = \"debian\" }\n";
        assert_eq!(changed(inline, SERIAL), None);
        let plain = "[archives.debian]\nmirrors = [\"auto\"]\nsuites = [\"bookworm\"]\nkeys = \"debian\"\n";
        assert_eq!(with_serial(&format!("{START}{plain}"), "other", SERIAL), None);
        assert_eq!(changed(plain, Some("yesterday")), None);
        let text = "[archives.debian]\nmirrors = [\"auto\"]\nsuites = [\"bookworm\"]\nkeys = \"debian\"\nserial = '''\nlatest'''\n";
        assert_eq!(changed(text, SERIAL), None);
        // Without a line's end at the end of the text.
        assert!(changed(plain.trim_end(), SERIAL).unwrap().contains("\nserial = "));
    }
}
