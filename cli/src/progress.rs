//! Progress on stderr, for commands that take a while. Silent where stderr is no terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar that counts bytes.
pub(crate) fn bytes(verb: &'static str, total: u64) -> ProgressBar {
    styled(
        ProgressBar::new(total),
        verb,
        "{prefix:>10} {bar:28} {bytes:>10} of {total_bytes}  {bytes_per_sec}  {eta} left  {msg}",
    )
}

/// A bar that counts things.
pub(crate) fn things(verb: &'static str, total: u64) -> ProgressBar {
    styled(
        ProgressBar::new(total),
        verb,
        "{prefix:>10} {bar:28} {human_pos} of {human_len}  {eta} left  {msg}",
    )
}

fn styled(bar: ProgressBar, verb: &'static str, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template)
        .expect("the templates of this file are valid")
        .progress_chars("━╸─");
    bar.set_style(style);
    bar.set_prefix(verb);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
