//! What several tests share: how a test says that it could not run, and servers that a test starts.

#![allow(dead_code, reason = "every test takes its own part of this")]

pub(crate) mod daemon;
pub(crate) mod dhcp_client;
pub(crate) mod mounts;
pub(crate) mod netns;
pub(crate) mod postgres;
pub(crate) mod proxy;
pub(crate) mod radius_client;

use std::io::Write;

/// Says that the test cannot run here for lack of privileges or programs; fails instead where it must run.
///
/// `tests/run` installs what the tests need, and sets LASTMILE_TESTS_REQUIRE when CI is true: a check that silently
/// does not happen is worse than one that fails.
pub(crate) fn skip(why: &str) {
    let required = std::env::var_os("LASTMILE_TESTS_REQUIRE").is_some();
    assert!(!required, "this must not be skipped here: {why}");
    skip_data(why);
}

/// Says that what the test looks at is not part of the repository, nor installed by `tests/run`.
pub(crate) fn skip_data(why: &str) {
    note(&format!("skipped: {why}"));
}

/// Shows a line although the test passes: the harness keeps only what goes through the printing macros.
pub(crate) fn note(line: &str) {
    let thread = std::thread::current();
    let _ = writeln!(std::io::stderr().lock(), "{}: {line}", thread.name().unwrap_or("test"));
}
