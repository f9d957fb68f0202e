//! A part of the runs of a file, so that several processes can share an import.

use std::str::FromStr;

/// Every `of`-th run, in the order in which runs first appear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// From 0.
    at: usize,
    of: usize,
}

impl Part {
    /// All runs.
    pub(super) const WHOLE: Self = Self { at: 0, of: 1 };

    /// True where the run that appears after `earlier` others belongs to this part.
    pub(super) fn has(self, earlier: usize) -> bool {
        earlier % self.of == self.at
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers = text
            .split_once('/')
            .and_then(|(part, of)| Some((part.parse::<usize>().ok()?, of.parse::<usize>().ok()?)));
        match numbers {
            Some((part, of)) if 1 <= part && part <= of => Ok(Self { at: part - 1, of }),
            _ => Err("a part is K/N with K from 1 to N: the first half is 1/2".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_tile_the_runs() {
        let parts: Vec<Part> = ["1/3", "2/3", "3/3"].map(|text| text.parse().unwrap()).to_vec();
        for run in 0..20 {
            assert_eq!(parts.iter().filter(|part| part.has(run)).count(), 1);
            assert!(Part::WHOLE.has(run));
        }
        for wrong in ["0/2", "3/2", "1", "a/b", "1/0", ""] {
            assert!(wrong.parse::<Part>().is_err(), "{wrong}");
        }
    }
}
