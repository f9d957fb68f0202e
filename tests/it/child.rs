//! Other processes: this test binary once more, told by an environment variable what to be.

use std::{
    ffi::OsStr,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

const ROLE: &str = "RUNLAKE_TEST_ROLE";

/// A process that will be `role`, with `argument`.
pub(crate) fn command(role: &str, argument: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["child::is_what_it_is_told_to_be", "--exact", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env("RUNLAKE_TEST_ARGUMENT", argument)
        .env_remove("RUNLAKE_STORE")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// `command` in a process that sees `path` as the shell commands `mount` make it (`$0` is the path), alone; nothing where
/// this system lets nobody mount.
pub(crate) fn with_mount(command: &Command, mount: &str, path: &Path) -> Option<Command> {
    let alone = format!("mount --make-rprivate / && {mount}");
    let ways: [&[&str]; 2] = [&["--mount"], &["--user", "--map-root-user", "--mount"]];
    let possible = |way: &&&[&str]| {
        let tried =
            Command::new("unshare").args(**way).args(["sh", "-c", &alone]).arg(path).output();
        tried.is_ok_and(|output| output.status.success())
    };
    let way = ways.iter().find(possible)?;
    let mut mounted = Command::new("unshare");
    mounted.args(*way).args(["sh", "-c", &format!("{alone} && exec \"$@\"")]).arg(path);
    mounted.arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => mounted.env(key, value),
            None => mounted.env_remove(key),
        };
    }
    mounted.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Some(mounted)
}

/// Starts the command line `runlake ARGUMENTS` in a process of its own.
pub(crate) fn runlake<S: AsRef<OsStr>>(arguments: &[S]) -> Child {
    let mut line = std::ffi::OsString::new();
    for argument in arguments {
        line.push(argument);
        line.push("\n");
    }
    command("runlake", line).spawn().unwrap()
}

/// Waits for a child that should do as it is told.
#[track_caller]
pub(crate) fn finish(child: Child) -> Output {
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Not a test of its own: what a child does. Without the variable it has nothing to do.
#[test]
fn is_what_it_is_told_to_be() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let argument = std::env::var("RUNLAKE_TEST_ARGUMENT").unwrap();
    match role.as_str() {
        "runlake" => {
            let line = std::iter::once("runlake").chain(argument.lines());
            assert_eq!(runlake_cli::run(line), 0);
        }
        "full disk" => super::full_disk::train(Path::new(&argument)),
        "readme" => super::readme::program().unwrap(),
        "read only" => super::damage::read_only(Path::new(&argument)),
        "sitting" => {
            let parts: Vec<&str> = argument.split('|').collect();
            let (seed, number) = (parts[1].parse().unwrap(), parts[2].parse().unwrap());
            super::roundtrip::sit(Path::new(parts[0]), seed, number);
        }
        other => panic!("no child is a {other}"),
    }
}
