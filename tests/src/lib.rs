//! What the tests of the whole share: logs made up from a seed, and a plain model of what a lake should answer.
//!
//! A [`script::Script`] says what a few processes log. A [`script::Player`] logs it to a lake, a [`model::Model`] keeps
//! it in plain maps, and [`answer`] makes what SQL says and what the model says comparable, bit for bit. The tests are
//! in `it/`.

#![expect(clippy::cast_possible_wrap, reason = "numbers of rows are small")]

pub mod answer;
pub mod model;
pub mod random;
pub mod script;
