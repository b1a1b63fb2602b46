//! RADIUS as a BRAS speaks it: logins by password, and sessions that start, report and stop.
//!
//! RFC 2865 §4 (Access-Request), RFC 2866 §4.1 (Accounting-Request), RFC 2869 §5.14 (Message-Authenticator).
//! Slots are Identifiers, so a source has 256 at most (RFC 2865 §3). A reply that fails verification counts as
//! stale, because a late reply to the slot's previous request looks the same; a wrong secret therefore shows as
//! everything lost and everything stray.

use std::io::Write;
use std::net::Ipv4Addr;

use lastmile::ids::{Entropy, SeededEntropy};
use lastmile::radius::wire::attribute::kind;
use lastmile::radius::wire::encode::{EncodeError, PacketWriter, Signing};
use lastmile::radius::wire::integrity::SharedKey;
use lastmile::radius::wire::packet::{Authenticator, Code, Packet};
use lastmile::secret::Secret;

use crate::workload::{Slot, Verdict, Workload};

/// Values of Acct-Status-Type (RFC 2866 §5.1) in the order a session sends them.
const STATUS_CYCLE: [u32; 3] = [1, 3, 2];
const SERVICE_TYPE_FRAMED: u32 = 2;
const FRAMED_PROTOCOL_PPP: u32 = 1;
const NAS_PORT_TYPE_ETHERNET: u32 = 15;
const ACCT_AUTHENTIC_RADIUS: u32 = 1;
/// A PPPoE session's (RFC 2516 §7).
const FRAMED_MTU: u32 = 1492;
/// First Framed-IP-Address reported: shared address space (RFC 6598 §7).
const FRAMED_FIRST: u32 = 0x6440_0000;

/// Which requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// Access-Requests; an Accept is expected.
    Login,
    /// Accounting-Requests: Start, Interim-Update and Stop of one session after the other in each slot.
    Accounting,
}

/// Who the generator pretends to be.
#[derive(Clone, Debug)]
pub(crate) struct Nas {
    /// The shared secret.
    pub(crate) secret: Secret,
    /// NAS-IP-Address.
    pub(crate) address: Ipv4Addr,
    /// Logins are `user000000` and following, that many: each in turn, and accounting so ever after; logins beyond that at
    /// random.
    pub(crate) subscribers: u32,
    /// Their common password.
    pub(crate) password: Secret,
    /// Event-Timestamp of every report, in seconds since 1970.
    pub(crate) began_secs: u32,
}

/// Logins or accounting of one NAS.
pub(crate) struct Radius {
    traffic: Traffic,
    nas: Nas,
    key: SharedKey,
    entropy: SeededEntropy,
    sessions: Vec<Session>,
    begun: u32,
}

/// What a slot is about.
#[derive(Clone, Default)]
struct Session {
    subscriber: u32,
    number: u32,
    /// Position in [`STATUS_CYCLE`] of the next accounting request.
    phase: usize,
    /// The Request Authenticator that the awaited reply is computed from.
    authenticator: Authenticator,
}

impl Radius {
    /// Traffic of `nas` in `slots` slots.
    pub(crate) fn new(traffic: Traffic, nas: Nas, slots: usize) -> Self {
        let key = SharedKey::new(nas.secret.clone());
        let sessions = vec![Session::default(); slots];
        Self { traffic, nas, key, entropy: SeededEntropy::new(1), sessions, begun: 0 }
    }

    fn begin_session(&mut self) -> Session {
        let number = self.begun;
        self.begun = self.begun.wrapping_add(1);
        let subscribers = self.nas.subscribers.max(1);
        let subscriber = if self.traffic == Traffic::Login && number >= subscribers {
            let mut random = [0; 4];
            self.entropy.fill(&mut random);
            u32::from_le_bytes(random) % subscribers
        } else {
            number % subscribers
        };
        Session { subscriber, number, ..Session::default() }
    }

    fn write_login(&self, session: &Session, identifier: u8, bytes: &mut [u8]) -> Result<usize, EncodeError> {
        let mut writer =
            PacketWriter::access_request(bytes, identifier, session.authenticator, Signing::First)?;
        self.write_session(&mut writer, session)?;
        writer.user_password(&self.key, &self.nas.password)?;
        Ok(writer.finish(&self.key)?.len())
    }

    fn write_accounting(
        &self,
        session: &Session,
        status: u32,
        identifier: u8,
        bytes: &mut [u8],
    ) -> Result<usize, EncodeError> {
        let mut writer =
            PacketWriter::request(bytes, Code::ACCOUNTING_REQUEST, identifier, Signing::Omitted)?;
        self.write_session(&mut writer, session)?;
        writer.u32(kind::ACCT_STATUS_TYPE, status)?;
        writer.ipv4(kind::FRAMED_IP_ADDRESS, Ipv4Addr::from(FRAMED_FIRST + session.subscriber))?;
        writer.u32(kind::ACCT_AUTHENTIC, ACCT_AUTHENTIC_RADIUS)?;
        writer.u32(kind::ACCT_DELAY_TIME, 0)?;
        writer.u32(kind::EVENT_TIMESTAMP, self.nas.began_secs)?;
        // With these it is 20 attributes in all, as a BRAS sends them.
        if status == STATUS_CYCLE[0] {
            writer.raw(kind::NAS_PORT_ID, b"ge-0/0/1.100:100-200")?;
            writer.raw(kind::CALLED_STATION_ID, b"02-00-00-00-00-01:access")?;
            writer.raw(kind::ACCT_MULTI_SESSION_ID, b"00000001")?;
            writer.u32(kind::ACCT_LINK_COUNT, 1)?;
            writer.raw(kind::CONNECT_INFO, b"1000000000/1000000000")?;
            writer.u32(kind::FRAMED_MTU, FRAMED_MTU)?;
        } else {
            writer.u32(kind::ACCT_SESSION_TIME, 600)?;
            writer.u32(kind::ACCT_INPUT_OCTETS, 1_000_000)?;
            writer.u32(kind::ACCT_OUTPUT_OCTETS, 40_000_000)?;
            writer.u32(kind::ACCT_INPUT_PACKETS, 20_000)?;
            writer.u32(kind::ACCT_OUTPUT_PACKETS, 40_000)?;
            writer.u32(kind::ACCT_OUTPUT_GIGAWORDS, 1)?;
        }
        Ok(writer.finish(&self.key)?.len())
    }

    /// What both kinds of request say about the session and its line.
    fn write_session(&self, writer: &mut PacketWriter<'_>, session: &Session) -> Result<(), EncodeError> {
        let mut text = [0; 32];
        let subscriber = session.subscriber;
        writer.raw(kind::USER_NAME, format_into(&mut text, format_args!("user{subscriber:06}")))?;
        writer.u32(kind::SERVICE_TYPE, SERVICE_TYPE_FRAMED)?;
        writer.u32(kind::FRAMED_PROTOCOL, FRAMED_PROTOCOL_PPP)?;
        writer.ipv4(kind::NAS_IP_ADDRESS, self.nas.address)?;
        writer.raw(kind::NAS_IDENTIFIER, b"load")?;
        writer.u32(kind::NAS_PORT, subscriber)?;
        writer.u32(kind::NAS_PORT_TYPE, NAS_PORT_TYPE_ETHERNET)?;
        let [_, high, middle, low] = subscriber.to_be_bytes();
        let station = format_args!("02:00:00:{high:02x}:{middle:02x}:{low:02x}");
        writer.raw(kind::CALLING_STATION_ID, format_into(&mut text, station))?;
        writer.raw(kind::ACCT_SESSION_ID, format_into(&mut text, format_args!("{:08x}", session.number)))
    }
}

impl Workload for Radius {
    fn slots_per_source_max(&self) -> usize {
        256
    }

    fn next(&mut self, slot: Slot, _step: u32, bytes: &mut [u8]) -> Option<usize> {
        let identifier = u8::try_from(slot.within).ok()?;
        let kept = self.sessions.get(slot.index)?.clone();
        let continues = self.traffic == Traffic::Accounting && kept.phase > 0;
        let mut session = if continues { kept } else { self.begin_session() };
        let length = match self.traffic {
            Traffic::Login => {
                self.entropy.fill(&mut session.authenticator);
                self.write_login(&session, identifier, bytes).ok()?
            }
            Traffic::Accounting => {
                let status = STATUS_CYCLE.get(session.phase).copied()?;
                session.phase = (session.phase + 1) % STATUS_CYCLE.len();
                let length = self.write_accounting(&session, status, identifier, bytes).ok()?;
                session.authenticator = bytes.get(4..)?.first_chunk().copied()?;
                length
            }
        };
        *self.sessions.get_mut(slot.index)? = session;
        Some(length)
    }

    fn slot_within(&self, reply: &[u8]) -> Option<usize> {
        reply.get(1).map(|identifier| usize::from(*identifier))
    }

    fn verify(&mut self, slot: Slot, _step: u32, reply: &[u8]) -> Verdict {
        let expected = match self.traffic {
            Traffic::Login => Code::ACCESS_ACCEPT,
            Traffic::Accounting => Code::ACCOUNTING_RESPONSE,
        };
        let Some(session) = self.sessions.get(slot.index) else { return Verdict::Stale };
        let Ok(packet) = Packet::parse(reply) else { return Verdict::Wrong };
        match self.key.verify_response(&packet, &session.authenticator) {
            Err(_) => Verdict::Stale,
            Ok(_) if packet.code() == expected => Verdict::Done,
            Ok(_) => Verdict::Wrong,
        }
    }
}

/// Formats without allocating; what does not fit is cut.
fn format_into<'b>(buffer: &'b mut [u8], text: std::fmt::Arguments<'_>) -> &'b [u8] {
    let room = buffer.len();
    let mut rest = &mut *buffer;
    let _ = rest.write_fmt(text);
    let length = room - rest.len();
    buffer.get(..length).unwrap_or_default()
}
