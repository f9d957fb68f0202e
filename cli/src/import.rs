//! `runlake import`: runs from elsewhere.

mod cell;
mod delimited;
mod parquet;
mod part;
mod points;
mod record;

use std::path::Path;

use clap::{Args, Subcommand};

use crate::{failure::Failure, terminal::Terminal};

/// Bring runs from elsewhere into the lake
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  runlake import points runs.csv.gz --project p --run-column run --metric-column metric \\
      --step-column step --value-column value
  runlake import points --help")]
pub(crate) struct Import {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Points(points::PointsOf),
}

impl Import {
    pub(crate) fn run(self, store: Option<&Path>, terminal: &mut Terminal) -> Result<(), Failure> {
        match self.what {
            What::Points(points) => points.run(store, terminal),
        }
    }
}
