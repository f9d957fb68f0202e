//! Where a file stands among the files of its table.

use std::{fmt, str::FromStr};

/// A place in the order of files: a commit and one of its files. Text: `17.3`.
///
/// The order matters where a step was logged twice: the later file wins. A merged file takes the place of its last
/// input, so that what was committed before the merge but after its inputs still comes after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The version of the commit.
    pub(super) version: u64,
    /// Which of its files, from 0.
    pub(super) index: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.version, self.index)
    }
}

/// The text is not a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotAPlace;

impl FromStr for Place {
    type Err = NotAPlace;

    fn from_str(text: &str) -> Result<Self, NotAPlace> {
        let (version, index) = text.split_once('.').ok_or(NotAPlace)?;
        let (Ok(version), Ok(index)) = (version.parse(), index.parse()) else {
            return Err(NotAPlace);
        };
        Ok(Self { version, index })
    }
}
