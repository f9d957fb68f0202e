//! The command itself, run as a process on real lakes.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod commands {
    mod alone;
    mod care;
    mod demo;
    mod import;
    mod lab;
    mod plot;
    mod show;
    mod sql;
    mod tail;
    mod usage;
}
