//! Tables of points as delimited text, plain or gzipped.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use csv::{ByteRecord, ReaderBuilder};
use flate2::read::MultiGzDecoder;
use indicatif::ProgressBar;
use serde_json::Value;

use super::{
    cell::{self, TimeUnit},
    record::{Columns, ConfigCells, EachRecord, Record, Source},
};
use crate::{failure::Failure, suggestion, text};

/// A file of delimited text with a header.
#[derive(Debug)]
pub(super) struct Delimited {
    pub(super) path: PathBuf,
    pub(super) is_gzipped: bool,
    pub(super) delimiter: u8,
    pub(super) bytes: u64,
    pub(super) time_unit: TimeUnit,
}

/// Where the columns stand in a line.
struct Places {
    run: usize,
    metric: usize,
    step: usize,
    value: usize,
    time: Option<usize>,
    config: Vec<usize>,
}

impl Source for Delimited {
    fn path(&self) -> &Path {
        &self.path
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read(
        &self,
        columns: &Columns,
        progress: &ProgressBar,
        each: EachRecord<'_>,
    ) -> Result<(), Failure> {
        let refused = |error: io::Error| {
            Failure::new(format!("cannot read {}: {error}", self.path.display()))
        };
        let file = File::open(&self.path).map_err(refused)?;
        let plain = progress.wrap_read(file);
        let bytes: Box<dyn Read> = if self.is_gzipped {
            Box::new(MultiGzDecoder::new(BufReader::with_capacity(1 << 16, plain)))
        } else {
            Box::new(plain)
        };
        let mut reader = ReaderBuilder::new()
            .delimiter(self.delimiter)
            .buffer_capacity(1 << 18)
            .from_reader(bytes);
        let header = reader.byte_headers().map_err(|error| self.malformed(&error))?.clone();
        let places = self.places(&header, columns)?;

        let mut line = ByteRecord::new();
        while reader.read_byte_record(&mut line).map_err(|error| self.malformed(&error))? {
            let number = line.position().map_or(0, csv::Position::line);
            let bad = |column: &str, cell: &[u8], what: &str| {
                Failure::new(format!(
                    "{} line {number}, column '{column}': '{}' {what}",
                    self.path.display(),
                    text::cut(&text::printable(&String::from_utf8_lossy(cell)), 60)
                ))
            };
            let cell = |place: usize, column: &str| -> Result<&str, Failure> {
                let bytes = &line[place];
                match str::from_utf8(bytes) {
                    Ok(text) => Ok(text.trim()),
                    Err(_) => Err(bad(column, bytes, "is not UTF-8")),
                }
            };
            let run = cell(places.run, &columns.run)?;
            let metric = cell(places.metric, &columns.metric)?;
            for (text, column) in [(run, &columns.run), (metric, &columns.metric)] {
                if text.is_empty() {
                    return Err(bad(column, b"", "is empty"));
                }
                if text.len() > 512 {
                    return Err(bad(column, text.as_bytes(), "is longer than 512 bytes"));
                }
            }
            let step = cell(places.step, &columns.step)?;
            let step =
                cell::step(step).map_err(|what| bad(&columns.step, step.as_bytes(), what))?;
            let value = cell(places.value, &columns.value)?;
            let value =
                cell::value(value).map_err(|what| bad(&columns.value, value.as_bytes(), what))?;
            let time = match (places.time, &columns.time) {
                (Some(place), Some(column)) => {
                    let time = cell(place, column)?;
                    cell::time(time, self.time_unit)
                        .map_err(|what| bad(column, time.as_bytes(), what))?
                }
                _ => None,
            };
            for (&place, column) in places.config.iter().zip(&columns.config) {
                cell(place, column)?;
            }
            each(&Record {
                run,
                metric,
                step,
                time,
                value,
                config: &Line { line: &line, places: &places.config },
            })?;
        }
        Ok(())
    }
}

impl Delimited {
    fn places(&self, header: &ByteRecord, columns: &Columns) -> Result<Places, Failure> {
        let names: Vec<String> =
            header.iter().map(|name| String::from_utf8_lossy(name).trim().to_owned()).collect();
        let place = |column: &String| place(&self.path, &names, column);
        Ok(Places {
            run: place(&columns.run)?,
            metric: place(&columns.metric)?,
            step: place(&columns.step)?,
            value: place(&columns.value)?,
            time: columns.time.as_ref().map(place).transpose()?,
            config: columns.config.iter().map(place).collect::<Result<_, _>>()?,
        })
    }

    fn malformed(&self, error: &csv::Error) -> Failure {
        let path = self.path.display();
        match error.kind() {
            csv::ErrorKind::UnequalLengths { pos, expected_len, len } => Failure::new(format!(
                "{path} line {}: {len} cells where the header has {expected_len}",
                pos.as_ref().map_or(0, csv::Position::line)
            )),
            csv::ErrorKind::Io(error) => Failure::new(format!("cannot read {path}: {error}")),
            _ => Failure::new(format!("{path}: {error}")),
        }
    }
}

/// Where `column` stands among the `names` of a header.
pub(super) fn place(path: &Path, names: &[String], column: &str) -> Result<usize, Failure> {
    let mut places = (0..names.len()).filter(|&at| names[at] == column);
    match (places.next(), places.next()) {
        (Some(place), None) => Ok(place),
        (Some(_), Some(_)) => {
            Err(Failure::new(format!("{} has more than one column '{column}'", path.display())))
        }
        (None, _) => {
            let failure = Failure::new(format!("{} has no column '{column}'", path.display()));
            let failure = match suggestion::question(column, names.iter().map(String::as_str)) {
                Some(question) => failure.hint(question),
                None => failure,
            };
            Err(failure.hint(format!("its columns are {}", text::printable(&names.join(", ")))))
        }
    }
}

/// The config cells of one line.
struct Line<'a> {
    line: &'a ByteRecord,
    places: &'a [usize],
}

impl ConfigCells for Line<'_> {
    fn text(&self, at: usize) -> &str {
        str::from_utf8(&self.line[self.places[at]]).map_or("", str::trim)
    }

    fn value(&self, at: usize) -> Value {
        cell::config(self.text(at))
    }
}
