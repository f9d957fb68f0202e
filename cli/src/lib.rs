//! The `runlake` command, as a library with a thin `main`, so that the Python wheel ships the same command.
//!
//! [`run`] parses arguments, carries out one command and prints errors, once. Each command has a file of its name.
//! Results go to stdout; progress and errors go to stderr. A reader that goes away (`| head`) is no error.
//!
//! Exit codes: 0 where the command did what was asked, 1 where it failed, 2 where it was called wrongly, 130 where
//! Ctrl-C stopped it.
//!
//! # Example
//! ```
//! assert_eq!(runlake_cli::run(["runlake", "--version"]), 0);
//! assert_eq!(runlake_cli::run(["runlake", "no-such-command"]), 2);
//! ```

mod age;
mod backup;
mod chart;
mod compact;
mod compare;
mod damage;
mod demo;
mod doctor;
mod expire;
mod export;
mod failure;
mod format;
mod headline;
mod import;
mod init;
mod interrupt;
mod merge;
mod number;
mod output;
mod plot;
mod progress;
mod recent;
mod restore;
mod rm;
mod runs;
mod show;
mod sparkline;
mod sql;
mod stats;
mod store;
mod suggestion;
mod table;
mod tag;
mod tail;
mod terminal;
mod text;
mod verify;

use std::{ffi::OsString, io::Write as _, path::PathBuf};

use clap::{Parser, Subcommand};

pub use crate::{
    export::{Exported, Exporting, export},
    failure::Failure,
    format::Format,
};

use crate::terminal::Terminal;

/// Metrics of training runs, in one directory, by SQL.
#[derive(Debug, Parser)]
#[command(
    name = "runlake",
    version,
    about = "Metrics of training runs, in one directory, by SQL",
    after_help = "\
Examples:
  runlake                                       recent runs
  runlake show @last                            everything about the newest run
  runlake plot train/loss                       a chart in the terminal
  runlake compare @last @last-1                 what differs between runs
  runlake sql \"select * from runs\"              any question, in SQL
  runlake demo                                  a tour of 30 seconds

Which lake: --store, else $RUNLAKE_STORE, else the nearest runs.lake upward from here. `runlake doctor` says which \
one it is, and why. A RUN is an id, a unique start of one, a name, project/run, @last or @last-1."
)]
struct Cli {
    /// The lake [default: $RUNLAKE_STORE, else the nearest runs.lake upward]
    #[arg(long, global = true, value_name = "DIR")]
    store: Option<PathBuf>,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Sql(sql::Sql),
    Runs(runs::Runs),
    Show(show::Show),
    Tail(tail::Tail),
    Plot(plot::Plot),
    Compare(compare::Compare),
    Tag(tag::Tag),
    Note(tag::Note),
    Rename(tag::Rename),
    Import(import::Import),
    Export(export::Export),
    Merge(merge::Merge),
    Backup(backup::Backup),
    Rm(rm::Rm),
    Restore(restore::Restore),
    Expire(expire::Expire),
    Init(init::Init),
    Compact(compact::Compact),
    Verify(verify::Verify),
    Stats(stats::Stats),
    Doctor(doctor::Doctor),
    Demo(demo::Demo),
}

/// Carries out one command line, the program's name first, and returns its exit code. Prints errors to stderr.
pub fn run<I, T>(args: I) -> i32
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help that nobody reads any more is no failure.
            error.print().unwrap_or_default();
            return error.exit_code();
        }
    };
    let mut terminal = Terminal::of_process();
    let done = obey(cli, &mut terminal).and_then(|()| Ok(terminal.flush()?));
    match done {
        Err(failure) if !terminal.reader_is_gone() => {
            failure.print(terminal.colours_errors());
            failure.exit_code()
        }
        _ => 0,
    }
}

fn obey(cli: Cli, terminal: &mut Terminal) -> Result<(), Failure> {
    let store = cli.store.as_deref();
    match cli.command {
        None => recent::list(store, terminal),
        Some(Command::Sql(sql)) => sql.run(store, terminal),
        Some(Command::Runs(runs)) => runs.run(store, terminal),
        Some(Command::Show(show)) => show.run(store, terminal),
        Some(Command::Tail(tail)) => tail.run(store, terminal),
        Some(Command::Plot(plot)) => plot.run(store, terminal),
        Some(Command::Compare(compare)) => compare.run(store, terminal),
        Some(Command::Tag(tag)) => tag.run(store, terminal),
        Some(Command::Note(note)) => note.run(store, terminal),
        Some(Command::Rename(rename)) => rename.run(store, terminal),
        Some(Command::Import(import)) => import.run(store, terminal),
        Some(Command::Export(export)) => export.run(store, terminal),
        Some(Command::Merge(merge)) => merge.run(terminal),
        Some(Command::Backup(backup)) => backup.run(store, terminal),
        Some(Command::Rm(rm)) => rm.run(store, terminal),
        Some(Command::Restore(restore)) => restore.run(store, terminal),
        Some(Command::Expire(expire)) => expire.run(store, terminal),
        Some(Command::Init(init)) => init.run(store, terminal),
        Some(Command::Compact(compact)) => compact.run(store, terminal),
        Some(Command::Verify(verify)) => verify.run(store, terminal),
        Some(Command::Stats(stats)) => stats.run(store, terminal),
        Some(Command::Doctor(doctor)) => doctor.run(store, terminal),
        Some(Command::Demo(demo)) => demo.run(store, terminal),
    }
}
