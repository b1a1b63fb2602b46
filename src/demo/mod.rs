//! `lastmile demo`: a tour of the whole daemon on loopback, without root and without configuration.
//!
//! A daemon runs as a child process with the example definitions; the demo plays everybody around it and checks each
//! answer: the CRM over the admin API, a BRAS that speaks RADIUS, a CPE behind an OLT that relays DHCP. Then it kills the
//! daemon and shows that session and lease are still there.
//!
//! | file | what |
//! |---|---|
//! | `tour` | the script |
//! | `daemon` | the child process and its directory |
//! | `crm`, `bras`, `cpe`, `wire` | the clients |
//! | `show` | printing and checking |
//!
//! Invariants: nothing leaves loopback; whatever is waited for has a deadline; the daemon ends with the demo. It shows
//! the daemon and tests that it answers, but no more: what must hold in detail is the tests' business.

mod bras;
mod cpe;
mod crm;
mod daemon;
mod show;
mod tour;
mod wire;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};

use crate::netdefs::NetdefsError;

use daemon::Home;
use show::Show;
use tour::Tour;

/// How the demo was asked to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DemoOptions {
    /// Where the daemon's state stays afterwards; a temporary directory when absent.
    pub state: Option<PathBuf>,
    /// End after the tour instead of leaving the daemon up to be tried.
    pub exit: bool,
}

/// Why the demo did not get to its end. A text leaves out its cause: whoever prints it prints the chain of sources.
#[derive(Debug, thiserror::Error)]
pub enum DemoFailure {
    /// The system refused something.
    #[error("cannot {doing}")]
    Io {
        /// What was being done.
        doing: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The built-in network knowledge could not be read: a defect.
    #[error("the built-in dictionaries cannot be read")]
    Knowledge(#[from] NetdefsError),
    /// The daemon did not come up.
    #[error("the daemon did not start: {why}; the end of its log:\n{log}")]
    NotStarted {
        /// What happened instead.
        why: String,
        /// Its last log lines.
        log: String,
    },
    /// The daemon did not go down.
    #[error("the daemon did not stop within {seconds} s")]
    NotStopped {
        /// How long it had.
        seconds: u64,
    },
    /// No answer to a datagram.
    #[error("no {what} reply from {server} within {seconds} s; see daemon.log in the state directory")]
    Silence {
        /// Protocol.
        what: &'static str,
        /// Who was asked.
        server: SocketAddr,
        /// How long.
        seconds: u64,
    },
    /// The API could not be talked to.
    #[error("{request} failed: {why}")]
    Http {
        /// Method and path.
        request: String,
        /// What happened.
        why: String,
    },
    /// A packet that is none.
    #[error("a {what} packet cannot be read: {why}")]
    Packet {
        /// Protocol.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A request could not be written: a defect.
    #[error("a RADIUS request cannot be written")]
    Radius(#[from] crate::radius::wire::encode::EncodeError),
    /// A request could not be written: a defect.
    #[error("a DHCP request cannot be written")]
    Dhcp(#[from] crate::dhcp::v4::wire::EncodeError),
    /// A step got another answer than it had to.
    #[error("{what}: expected {expected}, got {got}")]
    Unexpected {
        /// The step.
        what: String,
        /// What had to come.
        expected: String,
        /// What came.
        got: String,
    },
    /// Somebody ended the demo before the tour was over.
    #[error("interrupted before the tour was over")]
    Interrupted,
}

/// Plays the tour. Without `exit` the daemon then stays up until Ctrl-C.
///
/// Succeeds only if every step got the answer it had to get.
pub fn run(options: &DemoOptions) -> Result<(), DemoFailure> {
    let failed = |source| DemoFailure::Io { doing: "start the demo".to_owned(), source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async {
        // Before anything is made: what is made is also removed when the demo is interrupted.
        let mut stop = std::pin::pin!(stop_asked().map_err(failed)?);
        let show = Show::new()?;
        let home = Home::open(options.state.as_deref())?;
        let mut tour = tokio::select! {
            tour = Tour::begin(&show, &home) => tour?,
            () = &mut stop => return Err(DemoFailure::Interrupted),
        };
        let played = tokio::select! {
            played = tour.play() => played,
            () = &mut stop => Err(DemoFailure::Interrupted),
        };
        if played.is_ok() && !options.exit {
            tour.invite()?;
            stop.await;
        }
        let ended = tour.end().await;
        played.and(ended)
    })
}

/// Resolves when somebody wants the demo to end: Ctrl-C, a closed terminal, `kill`.
fn stop_asked() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}
