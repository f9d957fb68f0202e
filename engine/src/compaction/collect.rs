//! Which files of a table nobody needs any more.

use rustc_hash::FxHashMap;

use super::Compacted;
use crate::{
    Result,
    catalog::{Table, TableVersion},
    disk,
};

/// How long a file that left the table stays for those who read an older version.
const GRACE_US: i64 = 3600 * 1_000_000;

/// How old a file is that no commit names before it is taken for a leftover. What is being written is minutes old at
/// most, but a process may be stopped for hours between placing a segment and committing it.
const LEFTOVER_US: i64 = 24 * 3600 * 1_000_000;

/// The folders of a table in which files may be left over. What lies beside a segment comes last: it never stands in its
/// place without that.
const FOLDERS: [&str; 6] = ["_delta_log", "_staging", "l0", "l1", "_index", "_rollups"];

/// Removes what nobody needs: segments that left the table an hour ago (any, with `now`) with what lies beside them, and files
/// that no commit names a day after they were written. Several at once do no harm.
pub(crate) fn collect(table: &Table, now: bool, now_us: i64, done: &mut Compacted) -> Result<()> {
    // Files are listed first and the catalog is loaded second, so that what is committed meanwhile is known.
    let mut found = Vec::new();
    for folder in FOLDERS {
        let names = disk::list(&table.dir().join(folder))?;
        found.extend(names.into_iter().map(|name| (folder, name)));
    }
    let version = table.load()?;
    if version.version.is_some() {
        // Files go because of commits of others: those must be durable first.
        table.sync()?;
    }
    let known = known(&version);
    for (folder, name) in found {
        let path = table.dir().join(folder).join(&name);
        let age_us =
            || disk::modified_us(&path).map(|written_us| now_us.saturating_sub(written_us));
        let file = known.get(name.as_str()).copied();
        let may_go = match (folder, file) {
            ("_delta_log", _) if !disk::is_temporary(&name) => false,
            ("l0" | "l1" | "_index" | "_rollups", Some(File::Needed)) => false,
            ("l0" | "l1" | "_index" | "_rollups", Some(File::Left { at_us })) => {
                now || now_us.saturating_sub(at_us) >= GRACE_US
            }
            // A file that is gone by now was moved to its place, or somebody else collects too.
            _ => age_us().is_ok_and(|age_us| age_us >= LEFTOVER_US),
        };
        if may_go {
            let bytes = disk::size(&path).unwrap_or(0);
            if disk::remove_if_there(&path)? {
                done.freed_files += 1;
                done.freed_bytes += bytes;
            }
        }
    }
    Ok(())
}

/// What the catalog says of a file.
#[derive(Debug, Clone, Copy)]
enum File {
    /// It is in the table.
    Needed,
    /// It left the table.
    Left { at_us: i64 },
}

/// The files of which the catalog knows, without their folders: a segment and its index share a name.
fn known(version: &TableVersion) -> FxHashMap<&str, File> {
    let left = version
        .tombstones
        .iter()
        .map(|it| (base(&it.name), File::Left { at_us: it.removed_at_ms.saturating_mul(1000) }));
    let needed = version.segments.iter().map(|it| (base(&it.name), File::Needed));
    left.chain(needed).collect()
}

/// The last part of a name.
fn base(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, base)| base)
}
