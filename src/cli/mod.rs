//! The command line: the daemon's own commands, and a client of its API over the Unix socket.
//!
//! - [`Cli`]: what may be typed. [`parse`] reads it; [`run`] does what needs a running daemon.
//! - `client`: one request over the socket. `verbs`: what each command asks and shows. `table`: how.
//!
//! `serve`, `demo`, `check` and `db` belong to the daemon: [`Command::is_of_client`] tells them apart. Data goes to
//! standard output, talk to standard error; nothing asks a question unless both ends are a terminal. It needs no
//! configuration: the socket's place is known.

mod apply;
pub mod client;
pub mod exit;
pub mod local;
pub mod table;
mod verbs;
mod why;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use client::{Client, ClientError};
pub use exit::Exit;

/// Where the daemon listens when nobody says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/lastmile/admin.sock";

/// Everything that may be typed.
#[derive(Debug, Parser)]
#[command(
    name = "lastmile",
    version,
    about = "RADIUS, DHCP and one address ledger for an ISP, with an admin API",
    after_help = "EXAMPLES:\n  lastmile why jan.k                     why can this login not get online?\n  \
        lastmile status                        one screen: is it well?\n  \
        lastmile session ls --login jan.k -o json\n  lastmile apply netdefs/ --dry-run\n\n\
        EXIT CODES:\n  0 ok, 1 failed, 2 usage, 3 not found, 4 denied, 5 conflict, 7 no daemon answers, 9 negative verdict"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Unix socket of the daemon.
    #[arg(long, global = true, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// Configuration file, for commands that work without the daemon.
    #[arg(long, global = true, value_name = "PATH", default_value = crate::config::DEFAULT_PATH)]
    pub config: PathBuf,
    /// Form of the answer.
    #[arg(short, long, global = true, value_enum, default_value = "table")]
    pub output: Output,
}

/// Form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs: what the API answered.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon.
    #[command(after_help = "EXAMPLE:\n  lastmile serve --config /etc/lastmile/lastmile.toml")]
    Serve {
        /// Start although journal or checkpoint is damaged; the damaged part is set aside.
        #[arg(long)]
        accept_loss: bool,
        /// Print where every listener was bound, then `ready`, on standard output.
        #[arg(long)]
        print_listeners: bool,
    },
    /// Show the daemon at work with a sample ISP on loopback addresses, without root and without configuration.
    #[command(
        after_help = "EXAMPLES:\n  lastmile demo                  a tour; the daemon then stays up to be tried\n  \
        lastmile demo --exit           the tour only; status 0 when every answer was the expected one\n  \
        lastmile demo --state ./state  keep the state"
    )]
    Demo {
        /// Where the state stays; a temporary directory when absent.
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,
        /// End after the tour.
        #[arg(long)]
        exit: bool,
    },
    /// Check the configuration and the definitions it names, without a daemon.
    #[command(after_help = "EXAMPLE:\n  lastmile check --config ./lastmile.toml")]
    Check,
    /// Make stored definitions what the files of a directory say, as one change.
    #[command(after_help = "EXAMPLES:\n  lastmile apply netdefs/ --dry-run   show the plan only\n  \
        lastmile apply netdefs/ --prune     also remove what is no longer defined")]
    Apply(ApplyArgs),
    /// Look after the database, without a daemon.
    #[command(subcommand)]
    Db(DbCommand),
    /// Manage API tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Show how the daemon is.
    #[command(after_help = "EXAMPLE:\n  lastmile status -o json")]
    Status,
    /// Look at RADIUS sessions.
    #[command(subcommand)]
    Session(SessionCommand),
    /// Look at DHCP leases.
    #[command(subcommand)]
    Lease(LeaseCommand),
    /// Look at pools.
    #[command(subcommand)]
    Pool(PoolCommand),
    /// Tell the daemon about its clock.
    #[command(subcommand)]
    Clock(ClockCommand),
    /// Explain why somebody is online or cannot get online.
    #[command(after_help = "EXAMPLES:\n  lastmile why jan.k               a login\n  \
        lastmile why 0200.5e00.5301      a MAC address in any notation\n  \
        lastmile why 100.64.1.7          an address\n  lastmile why UM/2024/00123-1     the CRM's id")]
    Why {
        /// Login, MAC address, IP address, line, id or external id.
        subject: String,
    },
}

impl Command {
    /// Whether [`run`] does it; the others are the daemon's.
    pub const fn is_of_client(&self) -> bool {
        !matches!(self, Self::Serve { .. } | Self::Demo { .. } | Self::Check | Self::Db(_))
    }
}

/// Options of `apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// Directory with networks.toml, pools.toml, plans.toml and so on.
    pub directory: PathBuf,
    /// Show the plan and change nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Remove what is no longer defined; refused while something needs it.
    #[arg(long)]
    pub prune: bool,
    /// Do not ask, even on a terminal.
    #[arg(long)]
    pub yes: bool,
}

/// Commands on the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum DbCommand {
    /// Bring the schema up to date.
    #[command(after_help = "EXAMPLE:\n  lastmile db migrate")]
    Migrate,
    /// Show the schema's version.
    #[command(after_help = "EXAMPLE:\n  lastmile db status")]
    Status,
}

/// Commands on tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token; it is printed this once.
    #[command(
        after_help = "EXAMPLE:\n  lastmile token create --name 'crm-isp prod' --source crm-isp \\\n    \
        --scope 'subscriber.*' --scope 'service.*' --scope 'access.*'"
    )]
    Create {
        /// Name shown to people.
        #[arg(long)]
        name: String,
        /// Namespace it writes in; without one it acts as an operator.
        #[arg(long)]
        source: Option<String>,
        /// What it may do, such as service.write; may be repeated.
        #[arg(long = "scope", required = true)]
        scopes: Vec<String>,
        /// Days until it ends.
        #[arg(long, default_value_t = 365)]
        days: u32,
    },
    /// List tokens.
    #[command(after_help = "EXAMPLE:\n  lastmile token ls")]
    Ls,
    /// Revoke a token at once.
    #[command(after_help = "EXAMPLE:\n  lastmile token revoke tok_01jd3v8m4q7z00000000000000")]
    Revoke {
        /// Its id.
        id: String,
    },
}

/// Commands on the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum ClockCommand {
    /// Say that the clock is right although it was far past the last record at the start: leases that have run out since
    /// end now.
    #[command(after_help = "EXAMPLE:\n  date && lastmile clock confirm")]
    Confirm,
}

/// Commands on sessions.
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// List sessions.
    #[command(
        after_help = "EXAMPLES:\n  lastmile session ls --nas bras1\n  lastmile session ls --closed --limit 20"
    )]
    Ls {
        /// Only with this login.
        #[arg(long)]
        login: Option<String>,
        /// Only with this MAC address.
        #[arg(long)]
        mac: Option<String>,
        /// Only of this service.
        #[arg(long)]
        service: Option<String>,
        /// Only through this NAS.
        #[arg(long)]
        nas: Option<String>,
        /// Closed ones, newest first.
        #[arg(long)]
        closed: bool,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Show one session.
    #[command(after_help = "EXAMPLE:\n  lastmile session show ses_01jd3v8m4q7z00000000000000")]
    Show {
        /// Its id.
        id: String,
    },
}

/// Commands on leases.
#[derive(Debug, Subcommand)]
pub enum LeaseCommand {
    /// List leases.
    #[command(after_help = "EXAMPLE:\n  lastmile lease ls --prefix 100.64.1.0/24")]
    Ls {
        /// Only inside this prefix.
        #[arg(long)]
        prefix: Option<String>,
        /// Only with this MAC address.
        #[arg(long)]
        mac: Option<String>,
        /// Only of this service.
        #[arg(long)]
        service: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Show who has an address, by whatever protocol.
    #[command(after_help = "EXAMPLE:\n  lastmile lease show 100.64.1.7")]
    Show {
        /// The address or prefix.
        address: String,
        /// VRF; the default one when absent.
        #[arg(long)]
        vrf: Option<String>,
    },
}

/// Commands on pools.
#[derive(Debug, Subcommand)]
pub enum PoolCommand {
    /// List pools and how full they are.
    #[command(after_help = "EXAMPLE:\n  lastmile pool ls")]
    Ls,
    /// Show one pool.
    #[command(after_help = "EXAMPLE:\n  lastmile pool show home-east")]
    Show {
        /// Its external id or id.
        pool: String,
    },
}

/// Reads the command line; ends the process with help or a usage error when that is what was asked for or deserved.
pub fn parse() -> Cli {
    Cli::parse()
}

/// Does a command that needs a running daemon and says how it ended.
pub async fn run(cli: &Cli) -> Exit {
    let interactive = io::stdin().is_terminal() && io::stderr().is_terminal();
    let (mut out, mut talk) = (io::stdout(), io::stderr());
    run_with(cli, &mut Console { out: &mut out, talk: &mut talk, interactive }).await
}

/// Where a command writes.
pub struct Console<'a> {
    /// Data.
    pub out: &'a mut (dyn Write + Send),
    /// Talk.
    pub talk: &'a mut (dyn Write + Send),
    /// Whether somebody is there to answer questions.
    pub interactive: bool,
}

impl std::fmt::Debug for Console<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console").field("interactive", &self.interactive).finish_non_exhaustive()
    }
}

impl Console<'_> {
    /// Writes data. A reader that has gone away, as `head` does, is no failure.
    pub(crate) fn show(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes());
    }

    /// Writes talk.
    pub(crate) fn say(&mut self, text: &str) {
        let _ = writeln!(self.talk, "{text}");
    }
}

/// The same with somebody else's output.
pub async fn run_with(cli: &Cli, console: &mut Console<'_>) -> Exit {
    let client = Client::new(&cli.socket);
    match verbs::run(cli, &client, console).await {
        Ok(exit) => exit,
        Err(error) => {
            console.say(&error.to_string());
            error.exit()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_of_the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_without_subcommands_shows_an_example() {
        fn walk(command: &clap::Command, path: &str) {
            for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
                let path = format!("{path} {}", sub.get_name());
                if sub.get_subcommands().next().is_some() {
                    walk(sub, &path);
                } else {
                    let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
                    assert!(help.contains("EXAMPLE"), "{path} has no example");
                }
            }
        }
        walk(&Cli::command(), "lastmile");
    }

    #[test]
    fn options_may_stand_before_and_after_the_command() {
        for line in
            ["lastmile -o json session ls", "lastmile session ls -o json --socket /run/lastmile/admin.sock"]
        {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.output, Output::Json);
            assert!(cli.command.is_of_client());
        }
        let cli = Cli::try_parse_from(["lastmile", "db", "migrate"]).unwrap();
        assert!(!cli.command.is_of_client());
        assert!(Cli::try_parse_from(["lastmile", "token", "create", "--name", "x"]).is_err());
    }
}
