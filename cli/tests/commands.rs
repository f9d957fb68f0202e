//! The command itself, run as a process on real lakes.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod commands {
    mod alone;
    mod care;
    mod compare;
    mod demo;
    mod expire;
    mod export;
    mod import;
    mod lab;
    mod merge;
    mod plot;
    mod rm;
    mod show;
    mod sql;
    mod stats;
    mod tag;
    mod tail;
    mod usage;
}
