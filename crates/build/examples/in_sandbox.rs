//! Runs a program in a directory as builds run the programs of packages, for measuring: `in_sandbox DIRECTORY PROGRAM...`.
//!
//! What the program changes stays there. The status is that of the program.

use std::error::Error;
use std::io::Write as _;

use selfsame_build::host::{self, Host, IdShift};
use selfsame_build::sandbox::{self, Job, Root, Sandbox, Status, Stream};

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args_os().nth(1).is_some_and(|first| first == sandbox::CHILD_ARGUMENT) {
        sandbox::child_main();
    }
    let mut arguments = std::env::args_os().skip(1);
    let directory = arguments.next().ok_or("usage: in_sandbox DIRECTORY PROGRAM...")?;
    // The files belong to whom they belong to outside.
    let host = Host { shift: IdShift::NONE, ..host::enter()? };
    let mut job = Job::new(Root::Dir(directory.into()), arguments);
    job.env =
        vec![("PATH".into(), "/usr/sbin:/usr/bin:/sbin:/bin".into()), ("LC_ALL".into(), "C.UTF-8".into())];
    let exit = Sandbox::new(host).run(&job, &mut |stream, line| {
        let line = [line, b"\n"].concat();
        // Whoever measures may not listen.
        let _ = match stream {
            Stream::Out => std::io::stdout().write_all(&line),
            Stream::Err => std::io::stderr().write_all(&line),
        };
    })?;
    match exit.status {
        Status::Exited(status) => std::process::exit(status.into()),
        status => Err(format!("the program ended otherwise: {status:?}").into()),
    }
}
