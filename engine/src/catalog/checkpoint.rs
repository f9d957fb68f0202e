//! Checkpoints: one version of a table as a Parquet file, so that opening need not read every commit.
//!
//! The columns of the file are the actions of the log, one action a row; `_last_checkpoint` names the newest. Rows are
//! decoded through the same JSON as commits, so that both say the same and fail the same way.

use std::{
    fs::File,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use arrow::{
    datatypes::{DataType, Field, Fields, Schema, SchemaRef},
    json::{ReaderBuilder, WriterBuilder, writer::LineDelimited},
};
use parquet::{
    arrow::{
        ArrowWriter, ProjectionMask,
        arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder},
    },
    basic::Compression,
    file::properties::WriterProperties,
};
use serde::{Deserialize, Serialize};

use super::{action::Actions, commit::LAST_VERSION};
use crate::{Error, Result, disk};

/// How many commits may pass between two checkpoints.
pub(super) const EVERY: u64 = 100;
/// Where a checkpoint was due and failed, or is being written by somebody else, it is due again this often.
const AGAIN: u64 = 10;

/// Whether the process that committed `version` writes a checkpoint, the newest one being of version `last`.
pub(super) fn is_due(version: u64, last: Option<u64>) -> bool {
    let passed = last.map_or(version, |last| version.saturating_sub(last));
    passed >= EVERY && version.is_multiple_of(AGAIN)
}

/// What `_last_checkpoint` says. Only a hint: it may be old, and it may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Hint {
    pub(super) version: u64,
    /// Rows.
    #[serde(default)]
    size: u64,
    /// Files, where the checkpoint has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parts: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size_in_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    num_of_add_files: Option<u64>,
    /// The CRC32C of the file, where we wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    runlake_crc32c: Option<u32>,
}

impl Hint {
    fn path(log: &Path) -> PathBuf {
        log.join("_last_checkpoint")
    }

    /// Reads the hint. One that cannot be decoded is as good as none.
    pub(super) fn read(log: &Path) -> Result<Option<Self>> {
        let Some(bytes) = disk::read_if_there(&Self::path(log))? else { return Ok(None) };
        let hint = serde_json::from_slice(&bytes);
        if let Err(error) = &hint {
            tracing::warn!(path = %Self::path(log).display(), %error, "the checkpoint hint is not readable");
        }
        let names_files = |hint: &Self| hint.version <= LAST_VERSION && hint.parts != Some(0);
        Ok(hint.ok().filter(names_files))
    }

    /// The checkpoint that it names.
    pub(super) fn checkpoint(&self) -> Checkpoint {
        Checkpoint { version: self.version, parts: self.parts, crc32c: self.runlake_crc32c }
    }
}

/// A checkpoint by its name: of one file, or of several parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Checkpoint {
    pub(super) version: u64,
    parts: Option<u32>,
    /// The checksum of its one file, where it is known.
    crc32c: Option<u32>,
}

impl Checkpoint {
    /// The complete checkpoints among the files of the log, newest first.
    pub(super) fn among(names: &[String]) -> Vec<Self> {
        let mut found: Vec<Self> = names.iter().filter_map(|name| Self::first_part(name)).collect();
        found.retain(|it| it.names().all(|name| names.binary_search(&name).is_ok()));
        found.sort_unstable();
        found.reverse();
        found
    }

    /// The checkpoint whose first file is called `name`.
    fn first_part(name: &str) -> Option<Self> {
        let parts: Vec<&str> = name.split('.').collect();
        let (version, parts) = match parts[..] {
            [version, "checkpoint", "parquet"] => (version, None),
            [version, "checkpoint", "0000000001", parts, "parquet"] => {
                (version, Some(parts.parse().ok().filter(|&parts| parts >= 1)?))
            }
            _ => return None,
        };
        let found = Self { version: version.parse().ok()?, parts, crc32c: None };
        (found.version <= LAST_VERSION && found.names().next()? == name).then_some(found)
    }

    /// The names of its files.
    fn names(self) -> impl Iterator<Item = String> {
        let Self { version, parts, .. } = self;
        (1..=parts.unwrap_or(1)).map(move |part| match parts {
            None => format!("{version:020}.checkpoint.parquet"),
            Some(parts) => format!("{version:020}.checkpoint.{part:010}.{parts:010}.parquet"),
        })
    }

    /// Whether both are the same files.
    pub(super) fn is_named_as(self, other: Self) -> bool {
        (self.version, self.parts) == (other.version, other.parts)
    }

    /// Its first file, by which an error names it.
    pub(super) fn path(self, log: &Path) -> PathBuf {
        log.join(self.names().next().unwrap_or_default())
    }

    /// Reads the actions of all its files.
    pub(super) fn read(self, log: &Path) -> Result<Actions> {
        let mut all = Actions::default();
        for name in self.names() {
            let path = log.join(name);
            if let (None, Some(known)) = (self.parts, self.crc32c)
                && crc32c::crc32c(&disk::read(&path)?) != known
            {
                return Err(Error::corrupt(path, 0, "the checksum is not that of the file"));
            }
            let part = read_file(&path)?;
            all.protocol = part.protocol.or(all.protocol);
            all.metadata = part.metadata.or(all.metadata);
            all.txns.extend(part.txns);
            all.removes.extend(part.removes);
            all.adds.extend(part.adds);
        }
        Ok(all)
    }

    /// Writes the checkpoint of `version`, unless there is one, and then the hint, unless it names a newer one.
    pub(super) fn write(log: &Path, version: u64, actions: Actions) -> Result<()> {
        let path = Self { version, parts: None, crc32c: None }.path(log);
        let num_of_add_files = Some(actions.adds.len() as u64);
        let (rows, bytes) = encode(actions).map_err(|e| Error::io("encode", &path, e))?;
        if !disk::publish(&path, &bytes)?
            || Hint::read(log)?.is_some_and(|it| it.version >= version)
        {
            return Ok(());
        }
        let size_in_bytes = Some(bytes.len() as u64);
        let runlake_crc32c = Some(crc32c::crc32c(&bytes));
        let hint = Hint {
            version,
            size: rows,
            parts: None,
            size_in_bytes,
            num_of_add_files,
            runlake_crc32c,
        };
        let hint = serde_json::to_vec(&hint).expect("numbers are JSON");
        disk::replace(&Hint::path(log), &hint)
    }
}

/// The leaves that are read, and no others: some writers add typed copies of the statistics.
const LEAVES: [&str; 14] = [
    "add.path",
    "add.partitionValues",
    "add.size",
    "add.modificationTime",
    "add.dataChange",
    "add.stats",
    "add.tags",
    "remove.path",
    "remove.deletionTimestamp",
    "remove.dataChange",
    "txn.appId",
    "txn.version",
    "protocol",
    "metaData",
];

fn read_file(path: &Path) -> Result<Actions> {
    let file = disk::open(path)?;
    // The Parquet reader divides by what it finds in a page, among other things. What a damaged file makes of that is
    // one more error.
    let lines = panic::catch_unwind(AssertUnwindSafe(|| lines_of(file)))
        .unwrap_or_else(|_| Err("its pages are damaged".into()))
        .map_err(|e| Error::corrupt(path, 0, format!("not a checkpoint: {e}")))?;
    Actions::decode(path, &lines).map_err(|error| match error {
        // Its offset is one of the JSON in between, which is not in the file.
        Error::Corrupt { detail, .. } => Error::corrupt(path, 0, detail),
        other => other,
    })
}

/// The rows of a checkpoint file as JSON lines.
fn lines_of(file: File) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    // The columns are read as what Parquet says they are, whatever Arrow types the writer had.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)?;
    let leaves = builder.parquet_schema().columns().iter().enumerate().filter(|(_, column)| {
        let parts = column.path().parts();
        let above = |depth: usize| parts.get(..depth).unwrap_or_default().join(".");
        LEAVES.contains(&above(1).as_str()) || LEAVES.contains(&above(2).as_str())
    });
    let leaves: Vec<usize> = leaves.map(|(at, _)| at).collect();
    let mask = ProjectionMask::leaves(builder.parquet_schema(), leaves);
    let mut lines = WriterBuilder::new().build::<_, LineDelimited>(Vec::new());
    for batch in builder.with_projection(mask).build()? {
        lines.write(&batch?)?;
    }
    lines.finish()?;
    Ok(lines.into_inner())
}

/// The columns that are written: what the protocol asks for in a table like ours.
static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let field = |name: &str, kind: DataType| Field::new(name, kind, true);
    let group = |name: &str, fields: Vec<Field>| field(name, DataType::Struct(fields.into()));
    let text = |name: &str| field(name, DataType::Utf8);
    let long = |name: &str| field(name, DataType::Int64);
    let int = |name: &str| field(name, DataType::Int32);
    let flag = |name: &str| field(name, DataType::Boolean);
    let texts = |name: &str| field(name, DataType::List(Arc::new(text("element"))));
    let map = |name: &str| {
        let entry = Fields::from(vec![Field::new("key", DataType::Utf8, false), text("value")]);
        let entries = Field::new("key_value", DataType::Struct(entry), false);
        field(name, DataType::Map(Arc::new(entries), false))
    };
    let protocol = vec![
        int("minReaderVersion"),
        int("minWriterVersion"),
        texts("readerFeatures"),
        texts("writerFeatures"),
    ];
    let metadata = vec![
        text("id"),
        text("name"),
        text("description"),
        group("format", vec![text("provider"), map("options")]),
        text("schemaString"),
        texts("partitionColumns"),
        map("configuration"),
        long("createdTime"),
    ];
    let add = vec![
        text("path"),
        map("partitionValues"),
        long("size"),
        long("modificationTime"),
        flag("dataChange"),
        text("stats"),
        map("tags"),
    ];
    Arc::new(Schema::new(vec![
        group("protocol", protocol),
        group("metaData", metadata),
        group("txn", vec![text("appId"), long("version")]),
        group("remove", vec![text("path"), long("deletionTimestamp"), flag("dataChange")]),
        group("add", add),
    ]))
});

/// The rows and the bytes of a checkpoint file.
fn encode(actions: Actions) -> std::io::Result<(u64, Vec<u8>)> {
    let lines = actions.encode();
    let failed = std::io::Error::other::<parquet::errors::ParquetError>;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut bytes = Vec::new();
    let mut writer =
        ArrowWriter::try_new(&mut bytes, Arc::clone(&SCHEMA), Some(properties)).map_err(failed)?;
    let batches = ReaderBuilder::new(Arc::clone(&SCHEMA)).build(lines.as_slice());
    let mut rows = 0;
    for batch in batches.map_err(std::io::Error::other)? {
        let batch = batch.map_err(std::io::Error::other)?;
        rows += batch.num_rows() as u64;
        writer.write(&batch).map_err(failed)?;
    }
    writer.close().map_err(failed)?;
    Ok((rows, bytes))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests damage files as nobody else would")]
mod tests {
    use std::{collections::BTreeMap, os::unix::fs::FileExt as _};

    use super::*;
    use crate::catalog::action::{Add, Format, Metadata, Protocol, Remove, SetTransaction};

    fn actions(files: usize) -> Actions {
        let add = |at: usize| Add {
            path: format!("l0/{at}%20%C3%A9.parquet"),
            partition_values: BTreeMap::new(),
            size: 1 << 40,
            modification_time: 1_700_000_000_123,
            data_change: false,
            stats: at
                .is_multiple_of(2)
                .then(|| r#"{"numRecords":7,"minValues":{"run_id":"\"é\n"}}"#.to_owned()),
            tags: (!at.is_multiple_of(3))
                .then(|| BTreeMap::from([("runlake.commit".to_owned(), Some(format!("{at}.0")))])),
        };
        let txn = |at: usize| SetTransaction {
            app_id: format!("w{at}"),
            version: i64::MAX - i64::try_from(at).unwrap(),
        };
        Actions {
            protocol: Some(Protocol::ours()),
            metadata: Some(Metadata {
                id: "0197".to_owned(),
                name: Some("points".to_owned()),
                description: None,
                format: Format { provider: "parquet".to_owned(), options: BTreeMap::new() },
                schema_string: r#"{"type":"struct","fields":[]}"#.to_owned(),
                partition_columns: Vec::new(),
                configuration: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
                created_time: Some(5),
            }),
            txns: (0..files).map(txn).collect(),
            removes: vec![Remove {
                path: "l0/old.parquet".to_owned(),
                deletion_timestamp: Some(9),
                data_change: false,
            }],
            adds: (0..files).map(add).collect(),
        }
    }

    #[test]
    fn a_checkpoint_comes_back_as_it_was_written() {
        let log = tempfile::tempdir().unwrap();
        for (version, files) in [(7, 0), (8, 3), (9, 3000)] {
            Checkpoint::write(log.path(), version, actions(files)).unwrap();
            let hint = Hint::read(log.path()).unwrap().unwrap();
            assert_eq!(hint.version, version);
            assert_eq!(hint.checkpoint().read(log.path()).unwrap(), actions(files));
        }
        Checkpoint::write(log.path(), 5, actions(1)).unwrap();
        assert_eq!(Hint::read(log.path()).unwrap().unwrap().version, 9, "the hint never goes back");
        let found = Checkpoint::among(&disk::list(log.path()).unwrap());
        assert_eq!(found.iter().map(|it| it.version).collect::<Vec<_>>(), [9, 8, 7, 5]);
    }

    #[test]
    fn a_checkpoint_of_several_parts_is_read_when_all_are_there() {
        let log = tempfile::tempdir().unwrap();
        let whole = actions(5);
        let (mut first, mut second) = (whole.clone(), Actions::default());
        second.adds = first.adds.split_off(2);
        second.metadata = first.metadata.take();
        let both = Checkpoint { version: 4, parts: Some(2), crc32c: None };
        for (name, part) in both.names().zip([first, second]) {
            assert!(Checkpoint::among(&disk::list(log.path()).unwrap()).is_empty());
            disk::replace(&log.path().join(name), &encode(part).unwrap().1).unwrap();
        }
        let found = Checkpoint::among(&disk::list(log.path()).unwrap());
        assert_eq!(found, [both]);
        assert_eq!(found[0].read(log.path()).unwrap(), whole);
    }

    /// Flips a bit of every byte of a file, one at a time, and calls `check` with the byte that is damaged.
    fn damage(path: &Path, mut check: impl FnMut(u64)) {
        let bytes = disk::read(path).unwrap();
        let file = File::options().write(true).open(path).unwrap();
        for (at, &byte) in (0_u64..).zip(&bytes) {
            file.write_all_at(&[byte ^ 1 << (at % 8)], at).unwrap();
            check(at);
            file.write_all_at(&[byte], at).unwrap();
        }
    }

    #[test]
    fn damage_to_a_checkpoint_is_an_error_or_a_value_and_never_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c");
        disk::replace(&path, &encode(actions(3)).unwrap().1).unwrap();
        damage(&path, |at| match read_file(&path) {
            Ok(_) | Err(Error::Corrupt { .. } | Error::Unsupported { .. }) => {}
            Err(other) => panic!("byte {at}: {other}"),
        });
        for cut in (0..disk::size(&path).unwrap()).rev() {
            File::options().write(true).open(&path).unwrap().set_len(cut).unwrap();
            match read_file(&path) {
                Err(Error::Corrupt { .. }) => {}
                other => panic!("cut at {cut}: {other:?}"),
            }
        }
    }

    #[test]
    fn damage_to_the_checkpoint_that_the_hint_names_is_noticed() {
        let log = tempfile::tempdir().unwrap();
        Checkpoint::write(log.path(), 4, actions(3)).unwrap();
        let hinted = Hint::read(log.path()).unwrap().unwrap().checkpoint();
        let path = hinted.path(log.path());
        damage(&path, |at| match hinted.read(log.path()) {
            Err(Error::Corrupt { path: named, .. }) => assert_eq!(named, path),
            other => panic!("byte {at}: {other:?}"),
        });
    }

    #[test]
    fn a_checkpoint_is_due_every_hundred_commits_and_again_soon_where_it_failed() {
        let due = |last| (0..=320).filter(|&version| is_due(version, last)).collect::<Vec<_>>();
        assert_eq!(due(None)[..3], [100, 110, 120]);
        assert_eq!(due(Some(100))[..2], [200, 210]);
        assert_eq!(due(Some(57))[..1], [160]);
    }

    #[test]
    fn names_that_only_resemble_a_checkpoint_are_none() {
        for name in [
            "7.checkpoint.parquet",
            "00000000000000000007.checkpoint.0000000002.0000000002.parquet",
            "00000000000000000007.checkpoint.0000000001.0000000000.parquet",
            "00000000000000000007.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.parquet",
            "99999999999999999999.checkpoint.parquet",
        ] {
            assert_eq!(Checkpoint::first_part(name), None, "{name}");
        }
    }
}
