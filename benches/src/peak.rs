//! The most memory and disk that some work took.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

/// The most that this process and a folder took.
#[derive(Debug, Default)]
pub struct Peak {
    done: AtomicBool,
    memory: AtomicU64,
    disk: AtomicU64,
}

impl Peak {
    /// Works, and watches the memory of this process that is no file's, and what the files below `folder` take.
    pub fn during<T>(folder: &Path, work: impl FnOnce() -> T) -> (T, Self) {
        let peak = Self::default();
        let result = thread::scope(|scope| {
            scope.spawn(|| peak.watch(folder));
            let result = work();
            // ORDERING: Relaxed, the flag stands alone.
            peak.done.store(true, Ordering::Relaxed);
            result
        });
        (result, peak)
    }

    fn watch(&self, folder: &Path) {
        // ORDERING: Relaxed throughout, lone numbers.
        for look in 0_u64.. {
            self.memory.fetch_max(anonymous_bytes(), Ordering::Relaxed);
            if look % 10 == 0 {
                self.disk.fetch_max(bytes_in(folder), Ordering::Relaxed);
            }
            if self.done.load(Ordering::Relaxed) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Memory that is no file's, in MiB.
    pub fn memory_mib(&self) -> f64 {
        // ORDERING: Relaxed, a lone number.
        mib(self.memory.load(Ordering::Relaxed))
    }

    /// Files, in MiB.
    pub fn disk_mib(&self) -> f64 {
        // ORDERING: Relaxed, a lone number.
        mib(self.disk.load(Ordering::Relaxed))
    }
}

/// Bytes as MiB.
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// What the process has of memory that is no file's.
///
/// # Panics
/// Where there is no `/proc`.
pub fn anonymous_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).expect("Linux 4.5");
    line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).map_or(0, |kb: u64| kb << 10)
}

/// What the files below a folder take; one that goes meanwhile takes nothing.
pub fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(about) if about.is_dir() => bytes_in(&entry.path()),
            Ok(about) => about.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}
