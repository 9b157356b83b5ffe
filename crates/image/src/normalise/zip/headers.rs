//! What headers say of times, owners and permissions (APPNOTE 4.4; Info-ZIP's `proginfo/extrafld.txt` for extra fields).

use super::super::Times;
use super::super::edit::Edit;
use super::{part, place};
use crate::epoch::{Civil, civil};
use crate::zip::{Listed, extras, number, short};

const TIMES: &str = "time";
const OWNER: &str = "owner";
const PERMISSIONS: &str = "permissions";

/// Seconds from the beginning of 1601 to that of 1970, and steps of NTFS in each.
const SINCE_1601: i64 = 11_644_473_600;
const STEPS: i64 = 10_000_000;

/// Changes both headers of an entry.
pub(super) fn entry(edit: &mut Edit<'_>, bytes: &[u8], entry: &Listed, times: Times) {
    let (local, central) = (part(bytes, entry.local), part(bytes, entry.central));
    let [local_at, central_at] = [entry.local.0, entry.central.0].map(place);
    let local_extra = 30 + usize::from(short(local, 26));
    let central_extra = 46 + usize::from(short(central, 28));
    let central_len = usize::from(short(central, 30));
    let of_local = local.get(local_extra..).unwrap_or_default();
    let of_central = central.get(central_extra..central_extra + central_len).unwrap_or_default();

    // The time in a header is that of a wall clock somewhere. If there is one of UTC beside it, it follows that.
    let true_time = modified(of_central).or_else(|| modified(of_local));
    for (at, header, from) in [(local_at, local, 10), (central_at, central, 12)] {
        let new = match true_time {
            Some(seconds) => Some(times.of(seconds).map_or(seconds, i64::from)),
            None => wall_clock(number(header, from, 4))
                .map_or_else(|| times.all.then_some(times.epoch.0), |seconds| times.of(seconds))
                .map(i64::from),
        };
        if let Some(seconds) = new {
            edit.put(at + from, &dos(seconds).to_le_bytes(), TIMES);
        }
    }
    extra(edit, (local_at + local_extra, of_local), times);
    extra(edit, (central_at + central_extra, of_central), times);
    permissions(edit, (central_at, central), entry.name.ends_with(b"/"));
}

/// The time of the last change in an extra field, in seconds since 1970.
fn modified(bytes: &[u8]) -> Option<i64> {
    extras(bytes).find_map(|(id, _, data)| match id {
        0x5455 if data.first().is_some_and(|flags| flags & 1 != 0) => signed(data, 1),
        0x5855 => signed(data, 4),
        0x000a => ntfs(data).map(|at| (steps(data, at) / STEPS).saturating_sub(SINCE_1601)),
        _ => None,
    })
}

fn extra(edit: &mut Edit<'_>, (base, bytes): (usize, &[u8]), times: Times) {
    let kept = |seconds: i64| times.of(seconds).map_or(seconds, i64::from);
    let low = |seconds: i64| i32::try_from(seconds).unwrap_or(i32::MAX).to_le_bytes();
    for (id, start, data) in extras(bytes) {
        let at = base + start;
        match id {
            // Flags, and then times of change, access and creation: only the first one is the file's own.
            0x5455 => {
                let first = signed(data, 1).filter(|_| data[0] & 1 != 0).map(kept);
                for from in (1..data.len()).step_by(4) {
                    let Some(old) = signed(data, from) else { break };
                    edit.put(at + from, &low(first.unwrap_or_else(|| kept(old))), TIMES);
                }
            }
            // Access, change; owner and group.
            0x5855 => {
                if let Some(seconds) = signed(data, 4).map(kept) {
                    edit.put(at, &low(seconds), TIMES);
                    edit.put(at + 4, &low(seconds), TIMES);
                }
                edit.put(at + 8, &vec![0; data.len().saturating_sub(8)], OWNER);
            }
            0x7855 => edit.put(at, &vec![0; data.len()], OWNER),
            0x7875 => owner(edit, (at, data)),
            0x000a => {
                if let Some(from) = ntfs(data) {
                    let old = steps(data, from);
                    let late = times.of((old / STEPS).saturating_sub(SINCE_1601));
                    let new = late.map_or(old, |seconds| (i64::from(seconds) + SINCE_1601) * STEPS);
                    // Change, access, creation.
                    edit.put(at + from, &[new.to_le_bytes(); 3].concat(), TIMES);
                }
            }
            _ => {}
        }
    }
}

/// Version 1: the length of a user's number, it, the length of a group's, and it.
fn owner(edit: &mut Edit<'_>, (at, data): (usize, &[u8])) {
    if let [1, user, rest @ ..] = data
        && let Some(group) = rest.get(usize::from(*user))
        && 3 + usize::from(*user) + usize::from(*group) == data.len()
    {
        let zeros = |len: &u8| vec![0; usize::from(*len)];
        edit.put(at + 2, &zeros(user), OWNER);
        edit.put(at + 3 + usize::from(*user), &zeros(group), OWNER);
    }
}

/// Where the times are in a field of NTFS: behind four bytes, parts with a tag and a length; that of times has three of them.
fn ntfs(data: &[u8]) -> Option<usize> {
    let rest = data.get(4..)?;
    extras(rest).find(|(tag, _, data)| *tag == 1 && data.len() == 24).map(|(_, start, _)| start + 4)
}

fn steps(data: &[u8], at: usize) -> i64 {
    i64::try_from(number(data, at, 8)).unwrap_or(i64::MAX)
}

fn signed(data: &[u8], at: usize) -> Option<i64> {
    data.get(at..)?.first_chunk().map(|raw| i64::from(i32::from_le_bytes(*raw)))
}

/// Only files and directories of Unix have permissions; a umask must not show in them.
fn permissions(edit: &mut Edit<'_>, (at, central): (usize, &[u8]), is_dir: bool) {
    let mode = u32::from(short(central, 40));
    if central.get(5) != Some(&3) || mode == 0 || !matches!(mode & 0o170_000, 0 | 0o100_000 | 0o040_000) {
        return;
    }
    let run = mode & 0o100 != 0;
    if is_dir && !run {
        return;
    }
    // A program that is another user for whoever runs it stays one.
    let special = if is_dir { 0 } else { mode & 0o6_000 };
    let mode = mode & 0o170_000 | special | if run { 0o755 } else { 0o644 };
    let attributes = mode << 16 | if is_dir { 0x10 } else { 0 };
    edit.put(at + 38, &attributes.to_le_bytes(), PERMISSIONS);
}

/// Seconds since 1970 of a time and a date of MS-DOS, taken for UTC.
fn wall_clock(value: u64) -> Option<i64> {
    let bits = |from: u32, count: u32| u8::try_from(value >> from & ((1 << count) - 1)).unwrap_or(u8::MAX);
    let date = Civil {
        year: 1980 + u16::from(bits(25, 7)),
        month: bits(21, 4),
        day: bits(16, 5),
        hour: bits(11, 5),
        minute: bits(5, 6),
        second: 2 * bits(0, 5),
    };
    date.seconds()
}

/// The time and the date of MS-DOS for that many seconds since 1970, in UTC: not before 1980.
fn dos(seconds: i64) -> u32 {
    const FIRST: u32 = 315_532_800;
    let seconds = u32::try_from(seconds.max(0)).unwrap_or(u32::MAX).max(FIRST);
    let Civil { year, month, day, hour, minute, second } = civil(seconds);
    let date = u32::from(year - 1980) << 9 | u32::from(month) << 5 | u32::from(day);
    date << 16 | u32::from(hour) << 11 | u32::from(minute) << 5 | u32::from(second / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_ms_dos_have_steps_of_two_seconds() {
        assert_eq!(dos(1_423_159_771), 0x4645_912f);
        assert_eq!(wall_clock(0x4645_912f), Some(1_423_159_770));
        assert_eq!((dos(-5), dos(0), dos(315_532_801)), (0x0021_0000, 0x0021_0000, 0x0021_0000));
        for wrong in [0, 0x0020_0000, 0x0021_f800, 0x0021_0780, 0x005e_0000] {
            assert_eq!(wall_clock(wrong), None, "{wrong:#x}");
        }
    }
}
