//! Shapes: what the rows of a loop have in common, so that a row need not say it again. A file gives numbers to those that it
//! meets twice; a thread knows those of its last rows.

use rustc_hash::FxHashMap;

use super::{concurrent, frame::Frame};

/// The least points of a row that gets a shape: proofs that are about something else log rows of one, which are then of one
/// size.
const POINTS_MIN: usize = concurrent::bound(1, 2);
/// The most: a larger one saves little by it.
const POINTS_MAX: usize = 1024;
/// The most names in all shapes of a file together: a loop whose rows all differ must not fill memory with them.
const NAMES_MAX: usize = 65_536;
/// How many shapes a thread knows: those of a loop that logs training, validation and now and then something else.
const KNOWN: usize = 4;

/// The shapes of a file, by run, labels and metrics.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    numbers: FxHashMap<Box<[u32]>, u32>,
    names: usize,
}

impl Shapes {
    /// The number of a shape that the file has.
    pub(super) fn number(&self, names: &[u32]) -> Option<u32> {
        self.numbers.get(names).copied()
    }

    /// The number that a new shape gets; `None` where the file has enough of them.
    pub(super) fn next(&self, names: &[u32]) -> Option<u32> {
        let next = u32::try_from(self.numbers.len()).ok()?;
        (self.names + names.len() <= NAMES_MAX).then_some(next)
    }

    /// Keeps a shape that was published under the number that [`Shapes::next`] gave.
    pub(super) fn add(&mut self, names: &[u32]) {
        if let Some(next) = self.next(names) {
            self.names += names.len();
            self.numbers.insert(names.into(), next);
        }
    }
}

/// How the next row of a shape is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// By a number, which it gets now: the shape came before.
    Repeated,
    /// In full, since somebody else defines something just now; the next one asks for a number again.
    Later,
    /// By this number.
    Numbered(u32),
    /// In full.
    Full,
}

/// What a thread knows of the rows that it logged last: their names are defined in the file, and perhaps their shapes.
#[derive(Debug, Default)]
pub(super) struct Known {
    shapes: [Shape; KNOWN],
    /// The one of the last row: most often the next row has the same.
    last: usize,
}

#[derive(Debug, Default)]
struct Shape {
    /// Run, labels and metrics; empty where nothing is known.
    names: Vec<u32>,
    form: Option<Form>,
}

impl Shape {
    #[inline]
    fn is(&self, frame: &Frame<'_>) -> bool {
        let Frame::Row { run, labels, points, .. } = frame else { return false };
        let [own_run, own_labels, metrics @ ..] = self.names.as_slice() else { return false };
        // Without a branch for each metric: rows are short, and most often all of them are known.
        let differences = metrics.iter().zip(*points).map(|(known, (metric, _))| known ^ metric.0);
        (own_run, own_labels, metrics.len()) == (run, labels, points.len())
            && differences.fold(0, |all, one| all | one) == 0
    }
}

impl Known {
    /// How a row is written, if its shape is one of those known.
    #[inline]
    pub(super) fn form(&mut self, row: &Frame<'_>) -> Option<Form> {
        if !self.shapes[self.last].is(row) {
            self.last = self.shapes.iter().position(|shape| shape.is(row))?;
        }
        let form = &mut self.shapes[self.last].form;
        if *form == Some(Form::Later) {
            *form = Some(Form::Repeated);
            return Some(Form::Later);
        }
        *form
    }

    /// Keeps the shape of a row whose names are defined, in place of one that did not come last.
    pub(super) fn keep(&mut self, row: &Frame<'_>) {
        let Frame::Row { run, labels, points, .. } = row else { return };
        self.last = (self.last + 1) % KNOWN;
        let shape = &mut self.shapes[self.last];
        shape.names.clear();
        shape.names.extend([*run, *labels]);
        shape.names.extend(points.iter().map(|(metric, _)| metric.0));
        let is_worth_it = (POINTS_MIN..=POINTS_MAX).contains(&points.len());
        shape.form = Some(if is_worth_it { Form::Repeated } else { Form::Full });
    }

    /// Run, labels and metrics of the last row.
    pub(super) fn names(&self) -> &[u32] {
        &self.shapes[self.last].names
    }

    /// Settles how rows like the last one are written.
    pub(super) fn settle(&mut self, form: Form) {
        self.shapes[self.last].form = Some(form);
    }

    /// Another file has defined nothing. What holds the names is kept: a row allocates nothing.
    pub(super) fn forget(&mut self) {
        self.shapes.iter_mut().for_each(|shape| shape.names.clear());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MetricId, log::NO_LABELS};

    fn row(points: &[(MetricId, f64)]) -> Frame<'_> {
        Frame::Row { run: 7, labels: NO_LABELS, step: 0, time: 0, points }
    }

    #[test]
    fn a_thread_knows_its_last_four_shapes_and_none_once_the_file_changes() {
        let rows: Vec<_> =
            (0..5).map(|metric| [(MetricId(metric), 0.5), (MetricId(9), 1.0)]).collect();
        let mut known = Known::default();
        for (number, points) in (0..).zip(&rows[..4]) {
            assert_eq!(known.form(&row(points)), None);
            known.keep(&row(points));
            assert_eq!(known.form(&row(points)), Some(Form::Repeated));
            known.settle(Form::Numbered(number));
        }
        for (number, points) in (0..).zip(&rows[..4]) {
            assert_eq!(known.form(&row(points)), Some(Form::Numbered(number)));
        }
        known.settle(Form::Later);
        let forms = [(); 3].map(|()| known.form(&row(&rows[3])));
        assert_eq!(forms, [Form::Later, Form::Repeated, Form::Repeated].map(Some));
        known.settle(Form::Numbered(3));
        known.keep(&row(&rows[4]));
        assert_eq!(known.form(&row(&rows[0])), None, "it was the longest ago");
        assert_eq!(known.form(&row(&rows[3])), Some(Form::Numbered(3)));
        known.forget();
        assert!(rows.iter().all(|points| known.form(&row(points)).is_none()));
        assert_eq!(
            known.form(&row(&[])),
            None,
            "a row without points is not what nothing is known of"
        );
    }

    #[test]
    fn rows_that_are_empty_or_very_long_and_those_of_a_full_file_are_written_in_full() {
        let mut known = Known::default();
        for len in [0, POINTS_MAX + 1] {
            let points = vec![(MetricId(1), 0.5); len];
            known.keep(&row(&points));
            assert_eq!(known.form(&row(&points)), Some(Form::Full));
        }
        let mut shapes = Shapes::default();
        let mut count = 0;
        while shapes.next(&[count; 100]) == Some(count) {
            shapes.add(&[count; 100]);
            count += 1;
        }
        assert_eq!(count as usize, NAMES_MAX / 100);
        assert_eq!((shapes.number(&[3; 100]), shapes.number(&[3; 99])), (Some(3), None));
    }
}
