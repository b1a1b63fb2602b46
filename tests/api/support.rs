//! One daemon without servers: SQLite in a directory of its own, a real publisher and ledger, the router in-process.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use lastmile::api::{self, Peer};
use lastmile::app::clock::ClockDoubt;
use lastmile::app::{App, Parts};
use lastmile::decision::DecisionRing;
use lastmile::ids::{SeededEntropy, TenantId, Uid};
use lastmile::ledger::Ledger;
use lastmile::netdefs::Netdefs;
use lastmile::snapshot::Snapshot;
use lastmile::snapshot::publish::Publisher;
use lastmile::time::{Clock, ManualClock, Stamp};
use lastmile::vault::{KEY_BYTES, MasterKey, Vault};
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};
use tower::ServiceExt;

pub(crate) const CANARY: &str = "canary-7f3a-do-not-show";

pub(crate) struct Daemon {
    pub(crate) app: Arc<App>,
    pub(crate) clock: Arc<ManualClock>,
    router: Router,
    directory: tempfile::TempDir,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{:#}", self.body);
        self
    }

    /// A problem document that is complete, with this status and code.
    #[track_caller]
    pub(crate) fn problem(self, status: u16, code: &str) -> Self {
        assert_eq!((self.status.as_u16(), self.code()), (status, code), "{:#}", self.body);
        assert_eq!(self.header("content-type"), "application/problem+json");
        for member in ["type", "title", "status", "detail", "instance", "request_id", "retryable"] {
            assert!(self.body.get(member).is_some(), "{member} is missing: {:#}", self.body);
        }
        assert_eq!(self.header("x-request-id"), self.body["request_id"].as_str().unwrap());
        self
    }
}

/// A row of the audit.
#[derive(Debug)]
pub(crate) struct Audited {
    pub(crate) actor: String,
    pub(crate) request: String,
    pub(crate) before: Value,
    pub(crate) after: Value,
}

/// A request that is being written.
pub(crate) struct Asking<'d> {
    daemon: &'d Daemon,
    request: axum::http::request::Builder,
    body: Body,
    peer: Peer,
}

impl Asking<'_> {
    pub(crate) fn token(self, token: &str) -> Self {
        Self { peer: Peer::Tcp, ..self }.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn anonymous(self) -> Self {
        Self { peer: Peer::Tcp, ..self }
    }

    pub(crate) fn peer(self, peer: Peer) -> Self {
        Self { peer, ..self }
    }

    pub(crate) fn header(self, name: &str, value: &str) -> Self {
        Self { request: self.request.header(name, value), ..self }
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.raw(body.to_string()).header("content-type", "application/json")
    }

    pub(crate) fn raw(self, body: impl Into<Body>) -> Self {
        Self { body: body.into(), ..self }
    }

    pub(crate) async fn send(self) -> Answer {
        let mut request: Request<Body> = self.request.body(self.body).unwrap();
        request.extensions_mut().insert(self.peer);
        let response = self.daemon.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Answer { status: parts.status, headers: parts.headers, body }
    }
}

impl Daemon {
    pub(crate) async fn start() -> Self {
        Self::start_doubting(None).await
    }

    /// A daemon that may not believe its clock.
    pub(crate) async fn start_doubting(clock_doubt: Option<ClockDoubt>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("lastmile.db").display());
        let storage = lastmile::storage::open(&url).await.unwrap();
        let entropy = Arc::new(SeededEntropy::new(42));
        let vault = Arc::new(Vault::new(&MasterKey::new([5; KEY_BYTES]), entropy.clone()));
        vault.load_tenant(storage.as_ref(), TenantId::DEFAULT).await.unwrap();
        let ledger = Arc::new(Ledger::new());
        let publisher = Arc::new(Publisher::new(Snapshot::empty()));
        let listener = Arc::clone(&ledger);
        publisher.subscribe(move |publication| {
            listener.set_pools(publication.snapshot.pools().map(AsRef::as_ref), &|_, _| true);
        });
        let clock = Arc::new(ManualClock::at(Stamp::from_secs(1_795_132_800)));
        let app = App::new(Parts {
            storage,
            publisher,
            vault,
            ledger,
            decisions: Arc::new(DecisionRing::new(1, 64)),
            last: Arc::default(),
            activity: Arc::default(),
            signatures: Arc::default(),
            clock: clock.clone(),
            entropy,
            options4: Netdefs::load(None).unwrap().options4,
            node_name: "node-1".to_owned(),
            node_id: 1,
            clock_doubt,
        });
        app.set_ready(true);
        Self { router: api::router(Arc::clone(&app)), app, clock, directory }
    }

    /// A daemon with a subscriber, a network, a pool, a plan and a NAS of the operator.
    pub(crate) async fn with_basics() -> Self {
        let daemon = Self::start().await;
        daemon.put("subscribers/ext:c1", json!({"display": "UM/1"})).await.expect(201);
        let network = json!({"prefixes": ["100.64.0.0/16", "203.0.113.0/24"], "assignment": "pppoe"});
        daemon.put("networks/ext:home", network).await.expect(201);
        let pool = json!({"network": "home", "class": "home", "ranges": ["100.64.1.0-100.64.1.255"]});
        daemon.put("pools/ext:home-1", pool).await.expect(201);
        daemon.put("plans/ext:home-300", plan(300_000_000)).await.expect(201);
        let nas = json!({"addresses": ["192.0.2.10"], "secret": CANARY});
        daemon.put("nas/ext:bras1", nas).await.expect(201);
        daemon
    }

    pub(crate) fn ask(&self, method: Method, path: &str) -> Asking<'_> {
        Asking {
            daemon: self,
            request: Request::builder().method(method).uri(path),
            body: Body::empty(),
            peer: Peer::Unix { uid: 0, trusted: true },
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, &format!("/v1/{path}")).send().await
    }

    /// Writes a spec as the operator.
    pub(crate) async fn put(&self, path: &str, spec: Value) -> Answer {
        self.ask(Method::PUT, &format!("/v1/{path}")).json(&json!({ "spec": spec })).send().await
    }

    pub(crate) async fn put_as(&self, token: &str, path: &str, body: &Value) -> Answer {
        self.ask(Method::PUT, &format!("/v1/{path}")).token(token).json(body).send().await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, &format!("/v1/{path}")).send().await
    }

    /// A token of a source, with these scopes.
    pub(crate) async fn token(&self, source: &str, scopes: &[&str]) -> String {
        self.token_of(TenantId::DEFAULT, Some(source), scopes).await
    }

    pub(crate) async fn token_of(&self, tenant: TenantId, source: Option<&str>, scopes: &[&str]) -> String {
        let body = json!({"name": "test", "source": source, "scopes": scopes, "tenant": tenant.to_string()});
        let answer = self.ask(Method::POST, "/v1/tokens").json(&body).send().await.expect(201);
        answer.body["token"].as_str().unwrap().to_owned()
    }

    /// What the audit has of one kind, oldest first.
    pub(crate) async fn audit(&self, kind: &str) -> Vec<Audited> {
        let url = format!("sqlite:{}", self.directory.path().join("lastmile.db").display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        let text = "SELECT actor, request, before, after FROM audit WHERE kind = ? ORDER BY seq";
        let rows = sqlx::query_as(text).bind(kind).fetch_all(&mut connection).await.unwrap();
        let json = |text: String| serde_json::from_str(&text).unwrap_or(Value::Null);
        let audited = |(actor, request, before, after): (String, String, String, String)| Audited {
            actor,
            request,
            before: json(before),
            after: json(after),
        };
        rows.into_iter().map(audited).collect()
    }

    pub(crate) fn now(&self) -> Stamp {
        self.clock.now().stamp
    }
}

pub(crate) fn plan(rate: u64) -> Value {
    json!({"rate_down": rate, "pool_class_v4": "home"})
}

pub(crate) fn service() -> Value {
    json!({"subscriber": "c1", "plan": "home-300"})
}

pub(crate) fn other_tenant() -> TenantId {
    TenantId(Uid(0x0192_0000_0000_7000_8000_0000_0000_0777))
}
