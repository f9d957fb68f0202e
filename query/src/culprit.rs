//! Which file is to blame when a scan fails: Parquet says what is wrong, but not where.

use std::{
    collections::HashSet,
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::error::ArrowError;
use datafusion::{
    common::tree_node::{TreeNode as _, TreeNodeRecursion},
    datasource::{
        physical_plan::{FileGroup, FileScanConfig},
        source::DataSourceExec,
    },
    physical_plan::ExecutionPlan,
};
use parquet::{
    arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder},
    errors::ParquetError,
};
use runlake_engine::{Error, Snapshot};

/// The file of `plan` that is corrupt, as an error that names it and where in it sense stops. It reads the files of the
/// plan once more, up to the one to blame, so it is for failures only.
pub(crate) fn find(plan: &Arc<dyn ExecutionPlan>, snapshot: &Snapshot) -> Option<Error> {
    let files = files(plan);
    let segments = snapshot.segments().iter().filter(|segment| files.contains(&segment.path));
    for segment in segments {
        // What decoding says is more exact; checksums find what a decoder takes for granted.
        if let Some((offset, detail)) = decode(&segment.path) {
            return Some(Error::Corrupt { path: segment.path.clone(), offset, detail });
        }
        if let Err(error) = segment.check() {
            return Some(error);
        }
    }
    None
}

/// The files that `plan` reads.
fn files(plan: &Arc<dyn ExecutionPlan>) -> HashSet<PathBuf> {
    let mut files = HashSet::new();
    plan.apply(|node| {
        if let Some(scan) = node.downcast_ref::<DataSourceExec>()
            && let Some(config) = scan.data_source().downcast_ref::<FileScanConfig>()
        {
            let paths = config.file_groups.iter().flat_map(FileGroup::iter);
            files.extend(paths.map(|file| Path::new("/").join(file.path().as_ref())));
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .expect("the visitor never fails");
    files
}

/// The first column of the file at `path` that cannot be decoded: where it starts and what is wrong.
fn decode(path: &Path) -> Option<(u64, String)> {
    let open = || {
        let file = File::open(path).map_err(ParquetError::from)?;
        ParquetRecordBatchReaderBuilder::try_new(file)
    };
    let metadata = match open() {
        Ok(builder) => Arc::clone(builder.metadata()),
        Err(error) => {
            let end = path.metadata().map_or(0, |metadata| metadata.len());
            return Some((end, format!("its footer cannot be read: {error}")));
        }
    };
    for (at, group) in metadata.row_groups().iter().enumerate() {
        for (leaf, column) in group.columns().iter().enumerate() {
            let read = || -> Result<(), ArrowError> {
                let builder = open()?;
                let mask = ProjectionMask::leaves(builder.parquet_schema(), [leaf]);
                let reader = builder.with_row_groups(vec![at]).with_projection(mask).build()?;
                reader.into_iter().try_for_each(|batch| batch.map(drop))
            };
            // A decoder that trusts a broken page header may panic.
            let result = std::panic::catch_unwind(read);
            let detail = match result {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_panic) => "a page makes no sense".to_owned(),
            };
            let name = column.column_path().string();
            return Some((column.byte_range().0, format!("column {name}: {detail}")));
        }
    }
    None
}
