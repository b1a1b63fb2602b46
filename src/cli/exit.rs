//! How a command ended: codes that scripts may rely on.

/// Exit codes; never renumbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Something failed.
    Failed = 1,
    /// The command line was wrong.
    Usage = 2,
    /// There is no such thing.
    NotFound = 3,
    /// Not allowed.
    Denied = 4,
    /// Others changed or hold what was to be changed.
    Conflict = 5,
    /// Some of it was done.
    Partial = 6,
    /// No daemon answers.
    Unreachable = 7,
    /// Not in force before the time was over.
    NotInForce = 8,
    /// The verdict is negative.
    Negative = 9,
}

impl Exit {
    /// How a status of the API ends a command.
    pub const fn of_status(status: u16) -> Self {
        match status {
            200..=299 => Self::Ok,
            404 => Self::NotFound,
            401 | 403 => Self::Denied,
            409 | 412 => Self::Conflict,
            _ => Self::Failed,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
