//! `segments`: the files that hold what is committed; the lake explains itself.

use arrow::{array::ArrayRef, datatypes::SchemaRef};
use datafusion::{common::Result, logical_expr::Expr};
use runlake_engine::{Filter, Snapshot};

use super::{
    column::{self, INTEGER, TEXT},
    rows::Rows,
};

#[derive(Debug)]
pub(super) struct Segments {
    pub(super) snapshot: Snapshot,
}

impl Rows for Segments {
    fn schema(&self) -> SchemaRef {
        column::schema([
            ("table_name", TEXT),
            ("name", TEXT),
            ("project", TEXT),
            ("rows", INTEGER),
            ("bytes", INTEGER),
            ("level", INTEGER),
            ("runs", INTEGER),
            ("metrics", INTEGER),
            ("first_step", INTEGER),
            ("last_step", INTEGER),
            ("first_time", column::time()),
            ("last_time", column::time()),
            ("version", INTEGER),
            ("committed_at", column::time()),
        ])
    }

    fn build(
        &self,
        _wanted: &Filter,
        _filters: &[Expr],
        columns: &[&str],
    ) -> Result<(Vec<ArrayRef>, usize)> {
        let points = self.snapshot.segments().iter().map(|segment| ("points", segment));
        let facts = self.snapshot.fact_segments().iter().map(|segment| ("facts", segment));
        let segments: Vec<_> = points.chain(facts).collect();
        let length = |names: &Option<Vec<String>>| {
            names.as_ref().map(|names| column::count(names.len() as u64))
        };
        let arrays = columns
            .iter()
            .map(|column| {
                let tables = segments.iter().map(|(table, _)| Some(*table));
                let segments = segments.iter().map(|(_, segment)| segment);
                match *column {
                    "table_name" => column::texts(tables),
                    "name" => column::texts(segments.map(|segment| Some(&segment.name))),
                    "project" => column::texts(segments.map(|segment| segment.project.as_ref())),
                    "rows" => {
                        column::integers(segments.map(|segment| Some(column::count(segment.rows))))
                    }
                    "bytes" => {
                        column::integers(segments.map(|segment| Some(column::count(segment.bytes))))
                    }
                    "level" => {
                        column::integers(segments.map(|segment| Some(i64::from(segment.level))))
                    }
                    "runs" => column::integers(segments.map(|segment| length(&segment.runs))),
                    "metrics" => column::integers(segments.map(|segment| length(&segment.metrics))),
                    "first_step" => column::integers(
                        segments.map(|segment| segment.step_bounds.map(|(first, _)| first)),
                    ),
                    "last_step" => column::integers(
                        segments.map(|segment| segment.step_bounds.map(|(_, last)| last)),
                    ),
                    "first_time" => column::times(
                        segments.map(|segment| segment.time_bounds.map(|(first, _)| first)),
                    ),
                    "last_time" => column::times(
                        segments.map(|segment| segment.time_bounds.map(|(_, last)| last)),
                    ),
                    "version" => column::integers(
                        segments.map(|segment| Some(column::count(segment.version))),
                    ),
                    _ => column::times(segments.map(|segment| Some(segment.committed_at))),
                }
            })
            .collect();
        Ok((arrays, segments.len()))
    }
}
