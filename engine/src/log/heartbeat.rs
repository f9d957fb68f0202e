//! Heartbeats: how a writer shows to other hosts that it lives.
//!
//! ```text
//! log/<writer uuid>/BEAT   | count u64 | time i64 (us) |     written over every 10 seconds; little-endian
//! ```
//! Locks say nothing reliable across hosts, and neither do clocks. What counts is that the numbers change, by the clock
//! of whoever watches them. Only who looks for the first time has nothing but the time to go by, and believes it no more
//! than clocks deserve.
#![deny(clippy::indexing_slicing)]

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rustc_hash::FxHashMap;

use super::owner::Liveness;
use crate::{Result, disk, os::Now};

/// The name of the file.
pub(crate) const FILE: &str = "BEAT";
/// How often a writer shows that it lives.
pub(crate) const EVERY: Duration = Duration::from_secs(10);
/// How long nothing is said of a writer that was seen to live: three heartbeats are missed then.
const QUIET_US: i64 = 30 * 1_000_000;
/// How long a writer may be silent before its log is anybody's.
const LEASE_US: i64 = 600 * 1_000_000;
/// How far clocks of two hosts may be apart before a word of ours is wrong.
const CLOCKS_APART_US: i64 = 3600 * 1_000_000;

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Beat {
    /// How many there were before it.
    pub(crate) count: u64,
    /// When it was, by the writer's clock: microseconds since 1970 (UTC).
    pub(crate) time_us: i64,
}

impl Beat {
    /// The bytes of the file.
    pub(crate) fn encode(self) -> [u8; 16] {
        (u128::from(self.count) | u128::from(self.time_us.cast_unsigned()) << 64).to_le_bytes()
    }

    /// Shows that the writer of `folder` lives. False where the folder is gone: somebody has adopted it.
    pub(crate) fn show(self, folder: &Path) -> Result<bool> {
        match disk::write_over(&folder.join(FILE), &self.encode()) {
            Ok(()) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The last heartbeat of a writer; none where the file is missing or damaged.
    pub(crate) fn read(folder: &Path) -> Option<Self> {
        let bytes = disk::read(&folder.join(FILE)).ok()?;
        let (count, time) = bytes.split_first_chunk::<8>()?;
        let (count, time_us) =
            (u64::from_le_bytes(*count), i64::from_le_bytes(time.try_into().ok()?));
        Some(Self { count, time_us })
    }
}

/// What was seen of the heartbeats of writers on other hosts.
#[derive(Debug, Default)]
pub(crate) struct Heartbeats(FxHashMap<PathBuf, Seen>);

#[derive(Debug)]
struct Seen {
    beat: Option<Beat>,
    /// When it was first seen, by our steady clock.
    since_us: i64,
    /// What was known of the writer then.
    first: Liveness,
}

impl Heartbeats {
    /// What the last heartbeat in the folder of a writer says of it now.
    pub(crate) fn look(&mut self, folder: &Path, beat: Option<Beat>, now: Now) -> Liveness {
        let fresh = |first| Seen { beat, since_us: now.steady_us, first };
        let seen =
            self.0.entry(folder.to_owned()).or_insert_with(|| fresh(by_clocks(beat, now.wall_us)));
        if beat.is_some() && seen.beat != beat {
            *seen = fresh(Liveness::Alive);
        }
        let watched = match now.steady_us.saturating_sub(seen.since_us) {
            LEASE_US.. => Liveness::Expired,
            QUIET_US.. => Liveness::Silent,
            _ => Liveness::Alive,
        };
        watched.max(seen.first)
    }
}

/// What a heartbeat says at first sight, by clocks of two hosts.
fn by_clocks(beat: Option<Beat>, wall_us: i64) -> Liveness {
    match beat.map(|beat| wall_us.saturating_sub(beat.time_us)) {
        Some(age_us) if age_us.saturating_abs() <= QUIET_US => Liveness::Alive,
        Some(age_us) if age_us >= LEASE_US + CLOCKS_APART_US => Liveness::Lost,
        _ => Liveness::Silent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn at(seconds: i64) -> Now {
        Now { wall_us: 1_800_000_000 * SECOND + seconds * SECOND, steady_us: seconds * SECOND }
    }

    #[expect(clippy::unnecessary_wraps, reason = "as it is read: there may be none")]
    fn beat(count: u64, seconds: i64) -> Option<Beat> {
        Some(Beat { count, time_us: at(seconds).wall_us })
    }

    #[test]
    fn a_writer_elsewhere_is_silent_after_three_heartbeats_and_expired_after_ten_minutes() {
        let mut beats = Heartbeats::default();
        assert_eq!(beats.look(Path::new("w"), beat(1, 0), at(1)), Liveness::Alive);
        assert_eq!(beats.look(Path::new("w"), beat(1, 0), at(30)), Liveness::Alive);
        assert_eq!(beats.look(Path::new("w"), beat(1, 0), at(31)), Liveness::Silent);
        assert_eq!(beats.look(Path::new("w"), beat(1, 0), at(600)), Liveness::Silent);
        assert_eq!(beats.look(Path::new("w"), beat(1, 0), at(601)), Liveness::Expired);
        // It was only stopped: the lease begins anew.
        assert_eq!(beats.look(Path::new("w"), beat(2, 650), at(650)), Liveness::Alive);
        assert_eq!(beats.look(Path::new("w"), beat(2, 650), at(700)), Liveness::Silent);
        assert_eq!(beats.look(Path::new("other"), beat(1, 700), at(700)), Liveness::Alive);
    }

    #[test]
    fn clocks_decide_at_first_sight_only_and_never_about_a_log() {
        for (ago, says) in [
            (10, Liveness::Alive),
            (-10, Liveness::Alive),
            // A clock that is an hour off, either way.
            (3600, Liveness::Silent),
            (-3600, Liveness::Silent),
            (4199, Liveness::Silent),
            (4200, Liveness::Lost),
        ] {
            let mut beats = Heartbeats::default();
            assert_eq!(beats.look(Path::new("w"), beat(1, -ago), at(0)), says, "{ago} s ago");
            // However wrong the clock is: a heart that beats is that of a living writer.
            assert_eq!(beats.look(Path::new("w"), beat(2, -ago + 10), at(10)), Liveness::Alive);
            assert_eq!(beats.look(Path::new("w"), beat(2, -ago + 10), at(40)), Liveness::Silent);
        }
        let mut beats = Heartbeats::default();
        assert_eq!(beats.look(Path::new("w"), None, at(0)), Liveness::Silent);
        assert_eq!(beats.look(Path::new("w"), None, at(600)), Liveness::Expired);
    }

    #[test]
    fn a_heartbeat_reads_as_written_and_is_never_made_where_the_folder_was_adopted() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Beat::read(folder.path()), None);
        assert!(!Beat { count: 3, time_us: -1 }.show(folder.path()).unwrap());
        assert_eq!(disk::list(folder.path()).unwrap(), [""; 0]);
        disk::create_with(&folder.path().join(FILE), &Beat { count: 3, time_us: -1 }.encode())
            .unwrap();
        assert_eq!(Beat::read(folder.path()), Some(Beat { count: 3, time_us: -1 }));
        assert!(Beat { count: u64::MAX, time_us: 7 }.show(folder.path()).unwrap());
        assert_eq!(Beat::read(folder.path()), Some(Beat { count: u64::MAX, time_us: 7 }));
    }
}
