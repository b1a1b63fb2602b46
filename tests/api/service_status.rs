//! In force or not, session by session; and why somebody is not online.

use lastmile::decision::{Decision, Outcome, Plane};
use lastmile::ids::{NasId, NetworkId, PoolId, SessionId, TenantId, Uid};
use lastmile::journal::record::{
    GrantRecord, Holder, LeaseFacts, Owner, Record, Role, SessionEvent, SessionRecord,
};
use lastmile::model::{Kind, Mac};
use lastmile::time::Stamp;
use serde_json::{Value, json};
use smallvec::SmallVec;

use crate::support::{Daemon, plan, service};

struct Online {
    daemon: Daemon,
    service: Uid,
    session: SessionId,
}

const MAC: Mac = Mac([0x02, 0, 0x5e, 0, 0x53, 1]);

/// A service with a live session and a lease, both given under the policy of now.
async fn online() -> Online {
    let daemon = Daemon::with_basics().await;
    let created = daemon.put("services/ext:s", service()).await.expect(201);
    let access = json!({"service": "s", "type": "pppoe", "login": "jan", "password": "pw"});
    daemon.put("accesses/ext:a", access).await.expect(201);
    let (_, service) = Kind::parse_id(created.body["id"].as_str().unwrap()).unwrap();
    let parts = daemon.app.parts();
    let snapshot = parts.publisher.load_full();
    let compiled = snapshot.service(service).unwrap();
    let digest = snapshot.policy_digest(compiled, snapshot.plan(compiled.plan).unwrap());
    let nas = NasId(snapshot.all_nas().next().unwrap().id);
    let session = SessionId(Uid(0x0192_0000_0000_7000_8000_0000_0000_0042));
    let pool = snapshot.pools().next().unwrap();
    parts.ledger.apply(1, &Record::Session(session_record(&daemon, service, session, nas, digest)));
    let lease = grant_record(&daemon, service, (PoolId(pool.id), NetworkId(pool.network)), digest);
    parts.ledger.apply(2, &Record::Grant(lease));
    Online { daemon, service, session }
}

fn session_record(
    daemon: &Daemon,
    service: Uid,
    session: SessionId,
    nas: NasId,
    digest: u64,
) -> SessionRecord {
    SessionRecord {
        at: daemon.now(),
        event_at: daemon.now(),
        event: SessionEvent::Start,
        session,
        tenant: TenantId::DEFAULT,
        holder: Holder(service.0),
        slot: 0,
        nas,
        acct_session_id: SmallVec::from_slice(b"8180001a"),
        login: SmallVec::from_slice(b"jan"),
        owner: Owner { line: 0, mac: MAC },
        line: SmallVec::new(),
        started_at: daemon.now(),
        session_time: 0,
        octets_in: 1,
        octets_out: 2,
        packets_in: 3,
        packets_out: 4,
        cause: 0,
        addresses: SmallVec::new(),
        records: 0,
        digest,
    }
}

fn grant_record(daemon: &Daemon, service: Uid, place: (PoolId, NetworkId), digest: u64) -> GrantRecord {
    GrantRecord {
        at: daemon.now(),
        tenant: TenantId::DEFAULT,
        vrf: SmallVec::new(),
        prefix: "100.64.1.7".parse().unwrap(),
        role: Role::V4,
        holder: Holder(service.0),
        slot: 0,
        pool: place.0,
        network: place.1,
        owner: Owner { line: 0, mac: MAC },
        line: SmallVec::new(),
        nas: NasId::default(),
        session: SessionId::default(),
        lease: Some(LeaseFacts::default()),
        ends_at: daemon.now().plus_secs(3600),
        digest,
        renewal: false,
    }
}

fn condition<'a>(status: &'a Value, name: &str) -> &'a Value {
    let all = status["conditions"].as_array().unwrap();
    all.iter().find(|condition| condition["type"] == name).unwrap()
}

#[tokio::test]
async fn a_service_that_nobody_uses_is_in_force_once_it_is_compiled() {
    let daemon = Daemon::with_basics().await;
    daemon.put("services/ext:s", service()).await.expect(201);
    let status = daemon.get("services/ext:s/status").await.expect(200).body;
    assert_eq!(condition(&status, "InForce")["status"], "true");
    assert_eq!(condition(&status, "InForce")["reason"], "NoActiveSession");
    assert_eq!(condition(&status, "AuthReady")["reason"], "NoAccess");
    assert_eq!(status["phase"], "degraded");
    assert_eq!(status["online"], false);
    daemon.get("services/ext:none/status").await.problem(404, "not-found");
}

#[tokio::test]
async fn a_change_of_the_plan_takes_live_sessions_out_of_force_and_names_them() {
    let online = online().await;
    let daemon = &online.daemon;
    let status = daemon.get("services/ext:s/status").await.expect(200).body;
    assert_eq!(condition(&status, "InForce")["status"], "true", "{status:#}");
    assert_eq!(
        (&status["phase"], &status["sessions"], &status["leases"]),
        (&json!("in_force"), &json!(1), &json!(1))
    );
    let digest = status["policy_digest"].clone();

    daemon.put("plans/ext:home-300", plan(500_000_000)).await.expect(200);
    let status = daemon.get("services/ext:s/status").await.expect(200).body;
    assert_eq!(condition(&status, "InForce")["status"], "false");
    assert_eq!(status["phase"], "applying");
    assert_eq!(status["generation"], 1, "the service itself was not written");
    assert_ne!(status["policy_digest"], digest);
    let outdated: Vec<&str> = status["targets"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|target| target["state"] == "outdated")
        .map(|target| target["target"].as_str().unwrap())
        .collect();
    assert_eq!(outdated, [format!("session:{}", online.session).as_str(), "lease:100.64.1.7"]);
    let targets = status["targets"].as_array().unwrap();
    assert!(targets.iter().all(|target| target["assurance"].is_string()));
    assert!(targets[3]["in_force_by"].is_string(), "a lease ends by itself: {targets:#?}");
    let waited = daemon.get("services/ext:s/status?wait_generation=1&timeout=0").await.expect(200).body;
    assert_eq!(waited["phase"], "applying");

    daemon.put("plans/ext:home-300", plan(300_000_000)).await.expect(200);
    let back = daemon.get("services/ext:s/status").await.expect(200).body;
    assert_eq!(condition(&back, "InForce")["status"], "true", "digests are compared, not generations");
}

#[tokio::test]
async fn labels_of_a_plan_take_nobody_out_of_force() {
    let online = online().await;
    let body = json!({"labels": {"tier": "gold"}, "spec": plan(300_000_000)});
    let put = online.daemon.ask(axum::http::Method::PUT, "/v1/plans/ext:home-300");
    put.json(&body).send().await.expect(200);
    let status = online.daemon.get("services/ext:s/status").await.expect(200).body;
    assert_eq!(condition(&status, "InForce")["status"], "true");
}

#[tokio::test]
async fn live_sessions_leases_and_pools_are_read_from_the_ledger() {
    let online = online().await;
    let daemon = &online.daemon;
    let sessions = daemon.get("sessions").await.expect(200).body;
    assert_eq!(sessions["items"][0]["id"], online.session.to_string());
    assert_eq!(sessions["items"][0]["policy"], "in_force");
    for (query, expected) in
        [("login=JAN", 1), ("login=eve", 0), ("mac=0200.5e00.5301", 1), ("service=s", 1), ("nas=bras1", 1)]
    {
        let page = daemon.get(&format!("sessions?{query}")).await.expect(200).body;
        assert_eq!(page["items"].as_array().unwrap().len(), expected, "{query}");
    }
    let one = daemon.get(&format!("sessions/{}", online.session)).await.expect(200).body;
    assert_eq!(one, sessions["items"][0]);
    daemon.get("sessions/ses_01jd3v8m4q7z00000000000000").await.problem(404, "not-found");
    assert_eq!(daemon.get("sessions?state=closed").await.expect(200).body["items"], json!([]));
    let leases = daemon.get("leases").await.expect(200).body;
    assert_eq!(leases["items"][0]["prefix"], "100.64.1.7");
    let lease = daemon.get("leases/100.64.1.7").await.expect(200).body;
    assert_eq!(
        (&lease["state"], &lease["service"]),
        (&json!("leased"), &json!(Kind::Service.format_id(online.service)))
    );
    daemon.get("leases/100.64.1.8").await.problem(404, "not-found");
    assert_eq!(daemon.get("bindings").await.expect(200).body["items"], json!([]));
    let pool = daemon.get("pools/ext:home-1/utilization").await.expect(200).body;
    assert_eq!((&pool["counts"]["size"], &pool["counts"]["granted"]), (&json!(256), &json!(1)));
    let refused = daemon.delete("pools/ext:home-1").await.problem(409, "in-use");
    assert!(refused.body["detail"].as_str().unwrap().contains("1 grants"), "{}", refused.body);
}

#[tokio::test]
async fn another_tenant_sees_no_session_lease_or_decision() {
    let online = online().await;
    let token = online.daemon.token_of(crate::support::other_tenant(), None, &["*"]).await;
    let get = async |path: &str| {
        let path = format!("/v1/{path}");
        online.daemon.ask(axum::http::Method::GET, &path).token(&token).send().await
    };
    for path in ["sessions", "leases", "decisions", "bindings"] {
        assert_eq!(get(path).await.expect(200).body["items"], json!([]), "{path}");
    }
    get(&format!("sessions/{}", online.session)).await.problem(404, "not-found");
    get("leases/100.64.1.7").await.problem(404, "not-found");
    assert_eq!(get("why?subject=jan").await.expect(200).body["verdict"], "unknown");
}

fn refused(at: Stamp, login: &[u8]) -> Decision {
    let mut decision = Decision::new(at, Plane::Auth, "Access-Request");
    decision.login = SmallVec::from_slice(login);
    decision.concluded(Outcome::Refused, "password-mismatch")
}

#[tokio::test]
async fn why_finds_the_service_by_whatever_is_known_of_it() {
    let online = online().await;
    let daemon = &online.daemon;
    let id = Kind::Service.format_id(online.service);
    for subject in ["jan", "JAN", "02-00-5E-00-53-01", "100.64.1.7", "s", "c1", "a", id.as_str()] {
        let why = daemon.get(&format!("why?subject={subject}")).await.expect(200).body;
        assert_eq!((&why["service"], &why["verdict"]), (&json!(id), &json!("online")), "{subject}: {why:#}");
        assert_eq!(why["plan"], "home-300");
    }
}

#[tokio::test]
async fn why_names_the_first_cause_and_what_to_do() {
    let daemon = Daemon::with_basics().await;
    daemon.put("services/ext:s", service()).await.expect(201);
    let access = json!({"service": "s", "type": "pppoe", "login": "jan", "password": "pw"});
    daemon.put("accesses/ext:a", access).await.expect(201);
    let why = async |subject: &str| daemon.get(&format!("why?subject={subject}")).await.expect(200).body;
    assert_eq!(why("jan").await["verdict"], "ready");

    daemon.app.parts().decisions.push(0, refused(daemon.now(), b"jan"));
    let blocked = why("jan").await;
    assert_eq!(
        (&blocked["verdict"], &blocked["cause"]["id"]),
        (&json!("blocked"), &json!("auth.last_answer"))
    );
    assert_eq!(blocked["decisions"][0]["explanation"], "the password is wrong");
    assert!(!blocked["next"].as_array().unwrap().is_empty());

    let mut paused = service();
    paused["state"] = json!("paused");
    daemon.put("services/ext:s", paused).await.expect(200);
    assert_eq!(why("jan").await["cause"]["id"], "service.state");

    daemon.app.parts().decisions.push(0, refused(daemon.now(), b"eve"));
    let unknown = why("eve").await;
    assert_eq!(
        (&unknown["verdict"], &unknown["cause"]["id"]),
        (&json!("unknown"), &json!("identity.resolve"))
    );
    assert!(unknown["cause"]["evidence"].as_str().unwrap().contains("password-mismatch"));
    let listed = daemon.get("decisions?outcome=refused&subject=eve").await.expect(200).body;
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_access_shows_its_last_accept_and_its_last_rejects_in_a_row() {
    let online = online().await;
    let daemon = &online.daemon;
    let parts = daemon.app.parts();
    let status = async || daemon.get("accesses/ext:a/status").await.expect(200).body;
    let before = status().await;
    assert_eq!((&before["last_auth"]["nas_name"], &before["last_reject"]), (&json!("bras1"), &Value::Null));

    let access = parts.publisher.load_full().accesses().next().unwrap().id;
    let nas = parts.publisher.load_full().all_nas().next().unwrap().id;
    for seconds in 1..=3 {
        let mut rejected = refused(Stamp(daemon.now().0 + seconds * 1_000), b"jan");
        (rejected.access, rejected.nas, rejected.line) = (access, nas, SmallVec::from_slice(b"olt7 1/3/27"));
        parts.last.note(&rejected);
    }
    let reject = &status().await["last_reject"];
    assert_eq!(
        (&reject["code"], &reject["count"], &reject["nas_name"], &reject["line"]),
        (&json!("password-mismatch"), &json!(3), &json!("bras1"), &json!("olt7 1/3/27"))
    );
    let why = daemon.get("why?subject=jan").await.expect(200).body;
    let checks = why["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["id"] == "auth.last_reject").unwrap();
    assert_eq!(found["result"], "warn", "a session is live all the same");
    assert!(found["evidence"].as_str().unwrap().starts_with("password-mismatch ×3 since "), "{found}");
    daemon.get("accesses/ext:nobody/status").await.problem(404, "not-found");
}

#[tokio::test]
async fn a_nas_shows_whether_it_signs_and_one_change_takes_what_follows_back() {
    let online = online().await;
    let daemon = &online.daemon;
    let parts = daemon.app.parts();
    let nas = parts.publisher.load_full().all_nas().next().unwrap().id;
    let shown = async || daemon.get("nas/ext:bras1").await.expect(200).body;
    let put = async |change: Value| {
        let mut spec = shown().await["spec"].clone();
        spec.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        daemon.put("nas/ext:bras1", spec).await.expect(200);
    };
    let signing = async || shown().await["status"]["message_authenticator"].clone();
    let why = async || {
        let why = daemon.get("why?subject=jan").await.expect(200).body;
        let checks = why["checks"].as_array().unwrap().clone();
        checks.into_iter().find(|check| check["id"] == "nas.message_authenticator")
    };
    assert_eq!(signing().await["standing"], "required");

    put(json!({"require_message_authenticator": "auto"})).await;
    parts.signatures.follow([nas].into_iter());
    assert_eq!(signing().await["signed"], 0);
    let start = daemon.now();
    for _ in 0..1_000 {
        parts.signatures.signed(nas, start);
    }
    assert_eq!(
        (&signing().await["standing"], &signing().await["signed"]),
        (&json!("learning"), &json!(1_000))
    );
    assert_eq!(why().await, None);
    parts.signatures.signed(nas, start.plus_secs(86_400));
    assert_eq!(signing().await["standing"], "proposed");
    assert_eq!(signing().await["next"], "set require_message_authenticator to yes");
    assert_eq!(why().await.unwrap()["result"], "pass");

    put(json!({"enforce_message_authenticator": "auto"})).await;
    assert_eq!(signing().await["standing"], "enforced");
    let mut unsigned = Decision::new(daemon.now(), Plane::Auth, "Access-Request");
    unsigned.nas = nas;
    parts.decisions.push(0, unsigned.concluded(Outcome::Discarded, "message-authenticator-learned"));
    let warned = why().await.unwrap();
    assert_eq!(warned["result"], "warn");
    assert!(warned["next"].as_str().unwrap().contains("takes it back"), "{warned}");

    put(json!({"enforce_message_authenticator": "propose"})).await;
    assert_eq!(signing().await["standing"], "proposed");
    put(json!({"require_message_authenticator": "no"})).await;
    assert_eq!(signing().await["standing"], "not_required");
}

#[tokio::test]
async fn a_proxy_cannot_be_limited_in_its_own_attribute() {
    let daemon = Daemon::with_basics().await;
    let mut spec = daemon.get("nas/ext:bras1").await.expect(200).body["spec"].clone();
    spec["proxy"] = json!(true);
    spec["limit_proxy_state"] = json!("yes");
    let refused = daemon.put("nas/ext:bras1", spec).await.problem(422, "validation-failed");
    assert_eq!(refused.body["errors"][0]["pointer"], "/spec/limit_proxy_state");
}
