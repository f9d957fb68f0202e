//! Frames: bytes to rows and back. The decoder is total: any bytes give a frame, the end, or a reason.
//!
//! ```text
//! frame | len u32 | crc u32 | kind u8 | flags u8 | 0 u16 | count u32 | run u32 | labels u32 | step i64 | time i64 | payload | pad to 8 |
//! ROW   count x metric u32, pad to 8, count x value f64
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
const KIND_NAME: u8 = 1;
const KIND_ROW: u8 = 2;
const KIND_MANY: u8 = 3;
const KIND_FACT: u8 = 4;
const HAS_STEPS: u8 = 1;
const HAS_TIMES: u8 = 2;
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

impl Frame<'_> {
    /// The bytes of the frame, its padding included; a multiple of 8.
    pub(crate) fn bytes(&self) -> usize {
        let payload = match self {
            Self::Name { texts, .. } => 16 + texts.iter().map(|text| text.len()).sum::<usize>(),
            Self::Row { points, .. } => (points.len() * 4).next_multiple_of(8) + points.len() * 8,
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

    /// Writes the frame into `out`, which has exactly [`Frame::bytes`] bytes.
    #[inline]
    pub(crate) fn write(&self, salt: u32, out: &mut [u8]) {
        match *self {
            Self::Row { run, labels, step, time, points } if points.len() <= SHORT_ROW => {
                let count = points.len() as u32;
                let head = Head { kind: KIND_ROW, flags: 0, count, run, labels, step, time };
                write_short_row(salt, &head, points, out);
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
                // Whole columns at once, so that no store asks again whether it fits.
                let metrics = rest.first(points.len() * 4).as_chunks_mut::<4>().0;
                for (place, (MetricId(metric), _)) in metrics.iter_mut().zip(points) {
                    *place = metric.to_le_bytes();
                }
                if points.len() % 2 == 1 {
                    rest.put(&[0; 4]);
                }
                let values = rest.first(points.len() * 8).as_chunks_mut::<8>().0;
                for (place, (_, value)) in values.iter_mut().zip(points) {
                    *place = value.to_le_bytes();
                }
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
        let crc = checksum(salt, out.get(..len).unwrap_or_default());
        if let Some(place) = out.get_mut(4..8) {
            place.copy_from_slice(&crc.to_le_bytes());
        }
    }
}

/// The most points of a row that is put together aside.
const SHORT_ROW: usize = 16;
const SHORT_WORDS: usize = FRAME_HEADER / 8 + SHORT_ROW / 2 + SHORT_ROW;

/// Writes a row, word by word, to `out` and to a piece of memory that is in the cache, of which the checksum is taken: a read
/// of what was just written to `out` would wait for cache lines that have yet to come from memory.
#[inline]
fn write_short_row(salt: u32, head: &Head, points: &[(MetricId, f64)], out: &mut [u8]) {
    let len = out.len();
    let mut aside = [0_u8; SHORT_WORDS * 8];
    let words = aside.as_chunks_mut::<8>().0.iter_mut().zip(out.as_chunks_mut::<8>().0);
    let mut words = words.map(|(aside, out)| {
        move |word: u64| {
            *aside = word.to_le_bytes();
            *out = word.to_le_bytes();
        }
    });
    let mut put = |word: u64| words.next().into_iter().for_each(|mut put| put(word));
    let pair = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
    put(pair(len as u32, 0));
    put(pair(u32::from_le_bytes([head.kind, head.flags, 0, 0]), head.count));
    put(pair(head.run, head.labels));
    put(head.step.cast_unsigned());
    put(head.time.cast_unsigned());
    for points in points.chunks(2) {
        let metric = |at: usize| points.get(at).map_or(0, |(MetricId(metric), _)| *metric);
        put(pair(metric(0), metric(1)));
    }
    for (_, value) in points {
        put(value.to_bits());
    }
    let crc = checksum(salt, aside.get(..len).unwrap_or_default());
    if let Some(place) = out.get_mut(4..8) {
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
}

#[derive(Default, Clone, Copy)]
struct Head {
    kind: u8,
    flags: u8,
    count: u32,
    run: u32,
    labels: u32,
    step: i64,
    time: i64,
}

impl Head {
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
    /// See [`Frame::Many`].
    Many(ManyRef<'a>),
    /// See [`Frame::Fact`].
    Fact { run: u32, hlc: i64, kind: &'a str, key: &'a str, value: Option<&'a str> },
    /// A kind that a later version wrote, whole and with a good checksum; passed over.
    Other,
}

/// The bytes of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RowRef<'a> {
    pub(crate) run: u32,
    pub(crate) labels: u32,
    pub(crate) step: i64,
    pub(crate) time: i64,
    metrics: &'a [[u8; 4]],
    values: &'a [[u8; 8]],
}

impl<'a> RowRef<'a> {
    /// The metric ids, as they stand there: rows of one kind have the same.
    pub(crate) fn metrics(&self) -> &'a [[u8; 4]] {
        self.metrics
    }

    /// The values, one for each metric.
    pub(crate) fn values(&self) -> impl ExactSizeIterator<Item = f64> + 'a {
        self.values.iter().map(|&value| f64::from_le_bytes(value))
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
    match read(&head, frame.get(FRAME_HEADER..).unwrap_or_default()) {
        Some(frame) => Next::Frame(frame, len.next_multiple_of(8)),
        None => Next::Bad("a frame contradicts itself"),
    }
}

/// The bytes to the next frame, and whether it is a NAME.
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
        .then_some(Measure { len, is_name: head.kind == KIND_NAME })
}

fn read<'a>(head: &Head, payload: &'a [u8]) -> Option<Read<'a>> {
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
            Some(Read::Row(RowRef {
                run: head.run,
                labels: head.labels,
                step: head.step,
                time: head.time,
                metrics,
                values,
            }))
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

    #[test]
    fn every_kind_of_frame_reads_as_it_was_written() {
        let points = [(MetricId(7), 0.5), (MetricId(9), f64::NAN), (MetricId(1), -0.0)];
        let bytes = bytes_of(
            &Frame::Row { run: 3, labels: NO_LABELS, step: -4, time: 99, points: &points },
            1,
        );
        let Next::Frame(Read::Row(row), len) = next(1, &bytes) else { panic!("no row") };
        assert_eq!(
            (row.run, row.labels, row.step, row.time, len),
            (3, NO_LABELS, -4, 99, bytes.len())
        );
        let metrics = row.metrics().iter().map(|&metric| u32::from_le_bytes(metric));
        let read: Vec<_> = metrics.zip(row.values().map(f64::to_bits)).collect();
        assert_eq!(read, points.map(|(metric, value)| (metric.0, value.to_bits())));

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
        fn any_bytes_are_read_without_a_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), honest: bool) {
            if honest && bytes.len() > FRAME_HEADER {
                // A right length and checksum lead the decoder on to the payload.
                let len = bytes.len() as u32;
                bytes[..4].copy_from_slice(&len.to_le_bytes());
                bytes[8] %= 6;
                let crc = checksum(5, &bytes);
                bytes[4..8].copy_from_slice(&crc.to_le_bytes());
            }
            if let Next::Frame(Read::Row(row), _) = next(5, &bytes) {
                prop_assert!(row.values().len() <= bytes.len());
            }
        }
    }
}
