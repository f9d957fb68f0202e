//! Curves in a terminal: drawn by ratatui's chart into a buffer, printed as text.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "places on a screen are small; what is out of range saturates and is clipped"
)]

use std::fmt::Write as _;

use anstyle::{AnsiColor, Color as Ansi, Style as AnsiStyle};
use ratatui_core::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Style},
    symbols::Marker,
    widgets::Widget as _,
};
use ratatui_widgets::chart::{Axis, Chart as Widget, Dataset, GraphType};

use crate::{number, text};

/// Colours that tell curves apart on light and dark terminals, each as ratatui and as ANSI calls it.
const COLOURS: [(Color, AnsiColor); 10] = [
    (Color::Cyan, AnsiColor::Cyan),
    (Color::Yellow, AnsiColor::Yellow),
    (Color::Magenta, AnsiColor::Magenta),
    (Color::Green, AnsiColor::Green),
    (Color::Red, AnsiColor::Red),
    (Color::Blue, AnsiColor::Blue),
    (Color::LightCyan, AnsiColor::BrightCyan),
    (Color::LightYellow, AnsiColor::BrightYellow),
    (Color::LightMagenta, AnsiColor::BrightMagenta),
    (Color::LightGreen, AnsiColor::BrightGreen),
];

/// Characters that tell curves apart where there are no colours.
const CHARACTERS: [char; 10] = ['●', '+', '×', 'o', '*', '▲', '#', '□', '%', '◆'];

/// One named curve. A value that is not finite is a gap.
#[derive(Debug, Clone)]
pub(crate) struct Curve {
    /// Shown in the legend.
    pub(crate) name: String,
    /// What the legend says beside the name.
    pub(crate) note: String,
    /// The points in the order of x.
    pub(crate) points: Vec<(f64, f64)>,
}

/// What to draw.
#[derive(Debug, Clone)]
pub(crate) struct Chart {
    pub(crate) title: String,
    pub(crate) x_title: String,
    pub(crate) curves: Vec<Curve>,
    /// A logarithmic y axis; values that are not positive are gaps then.
    pub(crate) log: bool,
}

/// An axis: where it starts and ends, and what stands along it at equal distances.
#[derive(Debug, Clone, PartialEq)]
struct Scale {
    bounds: [f64; 2],
    labels: Vec<String>,
}

impl Chart {
    /// Draws title, curves, axes and legend, `width` columns wide and the curves `height` lines high. None where no
    /// curve has a point to draw.
    pub(crate) fn draw(&self, width: u16, height: u16, coloured: bool) -> Option<String> {
        let (width, height) = (width.clamp(20, 500), height.clamp(5, 200));
        let drawn: Vec<Vec<(f64, f64)>> =
            self.curves.iter().map(|curve| self.project(curve)).collect();
        let finite = || drawn.iter().flatten().filter(|(x, y)| x.is_finite() && y.is_finite());
        let range = |of: fn(&(f64, f64)) -> f64| {
            finite().map(of).fold(None, |range: Option<[f64; 2]>, value| {
                Some(range.map_or([value, value], |[low, high]| [low.min(value), high.max(value)]))
            })
        };
        let x = x_scale(range(|point| point.0)?, &self.x_title);
        let y = if self.log {
            log_scale(range(|point| point.1)?)
        } else {
            linear_scale(range(|point| point.1)?, (height / 2).clamp(4, 10))
        };

        let area = Rect::new(0, 0, width, height);
        let mut buffer = Buffer::empty(area);
        let pieces: Vec<(usize, Vec<(f64, f64)>)> = drawn
            .iter()
            .enumerate()
            .flat_map(|(at, points)| {
                let thinned = thin(points, x.bounds, usize::from(width) * 2);
                pieces(&thinned).into_iter().map(move |piece| (at, piece)).collect::<Vec<_>>()
            })
            .collect();
        let datasets = pieces
            .iter()
            .map(|(at, piece)| {
                Dataset::default()
                    .marker(self.marker(*at, coloured))
                    .graph_type(GraphType::Line)
                    .style(Style::new().fg(COLOURS[at % COLOURS.len()].0))
                    .data(piece)
            })
            .collect();
        Widget::new(datasets)
            .x_axis(Axis::default().bounds(x.bounds).labels(x.labels))
            .y_axis(Axis::default().bounds(y.bounds).labels(y.labels))
            .legend_position(None)
            .render(area, &mut buffer);

        let bold = if coloured { AnsiStyle::new().bold() } else { AnsiStyle::new() };
        let mut text = format!("{bold}{}{bold:#}\n", text::printable(&self.title));
        print(&buffer, coloured, &mut text);
        self.legend(width, coloured, &mut text);
        Some(text)
    }

    fn project(&self, curve: &Curve) -> Vec<(f64, f64)> {
        if !self.log {
            return curve.points.clone();
        }
        curve.points.iter().map(|&(x, y)| (x, if y > 0.0 { y.log10() } else { f64::NAN })).collect()
    }

    fn marker(&self, at: usize, coloured: bool) -> Marker {
        if coloured || self.curves.len() == 1 {
            Marker::Braille
        } else {
            Marker::Custom(CHARACTERS[at % CHARACTERS.len()])
        }
    }

    fn legend(&self, width: u16, coloured: bool, text: &mut String) {
        let room = usize::from(width).saturating_sub(5);
        let longest = self
            .curves
            .iter()
            .map(|curve| curve.name.chars().count())
            .max()
            .unwrap_or(0)
            .min(room / 2);
        for (at, curve) in self.curves.iter().enumerate() {
            let style = if coloured {
                AnsiStyle::new().fg_color(Some(Ansi::Ansi(COLOURS[at % COLOURS.len()].1)))
            } else {
                AnsiStyle::new()
            };
            let mark = match self.marker(at, coloured) {
                Marker::Custom(character) => character,
                _ => '━',
            };
            let name = text::cut(&text::printable(&curve.name), room / 2);
            let line = format!("{name:<longest$}  {}", curve.note);
            let line = text::cut(line.trim_end(), room);
            writeln!(text, "  {style}{mark}{style:#}  {line}").expect("memory takes every write");
        }
    }
}

/// Cuts points into pieces without gaps: where a value is not finite, no line may be drawn.
fn pieces(points: &[(f64, f64)]) -> Vec<Vec<(f64, f64)>> {
    points
        .split(|(x, y)| !x.is_finite() || !y.is_finite())
        .filter(|piece| !piece.is_empty())
        .map(<[_]>::to_vec)
        .collect()
}

/// Keeps of each of `buckets` equal parts of the x axis the first, least, greatest and last point, and its gaps: what
/// is drawn is the same, in time that the width bounds.
fn thin(points: &[(f64, f64)], [start, end]: [f64; 2], buckets: usize) -> Vec<(f64, f64)> {
    if points.len() <= buckets * 4 {
        return points.to_vec();
    }
    let bucket = |x: f64| (((x - start) / (end - start)) * buckets as f64) as usize;
    let mut kept = Vec::with_capacity(buckets * 4);
    for part in points.chunk_by(|a, b| bucket(a.0) == bucket(b.0)) {
        let finite = || (0..part.len()).filter(|&at| part[at].1.is_finite());
        let by_value = |&a: &usize, &b: &usize| part[a].1.total_cmp(&part[b].1);
        let gap = (0..part.len()).find(|&at| !part[at].1.is_finite());
        let mut places = vec![0, part.len() - 1];
        places.extend(finite().min_by(by_value));
        places.extend(finite().max_by(by_value));
        places.extend(gap);
        places.sort_unstable();
        places.dedup();
        kept.extend(places.into_iter().map(|at| part[at]));
    }
    kept
}

/// A scale from the least to the greatest x, with the middle between them; the last label says what x is.
fn x_scale([low, high]: [f64; 2], title: &str) -> Scale {
    let high = if high > low { high } else { low + 1.0 };
    let middle = low + (high - low) / 2.0;
    // Between whole steps stands a whole step.
    let middle = if low.fract() == 0.0 && high.fract() == 0.0 && high - low > 1.0 {
        middle.floor()
    } else {
        middle
    };
    let [low_text, middle, high_text] = [low, middle, high].map(number::value);
    Scale { bounds: [low, high], labels: vec![low_text, middle, format!("{title} {high_text}")] }
}

/// A scale whose labels are round numbers, 3 to `most` of them, chosen so that the curves fill it best.
fn linear_scale([low, high]: [f64; 2], most: u16) -> Scale {
    // Half of the range of doubles is all that can be subtracted safely.
    let (low, high) = (low.max(f64::MIN / 4.0), high.min(f64::MAX / 4.0));
    let spread = high - low;
    if spread <= low.abs().max(high.abs()) * 1e-12 {
        let room = if low == 0.0 { 1.0 } else { low.abs() * 0.5 };
        let labels = [low - room, low, low + room].map(number::value).to_vec();
        return Scale { bounds: [low - room, low + room], labels };
    }
    let magnitude = 10_f64.powf((spread / f64::from(most)).log10().floor());
    let tick = |factor: f64| {
        let step = factor * magnitude;
        let (first, last) = ((low / step + 1e-9).floor(), (high / step - 1e-9).ceil());
        (step, first, last - first)
    };
    let (step, first, ticks) = [1.0, 2.0, 2.5, 5.0, 10.0, 20.0, 25.0, 50.0]
        .map(tick)
        .into_iter()
        .filter(|&(_, _, ticks)| (2.0..f64::from(most)).contains(&ticks))
        .min_by(|&(step, _, ticks), &(other_step, _, other_ticks)| {
            // Where several fill it equally, about six labels read best.
            let waste = (step * ticks).total_cmp(&(other_step * other_ticks));
            waste.then((ticks - 5.0).abs().total_cmp(&(other_ticks - 5.0).abs()))
        })
        .unwrap_or_else(|| tick(100.0));
    let decimals = (0..12).find(|&decimals| {
        let scaled = step * 10_f64.powi(decimals);
        (scaled - scaled.round()).abs() < 1e-6 * scaled
    });
    let labels = (0..=ticks as usize)
        .map(|at| {
            let value = (first + at as f64) * step;
            match decimals {
                // A zero that came out of a subtraction has no sign.
                Some(decimals) if value.abs() < 1e6 => {
                    format!("{:.*}", decimals as usize, value + 0.0)
                }
                _ => number::value(value),
            }
        })
        .collect();
    Scale { bounds: [first * step, (first + ticks) * step], labels }
}

/// A scale of logarithms, labelled with the values themselves.
fn log_scale([low, high]: [f64; 2]) -> Scale {
    let (low, high) = if high - low < 1e-9 { (low - 0.5, high + 0.5) } else { (low, high) };
    let label = |at: usize| number::value(10_f64.powf(low + (high - low) * at as f64 / 4.0));
    Scale { bounds: [low, high], labels: (0..5).map(label).collect() }
}

/// Prints a drawn buffer, each line ended, without spaces at the ends.
fn print(buffer: &Buffer, coloured: bool, text: &mut String) {
    let area = buffer.area;
    for y in area.top()..area.bottom() {
        let row = || (area.left()..area.right()).map(|x| &buffer[(x, y)]);
        let end = row().rposition_blank();
        let mut style = AnsiStyle::new();
        for cell in row().take(end) {
            let wanted = match (coloured, ansi(cell.fg)) {
                (true, Some(colour)) => AnsiStyle::new().fg_color(Some(Ansi::Ansi(colour))),
                _ => AnsiStyle::new(),
            };
            if wanted != style && cell.symbol() != " " {
                write!(text, "{style:#}{wanted}").expect("memory takes every write");
                style = wanted;
            }
            text.push_str(cell.symbol());
        }
        writeln!(text, "{style:#}").expect("memory takes every write");
    }
}

trait Blank {
    /// The number of cells up to the last that is not blank.
    fn rposition_blank(self) -> usize;
}

impl<'a, I: Iterator<Item = &'a ratatui_core::buffer::Cell>> Blank for I {
    fn rposition_blank(self) -> usize {
        self.enumerate().filter(|(_, cell)| cell.symbol() != " ").last().map_or(0, |(at, _)| at + 1)
    }
}

fn ansi(colour: Color) -> Option<AnsiColor> {
    COLOURS.iter().find(|(known, _)| *known == colour).map(|&(_, ansi)| ansi)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn falling(name: &str, scale: f64) -> Curve {
        let points = (0..200).map(|step| (f64::from(step), scale / f64::from(step + 1))).collect();
        Curve { name: name.into(), note: "last 0.005".into(), points }
    }

    fn chart(curves: Vec<Curve>) -> Chart {
        Chart { title: "loss".into(), x_title: "step".into(), curves, log: false }
    }

    #[test]
    fn scales_have_round_labels_and_hug_every_value() {
        for (range, bounds, labels) in [
            ([0.02, 0.98], [0.0, 1.0], vec!["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
            ([3.277, 10.83], [3.0, 11.0], vec!["3", "4", "5", "6", "7", "8", "9", "10", "11"]),
            ([-1.0, 1.0], [-1.0, 1.0], vec!["-1.0", "-0.5", "0.0", "0.5", "1.0"]),
            ([2.0, 2.0], [1.0, 3.0], vec!["1", "2", "3"]),
            ([0.001, 0.0042], [0.001, 0.0045], vec!["0.0010", "0.0015", "0.0020"]),
        ] {
            let scale = linear_scale(range, 10);
            assert_eq!(
                scale.bounds.map(|bound| (bound * 1e9).round()),
                bounds.map(|bound| (bound * 1e9_f64).round())
            );
            assert_eq!(scale.labels[..labels.len()], labels, "{scale:?}");
        }
        let mut state = 7_u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            f64::from_bits(state)
        };
        for _ in 0..100_000 {
            let (a, b) = (next(), next());
            if a.is_finite() && b.is_finite() {
                let scale = linear_scale([a.min(b), a.max(b)], 10);
                assert!(scale.bounds.iter().all(|bound| bound.is_finite()), "{a} {b}: {scale:?}");
                assert!((3..=11).contains(&scale.labels.len()), "{a} {b}: {scale:?}");
            }
        }
    }

    #[test]
    fn a_chart_has_a_title_curves_axes_and_a_legend() {
        let drawn = chart(vec![falling("calm-otter-17", 1.0), falling("b", 0.5)])
            .draw(60, 12, false)
            .unwrap();
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(lines.len(), 1 + 12 + 2, "{drawn}");
        assert_eq!(lines[0], "loss");
        assert!(lines[1].starts_with("1.0│●"), "{drawn}");
        assert!(lines[12].starts_with("   0") && lines[12].ends_with("step 199"), "{drawn}");
        assert_eq!(lines[13], "  ●  calm-otter-17  last 0.005");
        assert_eq!(lines[14], "  +  b              last 0.005");
        assert!(!drawn.contains('\u{1b}'));
    }

    #[test]
    fn nan_is_a_gap_in_the_line() {
        let mut curve = falling("a", 1.0);
        for point in &mut curve.points {
            point.1 = if (80.0..120.0).contains(&point.0) { f64::NAN } else { 1.0 };
        }
        let drawn = chart(vec![curve]).draw(60, 9, false).unwrap();
        let line = drawn
            .lines()
            .find(|line| {
                line.contains('⠤') || line.contains('⠒') || line.contains('⠉') || line.contains('⣀')
            })
            .unwrap();
        let marks: Vec<bool> = line.chars().skip(10).map(|character| character != ' ').collect();
        let runs = marks.chunk_by(|a, b| a == b).count();
        assert_eq!(runs, 3, "{drawn}");
    }

    #[test]
    fn thinning_keeps_spikes_and_gaps() {
        let mut points: Vec<(f64, f64)> = (0..100_000).map(|step| (f64::from(step), 1.0)).collect();
        points[54_321].1 = 1e9;
        points[70_000].1 = f64::NAN;
        let kept = thin(&points, [0.0, 99_999.0], 120);
        assert!(kept.len() < 120 * 6);
        assert!(kept.contains(&points[54_321]));
        assert!(kept.iter().any(|point| point.1.is_nan()));
    }

    #[test]
    fn nothing_finite_draws_nothing() {
        let curve = Curve { name: "a".into(), note: String::new(), points: vec![(0.0, f64::NAN)] };
        assert_eq!(chart(vec![curve]).draw(60, 9, true), None);
    }

    #[test]
    fn colours_are_ansi_and_end_with_their_line() {
        let drawn = chart(vec![falling("a", 1.0), falling("b", 0.5)]).draw(60, 9, true).unwrap();
        assert!(drawn.contains("\u{1b}[36m") && drawn.contains("\u{1b}[33m"), "{drawn}");
        for line in drawn.lines().filter(|line| line.contains('\u{1b}')) {
            assert!(line.rfind("\u{1b}[0m") >= line.rfind("\u{1b}[3"), "{line:?}");
        }
    }
}
