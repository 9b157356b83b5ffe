//! What can be another machine: each thing by itself, with the value of every build and the one of an experiment.

use std::num::NonZero;

use crate::host::IdShift;
use crate::sandbox::{DirectoryOrder, World};

/// One thing about the machine that an experiment changes.
#[derive(Clone, Copy, Debug)]
pub struct Variation {
    /// Its name on the command line and in plans.
    pub name: &'static str,
    /// What every build has.
    pub control: &'static str,
    /// What an experiment has.
    pub experiment: &'static str,
    /// What finding nothing does not prove, if it is less than it seems.
    pub limits: &'static str,
    set: fn(&mut Surroundings, &mut Draw) -> String,
}

/// Equal names are equal variations.
impl PartialEq for Variation {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}
impl Eq for Variation {}

impl Variation {
    /// The variation of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        VARIATIONS.iter().find(|variation| variation.name == name)
    }

    /// Changes `surroundings` to what `seed` draws, always the same; what they have now, in words.
    pub fn set(&self, surroundings: &mut Surroundings, seed: u64) -> String {
        // Each variation draws for itself: which others there are does not matter.
        let name = self.name.bytes().fold(seed, |state, byte| Draw(state ^ u64::from(byte)).next());
        (self.set)(surroundings, &mut Draw(name))
    }
}

/// All that variations change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// What programs see.
    pub world: World,
    /// How many threads this program has.
    pub jobs: NonZero<usize>,
    /// Whose files layers are, if other ids can be had.
    pub shift: IdShift,
    /// Whether compressed blocks of earlier builds are used.
    pub blocks: bool,
}

/// Numbers from a seed: SplitMix64.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        let index = self.next() % choices.len() as u64;
        choices[usize::try_from(index).unwrap_or_default()]
    }
}

impl Surroundings {
    fn env(&mut self, name: &str, value: Option<&str>) {
        self.world.environment.retain(|(other, _)| other != name);
        self.world.environment.push((name.into(), value.map(String::from)));
    }
}

/// All variations, in the order of the documentation (`docs/checking.md`).
pub const VARIATIONS: &[Variation] = &[
    Variation {
        name: "clock",
        control: "the machine's",
        experiment: "31 days back, or 37 or 400 days ahead",
        limits: "times that the kernel gives to files stay those of the machine; amd64 programs only",
        set: |to, draw| {
            let days = draw.one_of(&[-31, 37, 400]);
            to.world.clock = days * 86_400 + 3_723;
            format!("{days:+} days")
        },
    },
    Variation {
        name: "time-zone",
        control: "UTC",
        experiment: "14 hours ahead of UTC, or 12 behind",
        limits: "a hook that sets TZ itself is not affected",
        set: |to, draw| {
            let zone = draw.one_of(&["<+14>-14", "<-12>12"]);
            to.env("TZ", Some(zone));
            format!("TZ={zone}")
        },
    },
    Variation {
        name: "locale",
        control: "C.UTF-8",
        experiment: "C, or one that is not installed",
        limits: "languages whose locales the image does not have are not tried",
        set: |to, draw| {
            let locale = draw.one_of(&["C", "et_EE.UTF-8", "tr_TR.UTF-8"]);
            to.env("LC_ALL", Some(locale));
            to.env("LANG", Some(locale));
            to.env("LANGUAGE", Some("et:tr:fr"));
            format!("LC_ALL={locale}")
        },
    },
    Variation {
        name: "umask",
        control: "022",
        experiment: "002 or 027",
        limits: "",
        set: |to, draw| {
            to.world.umask = draw.one_of(&[0o002, 0o027]);
            format!("{:03o}", to.world.umask)
        },
    },
    Variation {
        name: "host-name",
        control: "selfsame, without domain",
        experiment: "another host and domain",
        limits: "",
        set: |to, draw| {
            to.world.host_name = format!("host-{:x}", draw.next() & 0xffff);
            to.world.domain_name = "example.org".into();
            to.world.host_name.clone()
        },
    },
    Variation {
        name: "user-ids",
        control: "the first range of ids",
        experiment: "another range, of which files are while the image is made",
        limits: "only root has another range; else this changes nothing",
        set: |to, _| {
            to.shift = to.shift.other();
            format!("from {}", to.shift.first())
        },
    },
    Variation {
        name: "user-name",
        control: "root",
        experiment: "USER and LOGNAME are another",
        limits: "",
        set: |to, draw| {
            let name = draw.one_of(&["builder", "amnesia"]);
            to.env("USER", Some(name));
            to.env("LOGNAME", Some(name));
            name.into()
        },
    },
    Variation {
        name: "home",
        control: "/root",
        experiment: "a directory that is not there",
        limits: "",
        set: |to, _| {
            to.env("HOME", Some("/nonexistent/home"));
            "/nonexistent/home".into()
        },
    },
    Variation {
        name: "environment",
        control: "what docs/sandbox.md lists",
        experiment: "more variables, of which some mean something to compilers and scripts",
        limits: "",
        set: |to, draw| {
            let word = format!("noise-{:x}", draw.next());
            for name in ["SELFSAME_NOISE", "CAPTURE_ENVIRONMENT", "BUILD_ID", "EMAIL", "DEBFULLNAME"] {
                to.env(name, Some(&word));
            }
            word
        },
    },
    Variation {
        name: "path",
        control: "the directories of Debian",
        experiment: "one more at its end, which is not there",
        limits: "",
        set: |to, draw| {
            let more = format!("/i/{:x}", draw.next());
            let path = format!("{}:{more}", crate::stages::job::path());
            to.env("PATH", Some(&path));
            more
        },
    },
    Variation {
        name: "hash-seed",
        control: "0, for Perl and Python",
        experiment: "another number",
        limits: "hashes that take no seed from the environment differ from build to build anyway",
        set: |to, draw| {
            let seed = draw.next() & 0xffff_ffff;
            to.env("PERL_HASH_SEED", Some(&format!("{seed:08x}")));
            to.env("PYTHONHASHSEED", Some(&seed.to_string()));
            seed.to_string()
        },
    },
    Variation {
        name: "processors",
        control: "all of the machine",
        experiment: "one",
        limits: "on a machine with one this changes nothing",
        set: |to, _| {
            to.world.processors = Some(1);
            "1".into()
        },
    },
    Variation {
        name: "processor-model",
        control: "the machine's",
        experiment: "an older one, in /proc/cpuinfo",
        limits: "the instruction CPUID still tells the real one",
        set: |to, draw| {
            let model =
                draw.one_of(&["QEMU Virtual CPU version 2.5+", "AMD Opteron 240", "Intel Core 2 Duo"]);
            to.world.processor_model = Some(model.into());
            model.into()
        },
    },
    Variation {
        name: "memory",
        control: "the machine's",
        experiment: "1, 3 or 7 GiB",
        limits: "",
        set: |to, draw| {
            let gib = draw.one_of(&[1, 3, 7]);
            to.world.memory = Some(gib << 30);
            format!("{gib} GiB")
        },
    },
    Variation {
        name: "kernel",
        control: "the machine's",
        experiment: "another release, in uname(2) and /proc",
        limits: "the kernel does what it does",
        set: |to, draw| {
            let release = draw.one_of(&["5.10.0-28-amd64", "6.1.0-18-amd64", "7.3.0-rc1"]);
            to.world.kernel = Some(release.into());
            release.into()
        },
    },
    Variation {
        name: "addresses",
        control: "random",
        experiment: "the same for each program",
        limits: "",
        set: |to, _| {
            to.world.random_addresses = false;
            "fixed".into()
        },
    },
    Variation {
        name: "process-ids",
        control: "from 2 on",
        experiment: "from another number on",
        limits: "",
        set: |to, draw| {
            let last = 300 + draw.next() % 3000;
            to.world.last_process = u32::try_from(last).ok();
            format!("from {} on", last + 1)
        },
    },
    Variation {
        name: "directory-order",
        control: "that of the file system",
        experiment: "shuffled, or by name from the last to the first",
        limits: "among the names that are read at a time, some thousand",
        set: |to, draw| {
            let (order, word) = match draw.next() % 4 {
                0 => (DirectoryOrder::Reversed, "reversed".to_owned()),
                _ => {
                    let seed = draw.next();
                    (DirectoryOrder::Shuffled(seed), format!("shuffled by {seed:x}"))
                }
            };
            to.world.directory_order = Some(order);
            word
        },
    },
    Variation {
        name: "jobs",
        control: "one thread for each processor",
        experiment: "another number of threads of selfsame",
        limits: "",
        set: |to, draw| {
            let other: Vec<usize> = [1, 3, 5].into_iter().filter(|jobs| *jobs != to.jobs.get()).collect();
            to.jobs = NonZero::new(draw.one_of(&other)).unwrap_or(NonZero::<usize>::MIN);
            to.jobs.to_string()
        },
    },
    Variation {
        name: "cache",
        control: "compressed blocks of earlier builds are used",
        experiment: "none are",
        limits: "",
        set: |to, _| {
            to.blocks = false;
            "cold".into()
        },
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Surroundings {
        Surroundings {
            world: World::default(),
            jobs: NonZero::new(2).unwrap(),
            shift: IdShift::ROOT,
            blocks: true,
        }
    }

    #[test]
    fn each_variation_changes_something_else_and_a_seed_repeats_it() {
        let mut names: Vec<_> = VARIATIONS.iter().map(|variation| variation.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), VARIATIONS.len());
        let mut seen = vec![plain()];
        for variation in VARIATIONS {
            let with = |seed| {
                let mut surroundings = plain();
                (variation.set(&mut surroundings, seed), surroundings)
            };
            let (words, surroundings) = with(1);
            assert!(!words.is_empty());
            assert!(!seen.contains(&surroundings), "{}", variation.name);
            assert_eq!((words, surroundings.clone()), with(1), "{}", variation.name);
            seen.push(surroundings);
        }
    }

    #[test]
    fn variations_do_not_undo_each_other() {
        let mut all = plain();
        VARIATIONS.iter().for_each(|variation| drop(variation.set(&mut all, 7)));
        for variation in VARIATIONS {
            let mut again = all.clone();
            variation.set(&mut again, 7);
            again.world.environment.sort();
            let mut sorted = all.clone();
            sorted.world.environment.sort();
            // These two are always others than they were.
            (again.shift, again.jobs) = (sorted.shift, sorted.jobs);
            assert_eq!(again, sorted, "{}", variation.name);
        }
    }
}
