//! The snapshot: lookups and their precedence, deltas against rebuilds, the image, publication.

#![expect(clippy::unwrap_used, reason = "a test that cannot build its input has failed")]

mod delta;
mod image;
mod installation;
mod lookup;
mod policy;
mod publish;
mod rows;
