//! Query parameters, each described once.

use super::operation::Parameter;
use crate::model::Kind;

const fn parameter(name: &'static str, kind: &'static str, text: &'static str) -> Parameter {
    Parameter { name, kind, text }
}

const LIMIT: Parameter = parameter("limit", "integer", "Items at most, 1 to 1000; larger is coerced.");
const CURSOR: Parameter =
    parameter("cursor", "string", "next_cursor of the page before, with the same filters.");
const SOURCE: Parameter = parameter("source", "string", "Only of this source.");
const EXTERNAL_ID: Parameter = parameter("external_id", "string", "Only with this exact external id.");
const LABEL: Parameter = parameter("label.*", "string", "Only with this label, as label.<name>=<value>.");
const SERVICE: Parameter = parameter("service", "string", "Only of this service.");
const SUBSCRIBER: Parameter = parameter("subscriber", "string", "Only of this subscriber.");
const PLAN: Parameter = parameter("plan", "string", "Only with this plan.");
const NETWORK: Parameter = parameter("network", "string", "Only of this network.");
const MAC: Parameter = parameter("mac", "string", "Only with this MAC address, in any notation.");
const NAS: Parameter = parameter("nas", "string", "Only through this NAS.");
const LOGIN: Parameter = parameter("login", "string", "Only with this login, in any letter case.");
const PREFIX: Parameter =
    parameter("prefix", "string", "Only this address, or addresses inside this prefix.");
const VRF: Parameter = parameter("vrf", "string", "In this VRF; the default one when absent.");
const FROM: Parameter = parameter("from", "string", "From this time on (RFC 3339).");
const TO: Parameter = parameter("to", "string", "Before this time (RFC 3339).");
const ADOPT: Parameter =
    parameter("adopt", "boolean", "Takes over an object of another source; needs the scope <kind>.adopt.");

/// Parameters of writes.
pub(super) const WRITE: &[Parameter] = &[ADOPT];
/// Parameters of a service's status.
pub(super) const STATUS: &[Parameter] = &[
    parameter("wait_generation", "integer", "Answer when this generation is in force, or the time is over."),
    parameter("timeout", "integer", "Seconds to wait at most, up to 25."),
];
/// Parameters of the list of sessions.
pub(super) const SESSIONS: &[Parameter] = &[
    LIMIT,
    CURSOR,
    parameter(
        "state",
        "string",
        "`live` (of this node's ledger, by id) or `closed` (of history, newest first).",
    ),
    SERVICE,
    MAC,
    NAS,
    LOGIN,
    PREFIX,
    FROM,
    TO,
];
/// Parameters of the list of leases.
pub(super) const LEASES: &[Parameter] = &[
    LIMIT,
    CURSOR,
    SERVICE,
    MAC,
    PREFIX,
    parameter("vrf", "string", "Only in this VRF; of all VRFs when absent."),
];
/// Parameters of one lease.
pub(super) const LEASE: &[Parameter] = &[VRF];
/// Parameters of the history of bindings.
pub(super) const BINDINGS: &[Parameter] = &[LIMIT, CURSOR, SERVICE, MAC, PREFIX, FROM, TO];
/// Parameters of decisions.
pub(super) const DECISIONS: &[Parameter] = &[
    LIMIT,
    parameter("outcome", "string", "Only `granted`, `refused` or `discarded`."),
    parameter("plane", "string", "Only of `auth`, `acct` or `dhcp4`."),
    parameter("reason", "string", "Only with this reason code."),
    parameter("subject", "string", "Only about this login, MAC address, IP address or line."),
];
/// Parameters of an explanation.
pub(super) const WHY: &[Parameter] =
    &[parameter("subject", "string", "A login, MAC address, IP address, line, id or external id.")];
/// Parameters of events.
pub(super) const EVENTS: &[Parameter] =
    &[LIMIT, parameter("after", "integer", "Only events after this seq; 0 is the beginning.")];

/// Filters of a kind's list by what its objects refer to.
pub(super) const fn references(kind: Kind) -> &'static [(&'static str, Kind)] {
    match kind {
        Kind::Service => &[("subscriber", Kind::Subscriber), ("plan", Kind::Plan)],
        Kind::Access => &[("service", Kind::Service), ("network", Kind::Network)],
        Kind::Pool | Kind::Relay => &[("network", Kind::Network)],
        Kind::Subscriber | Kind::Plan | Kind::Network | Kind::Nas => &[],
    }
}

/// Parameters of a kind's list.
pub(super) const fn list(kind: Kind) -> &'static [Parameter] {
    match kind {
        Kind::Service => &[LIMIT, CURSOR, SOURCE, EXTERNAL_ID, LABEL, SUBSCRIBER, PLAN],
        Kind::Access => &[LIMIT, CURSOR, SOURCE, EXTERNAL_ID, LABEL, SERVICE, NETWORK],
        Kind::Pool | Kind::Relay => &[LIMIT, CURSOR, SOURCE, EXTERNAL_ID, LABEL, NETWORK],
        Kind::Subscriber | Kind::Plan | Kind::Network | Kind::Nas => {
            &[LIMIT, CURSOR, SOURCE, EXTERNAL_ID, LABEL]
        }
    }
}
