//! Packages of the recipe's own: chosen by the pinned apt among Debian's, installed, guarded, and part of a tag.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use selfsame_build::lock::Lock;
use selfsame_testkit::archive::Deb;
use selfsame_testkit::readme::workspace;
use selfsame_testkit::{Apt, TestEnvironment, leaks, oracle_text};

use super::{mirror_words, world};

/// What is added to `examples/tiny`. Debian's bc is newer, so that only the priority speaks for the recipe's own.
const MORE: &str = r#"include = ["mine"]
from = { bc = "mine", "libc*" = "debian", mine = "mine" }

[[overlay]]
name = "mine"
directory = "debs"
priority = 990
"#;

struct World {
    world: TestEnvironment,
    recipe: PathBuf,
}

impl World {
    fn new() -> Self {
        let world = world();
        let recipe = world.root().join("recipe");
        fs::create_dir_all(recipe.join("debs/more")).unwrap();
        let text = fs::read_to_string(workspace().join("examples/tiny/selfsame.toml")).unwrap();
        let priority = "priority = \"essential\"\n";
        let changed = text.replacen(priority, &format!("{priority}{MORE}"), 1);
        assert!(changed != text, "{text}");
        let world = Self { world, recipe };
        world.write("selfsame.toml", changed.as_bytes());
        let mine = Deb::new("mine", "1")
            .set("Depends", "bc")
            .file("usr/share/mine", 0o644, b"mine\n")
            .script("postinst", "#!/bin/sh\nset -e\nbc-of-mine > /var/lib/mine\n");
        world.write("debs/mine.deb", &mine.bytes());
        world.bc("1.0", "first");
        world
    }

    fn bc(&self, version: &str, word: &str) {
        let script = format!("#!/bin/sh\necho {word}\n");
        let bc = Deb::new("bc", version).file("usr/bin/bc-of-mine", 0o755, script.as_bytes());
        self.write("debs/more/bc.deb", &bc.bytes());
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        fs::write(self.recipe.join(path), bytes).unwrap();
    }

    fn lock(&self) -> Lock {
        let mut words = vec!["lock".to_owned(), "recipe".to_owned()];
        words.extend(mirror_words());
        self.world.run(&words).success();
        fs::read_to_string(self.recipe.join("selfsame.lock")).unwrap().parse().unwrap()
    }

    /// Builds it offline; digests of its images.
    fn build(&self, out: &str, more: &[&str]) -> Vec<String> {
        let words = ["build", "recipe", "--offline", "--out", out];
        let built = self.world.run(words.iter().chain(more)).success();
        leaks::assert_none_below(self.world.root());
        built.lines().map(|line| line.split_once("  ").unwrap().0.to_owned()).collect()
    }
}

/// Which files of its own archive a recipe's lock has.
fn own(lock: &Lock) -> Vec<(&str, &str)> {
    let own = lock.packages.iter().filter(|package| package.archive == "mine");
    own.map(|package| (package.name.as_str(), package.version.as_str())).collect()
}

#[test]
fn packages_of_the_recipe_are_chosen_installed_and_part_of_a_tag() {
    let world = World::new();
    let lock = world.lock();
    assert_eq!(own(&lock), [("bc", "1.0"), ("mine", "1")]);
    assert!(lock.packages.len() > 50);
    let mut fetch = vec!["build".to_owned(), "recipe".to_owned(), "--until".to_owned(), "fetch".to_owned()];
    fetch.extend(mirror_words());
    world.world.run(&fetch).success();
    let built = world.build("out", &[]);
    let file = |path: &str| {
        let image = world.world.root().join("out/tiny.tar");
        let words = ["--wildcards".as_ref(), "-xOf".as_ref(), image.as_os_str(), path.as_ref()];
        oracle_text(Command::new("tar").args(words))
    };
    if let Some(text) = file("*usr/share/mine") {
        assert_eq!((text.as_str(), file("*var/lib/mine").as_deref()), ("mine\n", Some("first\n")));
    }

    // The tag alone gives the same, and stock apt takes the packages from it.
    world.world.run(["snapshot", "tag", "recipe", "tag", "--offline"]).success();
    let tag = world.world.root().join("tag");
    assert!(tag.join("mine/Packages").exists() && tag.join("mine/more/bc.deb").exists());
    assert_eq!(world.build("again", &["--tag", "tag", "--store", "empty"]), built);
    assert_apt_takes(&tag);

    // Another file under the same name is not what was locked, and a new lock takes it.
    world.bc("1.1", "second");
    // The first store has the image ready, but that was of other packages.
    for more in [&["--store", "other", "--tag", "tag"][..], &["--tag", "tag"], &[], &["--plan"]] {
        let words = ["build", "recipe", "--offline", "--out", "x"];
        let message = world.world.run(words.iter().chain(more)).failure(3);
        assert!(message.contains("overlay mine: more/bc.deb is not what the lock pins"), "{message}");
    }
    assert_eq!(own(&world.lock()), [("bc", "1.1"), ("mine", "1")]);

    // A guard that does not hold, and a version that Debian has with other bytes.
    let text = fs::read_to_string(world.recipe.join("selfsame.toml")).unwrap();
    world.write("selfsame.toml", text.replacen("bc = \"mine\"", "bc = \"debian\"", 1).as_bytes());
    let message = world.world.run(["lock", "recipe", "--offline"]).failure(3);
    assert!(message.contains("bc 1.1 must come from archive debian, and comes from mine"), "{message}");
    world.write("selfsame.toml", text.as_bytes());
    world.bc("1.07.1-3+b1", "third");
    let message = world.world.run(["lock", "recipe", "--offline"]).failure(3);
    assert!(message.contains("bc 1.07.1-3+b1 is in archive"), "{message}");
}

/// Stock apt with nothing installed chooses `mine` and `bc` from the tag's archive.
fn assert_apt_takes(tag: &Path) {
    let source = format!("deb [trusted=yes] file:{}/mine ./", tag.display());
    let apt = Apt::new(tag.with_extension("apt"), &source);
    let Some(()) = apt.update() else { return };
    let (installable, text) = apt.choice(&["mine"]);
    assert!(installable, "{text}");
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("Inst ")).collect();
    assert!(lines.iter().any(|line| line.starts_with("Inst bc (1.0 ")), "{text}");
    assert!(lines.iter().any(|line| line.starts_with("Inst mine (1 ")), "{text}");
}
