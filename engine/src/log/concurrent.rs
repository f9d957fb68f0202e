//! What threads of the log share: atomics, locks, cells. From std and two crates in what ships; in the proofs
//! (`cfg(proof)`) from a checker, which decides at each of them which thread goes on.

#[cfg(not(proof))]
pub(crate) use std::{
    os::unix::fs::FileExt,
    sync::{
        Mutex, MutexGuard, OnceLock,
        atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering, fence},
    },
    thread_local,
};

#[cfg(not(proof))]
pub(crate) use arc_swap::ArcSwap;
#[cfg(not(proof))]
pub(crate) use crossbeam::queue::ArrayQueue;
#[cfg(not(proof))]
pub(crate) use memmap2::{Advice, MmapOptions, MmapRaw};

#[cfg(proof)]
pub(crate) use super::explored::*;

/// Threads that wait until what a lock protects has changed.
#[cfg(not(proof))]
#[derive(Debug, Default)]
pub(crate) struct Changed(std::sync::Condvar);

#[cfg(not(proof))]
impl Changed {
    /// Waits while `waits` says so, but no longer than `most`.
    pub(crate) fn wait_while<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        most: std::time::Duration,
        waits: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        let waited = self.0.wait_timeout_while(guard, most, waits);
        waited.unwrap_or_else(std::sync::PoisonError::into_inner).0
    }

    /// Wakes all who wait.
    pub(crate) fn notify(&self) {
        self.0.notify_all();
    }
}

/// Lets another thread do something that may take long; false where there is no thread to be had.
#[cfg(not(proof))]
pub(crate) fn aside(work: impl FnOnce() + Send + 'static) -> bool {
    std::thread::Builder::new().name("runlake-next".to_owned()).spawn(work).is_ok()
}

/// Tells a checker which bytes are about to be written and read; nothing in what ships.
#[cfg(not(proof))]
pub(crate) trait Watched {
    fn writes(&self, _offset: usize, _len: usize) {}
    fn reads(&self, _offset: usize, _len: usize) {}
}

/// `shipped`, or in the proofs `explored`: a checker tries every order of what threads do, so it needs small files.
pub(crate) const fn bound(shipped: usize, explored: usize) -> usize {
    if cfg!(proof) { explored } else { shipped }
}

#[cfg(not(proof))]
impl Watched for MmapRaw {
    #[cfg(test)]
    fn writes(&self, _offset: usize, _len: usize) {
        crate::disk::model::about_to_store();
    }
}
