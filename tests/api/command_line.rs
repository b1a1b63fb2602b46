//! The command line against a daemon on a real Unix socket.

use std::path::{Path, PathBuf};

use clap::Parser;
use lastmile::api::{self, serve};
use lastmile::cli::{Cli, Console, Exit, run_with};
use serde_json::Value;
use tokio::sync::watch;

use crate::support::{CANARY, Daemon, service};

struct Listening {
    daemon: Daemon,
    socket: PathBuf,
    stop: watch::Sender<bool>,
    serving: tokio::task::JoinHandle<()>,
    directory: tempfile::TempDir,
}

async fn listening() -> Listening {
    let daemon = Daemon::with_basics().await;
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin.sock");
    let (listener, owner) = serve::bind_unix(&socket).unwrap();
    let (stop, stopped) = watch::channel(false);
    let router = api::router(std::sync::Arc::clone(&daemon.app));
    let connections = serve::Connections::new(stopped);
    let serving = tokio::spawn(serve::unix(listener, owner, router, connections));
    Listening { daemon, socket, stop, serving, directory }
}

/// What a command printed, said and returned.
async fn lastmile(socket: &Path, line: &str) -> (String, String, Exit) {
    let line = format!("lastmile --socket {} {line}", socket.display());
    let cli = Cli::try_parse_from(line.split(' ')).unwrap();
    let (mut out, mut talk) = (Vec::new(), Vec::new());
    let exit = {
        let mut console = Console { out: &mut out, talk: &mut talk, interactive: false };
        run_with(&cli, &mut console).await
    };
    (String::from_utf8(out).unwrap(), String::from_utf8(talk).unwrap(), exit)
}

#[tokio::test]
async fn an_operator_on_the_machine_needs_no_token() {
    let it = listening().await;
    let (out, _, exit) = lastmile(&it.socket, "status").await;
    assert_eq!(exit, Exit::Ok);
    assert!(out.starts_with("state           ready\n"), "{out}");
    let (out, ..) = lastmile(&it.socket, "status -o json").await;
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["node"], "node-1");
}

#[tokio::test]
async fn a_token_is_printed_alone_and_works_and_is_revoked() {
    let it = listening().await;
    let create = "token create --name crm --source crm --scope service.* --scope system.read";
    let (token, talk, exit) = lastmile(&it.socket, create).await;
    assert_eq!((exit, token.lines().count()), (Exit::Ok, 1), "{talk}");
    let ask = || it.daemon.ask(axum::http::Method::GET, "/v1/meta").token(token.trim());
    ask().send().await.expect(200);
    let (listed, ..) = lastmile(&it.socket, "token ls").await;
    assert!(listed.contains("service.*,system.read") && !listed.contains(token.trim()), "{listed}");
    let id = listed.lines().nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    assert_eq!(lastmile(&it.socket, &format!("token revoke {id}")).await.2, Exit::Ok);
    ask().send().await.problem(401, "token-revoked");
    let unknown = lastmile(&it.socket, "token revoke tok_01jd3v8m4q7z00000000000000").await;
    assert_eq!(unknown.2, Exit::NotFound);
}

#[tokio::test]
async fn exit_codes_and_messages_say_how_it_ended() {
    let it = listening().await;
    it.daemon.put("services/ext:s", service()).await.expect(201);
    let access = serde_json::json!({"service": "s", "type": "ipoe_mac", "mac": "02:00:5e:00:53:01"});
    it.daemon.put("accesses/ext:a", access).await.expect(201);
    for (line, exit) in [
        ("why nobody", Exit::Negative),
        ("why s", Exit::Ok),
        ("session ls", Exit::Ok),
        ("session show ses_01jd3v8m4q7z00000000000000", Exit::NotFound),
        ("lease ls", Exit::Ok),
        ("lease show 100.64.1.9", Exit::NotFound),
        ("pool ls", Exit::Ok),
        ("pool show home-1", Exit::Ok),
        ("pool show none", Exit::NotFound),
        ("clock confirm", Exit::Ok),
        ("apply /nowhere/at/all", Exit::Failed),
    ] {
        let (out, talk, ended) = lastmile(&it.socket, line).await;
        assert_eq!(ended, exit, "{line}: {out}{talk}");
        assert!(exit == Exit::Ok || !talk.is_empty() || !out.is_empty(), "{line} says nothing");
    }
    let (pools, ..) = lastmile(&it.socket, "pool ls").await;
    assert!(pools.lines().next().unwrap().starts_with("POOL"), "{pools}");
    assert!(pools.contains("home-1") && pools.contains("256"), "{pools}");
    let gone = it.directory.path().join("other.sock");
    let (_, talk, exit) = lastmile(&gone, "status").await;
    assert_eq!(exit, Exit::Unreachable);
    assert!(talk.contains("is it running? systemctl status lastmile"), "{talk}");
}

#[tokio::test]
async fn apply_shows_its_plan_and_places_mistakes() {
    let it = listening().await;
    let directory = it.directory.path().join("defs");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("plans.toml"), "[basic]\nrate_down = 10_000_000\n").unwrap();
    let nas = format!("[bras9]\naddresses = [\"192.0.2.99\"]\nsecret = \"{CANARY}\"\n");
    std::fs::write(directory.join("nas.toml"), nas).unwrap();
    let apply = |options: &str| format!("apply {}{options}", directory.display());
    let (plan, talk, exit) = lastmile(&it.socket, &apply(" --dry-run")).await;
    assert_eq!((exit, plan.as_str()), (Exit::Ok, "+ plan basic\n+ nas bras9\n= 0 unchanged\n"), "{talk}");
    assert!(talk.contains("plan only"), "{talk}");
    assert_eq!(lastmile(&it.socket, &apply("")).await.2, Exit::Ok);
    let (plan, ..) = lastmile(&it.socket, &apply("")).await;
    assert_eq!(plan, "= 2 unchanged\n");
    std::fs::write(directory.join("plans.toml"), "[basic]\nrate_down = 1\n").unwrap();
    let (_, talk, exit) = lastmile(&it.socket, &apply("")).await;
    assert_eq!(exit, Exit::Failed);
    assert!(talk.contains("plans.toml:2") && !talk.contains(CANARY), "{talk}");
}

#[tokio::test]
async fn a_stopped_listener_ends_and_a_socket_left_behind_is_taken_over() {
    let it = listening().await;
    let in_use = serve::bind_unix(&it.socket).unwrap_err();
    assert_eq!(in_use.kind(), std::io::ErrorKind::AddrInUse);
    it.stop.send(true).unwrap();
    it.serving.await.unwrap();
    assert_eq!(lastmile(&it.socket, "status").await.2, Exit::Unreachable);
    assert!(serve::bind_unix(&it.socket).is_ok());
}
