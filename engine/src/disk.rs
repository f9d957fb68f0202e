//! The file operations of the engine and what each promises.
//!
//! A file is made whole before it is visible, and it is durable when the call returns: its bytes are synced before it
//! gets its name, and the folder is synced after. A crash between any two steps leaves the old state or the new one,
//! and at most a file that [`is_temporary`] names, which nobody reads.
#![expect(
    clippy::disallowed_methods,
    reason = "this is the one place that other code goes through"
)]

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustc_hash::FxHashSet;
use rustix::{
    fs::{CWD, RenameFlags},
    io::Errno,
};
use uuid::Uuid;

use crate::{Error, Result, os};

#[cfg(all(test, not(proof)))]
pub(crate) mod model;

/// What is asked of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Read,
    Create,
    CreateDir,
    Write,
    WriteAt,
    Reserve,
    Map,
    Link,
    Rename,
    Remove,
    RemoveDir,
    Sync,
    SyncDir,
}

/// Every operation on a file or a folder passes here. What ships does it; in tests a [`model`] may stand behind some
/// folder, which notes what a power cut would take and lets operations fail.
#[cfg(any(not(test), proof))]
#[inline]
fn ask<T>(_: Op, _: &[&Path], act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    act()
}
#[cfg(all(test, not(proof)))]
use model::ask;

/// Creates `path` with `bytes` if nobody has created it before. `Ok(false)` says that the name was taken, and then
/// nothing has changed. Of any number of processes that publish one name, on any number of hosts, one gets `Ok(true)`.
///
/// After an error from the last step (syncing the folder) the file is visible all the same.
pub(crate) fn publish(path: &Path, bytes: &[u8]) -> Result<bool> {
    let temporary = Temporary::write(path, bytes)?;
    let published = temporary.link_to(path)?;
    drop(temporary);
    if published {
        sync_dir(folder_of(path))?;
    }
    Ok(published)
}

/// Puts `bytes` where `path` is, whether or not something stood there. Of two calls at once the later one wins.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = Temporary::write(path, bytes)?;
    rename(&temporary.path, path).map_err(|e| Error::io("replace", path, e))?;
    sync_dir(folder_of(path))
}

/// Moves a finished and already synced file to its place on the same filesystem.
pub(crate) fn place(staged: &Path, path: &Path) -> Result<()> {
    rename(staged, path).map_err(|e| Error::io("move a file to", path, e))?;
    sync_dir(folder_of(path))?;
    if folder_of(staged) == folder_of(path) { Ok(()) } else { sync_dir(folder_of(staged)) }
}

/// As [`place`] each of many, in order, for the price of one.
pub(crate) fn place_all(moves: &[(&Path, PathBuf)]) -> Result<()> {
    let (mut to, mut from) = (Vec::new(), Vec::new());
    for (staged, path) in moves {
        rename(staged, path).map_err(|e| Error::io("move a file to", path, e))?;
        to.push(folder_of(path));
        from.push(folder_of(staged));
    }
    let mut synced = FxHashSet::default();
    for folder in to.into_iter().chain(from) {
        if synced.insert(folder) {
            sync_dir(folder)?;
        }
    }
    Ok(())
}

/// As [`place`], also from another filesystem. Of a file that is moved twice at once, one move may fail.
pub(crate) fn carry(from: &Path, path: &Path) -> Result<()> {
    match place(from, path) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::CrossesDevices => {}
        placed => return placed,
    }
    let copy = folder_of(path).join(format!(".{}.tmp", Uuid::new_v4().simple()));
    let failed = |e| Error::io("copy", from, e);
    let mut file = create(&copy)?;
    io::copy(&mut open(from)?, &mut file).map_err(failed)?;
    sync(&file, &copy)?;
    place(&copy, path)?;
    remove_if_there(from)?;
    Ok(())
}

/// Reads a whole file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    ask(Op::Read, &[path], || fs::read(path)).map_err(|e| Error::io("read", path, e))
}

/// Reads a whole file; `None` where there is none.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens a file for reading.
pub(crate) fn open(path: &Path) -> Result<File> {
    ask(Op::Read, &[path], || File::open(path)).map_err(|e| Error::io("open", path, e))
}

/// Reads from an open file by `read`; `path` is its name. Says what the system said.
pub(crate) fn reading<T>(path: &Path, read: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    ask(Op::Read, &[path], read)
}

/// Creates a file that must not exist yet, for writing. Whoever writes it calls [`sync`] before it is [`place`]d.
pub(crate) fn create(path: &Path) -> Result<File> {
    create_new(OpenOptions::new().write(true), path).map_err(|e| Error::io("create", path, e))
}

fn create_new(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    made(path, ask(Op::Create, &[path], || options.create_new(true).open(path)))
}

/// Creates a file that must not exist yet, to be mapped. Says what the system said, since a full disk is no error here.
pub(crate) fn create_for_mapping(path: &Path) -> io::Result<File> {
    create_new(OpenOptions::new().read(true).write(true), path)
}

/// Reserves `bytes` for a file that is to be mapped, so that a full disk is met here and never by a store.
pub(crate) fn reserve(file: &File, path: &Path, bytes: u64) -> io::Result<()> {
    ask(Op::Reserve, &[path], || os::preallocate(file, bytes))
}

/// Makes a file under the name `staged`, lets `fill` write its beginning, and gives it the name `path`. Not durable.
pub(crate) fn create_whole(
    staged: &Path,
    path: &Path,
    fill: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<File> {
    let file = create_for_mapping(staged)?;
    let made = fill(&file).and_then(|()| rename(staged, path));
    if let Err(error) = made {
        let _the_first_error_counts = remove_if_there(staged);
        return Err(error);
    }
    Ok(file)
}

/// Opens a file that is there, to be mapped.
pub(crate) fn open_for_mapping(path: &Path) -> io::Result<File> {
    ask(Op::Map, &[path], || OpenOptions::new().read(true).write(true).open(path))
}

/// Maps a file by `map`; `path` is its name. Says what the system said.
pub(crate) fn mapping<T>(path: &Path, map: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    ask(Op::Map, &[path], map)
}

/// Creates a file with `bytes`; neither durable nor whole at once. For files that nobody misses after a power cut.
pub(crate) fn create_with(path: &Path, bytes: &[u8]) -> Result<()> {
    write(&create(path)?, path, bytes).map_err(|e| Error::io("write", path, e))
}

/// Writes `bytes` where the last ones ended. Says what the system said.
pub(crate) fn write(mut file: &File, path: &Path, bytes: &[u8]) -> io::Result<()> {
    ask(Op::Write, &[path], || file.write_all(bytes))
}

/// Writes all of `bytes` at a place of a file that may have been synced before. Says what the system said.
pub(crate) fn write_at(file: &File, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
    ask(Op::WriteAt, &[path], || {
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            done += os::write_at(file, rest, offset + done as u64)?;
        }
        Ok(())
    })
}

/// Writes `bytes` over the beginning of a file that is there. Other hosts see them soon after; not durable.
pub(crate) fn write_over(path: &Path, bytes: &[u8]) -> Result<()> {
    let opened = ask(Op::Read, &[path], || OpenOptions::new().write(true).open(path));
    let file = opened.map_err(|e| Error::io("open", path, e))?;
    write(&file, path, bytes).map_err(|e| Error::io("write", path, e))
}

/// Opens a file whose bytes do not matter, creating it where it is missing: something to lock. One that another user
/// created need only be readable.
pub(crate) fn open_to_lock(path: &Path) -> Result<File> {
    match open(path) {
        Err(error) if error.is_not_found() => {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false);
            let file = ask(Op::Create, &[path], || options.open(path))
                .map_err(|e| Error::io("create", path, e))?;
            // Where somebody else was faster, it is theirs to share.
            drop(made(path, file.try_clone()));
            Ok(file)
        }
        opened => opened,
    }
}

/// Creates a folder that must not exist yet; not durable.
pub(crate) fn create_dir(folder: &Path) -> Result<()> {
    make_dir(folder).map_err(|e| Error::io("create the folder", folder, e))
}

/// Gives a file or a folder another name; not durable.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    ask(Op::Rename, &[from, to], || fs::rename(from, to))
}

/// Removes a folder if it is empty or gone; leaves it where somebody has put something else into it.
pub(crate) fn remove_empty_dir(folder: &Path) -> Result<()> {
    match ask(Op::RemoveDir, &[folder], || fs::remove_dir(folder)) {
        Err(e)
            if e.kind() != io::ErrorKind::NotFound
                && e.kind() != io::ErrorKind::DirectoryNotEmpty =>
        {
            Err(Error::io("remove the folder", folder, e))
        }
        _ => Ok(()),
    }
}

/// Whether the system refused something for want of room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Gives a file a second name.
pub(crate) fn link(path: &Path, second: &Path) -> Result<()> {
    ask(Op::Link, &[path, second], || fs::hard_link(path, second))
        .map_err(|e| Error::io("link", second, e))
}

/// Makes the bytes of `file` durable; `path` is its name for an error.
pub(crate) fn sync(file: &File, path: &Path) -> Result<()> {
    ask(Op::Sync, &[path], || file.sync_all()).map_err(|e| Error::io("sync", path, e))
}

/// Makes the bytes of `file` durable, those stored through mappings included. Says what the system said.
pub(crate) fn sync_data(file: &File, path: &Path) -> io::Result<()> {
    ask(Op::Sync, &[path], || os::sync_data(file))
}

/// The names in a folder, sorted; none where the folder is missing. Names that are not UTF-8 are passed over, since the
/// engine writes none.
pub(crate) fn list(folder: &Path) -> Result<Vec<String>> {
    let failed = |e| Error::io("list", folder, e);
    let entries = match ask(Op::Read, &[folder], || fs::read_dir(folder)) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry.map_err(failed)?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Creates a folder and those above it, each durable in its parent. Nothing happens where it exists.
pub(crate) fn create_dirs(folder: &Path) -> Result<()> {
    let failed = |e| Error::io("create the folder", folder, e);
    match make_dir(folder) {
        Ok(()) => sync_dir(folder_of(folder)),
        Err(_) if folder.is_dir() => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let Some(parent) = folder.parent().filter(|p| !p.as_os_str().is_empty()) else {
                return Err(failed(e));
            };
            create_dirs(parent)?;
            match make_dir(folder) {
                Ok(()) => sync_dir(parent),
                Err(_) if folder.is_dir() => Ok(()),
                Err(e) => Err(failed(e)),
            }
        }
        Err(e) => Err(failed(e)),
    }
}

/// The bits of a folder that a group shares: what is made in it belongs to its group, which may write there.
const SHARED: u32 = 0o2020;

/// Shares a folder with its group, and with it everything that is made in it from here on, whatever the umask of whoever
/// makes it.
pub(crate) fn share(folder: &Path) -> Result<()> {
    let shared = fs::metadata(folder)
        .and_then(|it| fs::set_permissions(folder, Permissions::from_mode(it.mode() | 0o2070)));
    shared.map_err(|e| Error::io("share the folder", folder, e))
}

/// The group that shares a folder, by its number.
pub(crate) fn shared_with(folder: &Path) -> Result<Option<u32>> {
    let metadata = fs::metadata(folder).map_err(|e| Error::io("look at", folder, e))?;
    Ok((metadata.mode() & SHARED == SHARED).then(|| metadata.gid()))
}

fn is_shared(folder: &Path) -> io::Result<bool> {
    Ok(fs::metadata(folder)?.mode() & SHARED == SHARED)
}

/// Lets the group of a shared folder do with a new file in it what its owner may do.
fn made(path: &Path, file: io::Result<File>) -> io::Result<File> {
    let file = file?;
    if is_shared(folder_of(path))? {
        let mode = file.metadata()?.mode();
        file.set_permissions(Permissions::from_mode(mode | (mode & 0o700) >> 3))?;
    }
    Ok(file)
}

/// Makes a folder, shared if the one around it is.
fn make_dir(folder: &Path) -> io::Result<()> {
    ask(Op::CreateDir, &[folder], || fs::create_dir(folder))?;
    if is_shared(folder_of(folder))? {
        let mode = fs::metadata(folder)?.mode();
        fs::set_permissions(folder, Permissions::from_mode(mode | 0o2070))?;
    }
    Ok(())
}

/// Removes a file; says whether it was there. Not durable: after a power cut it may be back.
pub(crate) fn remove_if_there(path: &Path) -> Result<bool> {
    match ask(Op::Remove, &[path], || fs::remove_file(path)) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io("remove", path, e)),
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync_dir(folder: &Path) -> Result<()> {
    let opened = File::open(folder).map_err(|e| Error::io("open", folder, e))?;
    match ask(Op::SyncDir, &[folder], || opened.sync_all()) {
        // Some network filesystems keep names durable by themselves and refuse to sync a folder.
        Err(e) if e.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(()),
        synced => synced.map_err(|e| Error::io("sync", folder, e)),
    }
}

/// Whether something stands at `path`.
pub(crate) fn exists(path: &Path) -> Result<bool> {
    ask(Op::Read, &[path], || path.try_exists()).map_err(|e| Error::io("look for", path, e))
}

/// The size of a file in bytes.
pub(crate) fn size(path: &Path) -> Result<u64> {
    metadata(path).map(|m| m.len())
}

/// When a file was last written, in microseconds since 1970 (UTC).
pub(crate) fn modified_us(path: &Path) -> Result<i64> {
    let metadata = metadata(path)?;
    Ok(metadata.mtime().saturating_mul(1_000_000).saturating_add(metadata.mtime_nsec() / 1000))
}

fn metadata(path: &Path) -> Result<fs::Metadata> {
    ask(Op::Read, &[path], || fs::metadata(path)).map_err(|e| Error::io("look at", path, e))
}

/// Whether a file of this name is one that a crash left half made: remove it once it is old.
pub(crate) fn is_temporary(name: &str) -> bool {
    name.strip_prefix('.').is_some_and(|rest| rest.strip_suffix(".tmp").is_some())
}

/// The folder that holds `path`.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A synced file that has no name yet under which anybody would read it. Dropping it takes its temporary name away.
struct Temporary {
    path: PathBuf,
    /// Device and inode: who it is, whatever it is called.
    identity: (u64, u64),
}

impl Temporary {
    /// Writes `bytes` beside `target`.
    fn write(target: &Path, bytes: &[u8]) -> Result<Self> {
        let path = folder_of(target).join(format!(".{}.tmp", Uuid::new_v4().simple()));
        let file = create(&path)?;
        let mut temporary = Self { path, identity: (0, 0) };
        let failed = |e| Error::io("write", target, e);
        write(&file, &temporary.path, bytes).map_err(failed)?;
        ask(Op::Sync, &[&temporary.path], || file.sync_all()).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        temporary.identity = (metadata.dev(), metadata.ino());
        Ok(temporary)
    }

    /// Whether this file, and not another, is the one called `path`.
    fn is_at(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|m| (m.dev(), m.ino()) == self.identity)
    }

    /// Gives the file the name `path` unless that is taken.
    fn link_to(&self, path: &Path) -> Result<bool> {
        let linked = ask(Op::Link, &[&self.path, path], || Ok(rustix::fs::link(&self.path, path)?));
        let Err(error) = linked else { return Ok(true) };
        // NFS repeats a request whose answer was lost, and then reports our own success as a failure.
        if self.is_at(path) {
            return Ok(true);
        }
        match Errno::from_io_error(&error) {
            Some(Errno::EXIST) => Ok(false),
            Some(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => {
                self.rename_to(path)
            }
            _ => Err(Error::io("create", path, error)),
        }
    }

    /// The same where the filesystem has no hard links.
    fn rename_to(&self, path: &Path) -> Result<bool> {
        let from = &self.path;
        let rename =
            || Ok(rustix::fs::renameat_with(CWD, from, CWD, path, RenameFlags::NOREPLACE)?);
        match ask(Op::Rename, &[from, path], rename) {
            Ok(()) => Ok(true),
            Err(_) if self.is_at(path) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => {
                Err(Error::io("create, without hard links or an exclusive rename,", path, error))
            }
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = remove_if_there(&self.path) {
            tracing::debug!(%error, "a temporary file stays behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn of_many_that_publish_one_name_one_succeeds_and_its_bytes_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("00.json");
        let won: Vec<bool> = thread::scope(|scope| {
            let publishers: Vec<_> = (0..16_u8)
                .map(|me| {
                    scope.spawn({
                        let path = &path;
                        move || publish(path, &[me; 9]).unwrap()
                    })
                })
                .collect();
            publishers.into_iter().map(|p| p.join().unwrap()).collect()
        });
        assert_eq!(won.iter().filter(|&&won| won).count(), 1);
        let winner = won.iter().position(|&won| won).unwrap();
        assert_eq!(read(&path).unwrap(), [u8::try_from(winner).unwrap(); 9]);
        assert_eq!(list(folder.path()).unwrap(), ["00.json"], "no temporary file is left");
    }

    #[test]
    fn an_exclusive_rename_stands_in_for_a_missing_hard_link() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        assert!(Temporary::write(&path, b"first").unwrap().rename_to(&path).unwrap());
        assert!(!Temporary::write(&path, b"second").unwrap().rename_to(&path).unwrap());
        assert_eq!(read(&path).unwrap(), b"first");
        assert_eq!(list(folder.path()).unwrap(), ["x"]);
    }

    #[test]
    fn a_link_that_succeeds_but_reports_a_failure_counts_as_a_success() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let temporary = Temporary::write(&path, b"mine").unwrap();
        assert!(temporary.link_to(&path).unwrap());
        assert!(temporary.link_to(&path).unwrap(), "EEXIST for what is our own");
        assert!(!Temporary::write(&path, b"theirs").unwrap().link_to(&path).unwrap());
    }

    #[test]
    fn a_replaced_file_is_the_old_one_or_the_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        replace(&path, b"old").unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(read(&path).unwrap(), b"new");
        assert_eq!(list(folder.path()).unwrap(), ["x"]);
        assert_eq!(size(&path).unwrap(), 3);
        assert!(modified_us(&path).unwrap() > 1_600_000_000_000_000);
    }

    #[test]
    fn folders_are_made_as_deep_as_needed_and_a_file_in_the_way_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b/c");
        create_dirs(&deep).unwrap();
        create_dirs(&deep).unwrap();
        replace(&deep.join("staged"), b"1").unwrap();
        place(&deep.join("staged"), &folder.path().join("a/placed")).unwrap();
        assert_eq!(list(&folder.path().join("a")).unwrap(), ["b", "placed"]);
        assert!(create_dirs(&folder.path().join("a/placed/d")).is_err());
        assert_eq!(list(&folder.path().join("none")).unwrap(), Vec::<String>::new());
        assert!(!remove_if_there(&folder.path().join("none")).unwrap());
        assert!(read(&folder.path().join("none")).unwrap_err().is_not_found());
    }
}
