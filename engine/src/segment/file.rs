//! Writes one Parquet file whole: row groups of encoded columns, checksums, and a sync at the end.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};

use parquet::{
    errors::ParquetError,
    file::{metadata::KeyValue, properties::WriterProperties, writer::SerializedFileWriter},
    schema::types::SchemaDescriptor,
};

use super::{
    column::{Chunk, ColumnEncoder},
    effort::Effort,
    schema::FileKind,
};
use crate::{Error, Result, disk};

/// The version of the file format, in the metadata of every file under this key.
const FORMAT: (&str, &str) = ("runlake.format", "1");

/// What a written file amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileSum {
    /// Its size.
    pub(super) bytes: u64,
    /// The CRC32C of all of it.
    pub(super) crc32c: u32,
    /// Its footer: page indexes and metadata.
    pub(super) footer: Footer,
    /// Milliseconds since 1970 (UTC).
    pub(super) modified_ms: i64,
}

/// The end of a file that says what the rest of it means. Pages check themselves; this is what they cannot check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Footer {
    /// How many bytes at the end of the file.
    pub(super) bytes: u64,
    /// Their CRC32C.
    pub(super) crc32c: u32,
}

/// A file that is being written.
pub(super) struct FileWriter {
    path: PathBuf,
    encoder: ColumnEncoder,
    out: SerializedFileWriter<Summed>,
}

impl std::fmt::Debug for FileWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileWriter").field("path", &self.path).finish_non_exhaustive()
    }
}

impl FileWriter {
    /// Creates the file.
    pub(super) fn create(path: PathBuf, kind: FileKind, effort: Effort) -> Result<Self> {
        let file = disk::create(&path)?;
        let properties = WriterProperties::builder()
            .set_created_by(concat!("runlake ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_key_value_metadata(Some(vec![KeyValue::new(
                FORMAT.0.to_owned(),
                FORMAT.1.to_owned(),
            )]))
            .set_sorting_columns(Some(kind.sorting()))
            .build();
        let out = Summed {
            file,
            path: path.clone(),
            all: 0,
            bytes: 0,
            footer: Footer { bytes: 0, crc32c: 0 },
        };
        let out = SerializedFileWriter::new(out, kind.parquet(), properties.into());
        let out = out.map_err(|source| cannot_write(&path, source))?;
        let encoder = ColumnEncoder::new(effort).map_err(|source| cannot_write(&path, source))?;
        Ok(Self { path, encoder, out })
    }

    /// Bytes written so far.
    pub(super) fn bytes(&self) -> u64 {
        self.out.bytes_written() as u64
    }

    /// Appends one row group, the columns of which `encode` makes, one for each column of the schema.
    pub(super) fn row_group(
        &mut self,
        encode: impl FnOnce(&mut ColumnEncoder, &SchemaDescriptor) -> Result<Vec<Chunk>, ParquetError>,
    ) -> Result<()> {
        let write = || {
            let chunks = encode(&mut self.encoder, self.out.schema_descr())?;
            let mut group = self.out.next_row_group()?;
            for Chunk { bytes, close } in chunks {
                group.append_column(&bytes, close)?;
            }
            group.close().map(drop)
        };
        write().map_err(|source| cannot_write(&self.path, source))
    }

    /// Writes the footer and syncs. The file is durable then; its name is when its folder is synced.
    pub(super) fn finish(mut self) -> Result<FileSum> {
        let mut write = || {
            self.out.flush()?;
            // What follows is the footer.
            self.out.inner_mut().footer = Footer { bytes: 0, crc32c: 0 };
            self.out.finish()?;
            Ok(self.out.flush()?)
        };
        write().map_err(|source| cannot_write(&self.path, source))?;
        self.encoder.keep();
        let summed = self.out.inner();
        disk::sync(&summed.file, &self.path)?;
        Ok(FileSum {
            bytes: summed.bytes,
            crc32c: summed.all,
            footer: summed.footer,
            modified_ms: disk::modified_us(&self.path)? / 1000,
        })
    }
}

/// A file with the checksum of what was written to it.
struct Summed {
    file: File,
    path: PathBuf,
    all: u32,
    bytes: u64,
    /// Of what was written since this was reset.
    footer: Footer,
}

impl Write for Summed {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        disk::write(&self.file, &self.path, buf)?;
        self.all = crc32c::crc32c_append(self.all, buf);
        self.footer.crc32c = crc32c::crc32c_append(self.footer.crc32c, buf);
        self.footer.bytes += buf.len() as u64;
        self.bytes += buf.len() as u64;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Says that `path` could not be written; what the system said comes through.
fn cannot_write(path: &Path, source: ParquetError) -> Error {
    let source = match source {
        ParquetError::External(source) => {
            source.downcast::<io::Error>().map_or_else(io::Error::other, |source| *source)
        }
        source => io::Error::other(source),
    };
    Error::io("write", path, source)
}
