//! A clock that is not believed: who confirmed it stands in the audit.

use axum::http::Method;
use lastmile::app::clock::ClockDoubt;
use lastmile::ledger::Holds;
use lastmile::time::Stamp;
use serde_json::{Value, json};

use crate::support::{Answer, Daemon};

async fn confirm(daemon: &Daemon) -> Answer {
    daemon.ask(Method::POST, "/v1/clock/confirm").send().await.expect(200)
}

#[tokio::test]
async fn confirming_a_clock_is_audited_once_and_not_where_nobody_doubts_it() {
    let daemon = Daemon::start().await;
    confirm(&daemon).await;
    assert!(daemon.audit("clock").await.is_empty());

    let doubt = ClockDoubt { last_record: Stamp::from_secs(1_700_000_000), holds_if_right: Holds::default() };
    let daemon = Daemon::start_doubting(Some(doubt)).await;
    let hold = daemon.now().plus_secs(3_600);
    daemon.app.parts().ledger.extend_holds(Holds { leases: hold, accepts: hold });
    for _ in 0..2 {
        assert_eq!(confirm(&daemon).await.body["hold_until"], Value::Null);
    }
    let rows = daemon.audit("clock").await;
    let [row] = rows.as_slice() else { panic!("{rows:#?}") };
    assert_eq!(row.actor, "operator:uid-0:root");
    assert!(row.request.starts_with("req_"), "{row:?}");
    assert_eq!(row.before["hold_until"], json!(hold));
    assert_eq!(
        (&row.after["hold_until"], &row.after["last_record"]),
        (&Value::Null, &row.before["last_record"])
    );
}
