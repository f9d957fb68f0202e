//! `runlake expire`: lets the points of old runs go and keeps what they add up to.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::Args;
use runlake_engine::{Expired, Expiry};

use crate::{damage, failure::Failure, number, progress, runs, store, terminal::Terminal, text};

/// Let the points of old runs go and keep what they add up to: shows the runs, asks, and rewrites their files
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlake expire --raw-older-than 90d --keep-rollups --dry-run
  runlake expire --raw-older-than 90d --keep-rollups
  runlake expire --raw-older-than 12w --keep-rollups --project digits --yes

Of each series count, first, last, least and greatest values and their steps, mean, and coarse rollups of the long ones stay: `runlake runs`, \
`runlake show`, and SQL's runs, config and series answer as before. points and history have no rows of these runs any more. There is no way \
back. Only runs that ended so long ago go, never one that runs or whose host cannot be seen. Killed, it has done a part; run it again. The space is \
free an hour later with the next `runlake compact`, or at once with `runlake compact --gc-now`.")]
pub(crate) struct Expire {
    /// Runs that ended so long ago: a number and s, min, h, d or w
    #[arg(long, value_name = "AGE", value_parser = seconds)]
    raw_older_than: u64,

    /// Keep what the points add up to. There is no other way: `runlake rm` deletes whole runs
    #[arg(long, required = true)]
    keep_rollups: bool,

    /// Only runs of this project
    #[arg(long, value_name = "P")]
    project: Option<String>,

    /// Show what would go, and change nothing
    #[arg(long)]
    dry_run: bool,

    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// An age in seconds, such as `90d`.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
    let (count, unit) = text.split_at(digits);
    let unit = match unit {
        "s" => 1,
        "min" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        "w" => 7 * 24 * 3600,
        _ => return Err("a number and one of s, min, h, d, w is meant, such as 90d".to_owned()),
    };
    let count: u64 = count.parse().map_err(|_not_digits| format!("'{count}' is no number"))?;
    count.checked_mul(unit).ok_or_else(|| "that is longer than anything".to_owned())
}

/// The moment so many seconds ago, in microseconds since 1970 (UTC).
pub(crate) fn ago_us(seconds: u64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let then = now.saturating_sub(Duration::from_secs(seconds));
    i64::try_from(then.as_micros()).unwrap_or(i64::MAX)
}

impl Expire {
    pub(crate) fn run(self, store: Option<&Path>, terminal: &mut Terminal) -> Result<(), Failure> {
        let lake = store::open(store)?;
        let snapshot = lake.snapshot()?;
        damage::warn(snapshot.problems(), terminal);
        let expiry = lake.expiry(ago_us(self.raw_older_than), self.project.as_deref())?;
        let Expiry { runs, points, bytes, .. } = &expiry;
        if runs.is_empty() {
            return Ok(writeln!(terminal, "no run is so old and has points")?);
        }
        let drawn = runs::tabulate(&snapshot, runs)?;
        write!(terminal, "{}", drawn.draw(terminal.columns(), terminal.is_coloured()))?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "bytes on a disk, shown to a few digits"
        )]
        let what = format!(
            "{} of {}, about {}",
            number::counted(*points, "point"),
            number::counted(runs.len() as u64, "run"),
            number::bytes(bytes.round() as u64)
        );
        if self.dry_run {
            return Ok(writeln!(terminal, "would expire {what}")?);
        }
        if !self.yes && !is_agreed(&what, terminal)? {
            return Err(Failure::new("nothing has expired"));
        }
        let bar = progress::things("expiring", 0);
        let expired = lake.expire(&expiry, &mut |done, of| {
            bar.set_length(of);
            bar.set_position(done);
            true
        });
        bar.finish_and_clear();
        say(terminal, &expired?)
    }
}

fn say(terminal: &mut Terminal, expired: &Expired) -> Result<(), Failure> {
    let Expired { points, segments, left_alone, is_busy, lacks_space, problems, .. } = expired;
    if *is_busy {
        return Err(Failure::new("nothing has expired: another process is merging")
            .hint("run the command again when it is done"));
    }
    writeln!(
        terminal,
        "{} of {} expired; `runlake compact` frees their space",
        number::counted(*points, "point"),
        number::counted(*segments, "segment")
    )?;
    if *left_alone > 0 {
        let what = number::counted(*left_alone, "segment");
        writeln!(terminal, "{what} of lakes that are merged again stay: expire there")?;
    }
    if *lacks_space {
        writeln!(terminal, "not all has expired: the disk is almost full")?;
    }
    for problem in problems {
        writeln!(terminal, "left as it is: {}", text::printable(problem))?;
    }
    Ok(())
}

/// Asks whoever sits at the terminal. Without one nobody can agree.
fn is_agreed(what: &str, terminal: &mut Terminal) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(
            Failure::usage("nobody is there to ask").hint("say --yes to expire without a question")
        );
    }
    write!(terminal, "let {what}, go for good? [y/N] ")?;
    terminal.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
