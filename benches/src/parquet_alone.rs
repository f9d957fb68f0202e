//! The `parquet` crate alone, with the encodings that segments have: what the engine is measured against.

use std::{fs::File, path::Path, process::Command};

use arrow::array::RecordBatch;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, Encoding, ZstdLevel},
    file::properties::{EnabledStatistics, WriterProperties},
    schema::types::ColumnPath,
};
use runlake_engine::{Filter, Lake};

use crate::speed::{Speed, Stopwatch};

/// The argument that makes a benchmark the other writer.
const ASKED: &str = "--parquet-alone";
/// How many points it writes.
const POINTS: usize = 8 << 20;

/// The speed of the `parquet` crate alone, compressed by zstd at `level`. It works in another process, so that its memory is not
/// counted: this program, whose `main` begins with [`was_asked`].
///
/// # Panics
/// Where the lake cannot be read.
pub fn speed(lake: &Path, level: i32) -> Speed {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    let output = command.arg(ASKED).arg(lake).arg(level.to_string()).output();
    let output = output.expect("the other writer");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).parse().expect("a speed")
}

/// Where this process was started by [`speed`], does what it asked for.
///
/// # Panics
/// Where the lake cannot be read.
pub fn was_asked() -> bool {
    let mut arguments = std::env::args().skip_while(|argument| argument != ASKED).skip(1);
    let (Some(lake), Some(level)) = (arguments.next(), arguments.next()) else { return false };
    println!("{}", write_again(Path::new(&lake), level.parse().expect("a level")).text());
    true
}

/// Writes some of the points of the lake again, sorted as they are, and syncs them.
fn write_again(lake: &Path, level: i32) -> Speed {
    let snapshot = Lake::open(lake).and_then(|lake| lake.snapshot()).expect("a snapshot");
    let mut batches: Vec<RecordBatch> = Vec::new();
    let mut rows = 0;
    for batch in snapshot.scan(&Filter::default()).expect("a scan") {
        let batch = batch.expect("points");
        rows += batch.num_rows();
        batches.push(batch);
        if rows >= POINTS {
            break;
        }
    }
    let schema = batches.first().expect("points").schema();
    let column = |name: &str| ColumnPath::from(name);
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(level).expect("a level")))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_column_dictionary_enabled(column("step"), false)
        .set_column_encoding(column("step"), Encoding::DELTA_BINARY_PACKED)
        .set_column_dictionary_enabled(column("time"), false)
        .set_column_encoding(column("time"), Encoding::BYTE_STREAM_SPLIT)
        .set_column_dictionary_enabled(column("value"), false)
        .set_column_encoding(column("value"), Encoding::BYTE_STREAM_SPLIT)
        .build();
    let file = tempfile::tempfile().expect("a file");
    let watch = Stopwatch::start();
    let synced: File = file.try_clone().expect("the same file");
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties)).expect("a writer");
    for batch in &batches {
        writer.write(batch).expect("rows are written");
    }
    let written = writer.close().expect("a footer");
    synced.sync_data().expect("a sync");
    let speed = watch.speed(rows as u64);
    assert_eq!(written.file_metadata().num_rows().cast_unsigned(), rows as u64);
    speed
}
