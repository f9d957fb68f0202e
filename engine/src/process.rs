//! State that belongs to one process: a forked child starts with its own, and never meets a lock or a thread of its
//! parent.

use crate::os;

/// One `T` for each process that comes to hold it: the one that made it, and every forked child that uses it.
#[derive(Debug)]
pub(crate) struct PerProcess<T>(boxcar::Vec<(u64, T)>);

impl<T> Default for PerProcess<T> {
    fn default() -> Self {
        Self(boxcar::Vec::new())
    }
}

impl<T> PerProcess<T> {
    /// This process's `T`, made at the first call. `make` is cheap: where threads race, one result is kept unused.
    pub(crate) fn get(&self, make: impl Fn() -> T) -> &T {
        loop {
            if let Some(mine) = self.made() {
                return mine;
            }
            self.0.push((os::fork_generation(), make()));
        }
    }

    /// This process's `T`, if it was made.
    pub(crate) fn made(&self) -> Option<&T> {
        let generation = os::fork_generation();
        self.0.iter().find_map(|(_, (made_in, mine))| (*made_in == generation).then_some(mine))
    }
}
