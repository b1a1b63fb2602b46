//! `lastmile why` for people: the verdict first, then the cause, then the rest.

use serde_json::Value;

use super::table::{cell, printable};

pub(super) fn text(answer: &Value) -> String {
    let mut lines = vec![headline(answer)];
    if answer["cause"].is_object() {
        let cause = &answer["cause"];
        lines.push(format!("  CAUSE   {}: {}", cell(cause, "id"), cell(cause, "evidence")));
    }
    for check in list(answer, "checks") {
        let mark = match check["result"].as_str() {
            Some("pass") => "ok",
            Some("fail") => "FAIL",
            Some("warn") => "warn",
            _ => "?",
        };
        lines.push(format!("  {mark:<7} {}: {}", cell(check, "id"), cell(check, "evidence")));
    }
    let joined = |name: &str| {
        let texts: Vec<&str> = list(answer, name).iter().filter_map(Value::as_str).collect();
        printable(&texts.join("; "))
    };
    if !list(answer, "accesses").is_empty() {
        lines.push(format!("  ACCESS  {}", joined("accesses")));
    }
    for session in list(answer, "sessions") {
        lines.push(format!(
            "  SESSION {} on {} since {}, addresses {}, policy {}",
            cell(session, "id"),
            cell(session, "nas_name"),
            cell(session, "started_at"),
            cell(session, "addresses"),
            cell(session, "policy")
        ));
    }
    for lease in list(answer, "leases") {
        lines.push(format!(
            "  ADDRESS {} {} by {}, MAC {}, until {}",
            cell(lease, "prefix"),
            cell(lease, "state"),
            cell(lease, "service"),
            cell(lease, "mac"),
            cell(lease, "ends_at")
        ));
    }
    for decision in list(answer, "decisions") {
        lines.push(format!(
            "  {} {} {} ({})",
            cell(decision, "at"),
            cell(decision, "message"),
            cell(decision, "reason"),
            cell(decision, "outcome")
        ));
    }
    for next in list(answer, "next") {
        lines.push(format!("  NEXT    {}", printable(next.as_str().unwrap_or_default())));
    }
    lines.join("\n") + "\n"
}

fn list<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn headline(answer: &Value) -> String {
    let subject = cell(answer, "subject");
    let who = match cell(answer, "external_id").as_str() {
        "-" | "" => subject,
        external_id => format!("{subject} ({external_id})"),
    };
    match answer["verdict"].as_str() {
        Some("online") => format!("{who} is online"),
        Some("ready") => format!("{who} is not online; nothing here stands in the way"),
        Some("blocked") => format!("{who} cannot get online"),
        _ => format!("{who} is not known"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_verdict_and_the_cause_come_first() {
        let cause = json!({"id": "service.state", "result": "fail", "evidence": "the service is paused"});
        let answer = json!({
            "subject": "jan.k", "external_id": "UM/1", "verdict": "blocked", "cause": cause,
            "checks": [{"id": "identity.resolve", "result": "pass", "evidence": "service svc_1"}, cause],
            "accesses": ["login jan.k"], "sessions": [], "leases": [], "decisions": [],
            "next": ["set its state to active in the CRM"]
        });
        assert_eq!(
            text(&answer),
            "jan.k (UM/1) cannot get online\n  CAUSE   service.state: the service is paused\n  \
             ok      identity.resolve: service svc_1\n  FAIL    service.state: the service is paused\n  \
             ACCESS  login jan.k\n  NEXT    set its state to active in the CRM\n"
        );
    }
}
