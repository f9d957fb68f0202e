//! A segment of one table as it stands becomes a segment of another.

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

use uuid::Uuid;

use super::{SegmentMeta, writer::NewSegment};
use crate::{Error, Result, catalog::Add, disk};

/// Bytes that are copied between two looks whether to go on.
const PART_BYTES: usize = 1 << 20;

/// Copies the files of a segment into the staging folder of `table`, each checked against what the catalog says of it, and
/// makes them durable. `add` is what a commit says of the segment. `goes_on` is told how many bytes were copied; where it says no,
/// there is nothing.
pub(crate) fn copy(
    segment: &SegmentMeta,
    add: Add,
    table: &Path,
    goes_on: &mut dyn FnMut(u64) -> bool,
) -> Result<Option<NewSegment>> {
    disk::create_dirs(&table.join("_staging"))?;
    let name = segment.path.file_name().map_or_else(Default::default, PathBuf::from);
    let beside = |folder: &str| format!("{folder}/{}", name.display());
    let index = segment.index.as_ref().map(|path| (path, segment.index_crc32c, beside("_index")));
    let rollup = segment.rollup.as_ref();
    let rollup = rollup.map(|it| (&it.path, Some(it.crc32c), beside("_rollups")));
    let data = (&segment.path, segment.crc32c, segment.name.clone());
    // Two merges may copy one file at once, so what is staged has a name of its own.
    let staged = Uuid::now_v7();
    let mut copied = NewSegment::new(table, add, Vec::new());
    let mut bytes = 0;
    for (at, (path, crc32c, name)) in rollup.into_iter().chain(index).chain([data]).enumerate() {
        let to = table.join("_staging").join(format!("{staged}.{at}.parquet"));
        // Said first, so that it is removed again should anything fail.
        copied.files.push((to.clone(), name));
        let Some(found) = copy_file(path, &to, &mut bytes, goes_on)? else { return Ok(None) };
        if let Some(expected) = crc32c.filter(|&expected| expected != found) {
            let detail = format!("its checksum is {found:08x}, the catalog says {expected:08x}");
            return Err(Error::corrupt(path, 0, detail));
        }
    }
    Ok(Some(copied))
}

/// Copies a file, syncs it, and returns its checksum.
fn copy_file(
    from: &Path,
    to: &Path,
    bytes: &mut u64,
    goes_on: &mut dyn FnMut(u64) -> bool,
) -> Result<Option<u32>> {
    let mut source = disk::open(from).map_err(super::reader::expired)?;
    let mut target = disk::create(to)?;
    let mut part = vec![0; PART_BYTES];
    let mut crc = 0;
    loop {
        let read = source.read(&mut part).map_err(|error| Error::io("read", from, error))?;
        if read == 0 {
            disk::sync(&target, to)?;
            return Ok(Some(crc));
        }
        let part = &part[..read];
        crc = crc32c::crc32c_append(crc, part);
        target.write_all(part).map_err(|error| Error::io("write", to, error))?;
        *bytes += read as u64;
        if !goes_on(*bytes) {
            return Ok(None);
        }
    }
}
