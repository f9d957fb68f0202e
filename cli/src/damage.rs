//! What could not be read, said beside the answer that lacks it.

use std::io::{self, Write as _};

use anstyle::{AnsiColor, Style};

use crate::{terminal::Terminal, text};

/// So many damaged parts are named.
const NAMED: usize = 3;

/// Warns on stderr of what a snapshot could not read: the answer is about the rest. Without stderr there is nobody to
/// tell.
pub(crate) fn warn(problems: &[String], terminal: &Terminal) {
    let yellow = if terminal.colours_errors() {
        AnsiColor::Yellow.on_default().bold()
    } else {
        Style::new()
    };
    let mut said: Vec<String> = problems.iter().take(NAMED).cloned().collect();
    if problems.len() > NAMED {
        said.push(format!("and {} more", problems.len() - NAMED));
    }
    if !said.is_empty() {
        said.push("what could be read is shown; `runlake verify` lists all damage".to_owned());
    }
    for line in said {
        writeln!(io::stderr(), "{yellow}warning:{yellow:#} {}", text::printable(&line))
            .unwrap_or_default();
    }
}
