//! `lastmile apply`: shows the plan, asks if somebody is there to answer, applies.

use std::io::BufRead;
use std::path::Path;

use hyper::Method;
use serde_json::{Value, json};

use super::client::{Client, ClientError};
use super::exit::Exit;
use super::verbs::show;
use super::{ApplyArgs, Cli, Console, table};
use crate::limits::NETDEFS_FILE_BYTES_MAX;

pub(super) async fn run(
    cli: &Cli,
    args: &ApplyArgs,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<Exit, ClientError> {
    let files = read_directory(&args.directory)?;
    if console.interactive && !args.yes && !args.dry_run {
        let plan = apply(client, &files, args.prune, true).await?;
        if changes_nothing(&plan) {
            return Ok(done(cli, console, &plan));
        }
        console.say(&text(&plan));
        console.say("apply this? [y/N]");
        if !agreed() {
            console.say("nothing was changed");
            return Ok(Exit::Failed);
        }
    }
    let answer = apply(client, &files, args.prune, args.dry_run).await?;
    Ok(done(cli, console, &answer))
}

async fn apply(client: &Client, files: &Value, prune: bool, dry_run: bool) -> Result<Value, ClientError> {
    let body = json!({"files": files, "prune": prune, "dry_run": dry_run});
    client.call(Method::POST, "/v1/apply", Some(&body)).await
}

fn done(cli: &Cli, console: &mut Console<'_>, answer: &Value) -> Exit {
    show(cli, console, answer, text);
    for warning in answer.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        console.say(&format!("warning: {}", table::printable(warning.as_str().unwrap_or_default())));
    }
    match answer.get("applied_seq").and_then(Value::as_u64) {
        Some(seq) => console.say(&format!("in force on this node as of seq {seq}")),
        None => console.say("nothing was changed: this was the plan only"),
    }
    Exit::Ok
}

fn text(answer: &Value) -> String {
    let plan = answer.get("plan").and_then(Value::as_str).unwrap_or_default();
    plan.lines().map(|line| table::printable(line) + "\n").collect()
}

fn changes_nothing(answer: &Value) -> bool {
    ["create", "update", "remove"]
        .iter()
        .all(|name| answer.get(*name).and_then(Value::as_array).is_none_or(Vec::is_empty))
}

fn agreed() -> bool {
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.is_ok() && matches!(line.trim(), "y" | "Y" | "yes")
}

/// Every definition file of a directory, by name.
fn read_directory(directory: &Path) -> Result<Value, ClientError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ClientError::File { path, source }
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed(directory))? {
        let path = entry.map_err(failed(directory))?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        let directory = directory.display();
        return Err(ClientError::Usage(format!("{directory} holds no .toml files; nothing to apply")));
    }
    paths.sort();
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let size = std::fs::metadata(&path).map_err(failed(&path))?.len();
        if size > NETDEFS_FILE_BYTES_MAX {
            let path = path.display();
            return Err(ClientError::Usage(format!(
                "{path} is larger than {NETDEFS_FILE_BYTES_MAX} bytes; split it"
            )));
        }
        let text = std::fs::read_to_string(&path).map_err(failed(&path))?;
        files.push(json!({"name": path.display().to_string(), "text": text}));
    }
    Ok(Value::Array(files))
}
