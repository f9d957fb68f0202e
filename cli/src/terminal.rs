//! Where results go: stdout, whether a person looks at it, and how wide it is.

use std::{
    ffi::OsStr,
    io::{self, BufWriter, IsTerminal as _, Stdout, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anstyle::Style;

/// The columns that a chart takes where stdout is not a terminal and `$COLUMNS` says nothing.
const DEFAULT_WIDTH: u16 = 100;

/// Stdout of this process.
#[derive(Debug)]
pub(crate) struct Terminal {
    out: Out,
    columns: Option<u16>,
    rows: Option<u16>,
    coloured: bool,
    colours_errors: bool,
}

/// Buffered stdout that remembers whether its reader went away.
#[derive(Debug)]
pub(crate) struct Out {
    stdout: BufWriter<Stdout>,
    // ORDERING: relaxed. One thread writes and reads it; it is atomic so that writers that want `Send` take an `Out`.
    reader_is_gone: Arc<AtomicBool>,
}

impl Terminal {
    /// Looks at the stdout and the environment of this process.
    pub(crate) fn of_process() -> Self {
        let variable = |name| std::env::var_os(name);
        let stdout = io::stdout();
        let size = terminal_size::terminal_size_of(&stdout).filter(|_| stdout.is_terminal());
        let coloured = |is_terminal| {
            wants_colour(
                is_terminal,
                variable("NO_COLOR").as_deref(),
                variable("CLICOLOR_FORCE").as_deref(),
                variable("TERM").as_deref(),
            )
        };
        Self {
            columns: stdout.is_terminal().then(|| size.map_or(80, |(width, _)| width.0.max(20))),
            rows: size.map(|(_, height)| height.0),
            coloured: coloured(stdout.is_terminal()),
            colours_errors: coloured(io::stderr().is_terminal()),
            out: Out {
                stdout: BufWriter::new(stdout),
                reader_is_gone: Arc::new(AtomicBool::new(false)),
            },
        }
    }

    /// The columns of the terminal, where stdout is one.
    pub(crate) fn columns(&self) -> Option<u16> {
        self.columns
    }

    /// The lines of the terminal, where stdout is one.
    pub(crate) fn rows(&self) -> Option<u16> {
        self.rows
    }

    /// How wide a drawing should be: the terminal, else `$COLUMNS`, else a page.
    pub(crate) fn drawing_width(&self) -> u16 {
        self.columns.unwrap_or_else(|| {
            let columns = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
            columns.filter(|&columns| columns >= 20).unwrap_or(DEFAULT_WIDTH)
        })
    }

    /// True where stdout is a terminal.
    pub(crate) fn is_interactive(&self) -> bool {
        self.columns.is_some()
    }

    /// True where stdout takes colours.
    pub(crate) fn is_coloured(&self) -> bool {
        self.coloured
    }

    /// True where stderr takes colours.
    pub(crate) fn colours_errors(&self) -> bool {
        self.colours_errors
    }

    /// `style`, or none where stdout takes no colours.
    pub(crate) fn style(&self, style: Style) -> Style {
        if self.coloured { style } else { Style::new() }
    }

    /// Dim text, for what matters least.
    pub(crate) fn dim(&self) -> Style {
        self.style(Style::new().dimmed())
    }

    /// Bold text, for what matters most.
    pub(crate) fn bold(&self) -> Style {
        self.style(Style::new().bold())
    }

    /// The stream itself, for writers that own their parts.
    pub(crate) fn out(&mut self) -> &mut Out {
        &mut self.out
    }

    /// True once the reader of stdout went away, as `head` does.
    pub(crate) fn reader_is_gone(&self) -> bool {
        self.out.reader_is_gone.load(Ordering::Relaxed)
    }
}

impl Write for Terminal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Out {
    fn watch<T>(&self, done: io::Result<T>) -> io::Result<T> {
        if done.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            self.reader_is_gone.store(true, Ordering::Relaxed);
        }
        done
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let done = self.stdout.write(bytes);
        self.watch(done)
    }

    fn flush(&mut self) -> io::Result<()> {
        let done = self.stdout.flush();
        self.watch(done)
    }
}

/// Whether to colour: never with `$NO_COLOR`, always with `$CLICOLOR_FORCE`, else on terminals that are not dumb.
fn wants_colour(
    is_terminal: bool,
    no_color: Option<&OsStr>,
    force: Option<&OsStr>,
    term: Option<&OsStr>,
) -> bool {
    let says = |value: Option<&OsStr>| value.is_some_and(|value| !value.is_empty() && value != "0");
    if no_color.is_some_and(|value| !value.is_empty()) {
        return false;
    }
    says(force) || (is_terminal && term.is_none_or(|term| term != "dumb"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_for_terminals_and_never_against_no_color() {
        let text = |text: &'static str| Some(OsStr::new(text));
        assert!(wants_colour(true, None, None, text("xterm-256color")));
        assert!(!wants_colour(true, None, None, text("dumb")));
        assert!(!wants_colour(false, None, None, None));
        assert!(wants_colour(false, None, text("1"), None));
        assert!(!wants_colour(false, None, text("0"), None));
        assert!(!wants_colour(true, text("1"), text("1"), None));
        assert!(wants_colour(true, text(""), None, None));
    }
}
