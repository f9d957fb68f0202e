//! Who owns a writer's folder, and whether the owner lives.
//!
//! ```text
//! log/<writer uuid>/LOCK         empty; locked exclusively for as long as the writer process lives
//! log/<writer uuid>/owner.json   {"writer": uuid, "host": {"name", "boot_id"}, "pid", "created_us", "version"}
//! log/<writer uuid>/BEAT         its heartbeat, for other hosts
//! ```
//! The folder gets its name only once the lock is held, so that nobody takes a new writer for a dead one.

use std::{
    io,
    path::{Path, PathBuf},
    sync::PoisonError,
};

use serde::{Deserialize, Serialize};

use super::{
    concurrent::Mutex,
    heartbeat::{self, Beat, Heartbeats},
};
use crate::{
    Error, Result, disk,
    os::{Hold, Host, Lock, Now},
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

impl Owner {
    /// When the owner of `folder` last showed that it lives, by its own clock.
    pub(crate) fn last_seen_us(&self, folder: &Path) -> i64 {
        Beat::read(folder).map_or(self.created_us, |beat| beat.time_us.max(self.created_us))
    }
}

/// Whether the owner of a folder lives, as far as can be told from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Liveness {
    /// Its lock is held, on this host, or its heart beats, on another.
    Alive,
    /// It is on another host, and heartbeats are missing.
    Silent,
    /// It is on another host and has been silent for long, if its clock and ours are not hours apart.
    Lost,
    /// It is on another host, and we have waited for a heartbeat in vain for as long as its lease.
    Expired,
    /// Its lock is free, on this host, or its host has booted again.
    Dead,
}

/// This host, and what it has seen of writers on others.
#[derive(Debug)]
pub(crate) struct Lookout {
    host: Host,
    heartbeats: Mutex<Heartbeats>,
}

impl Lookout {
    /// The lookout of a process on `host`, which has seen nothing yet.
    pub(crate) fn new(host: Host) -> Self {
        Self { host, heartbeats: Mutex::default() }
    }

    /// The host that it is on.
    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// Whether the owner of `folder` lives. On this host its lock decides. Of another host the lock may lie, so that only
    /// its heartbeat counts.
    pub(crate) fn liveness(&self, folder: &Path, now: Now) -> Result<Liveness> {
        if let Some(owner) = read(folder).filter(|owner| owner.host.boot_id != self.host.boot_id) {
            // Whoever wrote before this host was booted is gone for certain. Another host may bear the same name.
            if owner.host.name == self.host.name && owner.last_seen_us(folder) < self.host.booted_us {
                return Ok(Liveness::Dead);
            }
            let mut heartbeats = self.heartbeats.lock().unwrap_or_else(PoisonError::into_inner);
            return Ok(heartbeats.look(&owner.writer, Beat::read(folder), now));
        }
        Ok(match lock(folder, Hold::Shared)? {
            Locked::Held(_) | Locked::Gone => Liveness::Dead,
            Locked::Busy => Liveness::Alive,
        })
    }
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
    let beat = Beat { count: 0, time_us: owner.created_us };
    disk::create_with(&staged.join(heartbeat::FILE), &beat.encode())?;
    disk::rename(&staged, &folder)
        .map_err(|error| Error::io("create the folder", &folder, error))?;
    Ok((folder, lock))
}

/// Who owns the folder; none where the file is missing or damaged, as after a power cut.
pub(crate) fn read(folder: &Path) -> Option<Owner> {
    serde_json::from_slice(&disk::read(&folder.join(OWNER)).ok()?).ok()
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
    for name in [heartbeat::FILE, OWNER, LOCK] {
        disk::remove_if_there(&folder.join(name))?;
    }
    disk::remove_empty_dir(folder)
}
