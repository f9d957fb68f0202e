//! The actions of the Delta Lake log that the engine writes and understands; all others are passed over.
//!
//! Source: the Delta transaction log protocol, <https://github.com/delta-io/delta/blob/master/PROTOCOL.md>.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use super::{Place, location};
use crate::{Error, Result};

/// A data file joins the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Add {
    /// The file, relative to the table, percent-encoded.
    pub(crate) path: String,
    /// Always empty: our tables are not partitioned.
    #[serde(default)]
    pub(crate) partition_values: BTreeMap<String, Option<String>>,
    /// Bytes.
    pub(crate) size: i64,
    /// Milliseconds since 1970 (UTC).
    pub(crate) modification_time: i64,
    /// False where the file only holds rows that other files held before.
    pub(crate) data_change: bool,
    /// Statistics as JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stats: Option<String>,
    /// What only we know of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tags: Option<BTreeMap<String, Option<String>>>,
}

/// The tag that says which commit added a file, and as which of its files. Foreign checkpoints keep neither.
const COMMIT_TAG: &str = "runlake.commit";
/// The tag that says where a file stands among the others, if not where its commit put it.
const PLACE_TAG: &str = "runlake.place";

/// The tag that says from which lake a file came.
const SOURCE_TAG: &str = "runlake.source";

/// The tag that says the checksum of a file.
const SUM_TAG: &str = "runlake.crc32c";

/// The tag of a file of a folded table that says what it was folded from.
const OF_TAG: &str = "runlake.of";

impl Add {
    /// The file, relative to the table, as the filesystem calls it.
    pub(crate) fn name(&self) -> String {
        // What is not a file below the table never gets past `Actions::check`.
        location::decode(&self.path).unwrap_or_else(|| self.path.clone())
    }

    /// The lake that it came from, where it was merged from one and its next merge compares names.
    pub(crate) fn source(&self) -> Option<&str> {
        self.tag(SOURCE_TAG)
    }

    /// Says which lake it came from.
    pub(crate) fn set_source(&mut self, source: Option<&str>) {
        let tags = self.tags.get_or_insert_default();
        match source {
            Some(uuid) => drop(tags.insert(SOURCE_TAG.to_owned(), Some(uuid.to_owned()))),
            None => drop(tags.remove(SOURCE_TAG)),
        }
    }

    /// The checksum of the file, as far as its tags say.
    pub(crate) fn sum(&self) -> Option<&str> {
        self.tag(SUM_TAG)
    }

    /// What a file of a folded table was folded from.
    pub(crate) fn of(&self) -> Option<&str> {
        self.tag(OF_TAG)
    }

    /// Says what it was folded from.
    pub(crate) fn set_of(&mut self, of: &str) {
        self.tags.get_or_insert_default().insert(OF_TAG.to_owned(), Some(of.to_owned()));
    }

    /// Which commit added it, as far as its tags say.
    pub(super) fn commit(&self) -> Option<Place> {
        self.tag(COMMIT_TAG)?.parse().ok()
    }

    /// Where it stands among the other files, as far as its tags say.
    pub(super) fn place(&self) -> Option<Place> {
        self.tag(PLACE_TAG)?.parse().ok()
    }

    /// Says in its tags which commit adds it, and whose place it takes.
    pub(super) fn set_places(&mut self, commit: Place, place: Option<Place>) {
        let tags = self.tags.get_or_insert_default();
        tags.insert(COMMIT_TAG.to_owned(), Some(commit.to_string()));
        tags.remove(PLACE_TAG);
        if let Some(place) = place {
            tags.insert(PLACE_TAG.to_owned(), Some(place.to_string()));
        }
    }

    fn tag(&self, key: &str) -> Option<&str> {
        self.tags.as_ref()?.get(key)?.as_deref()
    }
}

/// A data file leaves the table. It stays on disk until nobody can be reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Remove {
    /// The file, written as in its [`Add`].
    pub(super) path: String,
    /// Milliseconds since 1970 (UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) deletion_timestamp: Option<i64>,
    /// False where its rows live on in other files.
    #[serde(default)]
    pub(super) data_change: bool,
}

/// How far an application has come: for us, up to where a writer's log is in the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SetTransaction {
    pub(super) app_id: String,
    pub(super) version: i64,
}

/// What a program must understand before it reads the table, or writes to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Protocol {
    pub(super) min_reader_version: i32,
    pub(super) min_writer_version: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reader_features: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) writer_features: Option<Vec<String>>,
}

/// The writer features that this version obeys. The last one means: the order of files, their tags and the watermarks
/// are kept as docs/format/catalog.md says. No other program claims that, so no other program writes.
const WRITER_FEATURES: [&str; 3] = ["appendOnly", "invariants", "runlake"];

impl Protocol {
    /// What our tables ask for: everybody reads, we write.
    pub(super) fn ours() -> Self {
        Self {
            min_reader_version: 1,
            min_writer_version: 7,
            reader_features: None,
            writer_features: Some(WRITER_FEATURES.map(str::to_owned).to_vec()),
        }
    }

    /// What a reader would have to know and this one does not.
    pub(super) fn unknown_to_reader(&self) -> Option<String> {
        match (self.min_reader_version, self.reader_features.as_deref()) {
            (..=1, _) | (3, Some([])) => None,
            (3, Some(features)) => {
                Some(format!("the Delta reader feature '{}'", features.join("', '")))
            }
            (version, _) => Some(format!("Delta reader version {version}")),
        }
    }

    /// What a writer would have to know and this one does not.
    pub(super) fn unknown_to_writer(&self) -> Option<String> {
        let features = self.writer_features.as_deref().unwrap_or_default();
        let unknown = |feature: &&String| !WRITER_FEATURES.contains(&feature.as_str());
        match self.min_writer_version {
            // Up to version 2 there is nothing to know but what `appendOnly` and `invariants` stand for.
            ..=2 => None,
            7 => features.iter().find(unknown).map(|f| format!("the Delta writer feature '{f}'")),
            version => Some(format!("Delta writer version {version}")),
        }
    }
}

/// What the table is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    pub(super) format: Format,
    pub(super) schema_string: String,
    #[serde(default)]
    pub(super) partition_columns: Vec<String>,
    #[serde(default)]
    pub(super) configuration: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) created_time: Option<i64>,
}

impl Metadata {
    /// What a reader would have to know and this one does not.
    pub(super) fn unknown_to_reader(&self) -> Option<String> {
        if self.format.provider != "parquet" {
            return Some(format!("data files in the format '{}'", self.format.provider));
        }
        let column = self.partition_columns.first()?;
        Some(format!("a table partitioned by '{column}'"))
    }
}

/// The format of the data files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Format {
    pub(super) provider: String,
    #[serde(default)]
    pub(super) options: BTreeMap<String, String>,
}

/// One line of a commit file, or one row of a checkpoint: an object with one of these fields.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Line {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) protocol: Option<Protocol>,
    #[serde(default, rename = "metaData", skip_serializing_if = "Option::is_none")]
    pub(super) metadata: Option<Metadata>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) txn: Option<SetTransaction>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) remove: Option<Remove>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) add: Option<Add>,
}

/// The actions of one commit, or of one checkpoint, each sort in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Actions {
    pub(super) protocol: Option<Protocol>,
    pub(super) metadata: Option<Metadata>,
    pub(super) txns: Vec<SetTransaction>,
    pub(super) removes: Vec<Remove>,
    pub(super) adds: Vec<Add>,
}

impl Actions {
    /// Decodes JSON lines. Total: what makes no sense is [`Error::Corrupt`] with the byte where it stops making sense.
    pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<Self> {
        let mut actions = Self::default();
        let mut start = 0;
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            if !line.trim_ascii().is_empty() {
                actions.push(path, start, line)?;
            }
            start += line.len() as u64;
        }
        Ok(actions)
    }

    fn push(&mut self, path: &Path, start: u64, line: &[u8]) -> Result<()> {
        let Line { protocol, metadata, txn, remove, add } =
            serde_json::from_slice(line.trim_ascii_end()).map_err(|e| {
                let column = (e.column() as u64).saturating_sub(1);
                Error::corrupt(path, start + column, format!("not an action: {e}"))
            })?;
        if let Some(wrong) = add.as_ref().and_then(wrong_add) {
            return Err(Error::corrupt(path, start, wrong));
        }
        if let Some(needed) = protocol.as_ref().and_then(Protocol::unknown_to_reader) {
            return Err(Error::Unsupported { path: path.to_owned(), feature: needed });
        }
        if let Some(needed) = metadata.as_ref().and_then(Metadata::unknown_to_reader) {
            return Err(Error::Unsupported { path: path.to_owned(), feature: needed });
        }
        self.protocol = protocol.or_else(|| self.protocol.take());
        self.metadata = metadata.or_else(|| self.metadata.take());
        self.txns.extend(txn);
        self.removes.extend(remove);
        self.adds.extend(add);
        Ok(())
    }

    /// Encodes as JSON lines, the inverse of [`Actions::decode`].
    pub(super) fn encode(self) -> Vec<u8> {
        let Self { protocol, metadata, txns, removes, adds } = self;
        let line = Line::default;
        let lines = protocol
            .map(|it| Line { protocol: Some(it), ..line() })
            .into_iter()
            .chain(metadata.map(|it| Line { metadata: Some(it), ..line() }))
            .chain(txns.into_iter().map(|it| Line { txn: Some(it), ..line() }))
            .chain(removes.into_iter().map(|it| Line { remove: Some(it), ..line() }))
            .chain(adds.into_iter().map(|it| Line { add: Some(it), ..line() }));
        let mut bytes = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut bytes, &line)
                .expect("text, numbers and maps of text are JSON");
            bytes.push(b'\n');
        }
        bytes
    }
}

/// Why a file cannot be part of a table, where it cannot.
pub(super) fn wrong_add(add: &Add) -> Option<String> {
    if location::decode(&add.path).is_none() {
        return Some(format!("'{}' is not a file below the table", add.path));
    }
    (add.size < 0).then(|| format!("a file of {} bytes", add.size))
}
