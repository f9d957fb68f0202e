//! `runlake verify`: reads everything and says what is damaged.

use std::{io::Write as _, path::Path};

use clap::Args;
use runlake_engine::Filter;

use crate::{failure::Failure, number, progress, store, terminal::Terminal, text};

/// Read every byte of the lake and report what is damaged
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlake verify
  runlake verify && echo sound

Checks the catalog, every page of every segment against its checksum, and every row in the logs. Changes nothing. \
Exit code 1 where something is damaged; each finding is one line on standard output.")]
pub(crate) struct Verify;

impl Verify {
    pub(crate) fn run(self, store: Option<&Path>, terminal: &mut Terminal) -> Result<(), Failure> {
        let Self = self;
        let lake = store::open(store)?;
        let snapshot = lake.snapshot().map_err(|error| {
            Failure::new(error.to_string()).hint("without the catalog nothing else can be checked")
        })?;
        let mut findings = snapshot.problems().to_vec();

        let committed: u64 = snapshot.segments().iter().map(|segment| segment.rows).sum();
        let live: u64 = snapshot.tail().iter().map(|points| points.len() as u64).sum();
        let bar = progress::things("verifying", committed + live);
        let mut read = 0;
        let mut is_whole = true;
        for batch in snapshot.scan(&Filter::default())? {
            match batch {
                Ok(batch) => read += batch.num_rows() as u64,
                Err(error) => {
                    is_whole = false;
                    findings.push(error.to_string());
                }
            }
            bar.set_position(read);
        }
        bar.finish_and_clear();
        if is_whole && read != committed + live {
            findings.push(format!(
                "the catalog counts {} points, but {read} were read",
                committed + live
            ));
        }
        let runs = match snapshot.runs() {
            Ok(runs) => runs.len() as u64,
            Err(error) => {
                findings.push(error.to_string());
                0
            }
        };
        let aside = lake.health()?.quarantined;

        findings.dedup();
        for finding in &findings {
            writeln!(terminal, "{}", text::printable(finding))?;
        }
        if !aside.is_empty() {
            let what = number::counted(aside.len() as u64, "file");
            writeln!(
                terminal,
                "{what} were put aside earlier, in {}",
                lake.path().join("quarantine").display()
            )?;
        }
        if !findings.is_empty() {
            return Err(Failure::new(format!(
                "{} damaged: {} could be read",
                number::counted(findings.len() as u64, "part"),
                number::counted(read, "point")
            ))
            .hint("the rest stays readable; restore the files named above from a copy where there is one"));
        }
        writeln!(
            terminal,
            "{}: {}, {} in {} and {} in logs are sound",
            lake.path().display(),
            number::counted(runs, "run"),
            number::counted(committed, "point"),
            number::counted(snapshot.segments().len() as u64, "segment"),
            number::count(live)
        )?;
        Ok(())
    }
}
