//! Versions compare as dpkg says, over pairs made to be close to each other.

mod support;

use std::cmp::Ordering;
use std::process::Command;

use selfsame_apt::version::Version;
use selfsame_testkit::{oracle, skip};
use support::input;

/// Pseudo-random numbers (xorshift), the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }

    fn version(&mut self) -> String {
        const PIECES: [&str; 22] = [
            "0", "00", "1", "2", "9", "10", "010", "a", "b", "Z", "rc", ".", "..", "+", "~", "~~", "+b1",
            "~bpo12", "-", "-1", "+dfsg", "deb12u1",
        ];
        let mut text = ["", "", "", "0:", "1:", "2:"][self.below(6)].to_owned();
        text.push_str(["0", "1", "1.", "12"][self.below(4)]);
        for _ in 0..self.below(6) {
            text.push_str(PIECES[self.below(PIECES.len())]);
        }
        text
    }

    /// A version, and the same with a little change.
    fn pair(&mut self) -> (String, String) {
        let first = self.version();
        if self.below(4) == 0 {
            return (first, self.version());
        }
        let mut second = first.clone();
        let at = self.below(first.len() + 1);
        match self.below(3) {
            0 => second.insert_str(at, ["0", "~", ".", "a", "1"][self.below(5)]),
            1 => second.truncate(at),
            _ => second.push_str(["~", "+b1", "-1", ".0", "0"][self.below(5)]),
        }
        (first, second)
    }

    /// Pairs of which both are versions by our reading.
    fn pairs(&mut self, count: usize) -> Vec<(String, String)> {
        let valid = |text: &str| Version::parse(text).is_ok();
        std::iter::repeat_with(|| self.pair()).filter(|(a, b)| valid(a) && valid(b)).take(count).collect()
    }
}

fn ours(a: &str, b: &str) -> Ordering {
    Version::parse(a).unwrap().cmp(&Version::parse(b).unwrap())
}

#[test]
fn dpkg_compares_the_same() {
    for (a, b) in Chance(0x9e37_79b9_7f4a_7c15).pairs(150) {
        let relation = match ours(&a, &b) {
            Ordering::Less => "lt-nl",
            Ordering::Equal => "eq",
            Ordering::Greater => "gt-nl",
        };
        let Some(output) = oracle(Command::new("dpkg").args(["--compare-versions", &a, relation, &b])) else {
            return;
        };
        assert!(output.status.success() && output.stderr.is_empty(), "{a} {relation} {b}: {output:?}");
    }
}

/// The Perl library beside dpkg judges many pairs in one run.
#[test]
fn dpkgs_perl_library_compares_the_same() {
    let pairs = Chance(0x2545_f491_4f6c_dd1d).pairs(100_000);
    let lines: String = pairs.iter().map(|(a, b)| format!("{a} {b}\n")).collect();
    let program =
        "while (<STDIN>) { my ($a, $b) = split; push @out, version_compare($a, $b) } print \"@out\"";
    let mut perl = Command::new("perl");
    perl.args(["-MDpkg::Version", "-e", program]).stdin(input(&lines));
    let Some(output) = oracle(&mut perl) else { return };
    if !output.status.success() {
        // The library is in a package of its own.
        skip(String::from_utf8_lossy(&output.stderr));
        return;
    }
    let text = String::from_utf8(output.stdout).unwrap();
    let theirs: Vec<_> = text.split(' ').map(|number| number.parse::<i32>().unwrap().cmp(&0)).collect();
    assert_eq!(theirs.len(), pairs.len());
    for ((a, b), theirs) in pairs.iter().zip(theirs) {
        assert_eq!(ours(a, b), theirs, "{a} {b}");
    }
}

#[test]
fn dpkg_refuses_what_we_refuse() {
    for text in ["", "a", "1_2", "1:", ":1", "-1:1", "2147483648:1", "1-", "1-1:1", "1 2", "1/2"] {
        assert!(Version::parse(text).is_err(), "{text}");
        let Some(output) = oracle(Command::new("dpkg").args(["--validate-version", text])) else {
            return;
        };
        assert!(!output.status.success(), "{text}");
    }
    let mut chance = Chance(88_172_645_463_325_252);
    for _ in 0..80 {
        let text = chance.version();
        let Some(output) = oracle(Command::new("dpkg").args(["--validate-version", &text])) else {
            return;
        };
        assert_eq!(Version::parse(&text).is_ok(), output.status.success(), "{text}: {output:?}");
    }
}
