//! The file `LAKE`: what one must know to read and write this lake.
//!
//! ```json
//! {"format": 1, "reader_features": [], "writer_features": [], "uuid": "..", "created_by": "runlake 0.1.0",
//!  "created_at_us": 0, "probe": {"filesystem": "ext4", "hard_links": true, "shared_mappings": true, "locks": true},
//!  "crc32c": "5d0c6a1b"}
//! ```
//! A reader refuses a format or a reader feature that it does not know; a writer also a writer feature. The checksum is
//! that of the whole file with `00000000` in its own place; a file without one is not checked.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{
    Error, Result, disk, log,
    os::{self, Hold, Lock},
};

/// The name of the file.
pub(crate) const FILE: &str = "LAKE";
/// The format that this version writes, and the newest that it reads.
const FORMAT: u32 = 1;
const READER_FEATURES: [&str; 0] = [];
const WRITER_FEATURES: [&str; 0] = [];

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names stand in the file")]
pub(crate) struct Features {
    format: u32,
    reader_features: Vec<String>,
    writer_features: Vec<String>,
    /// The lake, for merges.
    pub(crate) uuid: String,
    created_by: String,
    created_at_us: i64,
    /// What the folder could do when the lake was created.
    pub(crate) probe: Probe,
    /// Of the whole file, with [`NO_CRC`] in this place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crc32c: Option<String>,
}

/// Stands in the place of the checksum while it is computed.
const NO_CRC: &[u8] = b"00000000";

/// Where the checksum stands in the file.
fn place_of_crc(bytes: &[u8]) -> Option<std::ops::Range<usize>> {
    let key = b"\"crc32c\": \"";
    let start = bytes.windows(key.len()).rposition(|part| part == key)? + key.len();
    let place = start..start + NO_CRC.len();
    (place.end <= bytes.len()).then_some(place)
}

/// The checksum of a file, as it should stand at `place`.
fn crc_of(bytes: &[u8], place: &std::ops::Range<usize>) -> String {
    let parts = [&bytes[..place.start], NO_CRC, &bytes[place.end..]];
    format!("{:08x}", parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part)))
}

/// What a folder can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Probe {
    /// The filesystem.
    pub(crate) filesystem: String,
    /// Whether a file can have two names, which commits rest on.
    pub(crate) hard_links: bool,
    /// Whether files can be mapped, so that others read at once what one stores.
    pub(crate) shared_mappings: bool,
    /// Whether a lock keeps a second one out.
    pub(crate) locks: bool,
}

/// Reads the file of the lake at `root`; `None` where there is no lake.
pub(crate) fn read(root: &Path) -> Result<Option<Features>> {
    let path = root.join(FILE);
    let Some(bytes) = disk::read_if_there(&path)? else { return Ok(None) };
    // The version comes first: a later format may have other fields.
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let corrupt = |error: serde_json::Error| {
        let before =
            bytes.split_inclusive(|&byte| byte == b'\n').take(error.line().saturating_sub(1));
        let offset = before.map(<[u8]>::len).sum::<usize>() + error.column();
        Error::corrupt(&path, offset as u64, error.to_string())
    };
    let Format { format } = serde_json::from_slice(&bytes).map_err(corrupt)?;
    if format != FORMAT {
        return Err(Error::Unsupported { path, feature: format!("lake format {format}") });
    }
    if let Some(place) = place_of_crc(&bytes)
        && crc_of(&bytes, &place).as_bytes() != &bytes[place.clone()]
    {
        let detail = "its checksum is not that of the file";
        return Err(Error::corrupt(path, place.start as u64, detail));
    }
    let features: Features = serde_json::from_slice(&bytes).map_err(corrupt)?;
    known(&features.reader_features, &READER_FEATURES, &path)?;
    Ok(Some(features))
}

fn known(features: &[String], here: &[&str], path: &Path) -> Result<()> {
    match features.iter().find(|feature| !here.contains(&feature.as_str())) {
        Some(feature) => Err(Error::Unsupported {
            path: path.to_owned(),
            feature: format!("feature '{feature}'"),
        }),
        None => Ok(()),
    }
}

impl Features {
    /// An error where this version must not write here.
    pub(crate) fn check_writer(&self, root: &Path) -> Result<()> {
        known(&self.writer_features, &WRITER_FEATURES, &root.join(FILE))
    }
}

/// Creates a lake at `root`, shared with the group of that folder if asked for, or returns the one that another process
/// created a moment before.
pub(crate) fn create(root: &Path, shared: bool, now_us: i64) -> Result<Features> {
    disk::create_dirs(root)?;
    if shared {
        disk::share(root)?;
    }
    // Lakes stand inside repositories, where nobody wants them committed.
    disk::publish(&root.join(".gitignore"), b"*\n")?;
    let features = Features {
        format: FORMAT,
        reader_features: Vec::new(),
        writer_features: Vec::new(),
        uuid: uuid::Uuid::new_v4().to_string(),
        created_by: concat!("runlake ", env!("CARGO_PKG_VERSION")).to_owned(),
        created_at_us: now_us,
        probe: probe(root)?,
        crc32c: Some(String::from_utf8_lossy(NO_CRC).into_owned()),
    };
    let path = root.join(FILE);
    let mut json = serde_json::to_vec_pretty(&features)
        .map_err(|error| Error::io("encode", &path, std::io::Error::from(error)))?;
    if let Some(place) = place_of_crc(&json) {
        let crc = crc_of(&json, &place);
        json[place].copy_from_slice(crc.as_bytes());
    }
    if disk::publish(&path, &json)? {
        return Ok(features);
    }
    read(root)?.ok_or_else(|| Error::NoLake { path: root.to_owned(), looked: Vec::new() })
}

/// Tries out what the folder can do.
pub(crate) fn probe(root: &Path) -> Result<Probe> {
    let filesystem = os::filesystem(root).map_err(|error| Error::io("look at", root, error))?;
    let path = root.join(format!(".probe-{}.tmp", uuid::Uuid::new_v4()));
    let second = path.with_extension("link.tmp");
    let file = disk::create(&path)?;
    let links = disk::link(&path, &second);
    let locks = Lock::try_take(file, Hold::Exclusive).ok().flatten().is_some_and(|_held| {
        disk::open(&path)
            .is_ok_and(|other| matches!(Lock::try_take(other, Hold::Exclusive), Ok(None)))
    });
    let shared_mappings = shares_mappings(filesystem) && log::can_be_mapped(&path);
    disk::remove_if_there(&second)?;
    disk::remove_if_there(&path)?;
    Ok(Probe {
        filesystem: filesystem.to_owned(),
        hard_links: links.is_ok(),
        shared_mappings,
        locks,
    })
}

/// Whether all hosts see at once what one stores through a mapping. Network filesystems map files too, but their hosts
/// do not see each other's stores in time.
fn shares_mappings(filesystem: &str) -> bool {
    !matches!(filesystem, "nfs" | "smb" | "fuse" | "lustre" | "ceph" | "gpfs")
}
