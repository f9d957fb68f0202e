//! One version of a table: which segments it has, and how far every log is in it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    Place,
    action::{Actions, Add, Metadata, Protocol, Remove, SetTransaction},
    location,
};
use crate::{Error, Result, SegmentMeta};

/// What a table holds after one of its commits. Never changes once loaded.
#[derive(Debug, Clone, Default)]
pub(crate) struct TableVersion {
    /// The version of the last commit; `None` where there is none.
    pub(crate) version: Option<u64>,
    /// The segments in the order in which their rows were committed: of two that hold one step of one series, the
    /// later one holds what was logged last.
    pub(crate) segments: Vec<Arc<SegmentMeta>>,
    /// For each writer (its UUID, hyphenated) the watermark of its log: what is at or below it is in the segments.
    pub(crate) txns: FxHashMap<String, i64>,
    /// Files that left the table, not older than the last checkpoint allows; they may still be on disk.
    pub(crate) tombstones: Vec<Arc<Tombstone>>,
    /// What the log says of each segment, in the same order.
    files: Vec<Arc<File>>,
    header: Option<Arc<Header>>,
}

/// A file that left the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tombstone {
    /// The file, relative to the table.
    pub(crate) name: String,
    /// When the commit that removed it was made, in milliseconds since 1970 (UTC); 0 where it does not say.
    pub(crate) removed_at_ms: i64,
    action: Remove,
}

/// A file of the table as the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    /// Where it stands among the others.
    place: Place,
    /// The commit that added it. Breaks ties between the files that took one place.
    commit: Place,
    add: Add,
}

/// What became of a file.
enum Change {
    Joined(File),
    Left(Tombstone),
}

/// What does not change from commit to commit.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Header {
    protocol: Protocol,
    metadata: Metadata,
    /// The file that says so.
    path: PathBuf,
}

impl TableVersion {
    /// The version after further commits, in their order. Linear in the segments and the commits.
    pub(super) fn after(
        &self,
        table: &Path,
        commits: impl IntoIterator<Item = (u64, PathBuf, Actions)>,
    ) -> Result<Self> {
        let mut next = self.clone();
        let mut changes = BTreeMap::new();
        for (version, path, actions) in commits {
            next.version = Some(version);
            next.take(version, &path, actions, &mut changes, |_| None)?;
        }
        next.apply(table, changes);
        Ok(next)
    }

    /// The version that a checkpoint holds.
    pub(super) fn of_checkpoint(
        table: &Path,
        version: u64,
        path: &Path,
        actions: Actions,
    ) -> Result<Self> {
        let mut read = Self { version: Some(version), ..Self::default() };
        let mut changes = BTreeMap::new();
        read.take(version, path, actions, &mut changes, Add::commit)?;
        read.apply(table, changes);
        Ok(read)
    }

    /// Takes in one file of the log, all but the changes of files, which it adds to `changes`. Which commit added a
    /// file is what `commit_of` says, else `version`.
    fn take(
        &mut self,
        version: u64,
        path: &Path,
        actions: Actions,
        changes: &mut BTreeMap<String, Change>,
        commit_of: impl Fn(&Add) -> Option<Place>,
    ) -> Result<()> {
        self.set_header(path, actions.protocol, actions.metadata)?;
        self.txns.extend(actions.txns.into_iter().map(|txn| (txn.app_id, txn.version)));
        for action in actions.removes {
            let name = location::decode(&action.path).unwrap_or_else(|| action.path.clone());
            let removed_at_ms = action.deletion_timestamp.unwrap_or(0);
            changes.insert(name.clone(), Change::Left(Tombstone { name, removed_at_ms, action }));
        }
        for (index, add) in (0_u32..).zip(actions.adds) {
            let commit = commit_of(&add).unwrap_or(Place { version, index });
            let place = add.place().unwrap_or(commit);
            changes.insert(add.name(), Change::Joined(File { place, commit, add }));
        }
        Ok(())
    }

    fn set_header(
        &mut self,
        path: &Path,
        protocol: Option<Protocol>,
        metadata: Option<Metadata>,
    ) -> Result<()> {
        if self.header.is_some() && protocol.is_none() && metadata.is_none() {
            return Ok(());
        }
        let before = self.header.as_deref();
        let protocol = protocol.or_else(|| before.map(|header| header.protocol.clone()));
        let metadata = metadata.or_else(|| before.map(|header| header.metadata.clone()));
        let (Some(protocol), Some(metadata)) = (protocol, metadata) else {
            return Err(Error::corrupt(path, 0, "a first version without protocol and metaData"));
        };
        self.header = Some(Arc::new(Header { protocol, metadata, path: path.to_owned() }));
        Ok(())
    }

    /// Takes in what became of each file, in one pass over the segments, however many commits it comes from.
    fn apply(&mut self, table: &Path, changes: BTreeMap<String, Change>) {
        self.tombstones.retain(|it| !changes.contains_key(&it.name));
        let stays = |name: &str| !changes.contains_key(name);
        let segments = std::mem::take(&mut self.segments);
        let files = std::mem::take(&mut self.files);
        let pairs = segments.into_iter().zip(files);
        let mut pairs: Vec<_> = pairs.filter(|(segment, _)| stays(&segment.name)).collect();
        for change in changes.into_values() {
            match change {
                Change::Left(tombstone) => self.tombstones.push(Arc::new(tombstone)),
                Change::Joined(file) => {
                    let meta = SegmentMeta::from_add(table, &file.add, file.commit.version);
                    pairs.push((Arc::new(meta), Arc::new(file)));
                }
            }
        }
        pairs.sort_by_key(|(_, file)| (file.place, file.commit));
        (self.segments, self.files) = pairs.into_iter().unzip();
        self.tombstones.sort_by(|a, b| (a.removed_at_ms, &a.name).cmp(&(b.removed_at_ms, &b.name)));
    }

    /// The place that a file takes which holds the rows of `inputs`: the last of theirs.
    pub(super) fn place_of(&self, inputs: &[String]) -> Option<Place> {
        let inputs: FxHashSet<&str> = inputs.iter().map(String::as_str).collect();
        let mut places = self.segments.iter().zip(&self.files);
        places.rfind(|(segment, _)| inputs.contains(segment.name.as_str())).map(|(_, it)| it.place)
    }

    /// The log's paths of `names` in their order; `None` where one is not in the table.
    pub(super) fn paths_of(&self, names: &[String]) -> Option<Vec<String>> {
        if names.is_empty() {
            return Some(Vec::new());
        }
        let files = self.segments.iter().zip(&self.files);
        let paths: FxHashMap<&str, &str> =
            files.map(|(segment, file)| (segment.name.as_str(), file.add.path.as_str())).collect();
        names.iter().map(|name| paths.get(name.as_str()).map(|&path| path.to_owned())).collect()
    }

    /// The commit that added this file, where it is in the table, and came from the same lake.
    pub(super) fn commit_of(&self, add: &Add) -> Option<u64> {
        let name = add.name();
        let mut files = self.segments.iter().zip(&self.files);
        let found = files.find(|(segment, _)| segment.name == name);
        found
            .filter(|(_, file)| file.add.source() == add.source())
            .map(|(segment, _)| segment.version)
    }

    /// The segments in their order, each with what the log says of it.
    pub(crate) fn adds(&self) -> impl Iterator<Item = (&Arc<SegmentMeta>, &Add)> {
        self.segments.iter().zip(self.files.iter().map(|file| &file.add))
    }

    /// Whether this version of runlake may write to the table.
    pub(super) fn check_writer(&self) -> Result<()> {
        let Some(header) = &self.header else { return Ok(()) };
        match header.protocol.unknown_to_writer() {
            None => Ok(()),
            Some(feature) => Err(Error::Unsupported { path: header.path.clone(), feature }),
        }
    }

    /// Everything that a checkpoint of this version holds: the watermarks of which `is_live` holds, and the
    /// tombstones from `since_ms` on.
    pub(super) fn to_actions(&self, is_live: impl Fn(&str) -> bool, since_ms: i64) -> Actions {
        let txns = self.txns.iter().filter(|(app_id, _)| is_live(app_id));
        let mut txns: Vec<_> = txns
            .map(|(app_id, &version)| SetTransaction { app_id: app_id.clone(), version })
            .collect();
        txns.sort_unstable_by(|a, b| a.app_id.cmp(&b.app_id));
        let tombstones = self.tombstones.iter().filter(|it| it.removed_at_ms >= since_ms);
        // Files keep their places, whoever added them.
        let adds = self.files.iter().map(|file| {
            let mut add = file.add.clone();
            add.set_places(file.commit, (file.place != file.commit).then_some(file.place));
            Add { data_change: false, ..add }
        });
        Actions {
            protocol: self.header.as_ref().map(|header| header.protocol.clone()),
            metadata: self.header.as_ref().map(|header| header.metadata.clone()),
            txns,
            removes: tombstones.map(|it| it.action.clone()).collect(),
            adds: adds.collect(),
        }
    }
}
