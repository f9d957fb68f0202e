//! A folder of its own for each test, and the command run in it.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use runlake_engine::{Lake, Run, State};
use serde_json::{Map, Value};

/// A folder with, perhaps, a lake in it.
pub(crate) struct Lab {
    folder: tempfile::TempDir,
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The lake that commands find in this folder; created where it is not there.
    pub(crate) fn lake(&self) -> Lake {
        Lake::open_or_create(self.path().join("runs.lake")).unwrap()
    }

    /// A file in this folder.
    pub(crate) fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, contents).unwrap();
        path
    }

    /// The command with these arguments, in this folder, with nothing of the caller's environment that would matter.
    pub(crate) fn command<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runlake"));
        command.args(arguments).current_dir(self.path()).env("HOME", self.path());
        for variable in ["RUNLAKE_STORE", "COLUMNS", "NO_COLOR", "CLICOLOR_FORCE"] {
            command.env_remove(variable);
        }
        command
    }

    /// Runs the command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        said(self.command(arguments).stdin(Stdio::null()).output().unwrap())
    }

    /// Runs the command with `input` on its standard input.
    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> Said {
        let mut child = spawn(self.command(arguments).stdin(Stdio::piped()));
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        said(child.wait_with_output().unwrap())
    }

    /// What a query answers, as CSV without its header.
    pub(crate) fn rows(&self, query: &str) -> Vec<String> {
        let said = self.run(&["sql", query, "--format", "csv"]).ok();
        said.out.lines().skip(1).map(str::to_owned).collect()
    }
}

impl Said {
    /// Asserts that the command did what was asked.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// Asserts that the command failed as it should: with `code`, one line that starts with `error:`, and hints.
    #[track_caller]
    pub(crate) fn failed(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        let mut lines = self.err.lines();
        assert!(lines.next().is_some_and(|line| line.starts_with("error: ")), "{self:#?}");
        assert!(lines.all(|line| line.starts_with("hint: ")), "{self:#?}");
        self
    }

    /// Asserts that errors and hints hold all of `texts`.
    #[track_caller]
    pub(crate) fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.err.contains(text), "'{text}' is not in {self:#?}");
        }
        self
    }

    /// Asserts that the output holds all of `texts`.
    #[track_caller]
    pub(crate) fn prints(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.out.contains(text), "'{text}' is not in {self:#?}");
        }
        self
    }
}

/// Starts a command with its output piped.
pub(crate) fn spawn(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

pub(crate) fn said(output: std::process::Output) -> Said {
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A finished run with a loss that falls over `steps` steps, an accuracy, and some configuration.
pub(crate) fn finished_run(lake: &Lake, project: &str, name: &str, steps: i64) -> Run {
    let run = lake.run(project).name(name).config(config(name)).tags(["test"]).start().unwrap();
    for step in 0..steps {
        let loss = 1.0 / (step + 1) as f64;
        run.log_named(step, &[("train/loss", loss), ("train/accuracy", 1.0 - loss)]).unwrap();
    }
    run.finish(State::Finished).unwrap();
    run
}

fn config(name: &str) -> Map<String, Value> {
    let config = serde_json::json!({"lr": 0.25, "model": {"width": 64, "name": name}});
    config.as_object().unwrap().clone()
}
