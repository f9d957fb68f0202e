//! `runlake verify`: reads everything and says what is damaged.

use std::{io::Write as _, path::Path};

use clap::Args;

use crate::{failure::Failure, number, progress, store, terminal::Terminal, text};

/// Read every byte of the lake and report what is damaged
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlake verify
  runlake verify && echo sound

Checks the catalog, every file against its checksum, and every row in the logs; and compares the order of points, indexes, \
rollups and bounds with a recount of the points. Changes nothing. \
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
        for segment in snapshot.segments() {
            match segment.verify_points(&mut |rows| bar.set_position(read + rows)) {
                Ok(wrong) if wrong.is_empty() => read += segment.rows,
                Ok(wrong) => findings.push(wrong.join("; ")),
                Err(error) => findings.push(error.to_string()),
            }
        }
        bar.finish_and_clear();
        read += live;
        for segment in snapshot.fact_segments() {
            match segment.verify_facts() {
                Ok(wrong) => findings.extend(wrong),
                Err(error) => findings.push(error.to_string()),
            }
        }
        match lake.folded_segments() {
            Ok(files) => {
                for (_, file) in files {
                    match file.verify_rows() {
                        Ok(wrong) => findings.extend(wrong),
                        Err(error) => findings.push(error.to_string()),
                    }
                }
            }
            Err(error) => findings.push(error.to_string()),
        }
        let runs = match snapshot.runs() {
            Ok(runs) => runs.len() as u64,
            Err(error) => {
                findings.push(error.to_string());
                0
            }
        };
        let lost = snapshot.lost_ancestors().unwrap_or_default();
        let aside = lake.health()?.quarantined;

        let mut said = std::collections::HashSet::new();
        findings.retain(|finding| said.insert(finding.clone()));
        for finding in &findings {
            writeln!(terminal, "{}", text::printable(finding))?;
        }
        // No damage: somebody deleted a run, or it never was in this lake.
        for line in &lost {
            writeln!(terminal, "{}", text::printable(line))?;
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
        let expired: u64 = snapshot.segments().iter().map(|segment| segment.expired_rows).sum();
        if expired > 0 {
            let what = number::counted(expired, "point");
            writeln!(terminal, "of {what} that expired, indexes and rollups are sound")?;
        }
        Ok(())
    }
}
