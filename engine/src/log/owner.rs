//! Who owns a writer's folder, and whether the owner lives.
//!
//! ```text
//! log/<writer uuid>/LOCK         empty; locked exclusively for as long as the writer process lives
//! log/<writer uuid>/owner.json   {"writer": uuid, "host": {"name", "boot_id"}, "pid", "created_us", "version"}
//! ```
//! The folder gets its name only once the lock is held, so that nobody takes a new writer for a dead one.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    Error, Result, disk,
    os::{Hold, Host, Lock},
};

const LOCK: &str = "LOCK";
const OWNER: &str = "owner.json";

/// Who created a writer's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    pub(crate) writer: String,
    pub(crate) host: Host,
    pub(crate) pid: u32,
    pub(crate) created_us: i64,
    pub(crate) version: String,
}

/// Whether the owner of a folder lives, as far as can be told from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Liveness {
    /// Its lock is held, on this host.
    Alive,
    /// Its lock is free, on this host, or its host has booted again.
    Dead,
    /// It belongs to another host: a lock may lie across hosts.
    Elsewhere,
}

/// Creates the folder of a new writer, locked.
pub(crate) fn create(logs: &Path, owner: &Owner) -> Result<(PathBuf, Lock)> {
    disk::create_dirs(logs)?;
    let folder = logs.join(&owner.writer);
    let staged = logs.join(format!(".{}.tmp", owner.writer));
    disk::create_dir(&staged)?;
    let lock_path = staged.join(LOCK);
    let lock = Lock::try_take(disk::create(&lock_path)?, Hold::Exclusive)
        .map_err(|error| Error::io("lock", &lock_path, error))?
        .ok_or_else(|| Error::io("lock", &lock_path, io::Error::from(io::ErrorKind::WouldBlock)))?;
    let json = serde_json::to_vec(owner)
        .map_err(|error| Error::io("encode", &staged, io::Error::from(error)))?;
    disk::create_with(&staged.join(OWNER), &json)?;
    disk::rename(&staged, &folder)
        .map_err(|error| Error::io("create the folder", &folder, error))?;
    Ok((folder, lock))
}

/// Who owns the folder; none where the file is missing or damaged, as after a power cut.
pub(crate) fn read(folder: &Path) -> Option<Owner> {
    serde_json::from_slice(&disk::read(&folder.join(OWNER)).ok()?).ok()
}

/// Whether the owner of `folder` lives.
pub(crate) fn liveness(folder: &Path, this: &Host) -> Result<Liveness> {
    match read(folder) {
        Some(owner) if owner.host.boot_id != this.boot_id => {
            // The same host after another boot: whoever wrote there is gone for certain.
            Ok(if owner.host.name == this.name { Liveness::Dead } else { Liveness::Elsewhere })
        }
        _ => Ok(match lock(folder, Hold::Shared)? {
            Locked::Held(_) | Locked::Gone => Liveness::Dead,
            Locked::Busy => Liveness::Alive,
        }),
    }
}

/// What came of an attempt to lock a folder.
#[derive(Debug)]
pub(crate) enum Locked {
    /// The lock is ours until it is dropped.
    Held(Lock),
    /// Somebody else holds it.
    Busy,
    /// There is nothing to lock.
    Gone,
}

/// Tries to lock somebody's folder.
pub(crate) fn lock(folder: &Path, hold: Hold) -> Result<Locked> {
    let path = folder.join(LOCK);
    let file = match disk::open(&path) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok(Locked::Gone),
        Err(error) => return Err(error),
    };
    let taken = Lock::try_take(file, hold).map_err(|error| Error::io("lock", &path, error))?;
    Ok(taken.map_or(Locked::Busy, Locked::Held))
}

/// Removes what the folder of a writer holds beside its log files, and the folder.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    for name in disk::list(folder)?.iter().filter(|name| disk::is_temporary(name)) {
        // A log file whose creation was cut short: nobody wrote into it.
        disk::remove_if_there(&folder.join(name))?;
    }
    // The lock goes last: until then nobody mistakes the folder for one whose owner never came to lock it.
    disk::remove_if_there(&folder.join(OWNER))?;
    disk::remove_if_there(&folder.join(LOCK))?;
    disk::remove_empty_dir(folder)
}
