//! The RADIUS wire codec from outside: published and own vectors, laws over random packets, an independent
//! codec as oracle, and mutated vectors.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "test code stops at the first surprise"
)]

mod differential;
mod mutation;
mod notation;
mod properties;
mod vector;
