//! Tables for people: numbers to the right, as wide as the terminal at most, one line a row.

use std::fmt::Write as _;

use anstyle::Style;
use comfy_table::{
    Attribute, Cell, CellAlignment, ContentArrangement, LineStyle, Table as Drawing, TableStyle,
};
use unicode_width::UnicodeWidthStr as _;

use crate::text::{ELLIPSIS, cut, printable};

/// The narrowest that a column of text becomes before columns are left out.
const NARROW: usize = 12;
/// What stands between two columns.
const GAP: u16 = 2;

/// Rows of text under named columns.
#[derive(Debug, Default)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

#[derive(Debug)]
struct Column {
    name: String,
    /// Numbers stand to the right and are never cut.
    is_number: bool,
}

/// How a table fits: for each column its width, none where it is left out.
type Fit = Vec<Option<usize>>;

impl Table {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a column of text.
    pub(crate) fn text(mut self, name: &str) -> Self {
        self.columns.push(Column { name: printable(name), is_number: false });
        self
    }

    /// Adds a column of numbers.
    pub(crate) fn number(mut self, name: &str) -> Self {
        self.columns.push(Column { name: printable(name), is_number: true });
        self
    }

    /// Adds a row: one cell a column.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().map(|cell| printable(&cell)).collect();
        debug_assert_eq!(cells.len(), self.columns.len(), "a row has one cell a column");
        self.rows.push(cells);
    }

    /// The number of rows.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The names of the columns that do not fit into `width`.
    pub(crate) fn left_out(&self, width: Option<u16>) -> Vec<&str> {
        self.fit(width)
            .iter()
            .zip(&self.columns)
            .filter(|(width, _)| width.is_none())
            .map(|(_, column)| column.name.as_str())
            .collect()
    }

    /// Draws the table, at most `width` columns of a terminal wide, each line ended.
    pub(crate) fn draw(&self, width: Option<u16>, coloured: bool) -> String {
        let fit = self.fit(width);
        let middle = fit.iter().position(Option::is_none);
        // What is left out leaves one mark, where the first of it was.
        let line = |cells: Vec<&str>| -> Vec<String> {
            let mut shown = Vec::with_capacity(cells.len());
            for (at, (cell, width)) in cells.into_iter().zip(&fit).enumerate() {
                match width {
                    Some(width) => shown.push(cut(cell, *width)),
                    None if middle == Some(at) => shown.push(ELLIPSIS.to_owned()),
                    None => {}
                }
            }
            shown
        };
        let mut drawing = Drawing::new();
        drawing
            .load_style(TableStyle::new().header_separator(LineStyle::none().fill('─')))
            .set_content_arrangement(ContentArrangement::Disabled)
            .force_no_tty();
        if coloured {
            drawing.enforce_styling();
        }
        let header = line(self.columns.iter().map(|column| column.name.as_str()).collect());
        drawing.set_header(
            header.into_iter().map(|name| Cell::new(name).add_attribute(Attribute::Bold)),
        );
        for row in &self.rows {
            drawing.add_row(line(row.iter().map(String::as_str).collect()));
        }
        let mut shown: Vec<bool> = Vec::new();
        for (at, width) in fit.iter().enumerate() {
            if width.is_some() {
                shown.push(self.columns[at].is_number);
            } else if middle == Some(at) {
                shown.push(false);
            }
        }
        let last = shown.len().saturating_sub(1);
        for (at, is_number) in shown.into_iter().enumerate() {
            if let Some(column) = drawing.column_mut(at) {
                column.set_padding((0, if at == last { 0 } else { GAP }));
                if is_number {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        let mut text = String::new();
        for line in drawing.lines() {
            text += line.trim_end();
            text.push('\n');
        }
        text
    }

    /// Draws each row as lines of its own, one a column: for rows that are too wide.
    pub(crate) fn draw_down(&self, name: Style) -> String {
        let width = self.columns.iter().map(|column| column.name.width()).max().unwrap_or(0);
        let mut text = String::new();
        for row in &self.rows {
            for (column, cell) in self.columns.iter().zip(row) {
                let gap = " ".repeat(width - column.name.width() + usize::from(GAP));
                writeln!(text, "{name}{}{name:#}{gap}{cell}", column.name)
                    .expect("memory takes every write");
            }
        }
        text
    }

    fn fit(&self, width: Option<u16>) -> Fit {
        let natural: Vec<usize> = (0..self.columns.len())
            .map(|at| {
                let cells = self.rows.iter().map(|row| row[at].width());
                cells.chain([self.columns[at].name.width()]).max().unwrap_or(0)
            })
            .collect();
        let is_number: Vec<bool> = self.columns.iter().map(|column| column.is_number).collect();
        match width {
            Some(width) => fit(&natural, &is_number, usize::from(width)),
            None => natural.into_iter().map(Some).collect(),
        }
    }
}

/// Decides the widths: text shrinks first, the widest first; then columns are left out, the middle ones first. The
/// first column always stays.
fn fit(natural: &[usize], is_number: &[bool], available: usize) -> Fit {
    let total = |fit: &Fit| -> usize {
        let shown = fit.iter().flatten().count();
        let mark = usize::from(shown < fit.len());
        fit.iter().flatten().sum::<usize>()
            + mark
            + usize::from(GAP) * (shown + mark).saturating_sub(1)
    };
    let mut fit: Fit = natural.iter().copied().map(Some).collect();
    loop {
        let gaps = total(&fit) - sum(&fit);
        shrink(&mut fit, is_number, available.saturating_sub(gaps));
        let shown: Vec<usize> = (0..fit.len()).filter(|&at| fit[at].is_some()).collect();
        if total(&fit) <= available || shown.len() <= 1 {
            return fit;
        }
        fit[shown[shown.len() / 2]] = None;
        for &at in &shown {
            fit[at] = fit[at].and(Some(natural[at]));
        }
    }
}

fn sum(fit: &Fit) -> usize {
    fit.iter().flatten().sum()
}

/// Cuts the widest columns of text until the sum is `available` or all of them are narrow. The first one, which mostly
/// says what a row is about, is cut last.
fn shrink(fit: &mut Fit, is_number: &[bool], available: usize) {
    while sum(fit) > available {
        let widest = (0..fit.len())
            .filter(|&at| !is_number[at] && fit[at].is_some_and(|width| width > NARROW))
            .max_by_key(|&at| (at > 0, fit[at], fit.len() - at));
        let Some(widest) = widest else { return };
        fit[widest] = fit[widest].map(|width| width - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs() -> Table {
        let mut table = Table::new().text("run").number("loss").text("notes");
        table.row([
            "calm-otter-17".into(),
            "0.25".into(),
            "the first that worked, after much ado".into(),
        ]);
        table.row(["b".into(), "12.5".into(), "line\nbreak".into()]);
        table
    }

    #[test]
    fn numbers_stand_to_the_right_and_lines_stay_lines() {
        assert_eq!(
            runs().draw(None, false),
            "run            loss  notes\n\
             ────────────────────────────────────────────────────────\n\
             calm-otter-17  0.25  the first that worked, after much ado\n\
             b              12.5  line\\nbreak\n"
                .replace(
                    "────────────────────────────────────────────────────────",
                    &"─".repeat(13 + 2 + 4 + 2 + 37)
                )
        );
    }

    #[test]
    fn a_row_can_stand_upright() {
        let mut table = Table::new().text("run").number("last loss");
        table.row(["b".into(), "12.5".into()]);
        assert_eq!(table.draw_down(Style::new()), "run        b\nlast loss  12.5\n");
    }

    #[test]
    fn text_shrinks_to_the_terminal_before_columns_are_left_out() {
        let table = runs();
        for width in 20..80 {
            let drawn = table.draw(Some(width), false);
            assert!(
                drawn.lines().all(|line| line.width() <= usize::from(width)),
                "{width}\n{drawn}"
            );
            assert!(width < 40 || drawn.contains("0.25"), "{width}\n{drawn}");
        }
        assert!(table.left_out(Some(40)).is_empty());
        assert_eq!(table.left_out(Some(30)), ["loss"]);
    }
}
