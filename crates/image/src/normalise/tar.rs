//! tar archives: times in headers and in PAX records (POSIX.1-2001), and the process number of who packed them.

use super::edit::Edit;
use super::{File, Left, Outcome, Rules, Times, left, sound, structures};
use crate::tar::{self, patch};

const BLOCK: usize = 512;

pub(super) fn run(file: &File<'_>, rules: &Rules) -> Result<Outcome, Left> {
    let parsed = sound(tar::extents(&file.source()))?;
    let mut edit = Edit::new(file.bytes);
    for (at, block) in structures(&parsed, file.bytes, "tar header") {
        header(&mut edit, (at, block), rules.times)?;
    }
    for (start, bytes) in structures(&parsed, file.bytes, "extension header") {
        let mut at = 0;
        while let Some(block) = bytes.get(at..at + BLOCK) {
            header(&mut edit, (start + at, block), rules.times)?;
            let size = patch::size(block).and_then(|size| usize::try_from(size).ok());
            let body = size.and_then(|size| bytes.get(at + BLOCK..(at + BLOCK).checked_add(size)?));
            let Some(body) = body else {
                return left(format!("the extended header at {:#x} is not whole", start + at));
            };
            if matches!(block[156], b'x' | b'g') {
                records(&mut edit, (start + at + BLOCK, body), rules.times)?;
            }
            at += BLOCK + body.len().next_multiple_of(BLOCK);
        }
    }
    edit.finish()
}

fn header(edit: &mut Edit<'_>, (at, block): (usize, &[u8]), times: Times) -> Result<(), Left> {
    let Some(old) = block.first_chunk::<BLOCK>() else {
        return left(format!("the header at {at:#x} shares its bytes with another"));
    };
    let mut new = *old;
    let Some(mtime) = patch::mtime(old) else {
        return left(format!("the header at {at:#x} has a time that is no number"));
    };
    let mut what = "name of an extended header";
    if let Some(seconds) = times.of(mtime) {
        what = "time";
        if patch::set_mtime(&mut new, seconds).is_none() {
            return left(format!("the header at {at:#x} has no room for another time"));
        }
    }
    if matches!(old[156], b'x' | b'g') {
        nobody(&mut new);
    }
    if new != *old && patch::set_checksum(&mut new).is_none() {
        return left(format!("the header at {at:#x} has no room for another checksum"));
    }
    edit.put(at, &new, what);
    Ok(())
}

/// Takes the process number out of the name that GNU tar gives an extended header, which nobody unpacks.
fn nobody(block: &mut [u8; BLOCK]) {
    let name = block[..100].to_vec();
    let Some(end) = super::find(&name, b"PaxHeaders.").map(|at| at + b"PaxHeaders".len()) else { return };
    let digits = name[end + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits > 0 && name.get(end + 1 + digits) == Some(&b'/') {
        let mut short = [&name[..end], &name[end + 1 + digits..]].concat();
        short.resize(100, 0);
        block[..100].copy_from_slice(&short);
    }
}

/// Times in PAX records: the new ones are as long, so that no record moves.
fn records(edit: &mut Edit<'_>, (start, body): (usize, &[u8]), times: Times) -> Result<(), Left> {
    for (at, key, value) in patch::records(body) {
        if !matches!(key, b"mtime" | b"atime" | b"ctime" | b"LIBARCHIVE.creationtime") {
            continue;
        }
        let dot = value.iter().position(|byte| *byte == b'.').unwrap_or(value.len());
        let (whole, fraction) = value.split_at(dot);
        let seconds = std::str::from_utf8(whole).ok().and_then(|text| text.parse::<i64>().ok());
        let Some(seconds) = seconds else {
            return left(format!("the record at {:#x} has a time that is no number", start + at));
        };
        // A fraction of the last second is beyond it.
        let late = fraction.iter().any(|byte| (b'1'..=b'9').contains(byte));
        let seconds = if late && seconds == i64::from(times.epoch.0) { seconds + 1 } else { seconds };
        if let Some(new) = times.of(seconds) {
            let new = new.to_string();
            if new.len() != whole.len() {
                return left(format!("the record at {:#x} has no room for another time", start + at));
            }
            let zeros = fraction.iter().map(|byte| if *byte == b'.' { b'.' } else { b'0' });
            let new: Vec<u8> = new.bytes().chain(zeros).collect();
            edit.put(start + at, &new, "time in an extended header");
        }
    }
    Ok(())
}
