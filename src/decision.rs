//! Decisions: the outcome of one request, in words that metrics, `lastmile why` and the API share.
//!
//! A decision is made by a core together with its verdict and kept in a bounded ring ([`DecisionRing`]); nothing on the
//! packet path waits for it. Reasons are stable codes; their explanations stand in one table ([`explain`]).

use std::net::IpAddr;

use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::ids::{TenantId, Uid};
use crate::model::{Mac, Prefix};
use crate::time::Stamp;

/// Which part of the daemon decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Plane {
    /// RADIUS authentication.
    Auth,
    /// RADIUS accounting.
    Acct,
    /// DHCPv4.
    Dhcp4,
}

impl Plane {
    /// Name in metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Acct => "acct",
            Self::Dhcp4 => "dhcp4",
        }
    }
}

/// What became of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Access-Accept, DHCPOFFER, DHCPACK or Accounting-Response.
    Granted,
    /// Access-Reject or DHCPNAK.
    Refused,
    /// No answer, with a named reason.
    Discarded,
}

impl Outcome {
    /// Name in metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Refused => "refused",
            Self::Discarded => "discarded",
        }
    }
}

/// The recorded outcome of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// When the request arrived.
    pub at: Stamp,
    /// Which part decided.
    pub plane: Plane,
    /// What kind of message it was, such as `Access-Request` or `DHCPREQUEST`.
    pub message: &'static str,
    /// What became of it.
    pub outcome: Outcome,
    /// Stable reason code.
    pub reason: &'static str,
    /// Operator, once known.
    pub tenant: TenantId,
    /// NAS, relay or client address it came from.
    pub source: Option<IpAddr>,
    /// NAS or relay, once known; nil before.
    pub nas: Uid,
    /// Service, once known; nil before.
    pub service: Uid,
    /// Access that was recognised; nil before, and where none is looked for.
    pub access: Uid,
    /// Login as received, empty when there was none.
    pub login: SmallVec<[u8; 24]>,
    /// MAC address, if one was seen.
    pub mac: Option<Mac>,
    /// Line as readable text, empty when there was none.
    pub line: SmallVec<[u8; 24]>,
    /// Address that was asked for, granted or contested.
    pub prefix: Option<Prefix>,
    /// More in words, empty when the reason says it all. Never a secret.
    pub detail: SmallVec<[u8; 24]>,
}

impl Decision {
    /// A decision of which only the frame is known yet.
    pub fn new(at: Stamp, plane: Plane, message: &'static str) -> Self {
        Self {
            at,
            plane,
            message,
            outcome: Outcome::Discarded,
            reason: "undecided",
            tenant: TenantId::DEFAULT,
            source: None,
            nas: Uid::NIL,
            service: Uid::NIL,
            access: Uid::NIL,
            login: SmallVec::new(),
            mac: None,
            line: SmallVec::new(),
            prefix: None,
            detail: SmallVec::new(),
        }
    }

    /// The same decision with its outcome and reason.
    #[must_use]
    pub const fn concluded(mut self, outcome: Outcome, reason: &'static str) -> Self {
        self.outcome = outcome;
        self.reason = reason;
        self
    }

    /// Whether the decision concerns this login, MAC address, address or line.
    pub fn concerns(&self, text: &str) -> bool {
        let mac = Mac::parse(text.as_bytes());
        let prefix = text.parse::<Prefix>().ok();
        self.login.eq_ignore_ascii_case(text.as_bytes())
            || (mac.is_some() && self.mac == mac)
            || prefix.is_some_and(|prefix| self.prefix.is_some_and(|own| own.overlaps(prefix)))
            || (!self.line.is_empty() && self.line.as_slice() == text.as_bytes())
    }
}

struct Lane {
    ring: Vec<Decision>,
    next: usize,
    total: u64,
}

/// The newest decisions, bounded; one lane per worker, so that workers do not meet.
pub struct DecisionRing {
    lanes: Box<[Mutex<Lane>]>,
    per_lane: usize,
}

impl std::fmt::Debug for DecisionRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DecisionRing").field("lanes", &self.lanes.len()).finish_non_exhaustive()
    }
}

impl DecisionRing {
    /// A ring of `capacity` decisions over `lanes` lanes.
    pub fn new(lanes: usize, capacity: usize) -> Self {
        let lanes = lanes.max(1);
        let lane = || Mutex::new(Lane { ring: Vec::new(), next: 0, total: 0 });
        Self { lanes: (0..lanes).map(|_| lane()).collect(), per_lane: (capacity / lanes).max(1) }
    }

    /// Adds a decision, in place of the oldest of the lane when it is full.
    pub fn push(&self, lane: usize, decision: Decision) {
        let Some(lane) = self.lanes.get(lane % self.lanes.len()) else { return };
        let mut lane = lane.lock();
        lane.total += 1;
        if lane.ring.len() < self.per_lane {
            lane.ring.push(decision);
            return;
        }
        let next = lane.next;
        if let Some(oldest) = lane.ring.get_mut(next) {
            *oldest = decision;
        }
        lane.next = (next + 1) % self.per_lane;
    }

    /// The newest decisions that `wanted` selects, newest first, at most `limit`.
    pub fn recent(&self, limit: usize, wanted: impl Fn(&Decision) -> bool) -> Vec<Decision> {
        let mut found = Vec::new();
        for lane in &self.lanes {
            let lane = lane.lock();
            found.extend(lane.ring.iter().filter(|decision| wanted(decision)).cloned());
        }
        found.sort_by_key(|decision| std::cmp::Reverse(decision.at));
        found.truncate(limit);
        found
    }

    /// Shows the decisions that each lane took since the last look, at most its newest `most`, and returns how many were not
    /// shown. `read` is what the caller keeps from look to look; the lane's worker waits meanwhile, so `most` is small.
    pub fn visit_newer(&self, read: &mut Vec<u64>, most: usize, mut visit: impl FnMut(&Decision)) -> u64 {
        read.resize(self.lanes.len(), 0);
        let mut missed = 0;
        for (lane, read) in self.lanes.iter().zip(read) {
            let lane = lane.lock();
            let fresh = lane.total.saturating_sub(*read);
            let shown = fresh.min(most.min(lane.ring.len()) as u64);
            for number in lane.total - shown..lane.total {
                let place = (number % self.per_lane as u64) as usize;
                lane.ring.get(place).into_iter().for_each(&mut visit);
            }
            missed += fresh - shown;
            *read = lane.total;
        }
        missed
    }

    /// Decisions taken since start, kept or not.
    pub fn total(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.lock().total).sum()
    }
}

/// Every reason code with what it means and what to do, in operators' words.
pub const REASONS: &[(&str, &str)] = &[
    ("accepted", "the request was granted"),
    ("undecided", "the request ended before a decision; this is a defect, please report it"),
    (
        "unknown-nas",
        "no NAS has this source address; add it, or correct its address: lastmile apply, or PUT /v1/nas",
    ),
    ("ambiguous-nas", "several NASes share this source address and none has this NAS-Identifier"),
    ("unexpected-code", "this kind of packet is not answered on this port"),
    (
        "message-authenticator-required",
        "the NAS must sign its requests (CVE-2024-3596) and did not; update it, or set require_message_authenticator",
    ),
    (
        "message-authenticator-learned",
        "the NAS has signed every request for a day and did not sign this one; set its require_message_authenticator to no if it may",
    ),
    (
        "proxy-state-unsigned",
        "Proxy-State without Message-Authenticator is the carrier of CVE-2024-3596; sign requests or set limit_proxy_state",
    ),
    (
        "duplicate-in-flight",
        "a retransmission of a request that is still being worked on, or whose Reject is held back; its answer is on its way",
    ),
    ("duplicate", "a retransmission; the answer was sent again"),
    ("no-login", "the request names nobody: no User-Name and no line or MAC that the NAS profile allows"),
    (
        "unknown-login",
        "no access has this login; the CRM has not written it, or the name rules of the NAS change it",
    ),
    ("unknown-line", "no access has this line or MAC address on this network"),
    (
        "unknown-client",
        "no access has this line or MAC address, and the network does not serve unknown clients",
    ),
    ("access-disabled", "the access is disabled"),
    ("service-missing", "the access recognises a service that is not there"),
    ("service-paused", "the service is paused"),
    ("service-terminated", "the service has ended"),
    ("plan-missing", "the service has no plan"),
    ("no-password", "the access has no password, so a login cannot be checked"),
    ("password-mismatch", "the password is wrong"),
    ("chap-malformed", "CHAP-Password or CHAP-Challenge is malformed"),
    ("no-credentials", "the request carries neither User-Password nor CHAP-Password"),
    ("eap-unsupported", "EAP is not supported; use PAP or CHAP"),
    (
        "passwordless-not-enabled",
        "the request is passwordless IPoE authorisation, which the NAS does not have enabled",
    ),
    ("mac-bind-mismatch", "the access is bound to another MAC address"),
    ("vlan-bind-mismatch", "the access is bound to another VLAN"),
    ("network-mismatch", "the access is bound to another network than the one of the request's VLAN"),
    ("identity-conflict", "two identifiers in the request name two services; the stronger one was used"),
    ("session-limit", "every slot of the service is used from another line or device"),
    ("pool-exhausted", "no pool of the class has a free address; add a range, or shorten leases"),
    (
        "pool-settling",
        "after an unclean stop, released addresses are kept for their last holders for two minutes; the client will ask again",
    ),
    ("no-pool", "the plan's pool class has no pool for this NAS, group or VRF"),
    (
        "address-in-use",
        "the address assigned to the service is used by another holder; see lastmile why ADDRESS",
    ),
    ("grant-in-flight", "a grant for this slot is being written; the client will ask again"),
    (
        "journal-unavailable",
        "the journal takes no records (disk full, disk error or backlog limit), so nothing new is granted or acknowledged",
    ),
    ("journal-failed", "writing the record failed; the client will ask again"),
    ("reply-too-large", "the answer does not fit into a packet; shorten routes or options"),
    ("accounted", "the record is durable"),
    ("account-duplicate", "the same accounting event was durable already"),
    ("account-malformed", "Acct-Status-Type or Acct-Session-Id is missing or malformed"),
    (
        "account-ignored",
        "this Acct-Status-Type concerns no subscriber session; acknowledged and not recorded",
    ),
    ("status", "Status-Server answered"),
    (
        "address-conflict",
        "the session uses an address that another holder has; one of them must be disconnected",
    ),
    ("offered", "an address was offered"),
    ("leased", "a lease was granted"),
    ("renewed", "a lease was renewed"),
    ("informed", "options were given without a lease"),
    ("released", "the client gave its address back"),
    ("declined", "the client found the address in use; it is set aside"),
    ("not-for-us", "the client chose another server"),
    ("unknown-relay", "the relay is not listed and its giaddr lies in no network"),
    ("no-relay", "the message came without a relay, and directly attached links are not served"),
    ("unknown-network", "no network holds the address that chooses it"),
    ("not-a-request", "not a message for a server"),
    ("wrong-address", "the client asked for an address that is not its own; it was told so"),
    ("no-record", "nothing is known of the client's lease, and the network is not authoritative: silence"),
    (
        "untrusted-line",
        "option 82 counts only from a relay that is listed with trust_option82, and no other identity is known",
    ),
    (
        "not-holder",
        "the address is not this client's, and no relay could carry a NAK; it will ask again through one",
    ),
    ("address-off-network", "the address assigned to the service lies outside the network it is on now"),
    ("no-ipv4", "the service has no IPv4 address"),
    ("no-client", "the message has neither a hardware address nor a client identifier"),
    (
        "no-server-id",
        "the address this message came to is not known; set server_id of the network or bind to an address",
    ),
    (
        "dhcp4-request-form",
        "server id, requested address and ciaddr do not fit together (RFC 2131 §4.3.2): a defect of the client",
    ),
];

/// What a reason code means, in words.
pub fn explain(reason: &str) -> &'static str {
    REASONS
        .iter()
        .find(|(code, _)| *code == reason)
        .map_or("the packet is malformed or not authentic; the code says in which way", |(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_keeps_the_newest_and_forgets_the_oldest() {
        let ring = DecisionRing::new(2, 8);
        for at in 0..20 {
            ring.push(at % 2, Decision::new(Stamp(at as u64), Plane::Auth, "Access-Request"));
        }
        let kept = ring.recent(100, |_| true);
        assert_eq!(kept.len(), 8);
        assert_eq!(kept.first().unwrap().at, Stamp(19));
        assert!(kept.iter().all(|decision| decision.at >= Stamp(12)));
        assert_eq!(ring.total(), 20);
    }

    #[test]
    fn a_look_shows_what_is_new_and_counts_what_it_could_not_show() {
        let ring = DecisionRing::new(2, 8);
        let mut read = Vec::new();
        let mut look = |most| {
            let mut seen = Vec::new();
            let missed = ring.visit_newer(&mut read, most, |decision| seen.push(decision.at.0));
            (seen, missed)
        };
        let push = |lane: usize, from: u64, to: u64| {
            (from..to)
                .for_each(|at| ring.push(lane, Decision::new(Stamp(at), Plane::Auth, "Access-Request")));
        };
        assert_eq!(look(3), (Vec::new(), 0));
        push(0, 0, 2);
        push(1, 10, 11);
        assert_eq!(look(3), (vec![0, 1, 10], 0));
        push(0, 2, 7);
        assert_eq!(look(3), (vec![4, 5, 6], 2));
        push(1, 11, 21);
        assert_eq!(look(100), (vec![17, 18, 19, 20], 6), "the ring has no more");
        assert_eq!(look(100), (Vec::new(), 0));
    }

    #[test]
    fn a_decision_is_found_by_login_mac_address_and_line() {
        let mut decision = Decision::new(Stamp(1), Plane::Dhcp4, "DHCPDISCOVER");
        decision.login = SmallVec::from_slice(b"jan.k");
        decision.mac = Mac::parse(b"02:00:5e:00:53:01");
        decision.prefix = "192.0.2.7".parse().ok();
        decision.line = SmallVec::from_slice(b"ge-1/0/1.0:43");
        for text in ["jan.k", "JAN.K", "0200.5e00.5301", "192.0.2.7", "192.0.2.0/24", "ge-1/0/1.0:43"] {
            assert!(decision.concerns(text), "{text}");
        }
        assert!(!decision.concerns("192.0.2.8"));
    }

    #[test]
    fn every_reason_is_explained_once() {
        let mut codes: Vec<&str> = REASONS.iter().map(|(code, _)| *code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), REASONS.len());
    }
}
