//! What the engine asks of the operating system: clock, host, locks, preallocation, fork.
//!
//! Linux on x86-64 and aarch64. Another system needs another version of this file and of `log/memory.rs` only.
#![expect(unsafe_code, reason = "registering the fork handler has no safe form")]

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, RawFd},
        unix::fs::FileExt as _,
    },
    path::Path,
    sync::{
        Once,
        atomic::{AtomicI32, AtomicU64, Ordering},
    },
};

use rustix::{
    fs::{FallocateFlags, FlockOperation},
    time::ClockId,
};

/// Microseconds since 1970 (UTC).
#[inline]
pub(crate) fn now_us() -> i64 {
    // Not through `SystemTime`, whose arithmetic takes as long again as reading the clock: each row does this.
    clock_us(ClockId::Realtime)
}

/// One moment, by two clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// See [`now_us`].
    pub(crate) wall_us: i64,
    /// Microseconds on a clock of this boot that nobody sets. It stands still while the machine sleeps.
    pub(crate) steady_us: i64,
}

impl Now {
    /// This moment.
    pub(crate) fn read() -> Self {
        Self { wall_us: now_us(), steady_us: clock_us(ClockId::Monotonic) }
    }
}

#[inline]
fn clock_us(clock: ClockId) -> i64 {
    let time = rustix::time::clock_gettime(clock);
    time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1000)
}

/// What tells one host, and one start of it, from another.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Host {
    /// The name that the host gives itself.
    pub(crate) name: String,
    /// The kernel's id of this boot; the same in all containers of one kernel.
    pub(crate) boot_id: String,
    /// When it was booted, by its own clock: microseconds since 1970 (UTC). Only known of the host that we are on.
    #[serde(skip)]
    pub(crate) booted_us: i64,
}

impl Host {
    /// This host.
    pub(crate) fn this() -> Self {
        let boot_id =
            std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self::called(name, boot_id.trim().to_owned())
    }

    /// This host under another name and boot.
    pub(crate) fn called(name: String, boot_id: String) -> Self {
        let booted_us = now_us().saturating_sub(clock_us(ClockId::Boottime));
        Self { name, boot_id, booted_us }
    }
}

/// Reserves `bytes` for the file, so that a full disk is met here and never by a store into the mapping. Where the
/// filesystem cannot reserve, zeros are written, which is as good where it writes in place.
pub(crate) fn preallocate(file: &File, bytes: u64) -> io::Result<()> {
    loop {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => break,
            result => return Ok(result?),
        }
    }
    let zeros = vec![0; 64 << 10];
    let mut at = 0;
    while at < bytes {
        let len = usize::try_from(bytes - at).unwrap_or(zeros.len()).min(zeros.len());
        at += write_at(file, &zeros[..len], at)? as u64;
    }
    Ok(())
}

/// Writes at a place of the file, at least one byte; says how many.
pub(crate) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    loop {
        match rustix::io::pwrite(file, bytes, offset) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            result => return Ok(result?),
        }
    }
}

/// The bytes of a page of memory.
pub(crate) fn page_bytes() -> usize {
    rustix::param::page_size()
}

/// Fills a file that is reserved with zeros, by writing them, until `enough` says so. Its pages are then in memory in large
/// pieces: a first store through a mapping costs a quarter of what it costs in a file that is reserved only.
pub(crate) fn fill(file: &File, bytes: u64, enough: impl Fn() -> bool) -> io::Result<()> {
    static ZEROS: [u8; 256 << 10] = [0; 256 << 10];
    for at in (0..bytes).step_by(ZEROS.len()).take_while(|_| !enough()) {
        let left = usize::try_from(bytes - at).unwrap_or(usize::MAX);
        file.write_all_at(&ZEROS[..left.min(ZEROS.len())], at)?;
    }
    Ok(())
}

/// Makes the contents of the file durable, those stored through mappings included.
pub(crate) fn sync_data(file: &File) -> io::Result<()> {
    Ok(rustix::fs::fdatasync(file)?)
}

/// The bytes that an unprivileged process can still write on the filesystem of `path`.
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The name of the filesystem of `path`, where it is one that we know.
pub(crate) fn filesystem(path: &Path) -> io::Result<&'static str> {
    #[expect(
        clippy::cast_sign_loss,
        clippy::cast_possible_truncation,
        reason = "magic numbers are 32 bits"
    )]
    let magic = rustix::fs::statfs(path)?.f_type as u32;
    Ok(match magic {
        0xEF53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683E => "btrfs",
        0x2FC1_2FC1 => "zfs",
        0x0102_1994 => "tmpfs",
        0x794C_7630 => "overlay",
        0x6969 => "nfs",
        0xFF53_4D42 | 0xFE53_4D42 => "smb",
        0x6573_5546 => "fuse",
        0x0BD0_0BD0 => "lustre",
        0x00C3_6400 => "ceph",
        0x4750_4653 => "gpfs",
        0xF2F5_2010 => "f2fs",
        _ => "unknown",
    })
}

/// A file lock that ends with the process, and that a forked child does not keep alive.
#[derive(Debug)]
pub(crate) struct Lock {
    file: std::mem::ManuallyDrop<File>,
    slot: Option<usize>,
    generation: u64,
}

/// How a lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// By one.
    Exclusive,
    /// By any number, while nobody holds it alone: a probe whether its owner lives.
    Shared,
}

impl Lock {
    /// Takes the lock on `file` if nobody else stands in the way; never waits.
    pub(crate) fn try_take(file: File, hold: Hold) -> io::Result<Option<Self>> {
        let operation = match hold {
            Hold::Exclusive => FlockOperation::NonBlockingLockExclusive,
            Hold::Shared => FlockOperation::NonBlockingLockShared,
        };
        match rustix::fs::flock(file.as_fd(), operation) {
            Ok(()) => {
                // A probe is over before anybody forks on purpose; only what is held for long is worth a slot.
                let slot = (hold == Hold::Exclusive)
                    .then(|| close_in_children(file.as_raw_fd()))
                    .flatten();
                Ok(Some(Self {
                    file: std::mem::ManuallyDrop::new(file),
                    slot,
                    generation: fork_generation(),
                }))
            }
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Lock {
    /// Goes on to hold a lock that was held alone so that others can see that its owner is gone; nobody can take it alone
    /// meanwhile. False where somebody did in between: the lock is let go for a moment, and is lost then.
    pub(crate) fn share(&self) -> io::Result<bool> {
        match rustix::fs::flock(self.file.as_fd(), FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // In a forked child the handler has closed the descriptor already; its number may be somebody else's by now.
        if self.generation != fork_generation() {
            return;
        }
        if let Some(slot) = self.slot {
            // ORDERING: Release pairs with the Acquire load of the fork handler, which then leaves the number alone.
            CLOSE_IN_CHILDREN[slot].store(-1, Ordering::Release);
        }
        // SAFETY: the file was not dropped before, and is not used after, since `self` is being dropped.
        unsafe { std::mem::ManuallyDrop::drop(&mut self.file) };
    }
}

/// Descriptors that a forked child closes at once: an inherited flock would let a dead trainer read as alive.
static CLOSE_IN_CHILDREN: [AtomicI32; 256] = [const { AtomicI32::new(-1) }; 256];
static GENERATION: AtomicU64 = AtomicU64::new(0);
static FORK_HANDLER: Once = Once::new();

fn close_in_children(fd: RawFd) -> Option<usize> {
    watch_forks();
    // ORDERING: AcqRel on success orders the descriptor's creation before the handler may see its number; a failed
    // exchange learns nothing that is used, so Relaxed will do.
    CLOSE_IN_CHILDREN
        .iter()
        .position(|slot| slot.compare_exchange(-1, fd, Ordering::AcqRel, Ordering::Relaxed).is_ok())
}

/// How many forks lie between the first process and this one. What was made in another generation belongs to the
/// parent: its mappings are gone here, its threads do not run here, its locks are closed here.
pub(crate) fn fork_generation() -> u64 {
    // ORDERING: Relaxed, since the only store happens in the child's single thread before any of its code runs.
    GENERATION.load(Ordering::Relaxed)
}

/// Registers the fork handler, once in a process.
pub(crate) fn watch_forks() {
    unsafe extern "C" {
        fn pthread_atfork(
            prepare: Option<unsafe extern "C" fn()>,
            parent: Option<unsafe extern "C" fn()>,
            child: Option<unsafe extern "C" fn()>,
        ) -> i32;
    }
    unsafe extern "C" {
        fn close(fd: i32) -> i32;
    }
    // Runs in the child between fork and its first instruction: only async-signal-safe calls, no allocation, no lock.
    unsafe extern "C" fn child() {
        // ORDERING: Relaxed, the child has one thread.
        GENERATION.fetch_add(1, Ordering::Relaxed);
        for slot in &CLOSE_IN_CHILDREN {
            // ORDERING: Acquire pairs with the Release of `Lock::drop`.
            let fd = slot.swap(-1, Ordering::Acquire);
            if fd >= 0 {
                // SAFETY: the descriptor was open in the parent at the fork and is closed here once; the `Lock` that
                // owns it sees the new generation and does not close it again.
                let _already_closed = unsafe { close(fd) };
            }
        }
    }
    FORK_HANDLER.call_once(|| {
        // SAFETY: the handler is a function of this library, is never unloaded, and makes async-signal-safe calls only.
        let _out_of_memory = unsafe { pthread_atfork(None, None, Some(child)) };
    });
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a lock is tried on a file of the test's own")]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_once_and_ends_when_dropped() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || File::open(file.path()).unwrap();
        let held = Lock::try_take(open(), Hold::Exclusive).unwrap().expect("nobody holds it");
        assert!(Lock::try_take(open(), Hold::Exclusive).unwrap().is_none());
        assert!(Lock::try_take(open(), Hold::Shared).unwrap().is_none());
        assert!(held.share().unwrap());
        assert!(Lock::try_take(open(), Hold::Shared).unwrap().is_some());
        assert!(Lock::try_take(open(), Hold::Exclusive).unwrap().is_none());
        drop(held);
        assert!(Lock::try_take(open(), Hold::Exclusive).unwrap().is_some());
    }
}
