//! Names of runs, metrics and labels, and the small numbers that stand for them in this process.
//!
//! Reading takes no lock, so that `log()` never waits and a forked child never meets a lock that a thread of its parent
//! held.

use std::hash::Hash;

use crate::{Error, Result};

/// The most names of one kind that a process can use: about four million. A log file keeps a bit for each.
pub(crate) const IDS_MAX: u32 = 1 << 22;

/// A metric of one lake in this process; made by [`crate::Run::metric`], cheap to copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MetricId(pub(crate) u32);

impl MetricId {
    /// The id as a number, for callers that cannot keep a `MetricId`, such as programs in C.
    pub fn number(self) -> u32 {
        self.0
    }

    /// The id with this number. Of a number that [`MetricId::number`] did not give, `log` says that it is not of this
    /// lake; one of another lake names another metric here.
    pub fn from_number(number: u32) -> Self {
        Self(number)
    }
}

/// A set of labels of one lake in this process; made by [`crate::Run::labels`], cheap to copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LabelsId(pub(crate) u32);

impl LabelsId {
    /// The id as a number. See [`MetricId::number`].
    pub fn number(self) -> u32 {
        self.0
    }

    /// The id with this number. See [`MetricId::from_number`].
    pub fn from_number(number: u32) -> Self {
        Self(number)
    }
}

/// A run and the launch that writes to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RunName {
    pub(crate) project: String,
    pub(crate) run_id: String,
    pub(crate) launch: String,
}

/// All names of one opened lake.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) runs: Interner<RunName>,
    pub(crate) metrics: Interner<String>,
    pub(crate) labels: Interner<String>,
}

/// Gives each distinct name a number, for as long as the process lives.
pub(crate) struct Interner<T> {
    ids: papaya::HashMap<T, u32>,
    names: boxcar::Vec<T>,
}

impl<T> std::fmt::Debug for Interner<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} names", self.names.count())
    }
}

impl<T: Hash + Eq> Default for Interner<T> {
    fn default() -> Self {
        Self { ids: papaya::HashMap::new(), names: boxcar::Vec::new() }
    }
}

impl<T: Hash + Eq + Clone> Interner<T> {
    /// The number of `name`.
    pub(crate) fn id<Q>(&self, name: &Q) -> Result<u32>
    where
        Q: Hash + papaya::Equivalent<T> + ToOwned<Owned = T> + ?Sized,
    {
        let ids = self.ids.pin();
        if let Some(&id) = ids.get(name) {
            return Ok(id);
        }
        // Two threads that meet a new name at once both take a number; the one that comes second is never used.
        let name: T = name.to_owned();
        let id = u32::try_from(self.names.push(name.clone())).unwrap_or(u32::MAX);
        if id >= IDS_MAX {
            return Err(Error::Invalid {
                what: "metric",
                detail: format!("a process can use at most {IDS_MAX} different names"),
            });
        }
        Ok(*ids.get_or_insert(name, id))
    }

    /// The name of a number that [`Interner::id`] gave.
    pub(crate) fn name(&self, id: u32) -> Option<&T> {
        self.names.get(id as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_agree_on_the_number_of_a_name() {
        let names = Interner::<String>::default();
        let ids: Vec<Vec<u32>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        (0..500).map(|at| names.id(format!("m{at}").as_str()).unwrap()).collect()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|one| *one == ids[0]));
        for (at, &id) in ids[0].iter().enumerate() {
            assert_eq!(names.name(id), Some(&format!("m{at}")));
        }
    }
}
