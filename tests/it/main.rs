//! What holds for the whole: one path from logging to SQL, real data, damage, full disks, old lakes, what the pages
//! show, and the layers of the code. One binary, so that DataFusion is linked once.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot set up should stop, and says what it skips"
)]

mod child;
mod damage;
mod full_disk;
mod golden;
mod layers;
mod readme;
mod real;
mod roundtrip;
mod sql;
