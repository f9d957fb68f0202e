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

/// Tells a checker which bytes are about to be written and read; nothing in what ships.
#[cfg(not(proof))]
pub(crate) trait Watched {
    fn writes(&self, _offset: usize, _len: usize) {}
    fn reads(&self, _offset: usize, _len: usize) {}
}

#[cfg(not(proof))]
impl Watched for MmapRaw {}

/// `shipped`, or in the proofs `explored`: a checker tries every order of what threads do, so it needs small files.
pub(crate) const fn bound(shipped: usize, explored: usize) -> usize {
    if cfg!(proof) { explored } else { shipped }
}
