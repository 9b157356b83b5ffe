//! The moment of an image: from the environment, else the recipe, else the commit the recipe is at.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use selfsame_build::lock;
use selfsame_build::recipe::{self, Keys, Recipe};
use selfsame_image::Epoch;

use crate::failure::Failure;
use crate::settings::Settings;
use crate::ui::Ui;

/// How many files that are not committed are named.
const NAMED: usize = 3;

/// Decides the epoch, and refuses one that lies in the future. Warns of files that nobody else has.
pub fn of(recipe: &Recipe, settings: &Settings, ui: &Ui) -> Result<Epoch, Failure> {
    if let Some(files) = uncommitted(recipe) {
        ui.warn(&format!("not committed as it is: {files}; whoever builds the commit gets another image"));
    }
    let now = SystemTime::now();
    if let Some(epoch) = settings.source_date_epoch(now)? {
        if let Some(text) = overridden(epoch, recipe.epoch) {
            ui.note(&text);
        }
        return Ok(epoch);
    }
    let epoch = match recipe.epoch {
        Some(epoch) => epoch,
        None => of_commit(&recipe.dir)?,
    };
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if u64::from(epoch.0) > seconds {
        return Err(Failure::input(format!(
            "the image would be dated {}, which lies in the future",
            epoch.civil()
        ))
        .hint("an image cannot be dated after its build: set this machine's clock, or an earlier epoch"));
    }
    Ok(epoch)
}

/// What to say if the environment dates an image that the recipe dates otherwise: a variable that was left set, by a
/// build of something else for example, would be hard to find.
fn overridden(used: Epoch, recipe: Option<Epoch>) -> Option<String> {
    let recipe = recipe.filter(|epoch| *epoch != used)?;
    Some(format!(
        "the image is dated {} by SOURCE_DATE_EPOCH, not {} as the recipe says",
        used.civil(),
        recipe.civil()
    ))
}

/// Runs git in `dir`; what it prints, if it has something to say about it. Git's own program is asked: it alone knows
/// all its formats.
fn git(dir: &Path, arguments: impl IntoIterator<Item = OsString>) -> Option<String> {
    // Nothing is written, the index included, which may belong to somebody else.
    let mut command = Command::new("git");
    command.args(["--no-optional-locks", "--literal-pathspecs", "-C"]).arg(dir).args(arguments);
    let output = command.stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The files of `recipe` that reach the image or the lock and are not what the commit has: changed, new or ignored.
/// `None` if there are none, or if the recipe is not in Git.
fn uncommitted(recipe: &Recipe) -> Option<String> {
    let keys = recipe.archives.values().filter_map(|archive| match &archive.keys {
        Keys::File { file, .. } => Some(file),
        Keys::Debian => None,
    });
    let own = [Path::new(recipe::FILE), Path::new(lock::FILE)];
    let paths = own.into_iter().chain(
        recipe
            .overlay
            .iter()
            .chain(&recipe.hooks)
            .chain(&recipe.squashfs.sort)
            .chain(keys)
            .chain(recipe.local.values().map(|local| &local.directory))
            .map(|p| p.as_path()),
    );
    let mut arguments: Vec<OsString> =
        ["status", "--porcelain", "--ignored", "--untracked-files=all", "--"].map(OsString::from).to_vec();
    // Git looks at a link, not at what it leads to. What is missing is told by whoever needs it.
    arguments
        .extend(paths.filter_map(|path| Some(recipe::resolve(&recipe.dir, path).ok()?.into_os_string())));
    let text = git(&recipe.dir, arguments)?;
    let files: Vec<&str> = text.lines().filter_map(|line| line.get(3..)).collect();
    let named = files.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    match files.len() {
        0 => None,
        count if count > NAMED => Some(format!("{named} and {} more", count - NAMED)),
        _ => Some(named),
    }
}

/// The committer's time of the commit that `dir` is at.
fn of_commit(dir: &Path) -> Result<Epoch, Failure> {
    let unknown = |why: &str| {
        Failure::input(format!("the image has no date: {why}"))
            .hint("set `epoch` in the recipe's [image], or the environment variable SOURCE_DATE_EPOCH")
    };
    let text = git(dir, ["log", "-1", "--format=%ct"].map(OsString::from))
        .ok_or_else(|| unknown("the recipe sets no epoch, and git finds no commit it belongs to"))?;
    text.trim().parse().map(Epoch).map_err(|_| unknown("the commit's time is not understood"))
}

/// The commit that all of `recipe` is of, if there is one.
#[cfg(test)]
fn commit(recipe: &Recipe) -> Option<String> {
    witness(recipe).ok()
}

/// The commit that all of `recipe` is of, else why there is none.
///
/// # Errors
/// A reason that goes on after `there is no commit to name: `.
pub fn witness(recipe: &Recipe) -> Result<String, String> {
    let none = || "git finds none that the recipe belongs to".to_owned();
    let text = git(&recipe.dir, ["rev-parse", "--verify", "HEAD"].map(OsString::from)).ok_or_else(none)?;
    let commit = text.trim();
    let digits = commit.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !digits || !matches!(commit.len(), 40 | 64) {
        return Err(none());
    }
    match uncommitted(recipe) {
        Some(files) => Err(format!("not committed as it is: {files}")),
        None => Ok(commit.to_owned()),
    }
}

/// What is checked out in `dir`, in words: a branch, else a commit. That Git does not answer is an error where it should know.
pub fn checked_out(dir: &Path) -> Result<String, Failure> {
    let ask = |words: &[&str]| git(dir, words.iter().map(OsString::from)).map(|text| text.trim().to_owned());
    if let Some(branch) = ask(&["symbolic-ref", "--quiet", "--short", "HEAD"]) {
        return Ok(format!("branch {branch}"));
    }
    if let Some(commit) = ask(&["rev-parse", "--verify", "HEAD"]) {
        return Ok(format!("commit {commit}"));
    }
    let whole = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    if whole.ancestors().any(|above| above.join(".git").exists()) {
        let shown = dir.display();
        return Err(Failure::environment(format!("git does not say which branch of {shown} this is")).hint(format!(
            "see what `git -C {shown} status` says: git may be missing, or the files belong to another user (safe.directory)"
        )));
    }
    Ok("no commit".into())
}

/// Refuses a date of the environment that is not the one that everybody else gets from the recipe or its commit.
pub fn own(recipe: &Recipe, settings: &Settings) -> Result<(), Failure> {
    let Some(epoch) = settings.source_date_epoch(SystemTime::now())? else { return Ok(()) };
    let date = recipe.epoch.or_else(|| of_commit(&recipe.dir).ok());
    match date.filter(|date| *date != epoch) {
        None => Ok(()),
        Some(date) => Err(Failure::input(format!(
            "SOURCE_DATE_EPOCH dates the image {}, and the recipe or its commit {}",
            epoch.civil(),
            date.civil()
        ))
        .hint("unset SOURCE_DATE_EPOCH: a rebuild with another date gives other bytes, and would be signed as bad")),
    }
}

#[cfg(test)]
mod tests {
    use selfsame_testkit::oracle_text;

    use super::*;

    #[test]
    fn an_epoch_that_is_overridden_is_told() {
        let text = overridden(Epoch(0), Some(Epoch(86_400))).unwrap();
        let expected = "the image is dated 1970-01-01T00:00:00Z by SOURCE_DATE_EPOCH, not 1970-01-02T00:00:00Z as the recipe says";
        assert_eq!(text, expected);
        assert_eq!(overridden(Epoch(5), Some(Epoch(5))), None);
        assert_eq!(overridden(Epoch(5), None), None);
    }

    #[test]
    fn files_that_nobody_else_has_are_named_whatever_dates_the_image() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let text = "format = 1\n[image]\nname = \"x\"\noutputs = [\"tar\"]\nepoch = \"0\"\n\
                    [archives.a]\nsuites = [\"s\"]\nkeys = \"debian\"\n[files]\noverlay = \"files\"\n";
        write("r/selfsame.toml", text);
        write("r/selfsame.lock", "");
        write("r/files/etc/motd", "hello");
        write(".gitignore", "*.swp\nout\n");
        let recipe = recipe::load(&dir.path().join("r")).unwrap();
        assert_eq!(uncommitted(&recipe), None, "no repository, no commit to compare with");
        assert_eq!(commit(&recipe), None);
        assert_eq!(checked_out(&recipe.dir).unwrap(), "no commit");
        let run = |arguments: &[&str]| {
            let mut git = Command::new("git");
            git.arg("-C").arg(dir.path()).args(["-c", "user.name=x", "-c", "user.email=x@example.org"]);
            oracle_text(git.args(["-c", "commit.gpgsign=false"]).args(arguments))
        };
        if run(&["init", "--quiet"]).is_none() {
            return;
        }
        assert_eq!(
            uncommitted(&recipe).as_deref(),
            Some("r/files/etc/motd, r/selfsame.lock, r/selfsame.toml")
        );
        run(&["add", "."]).unwrap();
        run(&["commit", "--quiet", "-m", "all"]).unwrap();
        // What does not reach the image is nobody's business.
        write("r/out/x.tar", "image");
        write("r/notes", "mine");
        assert_eq!(uncommitted(&recipe), None);
        let head = run(&["rev-parse", "HEAD"]).unwrap();
        assert_eq!(commit(&recipe).as_deref(), Some(head.trim()));
        run(&["checkout", "--quiet", "-b", "stable"]).unwrap();
        assert_eq!(checked_out(&recipe.dir).unwrap(), "branch stable");
        run(&["checkout", "--quiet", "--detach"]).unwrap();
        assert_eq!(checked_out(&recipe.dir).unwrap(), format!("commit {}", head.trim()));
        write("r/files/etc/.motd.swp", "ignored");
        assert_eq!(commit(&recipe), None, "nobody else has this");
        assert_eq!(uncommitted(&recipe).as_deref(), Some("r/files/etc/.motd.swp"));
        write("r/files/etc/motd", "changed");
        write("r/files/a", "new");
        write("r/files/b", "new");
        assert_eq!(
            uncommitted(&recipe).as_deref(),
            Some("r/files/etc/motd, r/files/a, r/files/b and 1 more")
        );
    }
}
