//! `runlake doctor`: which lake, why, and how it is.

use std::{collections::BTreeSet, io::Write as _, path::Path};

use clap::Args;
use runlake_engine::{Health, Lake, SilentWriter, Snapshot, store::Resolution};

use crate::{age, failure::Failure, number, store, terminal::Terminal, text};

/// Say which lake is meant, why, and how it is
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlake doctor
  runlake --store /data/runs.lake doctor

Tells filesystem and free space, whether locks and hard links work, which writers live, and what dead ones left. Changes \
nothing.")]
pub(crate) struct Doctor;

impl Doctor {
    pub(crate) fn run(self, store: Option<&Path>, terminal: &mut Terminal) -> Result<(), Failure> {
        let Self = self;
        let found = store::resolve(store)?;
        say(terminal, "lake", &found.path.display().to_string())?;
        for (at, place) in found.looked.iter().enumerate() {
            say(terminal, if at == 0 { "looked at" } else { "" }, place)?;
        }
        if !found.exists {
            return say(terminal, "state", "there is no lake yet; the first run creates it");
        }
        let lake = Lake::open(&found.path)?;
        let health = lake.health()?;
        let snapshot = lake.snapshot();
        for (what, lines) in findings(&lake, &health, snapshot.as_ref()) {
            for (at, line) in lines.iter().enumerate() {
                say(terminal, if at == 0 { what } else { "" }, line)?;
            }
        }
        let advice = advice(&found, &health, snapshot.as_ref());
        if advice.is_empty() {
            return say(terminal, "advice", "none: all is well");
        }
        for (at, line) in advice.iter().enumerate() {
            say(terminal, if at == 0 { "advice" } else { "" }, line)?;
        }
        Ok(())
    }
}

fn say(terminal: &mut Terminal, what: &str, line: &str) -> Result<(), Failure> {
    let dim = terminal.dim();
    Ok(writeln!(terminal, "{dim}{what:<11}{dim:#} {}", text::printable(line))?)
}

type Findings = Vec<(&'static str, Vec<String>)>;

fn findings(
    lake: &Lake,
    health: &Health,
    snapshot: Result<&Snapshot, &runlake_engine::Error>,
) -> Findings {
    let works = |works: bool| if works { "work" } else { "do not work" };
    let mut findings =
        vec![
            ("id", vec![lake.uuid().to_owned()]),
            (
                "filesystem",
                vec![format!("{}, {} free", health.filesystem, number::bytes(health.free_bytes))],
            ),
            ("logs", vec![logs(health.logs_are_mapped, &health.log_mode_why)]),
            ("locks", vec![works(health.locks).to_owned()]),
            ("hard links", vec![works(health.hard_links).to_owned()]),
            (
                "shared",
                vec![health.group.map_or_else(
                    || "with nobody".to_owned(),
                    |group| format!("with group {group}"),
                )],
            ),
            ("alive", or_none(health.alive.clone())),
        ];
    if !health.silent.is_empty() {
        findings.push(("silent", health.silent.iter().map(silent).collect()));
    }
    findings.push((
        "left behind",
        vec![match health.dead {
            0 => "nothing".to_owned(),
            dead => format!(
                "{} of writers that ended, {}",
                number::counted(dead, "log"),
                number::bytes(health.dead_bytes)
            ),
        }],
    ));
    findings.push(("put aside", or_none(health.quarantined.clone())));
    match snapshot {
        Err(error) => findings.push(("contents", vec![error.to_string()])),
        Ok(snapshot) => {
            let segments = snapshot.segments();
            let live: usize = snapshot.tail().iter().map(|points| points.len()).sum();
            let runs = match snapshot.runs() {
                Ok(runs) => number::counted(runs.len() as u64, "run"),
                Err(error) => error.to_string(),
            };
            findings.push((
                "contents",
                vec![format!(
                    "{runs}; {} in {} ({}), {} in logs",
                    number::counted(segments.iter().map(|segment| segment.rows).sum(), "point"),
                    number::counted(segments.len() as u64, "segment"),
                    number::bytes(segments.iter().map(|segment| segment.bytes).sum()),
                    number::count(live as u64)
                )],
            ));
            if !snapshot.problems().is_empty() {
                findings.push(("damaged", snapshot.problems().to_vec()));
            }
        }
    }
    findings
}

/// How logs are written, why, and what that is worth.
fn logs(are_mapped: bool, why: &str) -> String {
    let how = if are_mapped {
        "through shared mappings: a row is safe from a kill once it is logged"
    } else {
        "by pwrite: a row is safe from a kill once it is written, within 10 ms"
    };
    format!("{how} ({why})")
}

/// A writer on another host of which nothing is heard.
fn silent(writer: &SilentWriter) -> String {
    let seen = age::ago(writer.last_seen_us, age::now());
    format!("{}, process {}: last seen {seen}", writer.host, writer.pid)
}

fn or_none(lines: Vec<String>) -> Vec<String> {
    if lines.is_empty() { vec!["none".to_owned()] } else { lines }
}

/// What the user should do, most pressing first.
fn advice(
    found: &Resolution,
    health: &Health,
    snapshot: Result<&Snapshot, &runlake_engine::Error>,
) -> Vec<String> {
    let mut advice = Vec::new();
    let command = |name: &str| {
        format!("runlake --store {} {name}", text::shell(&found.path.to_string_lossy()))
    };
    if snapshot.map_or(true, |snapshot| !snapshot.problems().is_empty()) {
        advice.push(format!("something is damaged: {}", command("verify")));
    }
    if !health.hard_links {
        advice.push(
            "this filesystem has no hard links, on which commits rest: move the lake to another"
                .to_owned(),
        );
    }
    if !health.locks {
        advice.push(
            "locks do not work here: the logs of dead writers are not taken in by themselves"
                .to_owned(),
        );
    }
    if health.free_bytes < 1 << 30 {
        advice.push(
            "less than 1 GiB is free: rows are dropped, and counted, once the disk is full"
                .to_owned(),
        );
    }
    if health.dead > 0 {
        advice.push(format!("take in what dead writers left: {}", command("compact")));
    }
    let hosts: BTreeSet<&str> = health.silent.iter().map(|writer| &*writer.host).collect();
    for host in hosts {
        let adopt = command(&format!("compact --adopt-host {}", text::shell(host)));
        advice.push(format!("if {host} is gone for good, take in what its writers left: {adopt}"));
    }
    if !health.quarantined.is_empty() {
        advice.push(format!("look at {}", found.path.join("quarantine").display()));
    }
    advice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_logs_is_what_this_version_does() {
        assert_eq!(
            logs(true, "ext4 is local and writes in place"),
            "through shared mappings: a row is safe from a kill once it is logged (ext4 is local and writes in place)"
        );
        assert_eq!(
            logs(false, "asked for by RUNLAKE_LOG_MODE"),
            "by pwrite: a row is safe from a kill once it is written, within 10 ms (asked for by RUNLAKE_LOG_MODE)"
        );
    }
}
