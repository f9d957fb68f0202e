//! Who owns a writer's folder, and whether the owner lives.
//!
//! ```text
//! log/<writer uuid>/LOCK         empty; locked exclusively for as long as the writer process lives
//! log/<writer uuid>/owner.json   {"writer": uuid, "host": {"name", "boot_id"}, "pid", "created_us", "version", "logs"}
//! log/<writer uuid>/BEAT         its heartbeat, for other hosts
//! ```
//! The folder gets its name only once the lock is held, so that nobody takes a new writer for a dead one. Where `logs`
//! names another folder, on a disk of the writer's host, the lock and the log files are there.

use std::{
    fs::File,
    io,
    path::{Component, Path, PathBuf},
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
    /// Where its log files are, if not here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) logs: Option<PathBuf>,
}

impl Owner {
    /// Where the log files are of the writer with this folder, if its host is this one and they can be reached. The path
    /// stands in a file that anybody may have written who can write to the lake: it is followed only to a folder that
    /// says itself that it is this writer's.
    fn logs_from(&self, folder: &Path, this: &Host) -> Option<PathBuf> {
        let Some(logs) = &self.logs else { return Some(folder.to_owned()) };
        let is_here = self.host.boot_id == this.boot_id || self.host.name == this.name;
        let is_plain = logs.is_absolute()
            && logs
                .components()
                .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        let is_its_own = || {
            folder.file_name() == logs.file_name()
                && folder.ends_with(&self.writer)
                && read(logs).is_some_and(|there| there == *self)
        };
        (is_here && is_plain && is_its_own()).then(|| logs.clone())
    }

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
        let Some(owner) = read(folder) else { return Self::by_lock(folder) };
        if owner.host.boot_id == self.host.boot_id
            && let Some(logs) = owner.logs_from(folder, &self.host)
        {
            return Self::by_lock(&logs);
        }
        // Whoever wrote before this host was booted is gone for certain. Another host may bear the same name.
        if owner.host.name == self.host.name && owner.last_seen_us(folder) < self.host.booted_us {
            return Ok(Liveness::Dead);
        }
        let mut heartbeats = self.heartbeats.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(heartbeats.look(folder, Beat::read(folder), now))
    }

    fn by_lock(folder: &Path) -> Result<Liveness> {
        Ok(match lock(folder, Hold::Shared)? {
            Locked::Held(_) | Locked::Gone => Liveness::Dead,
            Locked::Busy => Liveness::Alive,
        })
    }

    /// Where the log files are of the writer with this folder, if this host can reach them.
    pub(crate) fn logs(&self, folder: &Path) -> Option<PathBuf> {
        read(folder)
            .map_or_else(|| Some(folder.to_owned()), |owner| owner.logs_from(folder, &self.host))
    }
}

/// The folders of a new writer, locked.
#[derive(Debug)]
pub(crate) struct Home {
    /// Where the lake has it.
    pub(crate) folder: PathBuf,
    /// Where its log files are; the same, unless they are on a disk of its host.
    pub(crate) logs: PathBuf,
    pub(crate) lock: Lock,
}

/// Creates the folders of a new writer. `owner` says where its log files go.
pub(crate) fn create(lake: &Path, owner: &Owner) -> Result<Home> {
    let folder = lake.join("log").join(&owner.writer);
    let logs = owner.logs.clone().unwrap_or_else(|| folder.clone());
    let lock = make(&logs, |staged| {
        let lock_path = staged.join(LOCK);
        let lock = Lock::try_take(disk::create(&lock_path)?, Hold::Exclusive)
            .map_err(|error| Error::io("lock", &lock_path, error))?;
        if logs == folder {
            begin_to_beat(staged, owner)?;
        }
        say_who(staged, owner)?;
        lock.ok_or_else(|| {
            Error::io("lock", &lock_path, io::Error::from(io::ErrorKind::WouldBlock))
        })
    })?;
    if logs != folder {
        // Last: what the lake shows is there.
        make(&folder, |staged| {
            begin_to_beat(staged, owner)?;
            say_who(staged, owner)
        })?;
    }
    Ok(Home { folder, logs, lock })
}

/// Makes a folder and what `fill` puts into it, and gives it its name then.
fn make<T>(folder: &Path, fill: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let (parent, name) =
        (folder.parent().unwrap_or(folder), folder.file_name().unwrap_or_default());
    disk::create_dirs(parent)?;
    let staged = parent.join(format!(".{}.tmp", name.to_string_lossy()));
    disk::create_dir(&staged)?;
    let filled = fill(&staged)?;
    disk::rename(&staged, folder).map_err(|error| Error::io("create the folder", folder, error))?;
    Ok(filled)
}

fn begin_to_beat(staged: &Path, owner: &Owner) -> Result<()> {
    let beat = Beat { count: 0, time_us: owner.created_us };
    disk::create_with(&staged.join(heartbeat::FILE), &beat.encode())
}

fn say_who(staged: &Path, owner: &Owner) -> Result<()> {
    let path = staged.join(OWNER);
    let json = serde_json::to_vec(owner)
        .map_err(|error| Error::io("encode", &path, io::Error::from(error)))?;
    if owner.logs.is_none() {
        return disk::create_with(&path, &json);
    }
    // Without it nobody would find the log again.
    disk::replace(&path, &json)
}

/// The log files of a writer, by number, as far as this host can reach them.
pub(crate) fn log_files(folder: &Path, this: &Host) -> Result<Vec<(u64, PathBuf)>> {
    let mut names = disk::list(folder)?;
    let mut logs = folder.to_owned();
    if !names.iter().any(|name| name == LOCK)
        && let Some(owner) = read(folder)
    {
        let Some(elsewhere) = owner.logs_from(folder, this) else { return Ok(Vec::new()) };
        if elsewhere != folder {
            names = disk::list(&elsewhere)?;
            logs = elsewhere;
        }
    }
    let mut files: Vec<_> = names
        .into_iter()
        .filter_map(|name| Some((super::file_number(&name)?, logs.join(name))))
        .collect();
    files.sort_unstable();
    Ok(files)
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
    take(disk::open(&folder.join(LOCK)), folder, hold)
}

/// The same where what there is to lock is missing, though the folder is not.
pub(crate) fn lock_anew(folder: &Path) -> Result<Locked> {
    take(disk::open_to_lock(&folder.join(LOCK)), folder, Hold::Exclusive)
}

fn take(opened: Result<File>, folder: &Path, hold: Hold) -> Result<Locked> {
    let path = folder.join(LOCK);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok(Locked::Gone),
        Err(error) => return Err(error),
    };
    let taken = Lock::try_take(file, hold).map_err(|error| Error::io("lock", &path, error))?;
    Ok(taken.map_or(Locked::Busy, Locked::Held))
}

/// Removes what the folder of a writer holds beside its log files, and the folder.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    let is_left = |name: &&String| disk::is_temporary(name) || super::is_synced_copy(name);
    for name in disk::list(folder)?.iter().filter(is_left) {
        // A log file whose creation was cut short, into which nobody wrote, or the copy of one that is gone.
        disk::remove_if_there(&folder.join(name))?;
    }
    // The lock goes last: until then nobody mistakes the folder for one whose owner never came to lock it.
    for name in [heartbeat::FILE, OWNER, LOCK] {
        disk::remove_if_there(&folder.join(name))?;
    }
    disk::remove_empty_dir(folder)
}
