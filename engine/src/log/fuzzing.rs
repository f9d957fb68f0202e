//! What fuzzers run on the log: any bytes as frames, any file as a log file.
#![expect(clippy::panic, reason = "a fuzzer takes a panic for a finding")]

use std::path::Path;

use super::{
    BLOCK_BYTES, HEADER_BYTES, LogFile, Mode, NO_LABELS, Passed, TAIL_STRIDE, blocks_start,
    file_bytes, file_name,
    frame::{self, FRAME_HEADER, Frame, ManyRef, Next, Read, RowShape},
    header::{FIXED, Header},
    reader::{LogReader, Tails},
    tail_word, watermark_within,
};
use crate::{Error, Points, SeriesIndex, disk, names::MetricId};

/// The salt of the frames that have no file.
const SALT: u32 = 7;
/// The largest file that is laid out.
const FILE_BYTES: usize = 1 << 20;
/// The checksums of the input are set right, so that it gets past them.
const MENDED: u8 = 1;
/// The file ends with the last byte that the input places.
const CUT_SHORT: u8 = 2;

/// Reads a byte of flags and then frames, one after the other, as they stand in a block.
pub(crate) fn frames(input: &[u8]) {
    let Some((flags, bytes)) = input.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if flags & MENDED != 0 {
        mend_frames(SALT, &mut bytes);
    }
    let mut rest = bytes.as_slice();
    while let Next::Frame(read, len) = frame::next(SALT, rest) {
        assert!((FRAME_HEADER..=rest.len().next_multiple_of(8)).contains(&len));
        assert_reads_as_written(&read);
        rest = rest.get(len..).unwrap_or_default();
    }
}

/// What was read means the same once it is written again.
fn assert_reads_as_written(read: &Read<'_>) {
    let again = |frame: Frame<'_>| {
        let mut bytes = vec![0; frame.bytes()];
        frame.write(SALT, &mut bytes);
        bytes
    };
    match read {
        Read::Name { space, id, texts } => {
            let bytes = again(Frame::Name { space: *space, id: *id, texts: *texts });
            assert_eq!(frame::next(SALT, &bytes), Next::Frame(read.clone(), bytes.len()));
        }
        Read::Fact { run, hlc, kind, key, value } => {
            let fact = Frame::Fact { run: *run, hlc: *hlc, kind, key, value: *value };
            let bytes = again(fact);
            assert_eq!(frame::next(SALT, &bytes), Next::Frame(read.clone(), bytes.len()));
        }
        Read::Row(row) => {
            let mut values = Vec::new();
            row.values.extend(&mut values);
            let (step, time) = (row.step, row.time);
            let write = |run, labels, metrics: &[[u8; 4]], number: Option<u32>| {
                let metrics = metrics.iter().map(|&id| MetricId(u32::from_le_bytes(id)));
                let points: Vec<_> =
                    metrics.chain(std::iter::repeat(MetricId(0))).zip(values.clone()).collect();
                let row = Frame::Row { run, labels, step, time, points: &points };
                let Some(like) = number.and_then(|number| row.like(number)) else {
                    return again(row);
                };
                let mut bytes = vec![0; like.bytes()];
                like.write(SALT, &mut bytes);
                bytes
            };
            // A row that has a number for its shape names no metrics.
            let bytes = match row.shape {
                RowShape::Here(here) => write(here.run, here.labels, here.metrics, None),
                RowShape::Numbered(number) => write(0, NO_LABELS, &[], Some(number)),
            };
            let Next::Frame(Read::Row(written), _) = frame::next(SALT, &bytes) else {
                panic!("a row is no longer a row");
            };
            let mut found = Vec::new();
            written.values.extend(&mut found);
            let bits = |values: &[f64]| values.iter().map(|it| it.to_bits()).collect::<Vec<_>>();
            assert_eq!((written.shape, bits(&found)), (row.shape, bits(&values)));
            assert_eq!((written.step, written.time), (step, time));
        }
        Read::Shape { id, shape } => {
            let metrics = shape.metrics.iter().map(|&metric| MetricId(u32::from_le_bytes(metric)));
            let points: Vec<_> = metrics.map(|metric| (metric, 0.0)).collect();
            let (run, labels) = (shape.run, shape.labels);
            let bytes = again(Frame::Shape { id: *id, run, labels, points: &points });
            assert_eq!(frame::next(SALT, &bytes), Next::Frame(read.clone(), bytes.len()));
        }
        Read::Many(many) => {
            let columns = |many: &ManyRef<'_>| {
                let (mut steps, mut times, mut values) = (Vec::new(), Vec::new(), Vec::new());
                many.extend(&mut steps, &mut times, &mut values);
                (steps, times, values)
            };
            let (steps, times, values) = columns(many);
            let bytes = again(Frame::Many {
                run: many.run,
                labels: many.labels,
                metric: many.metric,
                step: 0,
                time: 0,
                steps: Some(&steps),
                times: Some(&times),
                values: &values,
            });
            let Next::Frame(Read::Many(written), _) = frame::next(SALT, &bytes) else {
                panic!("many points are no longer many points");
            };
            let bits = |values: &[f64]| values.iter().map(|it| it.to_bits()).collect::<Vec<_>>();
            let found = columns(&written);
            assert_eq!((&found.0, &found.1, bits(&found.2)), (&steps, &times, bits(&values)));
        }
        Read::Other => {}
    }
}

/// Reads a log file: as its own host does, as another boot does, and as an adopter does: of a mapped file one who seals it
/// first, of a stream one who comes while it is written. It lies in `folder`, which is empty.
pub(crate) fn log_file(input: &[u8], folder: &Path) {
    let Some(image) = lay_out(input) else { return };
    let path = folder.join(file_name(1));
    disk::create_with(&path, &image).expect("the folder is empty");
    let live = read_twice(&path, Tails::Exact);
    let booted = read_twice(&path, Tails::Unknown);
    let (Some((header, live)), Some(_)) = (live, booted) else { return };
    if header.mode == Mode::Written {
        let cut = usize::from(input.last().copied().unwrap_or_default());
        let (head, stream) = image.split_at(HEADER_BYTES.min(image.len()));
        let written = [head, &stream[..stream.len() * cut / 256]].concat();
        stream_that_grows(&path, &written, &image);
        return;
    }
    if image.len() < file_bytes(header.blocks as usize) {
        let refused = LogFile::seal_orphan(&path, &header).expect_err("it was cut short");
        assert_eq!(refused.kind(), std::io::ErrorKind::UnexpectedEof);
        return;
    }
    LogFile::seal_orphan(&path, &header).expect("it can be mapped");
    let (_, sealed) = read_twice(&path, Tails::Exact).expect("its header is what it was");
    assert_eq!(bits(&live), bits(&sealed), "sealing takes nothing away and adds nothing");
}

/// Reads a stream of which a part is written, and again once all of it is, as a reader who goes on does, and as an adopter
/// who took the first part and the owner who keeps the rest. Together they find what somebody finds who comes last.
fn stream_that_grows(path: &Path, written: &[u8], all: &[u8]) {
    for tails in [Tails::Exact, Tails::Unknown] {
        let open = || LogReader::open(path).expect("its header stands").expect("it is there");
        let write = |bytes: &[u8]| {
            disk::remove_if_there(path).expect("it can be removed");
            disk::create_with(path, bytes).expect("it is gone");
        };
        let read = |reader: &mut LogReader| reader.read(tails).expect("the file can be read");
        write(written);
        let mut watcher = open();
        let first = read(&mut watcher);
        let mark = watermark_within(1, watcher.end());
        disk::write_over(path, all).expect("it is there");
        let more = read(&mut watcher);

        let mut owner = open();
        owner.pass(Passed::of(Some(mark), Some(mark), 1));
        let rest = read(&mut owner);

        let mut last = open();
        let whole = read(&mut last);
        // A frame before its names is nothing that a writer writes, and who comes early does not know them.
        if !(watcher.problems().is_empty() && last.problems().is_empty()) {
            continue;
        }
        for later in [more, rest] {
            let mut found = (Points::default(), SeriesIndex::default());
            found.0.extend(&mut found.1, &first.points);
            found.0.extend(&mut found.1, &later.points);
            assert_eq!(bits(&found.0), bits(&whole.points), "each row once, in its order");
            assert_eq!([first.facts.as_slice(), &later.facts].concat(), whole.facts);
        }
    }
}

/// The header and the points of a log file, if it is one.
fn read_twice(path: &Path, tails: Tails) -> Option<(Header, Points)> {
    let mut reader = match LogReader::open(path) {
        Ok(reader) => reader?,
        Err(Error::Corrupt { .. }) => return None,
        Err(error) => panic!("{error}"),
    };
    let _hint = reader.last_step(1).expect("the file can be read");
    let found = reader.read(tails).expect("the file can be read");
    assert!(found.points.len() * 8 <= FILE_BYTES, "every value takes eight bytes");
    let problems = reader.problems().len();
    let more = reader.read(tails).expect("the file can be read");
    assert!(more.points.is_empty() && more.facts.is_empty(), "nothing was published meanwhile");
    assert_eq!(reader.problems().len(), problems, "what is damaged is said once");
    Some((reader.header().clone(), found.points))
}

/// A point by the number of its series: step, time, the bits of the value.
type Bits = (u32, i64, i64, u64);

fn bits(points: &Points) -> (Vec<String>, Vec<Bits>) {
    let keys = points.keys.iter().map(|key| format!("{key:?}")).collect();
    let rows = (0..points.len()).map(|row| {
        let value = points.values[row].to_bits();
        (points.series[row], points.steps[row], points.times[row], value)
    });
    (keys, rows.collect())
}

/// The file that an input describes: a byte of flags, then pieces of it, `| offset u32 | len u16 | bytes |`. A log file
/// is mostly zeros, which no fuzzer should have to carry along.
fn lay_out(input: &[u8]) -> Option<Vec<u8>> {
    let (flags, mut rest) = input.split_first()?;
    let mut image = Vec::new();
    while let Some((place, after)) = rest.split_first_chunk::<6>() {
        let (at, len) = place.split_at(4);
        let at = at.first_chunk().map_or(0, |&at| u32::from_le_bytes(at)) as usize;
        let len = len.first_chunk().map_or(0, |&len| u16::from_le_bytes(len));
        let bytes = after.get(..usize::from(len)).unwrap_or(after);
        rest = after.get(bytes.len()..).unwrap_or_default();
        let end = at.checked_add(bytes.len()).filter(|&end| end <= FILE_BYTES)?;
        image.resize(end.max(image.len()), 0);
        image[at..end].copy_from_slice(bytes);
    }
    if flags & MENDED != 0 {
        mend(&mut image);
    }
    let blocks = image.get(12..16)?.first_chunk().map_or(0, |&blocks| u32::from_le_bytes(blocks));
    let whole = file_bytes(blocks.min(1 << 16) as usize);
    let is_stream = image.get(20) == Some(&1);
    if flags & CUT_SHORT == 0 && whole <= FILE_BYTES && !is_stream {
        image.resize(whole.max(image.len()), 0);
    }
    Some(image)
}

/// The input that describes a file.
#[cfg(test)]
pub(crate) fn describe(image: &[u8], flags: u8) -> Vec<u8> {
    let mut input = vec![flags];
    let pieces = image.chunks(64).enumerate().filter(|(_, piece)| piece.iter().any(|&b| b != 0));
    let mut joined: Vec<(usize, Vec<u8>)> = Vec::new();
    for (at, piece) in pieces.map(|(number, piece)| (number * 64, piece)) {
        match joined.last_mut() {
            Some((start, bytes)) if *start + bytes.len() == at && bytes.len() < 1 << 15 => {
                bytes.extend(piece);
            }
            _ => joined.push((at, piece.to_vec())),
        }
    }
    for (at, bytes) in joined {
        input.extend(u32::try_from(at).expect("files are small").to_le_bytes());
        input.extend(u16::try_from(bytes.len()).expect("pieces are small").to_le_bytes());
        input.extend(bytes);
    }
    input
}

/// Sets the checksums of header and frames right, and the second half of tail words.
fn mend(image: &mut [u8]) {
    let word = |image: &[u8], at: usize| {
        image.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |&word| u32::from_le_bytes(word))
    };
    let Some(checked) = image.get(..FIXED) else { return };
    let crc = crc32c::crc32c(checked);
    if let Some(place) = image.get_mut(FIXED..FIXED + 4) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
    let (blocks, salt) = (word(image, 12) as usize, word(image, 16));
    if image.get(20) == Some(&1) {
        mend_frames(salt, image.get_mut(HEADER_BYTES..).unwrap_or_default());
        return;
    }
    if file_bytes(blocks.min(1 << 16)) > FILE_BYTES {
        return;
    }
    for block in 0..blocks {
        let tail = HEADER_BYTES + block * TAIL_STRIDE;
        let published = (word(image, tail) & 0x7fff_fff8) as usize;
        if let Some(place) = image.get_mut(tail..tail + 8) {
            place.copy_from_slice(&tail_word(published).to_le_bytes());
        }
        let start = blocks_start(blocks) + block * BLOCK_BYTES;
        mend_frames(salt, image.get_mut(start..).unwrap_or_default());
    }
}

/// Sets the checksums of frames right, for as long as their lengths lead from one to the next.
fn mend_frames(salt: u32, mut bytes: &mut [u8]) {
    while let Some(len) = bytes.first_chunk().map(|&len| u32::from_le_bytes(len) as usize) {
        if len < FRAME_HEADER {
            return;
        }
        let Some((frame, rest)) = bytes.split_at_mut_checked(len) else { return };
        let crc = frame::checksum(salt, frame);
        frame[4..8].copy_from_slice(&crc.to_le_bytes());
        let padding = len.next_multiple_of(8) - len;
        bytes = rest.get_mut(padding..).unwrap_or_default();
    }
}
