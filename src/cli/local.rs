//! Commands that need no running daemon: `serve` and `demo` are one, `check` and `db` look at files and the database.

use std::io::{self, Write};

use super::{Cli, Command, DbCommand, Exit};
use crate::config::{Config, ConfigErrors, LogConfig, LogFormat, environment};
use crate::daemon::{self, ServeOptions};
use crate::demo::{self, DemoOptions};
use crate::netdefs::{Netdefs, definitions};
use crate::storage::migrate;

/// Does a command that is not the client's.
pub fn run(cli: &Cli) -> Exit {
    let done = match &cli.command {
        Command::Serve { accept_loss, print_listeners } => {
            serve(cli, ServeOptions { accept_loss: *accept_loss, print_listeners: *print_listeners })
        }
        Command::Demo { state, exit } => {
            let options = DemoOptions { state: state.clone(), exit: *exit };
            demo::run(&options).map_err(|failure| chain("the demo failed", &failure))
        }
        Command::Check => check(cli),
        Command::Db(command) => database(cli, *command),
        _ => Err("this command asks a running daemon".to_owned()),
    };
    match done {
        Ok(()) => Exit::Ok,
        Err(text) => {
            let _ = writeln!(io::stderr(), "lastmile: {text}");
            Exit::Failed
        }
    }
}

/// An error with its causes, each once, in one text.
fn chain(what: &str, error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = format!("{what}: {error}");
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        if !text.contains(&words) {
            text.push_str("\n  because ");
            text.push_str(&words);
        }
        cause = next.source();
    }
    text
}

fn load(cli: &Cli) -> Result<Config, String> {
    match Config::load(&cli.config, environment()) {
        Ok(config) => Ok(config),
        // The default file may be missing: every key has a default.
        Err(ConfigErrors::Unreadable { source, .. })
            if source.kind() == io::ErrorKind::NotFound
                && cli.config == std::path::Path::new(crate::config::DEFAULT_PATH) =>
        {
            Config::from_text("(defaults)", "", environment()).map_err(|errors| errors.to_string())
        }
        Err(errors) => Err(chain("the configuration cannot be used", &errors)),
    }
}

fn serve(cli: &Cli, options: ServeOptions) -> Result<(), String> {
    let config = load(cli)?;
    log(&config.log);
    daemon::serve(config, options).map_err(|failure| chain("the daemon does not start", &failure))
}

fn log(config: &LogConfig) {
    let filter = tracing_subscriber::EnvFilter::try_new(&config.level)
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match config.format {
        LogFormat::Text => builder.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).init(),
        LogFormat::Json => builder.json().init(),
    }
}

/// Configuration and the definitions it names.
fn check(cli: &Cli) -> Result<(), String> {
    let config = load(cli)?;
    let mut out = io::stdout();
    let knowledge = Netdefs::load(config.netdefs.override_dir.as_deref())
        .map_err(|error| chain("the network knowledge cannot be used", &error))?;
    if let Some(directory) = &config.netdefs.dir {
        let read = definitions::load(directory, &knowledge.options4)
            .map_err(|error| chain("the definitions cannot be used", &error))?;
        for warning in &read.warnings {
            let _ = writeln!(out, "warning: {warning}");
        }
        let _ = writeln!(out, "{}: {} definitions are consistent", directory.display(), read.objects.len());
    }
    let _ = writeln!(out, "the configuration is usable");
    Ok(())
}

fn database(cli: &Cli, command: DbCommand) -> Result<(), String> {
    let config = load(cli)?;
    let url = String::from_utf8_lossy(config.storage.url.expose()).into_owned();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| chain("cannot start", &error))?;
    let mut out = io::stdout();
    match command {
        DbCommand::Migrate => {
            let (before, after) = runtime
                .block_on(migrate::migrate(&url))
                .map_err(|error| chain("the schema cannot be brought up to date", &error))?;
            let _ = writeln!(out, "schema {before} -> {after}");
        }
        DbCommand::Status => {
            let (found, known) = runtime
                .block_on(migrate::status(&url))
                .map_err(|error| chain("the database cannot be read", &error))?;
            let _ = writeln!(out, "schema {found}, this lastmile knows {known}");
        }
    }
    Ok(())
}
