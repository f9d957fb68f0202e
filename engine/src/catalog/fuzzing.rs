//! What fuzzers run on the catalog: any bytes as a commit, as a checkpoint, and as the hint of the last checkpoint.
#![expect(clippy::panic, reason = "a fuzzer takes a panic for a finding")]

use std::path::Path;

use super::{
    TableVersion,
    action::{Actions, Format, Metadata, Protocol},
    checkpoint::{Checkpoint, Hint},
    commit,
};
use crate::{Error, disk};

/// The table of versions that lie nowhere.
const TABLE: &str = "/table";

/// Reads a byte that says what the rest is, and the rest: 0 a commit, 1 a commit whose seal is set right first, 2 a
/// checkpoint, 3 a hint. Files lie in `folder`, which is empty.
pub(crate) fn commit(input: &[u8], folder: &Path) {
    let Some((kind, bytes)) = input.split_first() else { return };
    match kind % 4 {
        0 => read_commit(bytes, folder),
        1 => read_commit(&commit::sealed(bytes), folder),
        2 => read_checkpoint(bytes, folder),
        _ => read_hint(bytes, folder),
    }
}

/// The actions, unless they are damaged or of a later version.
fn sound(read: Result<Actions, Error>) -> Option<Actions> {
    match read {
        Ok(actions) => Some(actions),
        Err(Error::Corrupt { .. } | Error::Unsupported { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

fn read_commit(bytes: &[u8], folder: &Path) {
    let path = Path::new("commit");
    let Some(actions) = sound(commit::decode(path, bytes)) else { return };
    let again = sound(Actions::decode(path, &actions.clone().encode()));
    assert_eq!(again.as_ref(), Some(&actions), "what was read means the same once it is written");
    let commits = [(0, path.to_owned(), first()), (1, path.to_owned(), actions)];
    let Ok(version) = TableVersion::default().after(Path::new(TABLE), commits) else { return };
    assert_checkpoint_holds(&version, folder);
}

fn read_checkpoint(bytes: &[u8], folder: &Path) {
    let name = "00000000000000000007.checkpoint.parquet".to_owned();
    let path = folder.join(&name);
    disk::create_with(&path, bytes).expect("the folder is empty");
    let [found] = Checkpoint::among(&[name])[..] else { panic!("that is the name of one") };
    let Some(actions) = sound(found.read(folder)) else { return };
    let read = TableVersion::of_checkpoint(Path::new(TABLE), 7, &path, actions);
    if let Ok(version) = read {
        assert_checkpoint_holds(&version, folder);
    }
}

fn read_hint(bytes: &[u8], folder: &Path) {
    let path = folder.join("_last_checkpoint");
    disk::create_with(&path, bytes).expect("the folder is empty");
    let Some(hint) = Hint::read(folder).expect("the file can be read") else { return };
    let read = hint.checkpoint().read(folder);
    assert!(read.is_err_and(|error| error.is_not_found()), "it names a file that is not there");
}

/// A checkpoint of a version is read as that version.
fn assert_checkpoint_holds(version: &TableVersion, folder: &Path) {
    let log = &folder.join("written");
    disk::create_dirs(log).expect("the folder can be written");
    let number = version.version.unwrap_or_default();
    let actions = version.to_actions(|_| true, i64::MIN);
    Checkpoint::write(log, number, actions).expect("the folder can be written");
    let hint = Hint::read(log).expect("the file can be read").expect("it was written");
    let actions = hint.checkpoint().read(log).expect("it was written");
    let path = hint.checkpoint().path(log);
    let read = TableVersion::of_checkpoint(Path::new(TABLE), number, &path, actions)
        .expect("it was a version");
    assert_eq!(read.segments, version.segments);
    assert_eq!(read.txns, version.txns);
    assert_eq!(read.tombstones, version.tombstones);
}

/// What the first commit of a table says.
fn first() -> Actions {
    let metadata = Metadata {
        id: "0197".to_owned(),
        name: None,
        description: None,
        format: Format { provider: "parquet".to_owned(), options: [].into() },
        schema_string: "{}".to_owned(),
        partition_columns: Vec::new(),
        configuration: [].into(),
        created_time: None,
    };
    Actions { protocol: Some(Protocol::ours()), metadata: Some(metadata), ..Actions::default() }
}

/// Writes a checkpoint of the version that the table in `table` has, without its watermarks of logs that are gone, as
/// version 0 into `folder`.
#[cfg(test)]
pub(crate) fn write_checkpoint(table: &Path, folder: &Path) {
    let log = table.join("_delta_log");
    let names = disk::list(&log).expect("it is there");
    let commits = names.iter().filter_map(|name| {
        let path = log.join(name);
        let bytes = disk::read(&path).expect("it is there");
        let actions = commit::decode(&path, &bytes).expect("it is sound");
        commit::version(name).map(|version| (version, path, actions))
    });
    let version = TableVersion::default().after(table, commits).expect("it is a version");
    Checkpoint::write(folder, 0, version.to_actions(|_| true, 0)).expect("it can be written");
}
