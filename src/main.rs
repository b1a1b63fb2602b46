//! The `lastmile` binary: parse, run, map the outcome to an exit code.

use std::process::ExitCode;

use lastmile::cli::{self, Exit};

fn main() -> ExitCode {
    let cli = cli::parse();
    if !cli.command.is_of_client() {
        return cli::local::run(&cli).into();
    }
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(cli::run(&cli)).into(),
        Err(_) => Exit::Failed.into(),
    }
}
