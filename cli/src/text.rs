//! Text that goes to a terminal or into a query.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Stands for what was left out.
pub(crate) const ELLIPSIS: &str = "…";

/// `text` in at most `width` columns of a terminal.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut taken = 0;
    let mut shown = String::new();
    for character in text.chars() {
        taken += character.width().unwrap_or(0);
        if taken + ELLIPSIS.width() > width {
            break;
        }
        shown.push(character);
    }
    shown + ELLIPSIS
}

/// `text` on one line, without the control characters that would move a terminal's cursor.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// `text` as a literal of SQL.
pub(crate) fn sql(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// `text` as one word of a shell.
pub(crate) fn shell(text: &str) -> String {
    let is_plain =
        |character: char| character.is_ascii_alphanumeric() || "/._-+=:@%,".contains(character);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_are_cut_by_columns() {
        assert_eq!(cut("学習率と損失", 7), "学習率…");
        assert_eq!(cut("loss", 4), "loss");
    }

    #[test]
    fn control_characters_reach_no_terminal() {
        assert_eq!(printable("a\n\u{1b}[31mb"), "a\\n\\u{1b}[31mb");
    }

    #[test]
    fn quotes_stay_inside_of_a_literal() {
        assert_eq!(sql("it's"), "'it''s'");
        assert_eq!(shell("it's"), "'it'\\''s'");
        assert_eq!(shell("./demo.lake"), "./demo.lake");
    }
}
