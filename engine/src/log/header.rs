//! The first 4096 bytes of a log file: what it is, and the few words that change while it is written.
//!
//! ```text
//! 0    magic "RUNLAKE\n"       8   version u32      12  blocks u32       16  salt u32     20  mode u8, 0 u8 x 3
//! 24   number u64              32  created i64 (us)  40  file uuid (16)  56  writer uuid (16)
//! 72   boot id (36, ASCII)     108 0 u32            112 CRC32C of 0..112
//! 128  claim u64: blocks claimed, bit 63 sealed     192 heartbeat i64 (us)
//! 256  160 x | run key u64 | last step i64 | dropped rows u64 |      key 0: unused
//! ```
#![deny(clippy::indexing_slicing)]

use super::HEADER_BYTES;

/// Where the claim word stands: alone in its pair of cache lines.
pub(crate) const CLAIM_OFFSET: usize = 128;
/// Where the time of the last heartbeat stands.
pub(crate) const HEARTBEAT_OFFSET: usize = 192;
/// Where the places of the file's runs stand, and the bytes of each.
pub(crate) const PLACES_OFFSET: usize = 256;
pub(crate) const PLACE_BYTES: usize = 24;
/// How many runs have a place there; a file with more is read whole to learn the last step of the others.
pub(crate) const PLACES: usize = (HEADER_BYTES - PLACES_OFFSET) / PLACE_BYTES;
/// The bytes that the checksum covers, and where it stands.
pub(super) const FIXED: usize = 112;
const MAGIC: [u8; 8] = *b"RUNLAKE\n";
const VERSION: u32 = 1;

/// How a log file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Through a shared mapping: the file holds a row as soon as it is published.
    Mapped,
    /// From memory by `pwrite`, where mappings of several hosts do not agree.
    Written,
}

/// What the header says for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// How many blocks follow.
    pub(crate) blocks: u32,
    /// Begins every checksum of the file.
    pub(crate) salt: u32,
    /// How the file is written.
    pub(crate) mode: Mode,
    /// The number of the file in its folder, from 1.
    pub(crate) number: u64,
    /// Microseconds since 1970 (UTC).
    pub(crate) created_us: i64,
    /// The file.
    pub(crate) file: uuid::Uuid,
    /// The writer that owns the folder.
    pub(crate) writer: uuid::Uuid,
    /// The boot of the host that writes it.
    pub(crate) boot_id: String,
}

impl Header {
    /// The bytes of the fixed part.
    pub(crate) fn encode(&self) -> [u8; FIXED + 4] {
        let mut bytes = Vec::with_capacity(FIXED + 4);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(self.blocks.to_le_bytes());
        bytes.extend(self.salt.to_le_bytes());
        bytes.extend([u8::from(self.mode == Mode::Written), 0, 0, 0]);
        bytes.extend(self.number.to_le_bytes());
        bytes.extend(self.created_us.to_le_bytes());
        bytes.extend(self.file.as_bytes());
        bytes.extend(self.writer.as_bytes());
        bytes.extend(self.boot_id.bytes().chain(std::iter::repeat(0)).take(36));
        bytes.resize(FIXED, 0);
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes.try_into().unwrap_or([0; FIXED + 4])
    }

    /// Reads the fixed part; the error says at which byte it fails and how.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, (u64, String)> {
        let Some((fixed, rest)) = bytes.split_at_checked(FIXED) else {
            return Err((bytes.len() as u64, "the header of a log file is cut short".into()));
        };
        let u32_at = |at: usize| {
            fixed.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |&b| u32::from_le_bytes(b))
        };
        let u64_at = |at: usize| {
            fixed.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |&b| u64::from_le_bytes(b))
        };
        let uuid_at = |at: usize| {
            fixed
                .get(at..)
                .and_then(<[u8]>::first_chunk)
                .map_or_else(uuid::Uuid::nil, |&b| uuid::Uuid::from_bytes(b))
        };
        if !fixed.starts_with(&MAGIC) {
            return Err((0, "not a log file".into()));
        }
        if u32_at(8) != VERSION {
            return Err((8, format!("log version {} is not known here", u32_at(8))));
        }
        if rest.first_chunk().map(|&crc| u32::from_le_bytes(crc)) != Some(crc32c::crc32c(fixed)) {
            return Err((FIXED as u64, "the checksum of the header does not match".into()));
        }
        let blocks = u32_at(12);
        if blocks == 0 || blocks > 1 << 16 {
            return Err((12, format!("{blocks} blocks are out of range")));
        }
        let boot_id = fixed.get(72..108).unwrap_or_default();
        Ok(Self {
            blocks,
            salt: u32_at(16),
            mode: if fixed.get(20) == Some(&0) { Mode::Mapped } else { Mode::Written },
            number: u64_at(24),
            created_us: u64_at(32).cast_signed(),
            file: uuid_at(40),
            writer: uuid_at(56),
            boot_id: String::from_utf8_lossy(boot_id).trim_end_matches('\0').to_owned(),
        })
    }
}

/// Names a run in the header. Two runs that share a key only make a step-less row start later.
pub(crate) fn run_key(project: &str, run_id: &str) -> u64 {
    let (high, low) = (crc32c::crc32c(project.as_bytes()), crc32c::crc32c(run_id.as_bytes()));
    (u64::from(high) << 32 | u64::from(low)).max(1)
}

/// What a header says of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunPlace {
    /// The run; 0 where the place is nobody's.
    pub(crate) key: u64,
    /// The highest step that it reached in the file.
    pub(crate) last_step: Option<i64>,
    /// How many of its rows the writer could not keep, by the time at which this was its newest file with the run.
    pub(crate) dropped: u64,
}

/// The places of the runs, in the order in which they were given.
pub(crate) fn places(header: &[u8]) -> impl Iterator<Item = RunPlace> {
    let places = header.get(PLACES_OFFSET..HEADER_BYTES).unwrap_or_default();
    places.as_chunks::<PLACE_BYTES>().0.iter().map(|place| {
        let word = |at: usize| {
            place
                .get(at..)
                .and_then(<[u8]>::first_chunk)
                .map_or(0, |&word| u64::from_le_bytes(word))
        };
        let step = Some(word(8).cast_signed()).filter(|&step| step != i64::MIN);
        RunPlace { key: word(0), last_step: step, dropped: word(16) }
    })
}

/// What a header tells of the last step of a run. Of two headers of one file, the greater says more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LastStep {
    /// The run has no step in the file.
    None,
    /// The run reached this step in the file.
    Reached(i64),
    /// The file has more runs than places: only its frames tell.
    Unknown,
}

/// The last step of the run with this key, as the header of a log file tells it.
pub(crate) fn last_step(header: &[u8], key: u64) -> LastStep {
    // Places are given from the first one on.
    match places(header).find(|place| place.key == key || place.key == 0) {
        Some(place) if place.key == key => {
            place.last_step.map_or(LastStep::None, LastStep::Reached)
        }
        Some(_) => LastStep::None,
        None => LastStep::Unknown,
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "tests know their bytes")]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_as_written_and_no_flipped_bit_passes() {
        let header = Header {
            blocks: 4,
            salt: 99,
            mode: Mode::Mapped,
            number: 3,
            created_us: -5,
            file: uuid::Uuid::from_u128(7),
            writer: uuid::Uuid::from_u128(8),
            boot_id: "96abf175-67fd-4c42-9109-ac13300d5154".into(),
        };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok(header));
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&bytes).is_err(), "bit {bit}");
        }
    }
}
