//! What each command asks of the daemon, and what it shows of the answer.

use hyper::Method;
use serde_json::{Value, json};

use super::client::{Client, ClientError};
use super::exit::Exit;
use super::table::{self, Column};
use super::{
    Cli, ClockCommand, Command, Console, LeaseCommand, Output, PoolCommand, SessionCommand, TokenCommand,
    apply, why,
};
use crate::api::target::encode;
use crate::limits::API_PAGE_MAX;
use crate::model::{Kind, Ref};

const TOKENS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("SOURCE", "source"),
    ("STATE", "state"),
    ("EXPIRES", "expires_at"),
    ("SCOPES", "scopes"),
];
const SESSIONS: &[Column] = &[
    ("ID", "id"),
    ("LOGIN", "login"),
    ("MAC", "mac"),
    ("NAS", "nas_name"),
    ("ADDRESSES", "addresses"),
    ("SINCE", "started_at"),
    ("STATE", "state"),
    ("POLICY", "policy"),
];
const LEASES: &[Column] = &[
    ("ADDRESS", "prefix"),
    ("MAC", "mac"),
    ("SERVICE", "service"),
    ("STATE", "state"),
    ("ENDS", "ends_at"),
    ("POLICY", "policy"),
];
const POOLS: &[Column] = &[
    ("POOL", "name"),
    ("CLASS", "class"),
    ("SIZE", "counts/size"),
    ("GRANTED", "counts/granted"),
    ("HELD", "counts/held"),
    ("FREE", "counts/free"),
    ("USED %", "used_percent"),
];

/// Does a command of the client.
pub(super) async fn run(cli: &Cli, client: &Client, console: &mut Console<'_>) -> Result<Exit, ClientError> {
    match &cli.command {
        Command::Apply(args) => apply::run(cli, args, client, console).await,
        Command::Token(command) => token(cli, command, client, console).await,
        Command::Status => status(cli, client, console).await,
        Command::Session(command) => session(cli, command, client, console).await,
        Command::Lease(command) => lease(cli, command, client, console).await,
        Command::Pool(command) => pool(cli, command, client, console).await,
        Command::Clock(ClockCommand::Confirm) => {
            let answer = client.call(Method::POST, "/v1/clock/confirm", None).await?;
            show(cli, console, &answer, table::object);
            if answer["last_record"].is_null() {
                console.say("nobody doubts the clock of this start; nothing was changed");
            }
            Ok(Exit::Ok)
        }
        Command::Why { subject } => {
            let answer = client.get(&format!("/v1/why?subject={}", encode(subject))).await?;
            show(cli, console, &answer, why::text);
            let negative = matches!(answer["verdict"].as_str(), Some("blocked" | "unknown"));
            Ok(if negative { Exit::Negative } else { Exit::Ok })
        }
        Command::Serve { .. } | Command::Demo { .. } | Command::Check | Command::Db(_) => {
            Err(ClientError::Usage("this command is the daemon's own".to_owned()))
        }
    }
}

/// Shows an answer as it came, or for people.
pub(super) fn show(
    cli: &Cli,
    console: &mut Console<'_>,
    answer: &Value,
    render: impl FnOnce(&Value) -> String,
) {
    let text = match cli.output {
        Output::Json => serde_json::to_string_pretty(answer).unwrap_or_default() + "\n",
        Output::Table => render(answer),
    };
    console.show(&text);
}

fn items(answer: &Value) -> &[Value] {
    answer.get("items").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Walks the pages of a list until there are `limit` items.
async fn list(client: &Client, path: &str, limit: usize) -> Result<Value, ClientError> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    let divider = if path.contains('?') { '&' } else { '?' };
    while all.len() < limit {
        let wanted = (limit - all.len()).min(API_PAGE_MAX);
        let page = client.get(&format!("{path}{divider}limit={wanted}{cursor}")).await?;
        all.extend(items(&page).iter().cloned());
        match page.get("next_cursor").and_then(Value::as_str) {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(json!({"items": all, "complete": true})),
        }
    }
    Ok(json!({"items": all, "complete": false}))
}

/// Tells people that a list goes on.
fn more(console: &mut Console<'_>, answer: &Value) {
    if answer.get("complete") == Some(&Value::Bool(false)) {
        console.say("there are more; raise --limit or narrow the question");
    }
}

fn query(path: &str, pairs: &[(&str, Option<&String>)]) -> String {
    let given = pairs.iter().filter_map(|(name, value)| Some(format!("{name}={}", encode(value.as_ref()?))));
    let text: Vec<String> = given.collect();
    if text.is_empty() { path.to_owned() } else { format!("{path}?{}", text.join("&")) }
}

async fn token(
    cli: &Cli,
    command: &TokenCommand,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<Exit, ClientError> {
    match command {
        TokenCommand::Create { name, source, scopes, days } => {
            let body = json!({"name": name, "source": source, "scopes": scopes, "lifetime_days": days});
            let answer = client.call(Method::POST, "/v1/tokens", Some(&body)).await?;
            // The token alone on standard output, so that it can be piped into a secret store.
            show(cli, console, &answer, |answer| table::cell(answer, "token") + "\n");
            console.say("this token is shown only now; keep it as you keep passwords");
        }
        TokenCommand::Ls => {
            let answer = client.get("/v1/tokens").await?;
            show(cli, console, &answer, |answer| table::rows(TOKENS, items(answer)));
        }
        TokenCommand::Revoke { id } => {
            client.call(Method::DELETE, &format!("/v1/tokens/{}", encode(id)), None).await?;
            console.say(&format!("{id} is revoked"));
        }
    }
    Ok(Exit::Ok)
}

async fn status(cli: &Cli, client: &Client, console: &mut Console<'_>) -> Result<Exit, ClientError> {
    let answer = client.get("/v1/meta").await?;
    show(cli, console, &answer, |answer| {
        let member = |name: &str| table::cell(answer, name);
        let behind = match (answer["stored_seq"].as_u64(), answer["applied_seq"].as_u64()) {
            (Some(stored), Some(applied)) if stored > applied => format!(" ({} behind)", stored - applied),
            (None, _) => " (the database does not answer)".to_owned(),
            _ => String::new(),
        };
        table::members(&[
            ("state", member("state")),
            ("node", format!("{} (number {})", member("node"), member("node_id"))),
            ("version", member("version")),
            ("decides by seq", format!("{}{behind}", member("applied_seq"))),
            ("services", member("services")),
            ("accesses", member("accesses")),
            ("live sessions", member("sessions")),
            ("live leases", member("leases")),
            ("decisions", member("decisions")),
        ])
    });
    Ok(if answer["state"] == "ready" { Exit::Ok } else { Exit::Failed })
}

async fn session(
    cli: &Cli,
    command: &SessionCommand,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<Exit, ClientError> {
    match command {
        SessionCommand::Ls { login, mac, service, nas, closed, limit } => {
            let state = closed.then(|| "closed".to_owned());
            let path = query(
                "/v1/sessions",
                &[
                    ("login", login.as_ref()),
                    ("mac", mac.as_ref()),
                    ("service", service.as_ref()),
                    ("nas", nas.as_ref()),
                    ("state", state.as_ref()),
                ],
            );
            let answer = list(client, &path, *limit).await?;
            show(cli, console, &answer, |answer| table::rows(SESSIONS, items(answer)));
            more(console, &answer);
        }
        SessionCommand::Show { id } => {
            let answer = client.get(&format!("/v1/sessions/{}", encode(id))).await?;
            show(cli, console, &answer, table::object);
        }
    }
    Ok(Exit::Ok)
}

async fn lease(
    cli: &Cli,
    command: &LeaseCommand,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<Exit, ClientError> {
    match command {
        LeaseCommand::Ls { prefix, mac, service, limit } => {
            let path = query(
                "/v1/leases",
                &[("prefix", prefix.as_ref()), ("mac", mac.as_ref()), ("service", service.as_ref())],
            );
            let answer = list(client, &path, *limit).await?;
            show(cli, console, &answer, |answer| table::rows(LEASES, items(answer)));
            more(console, &answer);
        }
        LeaseCommand::Show { address, vrf } => {
            let path = query(&format!("/v1/leases/{}", encode(address)), &[("vrf", vrf.as_ref())]);
            let answer = client.get(&path).await?;
            show(cli, console, &answer, table::object);
        }
    }
    Ok(Exit::Ok)
}

async fn pool(
    cli: &Cli,
    command: &PoolCommand,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<Exit, ClientError> {
    match command {
        PoolCommand::Ls => {
            let pools = list(client, "/v1/pools", usize::MAX).await?;
            let mut all = Vec::new();
            for pool in items(&pools) {
                let path = format!("/v1/pools/{}/utilization", table::cell(pool, "id"));
                all.push(client.get(&path).await?);
            }
            let answer = json!({ "items": all });
            show(cli, console, &answer, |answer| table::rows(POOLS, items(answer)));
        }
        PoolCommand::Show { pool } => {
            let answer = client.get(&format!("/v1/pools/{}/utilization", segment(pool)?)).await?;
            show(cli, console, &answer, table::object);
        }
    }
    Ok(Exit::Ok)
}

/// An object as typed, as a segment of a path: an id stays, anything else is an external id.
fn segment(typed: &str) -> Result<String, ClientError> {
    if Kind::parse_id(typed).is_some() {
        return Ok(typed.to_owned());
    }
    match typed.parse::<Ref>().map_err(ClientError::Usage)? {
        Ref::Id(kind, uid) => Ok(kind.format_id(uid)),
        Ref::External { source: None, id } => Ok(format!("ext:{}", encode(&id))),
        Ref::External { source: Some(source), id } => Ok(format!("ext:{}~{}", encode(&source), encode(&id))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_named_as_people_type_them() {
        for (typed, expected) in [
            ("home-east", "ext:home-east"),
            ("UM/1", "ext:UM%2F1"),
            ("ext:crm~a~b", "ext:crm~a%7Eb"),
            ("pool_01jd3v8m4q7z00000000000000", "pool_01jd3v8m4q7z00000000000000"),
        ] {
            assert_eq!(segment(typed).unwrap(), expected);
        }
        assert!(segment("").is_err());
    }

    #[test]
    fn a_query_holds_what_was_given_and_nothing_else() {
        let (login, none) = ("jan&co".to_owned(), None);
        assert_eq!(query("/p", &[("login", Some(&login)), ("mac", none)]), "/p?login=jan%26co");
        assert_eq!(query("/p", &[("mac", none)]), "/p");
    }
}
