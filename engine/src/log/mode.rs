//! How a writer brings its log to disk, and how that is chosen.
//!
//! A shared mapping is safe where all who read the file share the page cache and a store cannot fail: on local
//! filesystems that write in place. Elsewhere rows go to memory, and a thread appends them to the file.

use super::header::Mode;
use crate::{Error, Result};

/// How the log of a writer is brought to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogMode {
    /// As the environment variable `RUNLAKE_LOG_MODE` says, else as the filesystem allows.
    #[default]
    Auto,
    /// Through shared mappings: a row is safe from a kill once it is logged. Only for local filesystems.
    Mapped,
    /// From memory, by a thread that writes within 10 ms: works everywhere, and logging never waits for the disk longer
    /// than `max_block_ms`.
    Pwrite,
}

/// The environment variable that takes the place of [`LogMode::Auto`].
const VARIABLE: &str = "RUNLAKE_LOG_MODE";

/// A mode, and why it was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) mode: Mode,
    pub(crate) why: String,
}

impl LogMode {
    /// The mode for a log on `filesystem`, of which `maps` says whether files can be mapped there.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the environment variable names no mode.
    pub(crate) fn choose(self, filesystem: &str, maps: bool) -> Result<Choice> {
        let said = match self {
            Self::Auto => std::env::var(VARIABLE).unwrap_or_default(),
            Self::Mapped | Self::Pwrite => String::new(),
        };
        let asked = match said.as_str() {
            "" => self,
            "auto" => Self::Auto,
            "mapped" => Self::Mapped,
            "pwrite" => Self::Pwrite,
            other => {
                let detail = format!("'{other}' is none of auto, mapped and pwrite");
                return Err(Error::Invalid { what: VARIABLE, detail });
            }
        };
        let by = if said.is_empty() { "the options of the lake" } else { VARIABLE };
        Ok(match asked {
            Self::Mapped => Choice { mode: Mode::Mapped, why: format!("asked for by {by}") },
            Self::Pwrite => Choice { mode: Mode::Written, why: format!("asked for by {by}") },
            Self::Auto => by_filesystem(filesystem, maps),
        })
    }
}

fn by_filesystem(filesystem: &str, maps: bool) -> Choice {
    let (mode, why) = match filesystem {
        "ext4" | "xfs" | "tmpfs" | "f2fs" | "overlay" if maps => {
            (Mode::Mapped, "is local and writes in place")
        }
        "ext4" | "xfs" | "tmpfs" | "f2fs" | "overlay" => (Mode::Written, "does not map files here"),
        // Other hosts do not see what one stores through a mapping.
        "nfs" | "smb" | "fuse" | "lustre" | "ceph" | "gpfs" => {
            (Mode::Written, "may be shared by hosts")
        }
        // A store into reserved space takes new space all the same; on a full disk it would end the process.
        "btrfs" | "zfs" => (Mode::Written, "copies what is written"),
        _ => (Mode::Written, "is not one that is known to be local and to write in place"),
    };
    Choice { mode, why: format!("{filesystem} {why}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_mapped_only_where_that_is_known_to_be_safe() {
        for (filesystem, maps, mode) in [
            ("ext4", true, Mode::Mapped),
            ("overlay", true, Mode::Mapped),
            ("overlay", false, Mode::Written),
            ("nfs", true, Mode::Written),
            ("btrfs", true, Mode::Written),
            ("unknown", true, Mode::Written),
        ] {
            assert_eq!(by_filesystem(filesystem, maps).mode, mode, "{filesystem}");
        }
        assert_eq!(LogMode::Pwrite.choose("ext4", true).unwrap().mode, Mode::Written);
        assert_eq!(LogMode::Mapped.choose("nfs", false).unwrap().mode, Mode::Mapped);
    }
}
