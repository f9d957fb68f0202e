//! One commit file of the log: JSON lines, sealed with a checksum.
//!
//! ```text
//! {"commitInfo":{"runlakeCrc32c":"5d1f27a0","timestamp":..,"operation":"flush","engineInfo":"runlake/0.1.0"}}
//! {"protocol":{..}}  {"metaData":{..}}        in version 0 only
//! {"txn":{..}}  {"remove":{..}}  {"add":{..}}  any number of each
//! ```
//!
//! The checksum is the CRC32C of the whole file with eight zeros in its own place. Commits without it are read as they
//! are.

use std::path::Path;

use super::action::Actions;
use crate::{Error, Result};

/// How a sealed file starts; eight hexadecimal digits follow.
const SEAL: &[u8] = br#"{"commitInfo":{"runlakeCrc32c":""#;
const ZEROS: &[u8; 8] = b"00000000";

/// The largest version that the protocol knows.
pub(super) const LAST_VERSION: u64 = i64::MAX as u64;

/// The name of the file of a version.
pub(super) fn name(version: u64) -> String {
    format!("{version:020}.json")
}

/// The version of a commit file by its name; `None` for other files.
pub(super) fn version(name: &str) -> Option<u64> {
    let version = name.strip_suffix(".json")?.parse().ok()?;
    (version <= LAST_VERSION && self::name(version) == name).then_some(version)
}

/// Encodes the file of a commit.
pub(super) fn encode(actions: Actions, operation: &'static str, now_ms: i64) -> Vec<u8> {
    let rest = serde_json::json!({
        "timestamp": now_ms,
        "operation": operation,
        "operationParameters": {},
        "engineInfo": concat!("runlake/", env!("CARGO_PKG_VERSION")),
    })
    .to_string();
    let mut bytes = SEAL.to_vec();
    bytes.extend(ZEROS);
    bytes.extend(b"\",");
    bytes.extend(rest.strip_prefix('{').expect("an object starts with a brace").as_bytes());
    bytes.extend(b"}\n");
    bytes.extend(actions.encode());
    let digits = format!("{:08x}", crc32c::crc32c(&bytes));
    bytes[SEAL.len()..][..8].copy_from_slice(digits.as_bytes());
    bytes
}

/// The bytes of a sealed file with the checksum that they should have; other bytes as they are.
#[cfg(any(test, fuzzing))]
pub(super) fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut sealed = bytes.to_vec();
    if bytes.starts_with(SEAL)
        && let Some(place) = sealed.get_mut(SEAL.len()..SEAL.len() + 8)
    {
        place.copy_from_slice(ZEROS);
        let digits = format!("{:08x}", crc32c::crc32c(&sealed));
        sealed[SEAL.len()..][..8].copy_from_slice(digits.as_bytes());
    }
    sealed
}

/// Decodes the file of a commit. Total; every change of a sealed file is noticed, unless it leaves the actions as they
/// were.
pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<Actions> {
    if bytes.is_empty() {
        return Err(Error::corrupt(path, 0, "a commit without a single byte"));
    }
    let actions = Actions::decode(path, bytes)?;
    if let Some((digits, rest)) = bytes.strip_prefix(SEAL).and_then(<[u8]>::split_first_chunk::<8>)
    {
        let crc = [SEAL, ZEROS, rest].iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part));
        if digits != format!("{crc:08x}").as_bytes() {
            let offset = SEAL.len() as u64;
            return Err(Error::corrupt(path, offset, "the checksum is not that of the file"));
        }
    }
    Ok(actions)
}

/// When the commit was made, in milliseconds since 1970 (UTC), as far as it says.
pub(super) fn made_at_ms(bytes: &[u8]) -> Option<i64> {
    let lines = bytes.split(|&byte| byte == b'\n');
    let infos = lines.filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
    { infos }.find_map(|line| line["commitInfo"]["timestamp"].as_i64())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::catalog::action::{Add, Metadata, Protocol, Remove, SetTransaction};

    fn actions() -> Actions {
        let add = |path: &str| Add {
            path: path.to_owned(),
            partition_values: BTreeMap::new(),
            size: 1234,
            modification_time: 1_700_000_000_123,
            data_change: true,
            stats: Some(r#"{"numRecords":7,"minValues":{"run_id":"é\u0001"}}"#.to_owned()),
            tags: Some(BTreeMap::from([
                ("runlake.runs".to_owned(), Some("[\"a\"]".to_owned())),
                ("none".to_owned(), None),
            ])),
        };
        Actions {
            protocol: Some(Protocol::ours()),
            metadata: Some(Metadata {
                id: "0197".to_owned(),
                name: Some("points".to_owned()),
                description: None,
                format: crate::catalog::action::Format {
                    provider: "parquet".to_owned(),
                    options: BTreeMap::new(),
                },
                schema_string: "{}".to_owned(),
                partition_columns: Vec::new(),
                configuration: BTreeMap::new(),
                created_time: Some(5),
            }),
            txns: vec![SetTransaction { app_id: "w".to_owned(), version: i64::MAX }],
            removes: vec![Remove {
                path: "l0/old.parquet".to_owned(),
                deletion_timestamp: Some(9),
                data_change: false,
            }],
            adds: vec![add("l0/a%20b.parquet"), add("l1/c.parquet")],
        }
    }

    #[test]
    fn a_commit_comes_back_as_it_was_written() {
        let bytes = encode(actions(), "flush", 17);
        assert_eq!(decode(Path::new("c"), &bytes).unwrap(), actions());
        assert_eq!(version(&name(12)), Some(12));
        assert_eq!(version("00000000000000000012.checkpoint.parquet"), None);
        assert_eq!(version("99999999999999999999.json"), None, "past the largest version");
    }

    #[test]
    fn every_flipped_bit_is_noticed_or_changes_nothing() {
        let bytes = encode(actions(), "flush", 17);
        let mut unnoticed = 0;
        for at in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            match decode(Path::new("c"), &damaged) {
                Ok(read) => {
                    assert_eq!(read, actions(), "bit {at}");
                    unnoticed += 1;
                }
                Err(Error::Corrupt { offset, .. }) => {
                    assert!(offset <= bytes.len() as u64, "bit {at}");
                }
                Err(Error::Unsupported { .. }) => {}
                Err(other) => panic!("bit {at}: {other}"),
            }
        }
        assert!(unnoticed < SEAL.len() * 8, "only a broken seal goes unnoticed: {unnoticed}");
    }

    #[test]
    fn every_prefix_of_a_commit_is_an_error_that_says_where() {
        let bytes = encode(actions(), "flush", 17);
        for cut in 0..bytes.len() {
            match decode(Path::new("c"), &bytes[..cut]) {
                Err(Error::Corrupt { path, offset, .. }) => {
                    assert_eq!(path, Path::new("c"));
                    assert!(offset <= cut as u64, "cut at {cut}, offset {offset}");
                }
                other => panic!("cut at {cut}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_error_counts_bytes_from_the_start_of_the_file() {
        let text = "{\"txn\":{\"appId\":\"a\",\"version\":1}}\n\n{\"txn\":{\"appId\":1}}\n";
        let Err(Error::Corrupt { offset, detail, .. }) = decode(Path::new("c"), text.as_bytes())
        else {
            panic!("a number is no app id");
        };
        assert_eq!(&text.as_bytes()[usize::try_from(offset).unwrap()..][..2], b"1}", "{detail}");
    }

    #[test]
    fn foreign_commits_are_read_and_unknown_actions_passed_over() {
        let text = "{\"commitInfo\":{\"timestamp\":\"?\"}}\r\n{\"cdc\":{\"path\":7}}\n\
                    {\"txn\":{\"appId\":\"a\",\"version\":1,\"lastUpdated\":2}}";
        let read = decode(Path::new("c"), text.as_bytes()).unwrap();
        assert_eq!(read.txns, [SetTransaction { app_id: "a".to_owned(), version: 1 }]);
    }
}
