//! The gate before every RADIUS decision: is this a packet, from a NAS we know, that the NAS really sent, for the first time?
//!
//! First steps of the path for both ports. Whatever fails here gets silence and a named reason (RFC 2865 §3, RFC 5080 §2.2.2,
//! and for Message-Authenticator the rules against CVE-2024-3596). Only what passes is remembered by the duplicate cache.

use std::cell::Cell;
use std::sync::Arc;

use super::duplicate::{Key, Mark, Seen};
use super::port::{Port, answer};
use super::request::Facts;
use super::wire::attribute::kind;
use super::wire::encode::{PacketWriter, Signing};
use super::wire::integrity::{SharedKey, Signature};
use super::wire::packet::{Code, Packet};
use crate::decision::{Decision, Outcome};
use crate::model::nas::{Enforce, Requirement, SignReplies};
use crate::pipeline::{Datagram, Outgoing, World};
use crate::snapshot::types::Nas;
use crate::snapshot::{NasMiss, Snapshot};

/// A request that passed the gate.
pub(super) struct Passed<'a> {
    /// The checked packet.
    pub(super) packet: Packet<'a>,
    /// What it says.
    pub(super) facts: Facts<'a>,
    /// Who sent it.
    pub(super) nas: Arc<Nas>,
    /// Whether its signature shows that the NAS sent it.
    signed: bool,
    /// Which of the NAS's secrets it was made with.
    key_index: Cell<usize>,
    /// How the answer is signed.
    pub(super) signing: Signing,
    /// Hash of what tells it from other requests.
    pub(super) request: u64,
    /// Its place in the duplicate cache.
    pub(super) mark: Mark,
}

impl Passed<'_> {
    /// The secret that the request was made with, and that signs the answer.
    pub(super) fn key(&self) -> Option<&SharedKey> {
        self.nas.keys.get(self.key_index.get())
    }

    /// The secrets that the request may have been made with: one, unless it is unsigned during a rotation.
    pub(super) fn keys(&self) -> impl Iterator<Item = (usize, &SharedKey)> {
        let keys = self.nas.keys.iter().enumerate();
        keys.filter(|(index, _)| !self.signed || *index == self.key_index.get())
    }

    /// Writes an answer without attributes; its length, or none when there is no room for what must come back.
    pub(super) fn write_bare(&self, code: Code, out: &mut [u8]) -> Option<usize> {
        bare(&self.packet, code, self.signing, self.key()?, out)
    }

    /// Notes which of [`Passed::keys`] it was, as a right password shows.
    pub(super) fn made_with(&self, index: usize) {
        self.key_index.set(index);
    }
}

/// An answer of Proxy-State alone, which comes back in its order (RFC 2865 §5.33).
fn bare(packet: &Packet<'_>, code: Code, signing: Signing, key: &SharedKey, out: &mut [u8]) -> Option<usize> {
    let mut writer = PacketWriter::reply(out, code, &packet.reply_to(), signing).ok()?;
    writer.copy(packet.all(kind::PROXY_STATE)).ok()?;
    writer.finish(key).ok().map(<[u8]>::len)
}

/// What the gate says.
#[expect(
    clippy::large_enum_variant,
    reason = "it lives on the stack of one call; a box this size is the slow path of malloc"
)]
pub(super) enum Checked<'a> {
    /// Go on.
    Pass(Passed<'a>),
    /// Silence, with the reason in the decision.
    Discard,
    /// The answer already sent, again: bytes in the buffer.
    Again(Outgoing),
    /// A Status-Server to answer (RFC 5997); the answer is in the buffer.
    Status(Outgoing),
}

/// Checks a datagram. The decision is completed when it ends here.
pub(super) fn check<'a>(
    port: &Port,
    world: &World<'_>,
    datagram: &Datagram<'a>,
    decision: &mut Decision,
    out: &mut [u8],
) -> Checked<'a> {
    let expected = port.expected;
    decision.source = Some(datagram.source.ip());
    let packet = match Packet::parse(datagram.bytes) {
        Ok(packet) => packet,
        Err(error) => return discard(decision, error.reason()),
    };
    decision.message = packet.code().name().unwrap_or("unknown code");
    let nas = match find_nas(world.snapshot, datagram, &packet) {
        Ok(nas) => nas,
        Err(reason) => return discard(decision, reason),
    };
    decision.nas = nas.id;
    decision.tenant = nas.tenant;
    if packet.code() != expected && packet.code() != Code::STATUS_SERVER {
        return discard(decision, "unexpected-code");
    }
    let (key_index, signature) = match verify(nas, &packet) {
        Ok(verified) => verified,
        Err(reason) => return discard(decision, reason),
    };
    if packet.code() == Code::STATUS_SERVER {
        return status(datagram, nas, key_index, &packet, expected, decision, out);
    }
    let facts = Facts::of(&packet);
    let signed = signature == Signature::MessageAuthenticator;
    if expected == Code::ACCESS_REQUEST
        && !signed
        && let Some(reason) = unsigned(port, nas, &facts)
    {
        return discard(decision, reason);
    }
    let key = Key::new(datagram.source, packet.code().0, packet.identifier(), *packet.authenticator());
    let mark = match port.duplicates.begin(&key, datagram.at.tick, out) {
        Seen::New(mark) => mark,
        Seen::InFlight => return discard(decision, "duplicate-in-flight"),
        Seen::Answered(len) => {
            let Some(reply) = out.get(..len) else { return discard(decision, "reply-too-large") };
            let refused = reply.first() == Some(&Code::ACCESS_REJECT.0);
            let outcome = if refused { Outcome::Refused } else { Outcome::Granted };
            (decision.outcome, decision.reason) = (outcome, "duplicate");
            return Checked::Again(answer(datagram, len));
        }
    };
    let learns = nas.require_message_authenticator == Requirement::Auto && !facts.eap;
    if expected == Code::ACCESS_REQUEST && signed && learns {
        port.signatures.signed(nas.id, datagram.at.stamp);
    }
    let always = nas.sign_replies == SignReplies::Always;
    let signing = if expected == Code::ACCESS_REQUEST && (always || signed) {
        Signing::First
    } else {
        Signing::Omitted
    };
    Checked::Pass(Passed {
        packet,
        facts,
        nas: Arc::clone(nas),
        signed: signature != Signature::None,
        key_index: Cell::new(key_index),
        signing,
        request: key.hash(),
        mark,
    })
}

fn discard<'a>(decision: &mut Decision, reason: &'static str) -> Checked<'a> {
    (decision.outcome, decision.reason) = (Outcome::Discarded, reason);
    Checked::Discard
}

fn find_nas<'s>(
    snapshot: &'s Snapshot,
    datagram: &Datagram<'_>,
    packet: &Packet<'_>,
) -> Result<&'s Arc<Nas>, &'static str> {
    let identifier = || packet.find(kind::NAS_IDENTIFIER).map(|attribute| attribute.value);
    snapshot.nas_by_source(datagram.source.ip().to_canonical(), identifier()).map_err(|miss| match miss {
        NasMiss::Unknown => "unknown-nas",
        NasMiss::Ambiguous => "ambiguous-nas",
    })
}

/// Verifies under the current secret, then under the previous one of a rotation.
fn verify(nas: &Nas, packet: &Packet<'_>) -> Result<(usize, Signature), &'static str> {
    let mut reason = "radius-authenticator-mismatch";
    for (index, key) in nas.keys.iter().enumerate() {
        match key.verify_request(packet) {
            Ok(signature) => return Ok((index, signature)),
            Err(error) if index == 0 => reason = error.reason(),
            Err(_) => {}
        }
    }
    Err(reason)
}

/// Why an unsigned Access-Request is not answered, if it is not. Proxy-State is the business of a proxy, whatever its limit
/// (deprecating-radius draft).
fn unsigned(port: &Port, nas: &Nas, facts: &Facts<'_>) -> Option<&'static str> {
    let enforce = nas.enforce_message_authenticator == Enforce::Auto;
    match nas.require_message_authenticator {
        Requirement::Yes => return Some("message-authenticator-required"),
        Requirement::Auto if !port.signatures.unsigned(nas.id, enforce) => {
            return Some("message-authenticator-learned");
        }
        Requirement::Auto | Requirement::No => {}
    }
    let limited = nas.limit_proxy_state != Requirement::No && !nas.proxy;
    (facts.proxy_state && limited).then_some("proxy-state-unsigned")
}

fn status<'a>(
    datagram: &Datagram<'a>,
    nas: &Nas,
    key_index: usize,
    packet: &Packet<'_>,
    expected: Code,
    decision: &mut Decision,
    out: &mut [u8],
) -> Checked<'a> {
    let code = if expected == Code::ACCESS_REQUEST { Code::ACCESS_ACCEPT } else { Code::ACCOUNTING_RESPONSE };
    let written = nas.keys.get(key_index).and_then(|key| bare(packet, code, Signing::First, key, out));
    match written {
        Some(len) => {
            (decision.outcome, decision.reason) = (Outcome::Granted, "status");
            Checked::Status(answer(datagram, len))
        }
        None => discard(decision, "reply-too-large"),
    }
}
