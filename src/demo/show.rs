//! What the demo prints, and the checks that every step has to pass.
//!
//! Requests and answers are shown attribute by attribute and option by option, in the words of the dictionaries.
//!
//! Invariant: nothing secret is printed. Passwords, shared secrets and tokens appear as `<secret>`.

use std::fmt::{Display, Write as _};
use std::io::Write as _;

use serde_json::Value;

use super::DemoFailure;
use crate::dhcp::v4::wire::{Message, code};
use crate::limits::DHCP4_MESSAGE_BYTES_MAX;
use crate::netdefs::Netdefs;
use crate::radius::wire::packet::Packet;

/// Members of JSON bodies that are not shown.
const SECRET_MEMBERS: [&str; 3] = ["password", "secret", "token"];
/// Members of an answer that tell most.
const TELLING: [&str; 8] = ["code", "detail", "id", "generation", "etag", "phase", "verdict", "used_percent"];
/// Members of a listed item that tell most.
const TELLING_OF_ITEM: [&str; 7] =
    ["id", "state", "login", "nas_name", "acct_session_id", "addresses", "octets_out"];

/// The printer. It counts the checks that were passed.
pub(super) struct Show {
    out: std::io::Stdout,
    knowledge: Netdefs,
    checks: std::cell::Cell<u32>,
}

impl Show {
    /// A printer with the built-in dictionaries.
    pub(super) fn new() -> Result<Self, DemoFailure> {
        let knowledge = Netdefs::load(None)?;
        Ok(Self { out: std::io::stdout(), knowledge, checks: std::cell::Cell::new(0) })
    }

    /// Checks passed so far.
    pub(super) fn checks(&self) -> u32 {
        self.checks.get()
    }

    /// One line. A reader that went away is no reason to stop.
    pub(super) fn line(&self, text: impl Display) {
        let mut out = self.out.lock();
        let _ = writeln!(out, "{text}");
        let _ = out.flush();
    }

    /// Headline of a chapter.
    pub(super) fn chapter(&self, text: &str) {
        self.line(format_args!("\n== {text}"));
    }

    /// Compares what came with what had to come; `expected` may name alternatives, divided by ` or `.
    pub(super) fn check(&self, what: &str, expected: &str, got: &str) -> Result<(), DemoFailure> {
        if !expected.split(" or ").any(|expected| expected == got) {
            return Err(DemoFailure::Unexpected {
                what: what.to_owned(),
                expected: expected.to_owned(),
                got: got.to_owned(),
            });
        }
        self.checks.set(self.checks.get() + 1);
        self.line(format_args!("   ok  {what}: {got}"));
        Ok(())
    }

    /// A RADIUS packet with its attributes, in their order.
    pub(super) fn radius(&self, direction: &str, packet: &Packet<'_>) {
        let name = packet.code().name().unwrap_or("a packet of unknown code");
        self.line(format_args!(" {direction} {name}, identifier {}", packet.identifier()));
        for attribute in packet.attributes() {
            let text = self.knowledge.dictionary.describe(0, u32::from(attribute.kind), attribute.value);
            self.line(format_args!("      {text}"));
        }
    }

    /// A DHCPv4 message: the addresses of its head, then its options.
    pub(super) fn dhcp(&self, direction: &str, message: &Message<'_>) {
        let name = message.message_type().map_or("a message without a type", |kind| kind.name());
        let mut head = format!(" {direction} {name}, xid {:08x}", message.xid());
        for (label, address) in
            [("ciaddr", message.ciaddr()), ("yiaddr", message.yiaddr()), ("giaddr", message.giaddr())]
        {
            if !address.is_unspecified() {
                let _ = write!(head, ", {label} {address}");
            }
        }
        self.line(head);
        for found in message.codes().iter().filter(|found| *found != code::DHCP_MSG_TYPE) {
            let mut scratch = [0; DHCP4_MESSAGE_BYTES_MAX];
            let Some(Ok(value)) =
                message.find(found).map(|option| option.joined(&mut scratch).map(<[u8]>::to_vec))
            else {
                continue;
            };
            self.line(format_args!("      {}", self.knowledge.options4.describe4(found, &value)));
        }
    }

    /// An API request; secrets in its body are masked.
    pub(super) fn request(&self, method: &str, path: &str, body: Option<&Value>) {
        match body {
            Some(body) => self.line(format_args!(" -> {method} {path}\n      {}", masked(body))),
            None => self.line(format_args!(" -> {method} {path}")),
        }
    }

    /// An API answer: status, and the members that tell most; of a list also those of its items.
    pub(super) fn answer(&self, status: &str, body: &Value) {
        self.line(format_args!(" <- {status}{}", told(body, &TELLING)));
        for item in body.get("items").and_then(Value::as_array).into_iter().flatten() {
            self.line(format_args!("      {}", told(item, &TELLING_OF_ITEM).trim_start_matches(", ")));
        }
    }
}

/// The members of these names that are there, each after a comma.
fn told(value: &Value, members: &[&str]) -> String {
    let mut text = String::new();
    for member in members {
        match value.get(member) {
            Some(Value::String(value)) => _ = write!(text, ", {member} {value}"),
            Some(value) if !value.is_null() => _ = write!(text, ", {member} {value}"),
            _ => {}
        }
    }
    text
}

/// The value without what is secret.
pub(super) fn masked(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| {
                let secret = SECRET_MEMBERS.contains(&name.as_str()) && value.is_string();
                (name.clone(), if secret { Value::from("<secret>") } else { masked(value) })
            })
            .collect(),
        Value::Array(values) => values.iter().map(masked).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_in_bodies_are_masked_at_any_depth() {
        let body = json!({"spec": {"login": "a", "password": "hunter22"}, "list": [{"token": "lm_pat_x"}]});
        let text = masked(&body).to_string();
        assert!(!text.contains("hunter22") && !text.contains("lm_pat_x"), "{text}");
        assert!(text.contains("\"login\":\"a\""), "{text}");
    }

    #[test]
    fn a_check_that_fails_says_what_was_expected_and_what_came() {
        let show = Show::new().unwrap();
        assert!(show.check("answer", "created or unchanged", "unchanged").is_ok());
        let failure = show.check("answer", "Access-Accept", "Access-Reject").unwrap_err().to_string();
        assert!(failure.contains("Access-Accept") && failure.contains("Access-Reject"), "{failure}");
        assert_eq!(show.checks(), 1);
    }
}
