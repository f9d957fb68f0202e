//! Frames: bytes to rows and back. The decoder is total: any bytes give a frame, the end, or a reason.
//!
//! ```text
//! frame | len u32 | crc u32 | kind u8 | flags u8 | 0 u16 | count u32 | run u32 | labels u32 | step i64 | time i64 | payload | pad to 8 |
//! ROW   count x metric u32, pad to 8, count x value f64
//! SHAPE step: its number; count x metric u32: what rows have in common
//! LIKE  a row of a shape: | len | crc | kind, flags, 0 | shape u32 | step i64 | time i64 | values f64; f32 if flag 1 |
//! MANY  metric u32, 0 u32, [count x step i64 if flag 1], [count x time i64 if flag 2], count x value f64
//! NAME  flags: what is named (0 run, 1 metric, 2 labels); run: the id; three lengths u32, 0 u32, then the texts
//! FACT  step: the clock; three lengths u32 (kind, key, value; all ones for no value), 0 u32, then the texts
//! ```
//! Integers are little-endian. `len` counts the frame without its padding; 0 means that nothing follows. The checksum is
//! CRC32C (RFC 3720, section 12.1) over `len` and everything behind `crc`, begun with the salt of the file, so that
//! bytes of another file never pass.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "a frame is at most 16 MiB, so what is counted in it fits"
)]
#![deny(clippy::indexing_slicing)]

use super::{FRAME_BYTES_MAX, NO_LABELS};
use crate::names::MetricId;

/// The bytes in front of a payload.
pub(crate) const FRAME_HEADER: usize = 40;
/// The bytes in front of the values of a row that names its shape: run and labels are the shape's.
const LIKE_HEADER: usize = 32;
const KIND_NAME: u8 = 1;
const KIND_ROW: u8 = 2;
const KIND_MANY: u8 = 3;
const KIND_FACT: u8 = 4;
const KIND_SHAPE: u8 = 5;
const KIND_LIKE: u8 = 6;
const HAS_STEPS: u8 = 1;
const HAS_TIMES: u8 = 2;
const SINGLES: u8 = 1;
const NO_VALUE: u32 = u32::MAX;

/// What an id stands for, within one log file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Space {
    /// A run and the launch that writes to it: texts are project, run_id, launch.
    Run,
    /// A metric: the first text.
    Metric,
    /// Labels as canonical JSON: the first text.
    Labels,
}

/// A frame that is about to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Frame<'a> {
    /// Gives `id` a meaning in this file.
    Name { space: Space, id: u32, texts: [&'a str; 3] },
    /// One row: many metrics at one step.
    Row { run: u32, labels: u32, step: i64, time: i64, points: &'a [(MetricId, f64)] },
    /// Gives a number to what rows have in common: run, labels, and the metrics of `points`.
    Shape { id: u32, run: u32, labels: u32, points: &'a [(MetricId, f64)] },
    /// Many points of one metric. Without steps they count up from `step`; without times all have `time`.
    Many {
        run: u32,
        labels: u32,
        metric: u32,
        step: i64,
        time: i64,
        steps: Option<&'a [i64]>,
        times: Option<&'a [i64]>,
        values: &'a [f64],
    },
    /// A fact about a run.
    Fact { run: u32, hlc: i64, kind: &'a str, key: &'a str, value: Option<&'a str> },
}

/// A row that is about to be written where the file knows its shape.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Like<'a> {
    shape: u32,
    step: i64,
    time: i64,
    points: &'a [(MetricId, f64)],
    /// Values are written in single precision, which loses nothing of them: they came from there.
    singles: bool,
}

impl Frame<'_> {
    /// The bytes of the frame, its padding included; a multiple of 8.
    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        let payload = match self {
            Self::Name { texts, .. } => 16 + texts.iter().map(|text| text.len()).sum::<usize>(),
            Self::Row { points, .. } => (points.len() * 4).next_multiple_of(8) + points.len() * 8,
            Self::Shape { points, .. } => points.len() * 4,
            Self::Many { steps, times, values, .. } => {
                8 + values.len()
                    * 8
                    * (1 + usize::from(steps.is_some()) + usize::from(times.is_some()))
            }
            Self::Fact { kind, key, value, .. } => {
                16 + kind.len() + key.len() + value.map_or(0, str::len)
            }
        };
        FRAME_HEADER + payload.next_multiple_of(8)
    }

    /// What gives the shape of a row this number.
    pub(crate) fn shape(&self, id: u32) -> Self {
        match *self {
            Self::Row { run, labels, points, .. } => Self::Shape { id, run, labels, points },
            other => other,
        }
    }

    /// Writes the frame into `out`, which has exactly [`Frame::bytes`] bytes.
    #[inline]
    pub(crate) fn write(&self, salt: u32, out: &mut [u8]) {
        match *self {
            Self::Row { run, labels, step, time, points } if points.len() <= SHORT_ROW => {
                let count = points.len() as u32;
                let mut aside = Aside::new(out);
                aside.put(u64::from(KIND_ROW), count);
                aside.put(u64::from(run), labels);
                aside.times(step, time);
                for points in points.chunks(2) {
                    let metric =
                        |at: usize| points.get(at).map_or(0, |(MetricId(metric), _)| *metric);
                    aside.put(u64::from(metric(0)), metric(1));
                }
                aside.doubles(points);
                aside.publish(salt, 0);
            }
            _ => self.write_long(salt, out),
        }
    }

    fn write_long(&self, salt: u32, out: &mut [u8]) {
        let total = out.len();
        let Some((header, payload)) = out.split_first_chunk_mut::<FRAME_HEADER>() else { return };
        let mut head = Head::default();
        let mut rest = Cursor(payload);
        match *self {
            Self::Name { space, id, texts } => {
                head = Head {
                    kind: KIND_NAME,
                    flags: space as u8,
                    count: 3,
                    run: id,
                    labels: NO_LABELS,
                    ..head
                };
                rest.u32s(&[len32(texts[0]), len32(texts[1]), len32(texts[2]), 0]);
                for text in texts {
                    rest.put(text.as_bytes());
                }
            }
            Self::Row { run, labels, step, time, points } => {
                let count = points.len() as u32;
                head = Head { kind: KIND_ROW, flags: 0, count, run, labels, step, time };
                rest.metrics(points);
                if points.len() % 2 == 1 {
                    rest.put(&[0; 4]);
                }
                rest.doubles(points);
            }
            Self::Shape { id, run, labels, points } => {
                let (count, step) = (points.len() as u32, i64::from(id));
                head = Head { kind: KIND_SHAPE, flags: 0, count, run, labels, step, time: 0 };
                rest.metrics(points);
            }
            Self::Many { run, labels, metric, step, time, steps, times, values } => {
                let flags = if steps.is_some() { HAS_STEPS } else { 0 }
                    | if times.is_some() { HAS_TIMES } else { 0 };
                head = Head {
                    kind: KIND_MANY,
                    flags,
                    count: values.len() as u32,
                    run,
                    labels,
                    step,
                    time,
                };
                rest.u32s(&[metric, 0]);
                for column in [steps, times].into_iter().flatten() {
                    let places = rest.first(column.len() * 8).as_chunks_mut::<8>().0;
                    for (place, one) in places.iter_mut().zip(column) {
                        *place = one.to_le_bytes();
                    }
                }
                let places = rest.first(values.len() * 8).as_chunks_mut::<8>().0;
                for (place, one) in places.iter_mut().zip(values) {
                    *place = one.to_le_bytes();
                }
            }
            Self::Fact { run, hlc, kind, key, value } => {
                head = Head {
                    kind: KIND_FACT,
                    flags: 0,
                    count: 3,
                    run,
                    labels: NO_LABELS,
                    step: hlc,
                    time: 0,
                };
                rest.u32s(&[len32(kind), len32(key), value.map_or(NO_VALUE, len32), 0]);
                for text in [kind, key, value.unwrap_or_default()] {
                    rest.put(text.as_bytes());
                }
            }
        }
        let padding = rest.0.len();
        rest.0.fill(0);
        // Frames are at most FRAME_BYTES_MAX, far below 2^32.
        let len = total - padding;
        head.write(len as u32, header);
        seal(salt, len, out);
    }
}

impl<'a> Frame<'a> {
    /// The row as it is written where its shape has this number; `None` for other frames.
    #[inline]
    pub(crate) fn like(&self, shape: u32) -> Option<Like<'a>> {
        let Self::Row { step, time, points, .. } = *self else { return None };
        // Without a branch for each value: most often it is so for all of them. Not for one value alone: the frame would be
        // smaller than the header of others.
        let lost = |value: f64| f64::from(value as f32).to_bits() ^ value.to_bits();
        let all_lost = points.iter().fold(0, |all, &(_, value)| all | lost(value));
        Some(Like { shape, step, time, points, singles: points.len() > 1 && all_lost == 0 })
    }
}

impl Like<'_> {
    /// The bytes of the frame, its padding included; a multiple of 8.
    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        LIKE_HEADER + (self.points.len() * if self.singles { 4 } else { 8 }).next_multiple_of(8)
    }

    /// Writes the frame into `out`, which has exactly [`Like::bytes`] bytes.
    #[inline]
    pub(crate) fn write(&self, salt: u32, out: &mut [u8]) {
        let Self { shape, step, time, points, singles } = *self;
        let kind = u64::from(u32::from_le_bytes([KIND_LIKE, u8::from(singles) * SINGLES, 0, 0]));
        let padding = if singles { points.len() % 2 * 4 } else { 0 };
        if points.len() <= SHORT_ROW {
            let mut aside = Aside::new(out);
            aside.put(kind, shape);
            aside.times(step, time);
            if singles {
                aside.singles(points);
            } else {
                aside.doubles(points);
            }
            aside.publish(salt, padding);
            return;
        }
        let len = out.len() - padding;
        let mut rest = Cursor(out);
        rest.u32s(&[len as u32, 0, kind as u32, shape]);
        rest.put(&step.to_le_bytes());
        rest.put(&time.to_le_bytes());
        if singles {
            rest.singles(points);
        } else {
            rest.doubles(points);
        }
        rest.0.fill(0);
        seal(salt, len, out);
    }
}

/// The most points of a row that is put together aside.
const SHORT_ROW: usize = 16;
const SHORT_WORDS: usize = FRAME_HEADER / 8 + SHORT_ROW / 2 + SHORT_ROW;

/// A short row that is written, word by word, to its place and to a piece of memory that is in the cache, of which the
/// checksum is taken: a read of what was just written to its place would wait for cache lines that have yet to come from memory.
struct Aside<'a> {
    out: &'a mut [[u8; 8]],
    copy: Words,
    at: usize,
}

/// Aligned, since a checksum goes byte by byte to the first aligned word.
#[repr(align(8))]
struct Words([[u8; 8]; SHORT_WORDS]);

impl<'a> Aside<'a> {
    /// The frame's length stands in its first word, and so does its checksum, once that is known.
    #[inline]
    fn new(out: &'a mut [u8]) -> Self {
        let out = out.as_chunks_mut().0;
        Self { out, copy: Words([[0; 8]; SHORT_WORDS]), at: 1 }
    }

    #[inline]
    fn word(&mut self, word: u64) {
        let places = (self.out.get_mut(self.at), self.copy.0.get_mut(self.at));
        if let (Some(place), Some(copy)) = places {
            (*place, *copy) = (word.to_le_bytes(), word.to_le_bytes());
        }
        self.at += 1;
    }

    #[inline]
    fn put(&mut self, low: u64, high: u32) {
        self.word(u64::from(high) << 32 | low);
    }

    #[inline]
    fn times(&mut self, step: i64, time: i64) {
        self.word(step.cast_unsigned());
        self.word(time.cast_unsigned());
    }

    #[inline]
    fn doubles(&mut self, points: &[(MetricId, f64)]) {
        for (_, value) in points {
            self.word(value.to_bits());
        }
    }

    #[inline]
    fn singles(&mut self, points: &[(MetricId, f64)]) {
        for points in points.chunks(2) {
            let bits = |at: usize| points.get(at).map_or(0, |(_, value)| (*value as f32).to_bits());
            self.put(u64::from(bits(0)), bits(1));
        }
    }

    /// Puts length and checksum in front of a frame whose last `padding` bytes do not count.
    #[inline]
    fn publish(&mut self, salt: u32, padding: usize) {
        let len = self.out.len() * 8 - padding;
        let [first, ..] = &mut self.copy.0;
        // In the place of the checksum, so that all of which it is taken stands together.
        *first = ((len as u64) << 32).to_le_bytes();
        let bytes = self.copy.0.as_flattened().get(4..len).unwrap_or_default();
        let crc = crc32c::crc32c_append(salt, bytes);
        if let Some(place) = self.out.first_mut() {
            *place = (u64::from(crc) << 32 | len as u64).to_le_bytes();
        }
    }
}

/// Puts the checksum into a frame of `len` bytes.
fn seal(salt: u32, len: usize, frame: &mut [u8]) {
    let crc = checksum(salt, frame.get(..len).unwrap_or_default());
    if let Some(place) = frame.get_mut(4..8) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
}

fn len32(text: &str) -> u32 {
    // Texts are bounded by FRAME_BYTES_MAX before they get here.
    text.len() as u32
}

/// The checksum of a frame without its padding, in two pieces: all but the place where it will stand.
pub(super) fn checksum(salt: u32, frame: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(salt, frame.get(..4).unwrap_or_default());
    crc32c::crc32c_append(crc, frame.get(8..).unwrap_or_default())
}

struct Cursor<'a>(&'a mut [u8]);

impl<'a> Cursor<'a> {
    /// Takes the next `len` bytes, or what there is of them.
    #[inline]
    fn first(&mut self, len: usize) -> &'a mut [u8] {
        let all = std::mem::take(&mut self.0);
        let (first, rest) = all.split_at_mut(len.min(all.len()));
        self.0 = rest;
        first
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let all = std::mem::take(&mut self.0);
        if let Some((place, rest)) = all.split_at_mut_checked(bytes.len()) {
            place.copy_from_slice(bytes);
            self.0 = rest;
        }
    }

    fn u32s(&mut self, numbers: &[u32]) {
        for number in numbers {
            self.put(&number.to_le_bytes());
        }
    }

    fn doubles(&mut self, points: &[(MetricId, f64)]) {
        let places = self.first(points.len() * 8).as_chunks_mut::<8>().0;
        for (place, (_, value)) in places.iter_mut().zip(points) {
            *place = value.to_le_bytes();
        }
    }

    fn singles(&mut self, points: &[(MetricId, f64)]) {
        let places = self.first(points.len() * 4).as_chunks_mut::<4>().0;
        for (place, (_, value)) in places.iter_mut().zip(points) {
            *place = (*value as f32).to_le_bytes();
        }
    }

    /// The metrics of a row; a whole column at once, so that no store asks again whether it fits.
    fn metrics(&mut self, points: &[(MetricId, f64)]) {
        let places = self.first(points.len() * 4).as_chunks_mut::<4>().0;
        for (place, (MetricId(metric), _)) in places.iter_mut().zip(points) {
            *place = metric.to_le_bytes();
        }
    }
}

#[derive(Default, Clone, Copy)]
struct Head {
    kind: u8,
    flags: u8,
    /// How many; the number of its shape in a row that names that.
    count: u32,
    run: u32,
    labels: u32,
    step: i64,
    time: i64,
}

impl Head {
    #[inline]
    fn has_singles(&self) -> bool {
        self.kind == KIND_LIKE && self.flags & SINGLES != 0
    }

    fn write(&self, len: u32, out: &mut [u8; FRAME_HEADER]) {
        let mut rest = Cursor(out);
        rest.u32s(&[len, 0]);
        rest.put(&[self.kind, self.flags, 0, 0]);
        rest.u32s(&[self.count, self.run, self.labels]);
        rest.put(&self.step.to_le_bytes());
        rest.put(&self.time.to_le_bytes());
    }

    fn read(header: &[u8; FRAME_HEADER]) -> (u32, u32, Self) {
        let mut at = Bytes(header);
        let len = at.u32();
        let crc = at.u32();
        let kind = at.take::<1>()[0];
        let flags = at.take::<1>()[0];
        let _reserved = at.take::<2>();
        let (count, run, labels) = (at.u32(), at.u32(), at.u32());
        (len, crc, Self { kind, flags, count, run, labels, step: at.i64(), time: at.i64() })
    }
}

/// Reads little-endian numbers off the front; zeros once nothing is left.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((chunk, rest)) => {
                self.0 = rest;
                *chunk
            }
            None => [0; N],
        }
    }
    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }
    fn i64(&mut self) -> i64 {
        i64::from_le_bytes(self.take())
    }
}

/// A frame as it stands in a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Read<'a> {
    /// See [`Frame::Name`].
    Name { space: Space, id: u32, texts: [&'a str; 3] },
    /// See [`Frame::Row`].
    Row(RowRef<'a>),
    /// See [`Frame::Shape`].
    Shape { id: u32, shape: ShapeRef<'a> },
    /// See [`Frame::Many`].
    Many(ManyRef<'a>),
    /// See [`Frame::Fact`].
    Fact { run: u32, hlc: i64, kind: &'a str, key: &'a str, value: Option<&'a str> },
    /// A kind that a later version wrote, whole and with a good checksum; passed over.
    Other,
}

/// What rows have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShapeRef<'a> {
    pub(crate) run: u32,
    pub(crate) labels: u32,
    /// The metric ids, as they stand there.
    pub(crate) metrics: &'a [[u8; 4]],
}

/// How a row says what it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowShape<'a> {
    /// In full.
    Here(ShapeRef<'a>),
    /// By the number of a shape that the file defines.
    Numbered(u32),
}

/// The bytes of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RowRef<'a> {
    pub(crate) shape: RowShape<'a>,
    pub(crate) step: i64,
    pub(crate) time: i64,
    pub(crate) values: Values<'a>,
}

/// The values of a row, one for each metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Values<'a> {
    /// Each a f64.
    Doubles(&'a [[u8; 8]]),
    /// Each a f32.
    Singles(&'a [[u8; 4]]),
}

impl Values<'_> {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Doubles(values) => values.len(),
            Self::Singles(values) => values.len(),
        }
    }

    /// Appends them to a column.
    #[inline]
    pub(crate) fn extend(&self, column: &mut Vec<f64>) {
        match self {
            Self::Doubles(values) => {
                column.extend(values.iter().map(|&value| f64::from_le_bytes(value)));
            }
            Self::Singles(values) => {
                column.extend(values.iter().map(|&value| f64::from(f32::from_le_bytes(value))));
            }
        }
    }
}

/// The bytes of many points of one metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ManyRef<'a> {
    pub(crate) run: u32,
    pub(crate) labels: u32,
    pub(crate) metric: u32,
    step: i64,
    time: i64,
    steps: Option<&'a [[u8; 8]]>,
    times: Option<&'a [[u8; 8]]>,
    values: &'a [[u8; 8]],
}

impl ManyRef<'_> {
    /// The number of points.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Appends the steps, times and values to columns.
    pub(crate) fn extend(&self, steps: &mut Vec<i64>, times: &mut Vec<i64>, values: &mut Vec<f64>) {
        fn numbers(column: &[[u8; 8]]) -> impl Iterator<Item = i64> {
            column.iter().map(|&bytes| i64::from_le_bytes(bytes))
        }
        match self.steps {
            Some(column) => steps.extend(numbers(column)),
            None => {
                steps.extend((0..self.len()).map(|row| self.step.saturating_add(row as i64)));
            }
        }
        match self.times {
            Some(column) => times.extend(numbers(column)),
            None => times.extend(std::iter::repeat_n(self.time, self.len())),
        }
        values.extend(self.values.iter().map(|&bytes| f64::from_le_bytes(bytes)));
    }
}

/// What stands at the front of some bytes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Next<'a> {
    /// A frame, and the bytes to the next one.
    Frame(Read<'a>, usize),
    /// Nothing was written here.
    End,
    /// Something that is not a frame.
    Bad(&'static str),
}

/// Reads the frame at the front of `bytes`.
pub(crate) fn next(salt: u32, bytes: &[u8]) -> Next<'_> {
    next_if(bytes, |frame, crc| checksum(salt, frame) == crc)
}

/// Reads the frame at the front of bytes that [`next`] has read before: their checksum is good.
pub(crate) fn again(bytes: &[u8]) -> Next<'_> {
    next_if(bytes, |_, _| true)
}

#[inline]
fn next_if(bytes: &[u8], is_good: impl FnOnce(&[u8], u32) -> bool) -> Next<'_> {
    let Some((header, _)) = bytes.split_first_chunk::<FRAME_HEADER>() else {
        return if bytes.iter().all(|&byte| byte == 0) {
            Next::End
        } else {
            Next::Bad("a frame is cut short")
        };
    };
    let (len, crc, head) = Head::read(header);
    if len == 0 {
        return Next::End;
    }
    let len = len as usize;
    if !(FRAME_HEADER..=FRAME_BYTES_MAX).contains(&len) {
        return Next::Bad("the length of a frame is out of range");
    }
    let Some(frame) = bytes.get(..len) else {
        return Next::Bad("a frame is longer than its block");
    };
    if !is_good(frame, crc) {
        return Next::Bad("the checksum of a frame does not match");
    }
    match read(&head, frame) {
        Some(frame) => Next::Frame(frame, len.next_multiple_of(8)),
        None => Next::Bad("a frame contradicts itself"),
    }
}

/// The bytes to the next frame, and whether others may need it to be read: a NAME or a SHAPE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Measure {
    pub(crate) len: usize,
    pub(crate) is_name: bool,
}

/// Measures the frame at the front of bytes that this process has published; `None` at their end.
pub(crate) fn measure(bytes: &[u8]) -> Option<Measure> {
    let (header, _) = bytes.split_first_chunk::<FRAME_HEADER>()?;
    let (len, _, head) = Head::read(header);
    let len = (len as usize).next_multiple_of(8);
    (FRAME_HEADER..=bytes.len())
        .contains(&len)
        .then_some(Measure { len, is_name: matches!(head.kind, KIND_NAME | KIND_SHAPE) })
}

fn read<'a>(head: &Head, frame: &'a [u8]) -> Option<Read<'a>> {
    let payload = frame.get(FRAME_HEADER..)?;
    let count = head.count as usize;
    let column = |bytes: &'a [u8]| -> Option<(&'a [[u8; 8]], &'a [u8])> {
        let (column, rest) = bytes.split_at_checked(count.checked_mul(8)?)?;
        Some((column.as_chunks::<8>().0, rest))
    };
    match head.kind {
        KIND_ROW => {
            let (metrics, rest) = payload.split_at_checked(count.checked_mul(4)?)?;
            let rest = if count % 2 == 1 { rest.get(4..)? } else { rest };
            let (values, rest) = column(rest)?;
            rest.is_empty().then_some(())?;
            let metrics = metrics.as_chunks::<4>().0;
            let shape = RowShape::Here(ShapeRef { run: head.run, labels: head.labels, metrics });
            let values = Values::Doubles(values);
            Some(Read::Row(RowRef { shape, step: head.step, time: head.time, values }))
        }
        KIND_SHAPE => {
            let (metrics, rest) = payload.split_at_checked(count.checked_mul(4)?)?;
            rest.is_empty().then_some(())?;
            let metrics = metrics.as_chunks::<4>().0;
            let shape = ShapeRef { run: head.run, labels: head.labels, metrics };
            Some(Read::Shape { id: u32::try_from(head.step).ok()?, shape })
        }
        KIND_LIKE => {
            let shape = RowShape::Numbered(head.count);
            let (_, rest) = frame.split_at_checked(LIKE_HEADER - 16)?;
            let (times, values) = rest.split_at_checked(16)?;
            let mut times = Bytes(times);
            let (step, time) = (times.i64(), times.i64());
            let (values, rest) = if head.has_singles() {
                let (values, rest) = values.as_chunks::<4>();
                (Values::Singles(values), rest)
            } else {
                let (values, rest) = values.as_chunks::<8>();
                (Values::Doubles(values), rest)
            };
            rest.is_empty().then_some(())?;
            Some(Read::Row(RowRef { shape, step, time, values }))
        }
        KIND_MANY => {
            let (metric, rest) = payload.split_first_chunk::<8>()?;
            let metric = Bytes(metric).u32();
            let (steps, rest) = if head.flags & HAS_STEPS == 0 {
                (None, rest)
            } else {
                let (steps, rest) = column(rest)?;
                (Some(steps), rest)
            };
            let (times, rest) = if head.flags & HAS_TIMES == 0 {
                (None, rest)
            } else {
                let (times, rest) = column(rest)?;
                (Some(times), rest)
            };
            let (values, rest) = column(rest)?;
            rest.is_empty().then_some(())?;
            Some(Read::Many(ManyRef {
                run: head.run,
                labels: head.labels,
                metric,
                step: head.step,
                time: head.time,
                steps,
                times,
                values,
            }))
        }
        KIND_NAME => {
            let space = match head.flags {
                0 => Space::Run,
                1 => Space::Metric,
                2 => Space::Labels,
                _ => return Some(Read::Other),
            };
            let (texts, _) = texts(payload)?;
            Some(Read::Name { space, id: head.run, texts })
        }
        KIND_FACT => {
            let ([kind, key, value], said) = texts(payload)?;
            Some(Read::Fact {
                run: head.run,
                hlc: head.step,
                kind,
                key,
                value: said.then_some(value),
            })
        }
        _ => Some(Read::Other),
    }
}

/// Three texts, and whether the last one is there at all.
fn texts(payload: &[u8]) -> Option<([&str; 3], bool)> {
    let (lengths, mut rest) = payload.split_first_chunk::<16>()?;
    let mut at = Bytes(lengths);
    let mut texts = [""; 3];
    let mut said = true;
    for text in &mut texts {
        let len = at.u32();
        said = len != NO_VALUE;
        let (bytes, after) = rest.split_at_checked(if said { len as usize } else { 0 })?;
        *text = std::str::from_utf8(bytes).ok()?;
        rest = after;
    }
    rest.is_empty().then_some((texts, said))
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "tests know their bytes")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes_of(frame: &Frame<'_>, salt: u32) -> Vec<u8> {
        let mut bytes = vec![0xAA; frame.bytes()];
        frame.write(salt, &mut bytes);
        bytes
    }

    fn bytes_of_like(row: &Frame<'_>, shape: u32, salt: u32) -> Vec<u8> {
        let like = row.like(shape).unwrap();
        let mut bytes = vec![0xAA; like.bytes()];
        like.write(salt, &mut bytes);
        bytes
    }

    #[test]
    fn every_kind_of_frame_reads_as_it_was_written() {
        let points = [(MetricId(7), 0.5), (MetricId(9), f64::NAN), (MetricId(1), -0.0)];
        let metrics = points.map(|(metric, _)| metric.0.to_le_bytes());
        let here = ShapeRef { run: 3, labels: 2, metrics: &metrics };
        let row = Frame::Row { run: 3, labels: 2, step: -4, time: 99, points: &points };
        for (bytes, shape, len) in [
            (bytes_of(&row, 1), RowShape::Here(here), 40 + 16 + 24),
            (bytes_of_like(&row, 8, 1), RowShape::Numbered(8), 32 + 16),
        ] {
            let Next::Frame(Read::Row(row), to_next) = next(1, &bytes) else { panic!("no row") };
            assert_eq!((row.step, row.time, row.shape), (-4, 99, shape));
            assert_eq!((bytes.len(), to_next), (len, len));
            let mut read = Vec::new();
            row.values.extend(&mut read);
            assert_eq!(
                read.iter().map(|it| it.to_bits()).collect::<Vec<_>>(),
                points.map(|(_, it)| it.to_bits())
            );
        }
        let bytes = bytes_of(&Frame::Shape { id: 8, run: 3, labels: 2, points: &points }, 1);
        assert_eq!(next(1, &bytes), Next::Frame(Read::Shape { id: 8, shape: here }, bytes.len()));
        assert_eq!(measure(&bytes), Some(Measure { len: bytes.len(), is_name: true }));

        for (steps, times) in
            [(None, None), (Some([5_i64, 4].as_slice()), None), (None, Some([8_i64, 9].as_slice()))]
        {
            let many = Frame::Many {
                run: 1,
                labels: 2,
                metric: 6,
                step: 10,
                time: 20,
                steps,
                times,
                values: &[1.0, 2.0],
            };
            let bytes = bytes_of(&many, 1);
            let Next::Frame(Read::Many(many), _) = next(1, &bytes) else { panic!("no points") };
            let want = |column: Option<&[i64]>, row: usize, else_: i64| {
                column.map_or(else_, |column| column[row])
            };
            let mut read = (Vec::new(), Vec::new(), Vec::new());
            many.extend(&mut read.0, &mut read.1, &mut read.2);
            assert_eq!(read.0, [0, 1].map(|at| want(steps, at, 10 + at as i64)));
            assert_eq!(read.1, [0, 1].map(|at| want(times, at, 20)));
            assert_eq!((read.2.as_slice(), many.len()), ([1.0, 2.0].as_slice(), 2));
        }

        let name = Frame::Name { space: Space::Run, id: 5, texts: ["p", "läuft", ""] };
        assert_eq!(
            next(1, &bytes_of(&name, 1)),
            Next::Frame(
                Read::Name { space: Space::Run, id: 5, texts: ["p", "läuft", ""] },
                name.bytes()
            )
        );
        for value in [None, Some(""), Some("1")] {
            let fact = Frame::Fact { run: 2, hlc: 77, kind: "config", key: "lr", value };
            let read = Read::Fact { run: 2, hlc: 77, kind: "config", key: "lr", value };
            assert_eq!(next(1, &bytes_of(&fact, 1)), Next::Frame(read, fact.bytes()));
        }
    }

    #[test]
    fn the_rows_that_the_page_draws_are_those_that_are_written() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/format/log.md");
        let page = std::fs::read_to_string(page).unwrap();
        let is_hex = |word: &&str| word.len() == 2 && u8::from_str_radix(word, 16).is_ok();
        let bytes = |line: &str| -> Vec<u8> {
            let words = line.split_whitespace().take_while(is_hex);
            words.map(|word| u8::from_str_radix(word, 16).unwrap()).collect()
        };
        let drawn: Vec<u8> =
            page.lines().map(bytes).filter(|line| line.len() > 1).flatten().collect();
        let salt = 0x8be7_620e;
        let points = [(MetricId(3), 57_326.0)];
        let (run, labels, time) = (0, NO_LABELS, 1_795_427_462_397_300);
        let row = Frame::Row { run, labels, step: 57_326, time, points: &points };
        let shape = row.shape(0);
        let points = [(MetricId(3), 57_327.0)];
        let next = Frame::Row { run, labels, step: 57_327, time: time + 12, points: &points };
        let written =
            [bytes_of(&row, salt), bytes_of(&shape, salt), bytes_of_like(&next, 0, salt)].concat();
        assert_eq!(drawn, written);
    }

    #[test]
    fn no_flipped_bit_passes_the_checksum_and_no_other_file_does() {
        let points = [(MetricId(7), 0.5), (MetricId(9), 2.0), (MetricId(1), 3.0)];
        let bytes =
            bytes_of(&Frame::Row { run: 3, labels: 1, step: 4, time: 99, points: &points }, 42);
        assert!(matches!(next(43, &bytes), Next::Bad(_)));
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(next(42, &bytes), Next::Frame(..)), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert!(!matches!(next(42, &bytes[..cut]), Next::Frame(..)), "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn values_come_back_bit_for_bit_in_either_precision(
            mut values in prop::collection::vec(prop_oneof![any::<u64>(), any::<f32>().prop_map(|it| f64::from(it).to_bits())], 1..40),
            all_single: bool,
        ) {
            if all_single {
                for bits in &mut values {
                    *bits = f64::from(f64::from_bits(*bits) as f32).to_bits();
                }
            }
            let points: Vec<_> = values.iter().map(|&bits| (MetricId(1), f64::from_bits(bits))).collect();
            let row = Frame::Row { run: 0, labels: 0, step: 0, time: 0, points: &points };
            let bytes = bytes_of_like(&row, 3, 9);
            let each = if all_single && values.len() > 1 { 4 } else { 8 };
            prop_assert!(!all_single || bytes.len() == 32 + (each * values.len()).next_multiple_of(8));
            let Next::Frame(Read::Row(row), _) = next(9, &bytes) else { panic!("no row") };
            let mut read = Vec::new();
            row.values.extend(&mut read);
            prop_assert_eq!(read.into_iter().map(f64::to_bits).collect::<Vec<_>>(), values);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), honest: bool) {
            if honest && bytes.len() > FRAME_HEADER {
                // A right length and checksum lead the decoder on to the payload.
                let len = bytes.len() as u32;
                bytes[..4].copy_from_slice(&len.to_le_bytes());
                bytes[8] %= 8;
                let crc = checksum(5, &bytes);
                bytes[4..8].copy_from_slice(&crc.to_le_bytes());
            }
            if let Next::Frame(Read::Row(row), _) = next(5, &bytes) {
                prop_assert!(row.values.len() <= bytes.len());
            }
        }
    }
}
