//! The BRAS of the demo: PPPoE logins by password, and the accounting of a session.
//!
//! RFC 2865 §4 (Access-Request), RFC 2866 §4.1 (Accounting-Request), RFC 2869 §5.14 and the deprecating-radius draft
//! (Message-Authenticator as the first attribute). Replies are verified before they are believed.

use std::net::{Ipv4Addr, SocketAddr};

use super::DemoFailure;
use super::show::Show;
use super::wire::Endpoint;
use crate::ids::{Entropy, SystemEntropy};
use crate::limits::RADIUS_PACKET_BYTES_MAX;
use crate::radius::wire::attribute::kind;
use crate::radius::wire::encode::{EncodeError, PacketWriter, Signing};
use crate::radius::wire::integrity::SharedKey;
use crate::radius::wire::packet::{Authenticator, Code, Packet};
use crate::secret::Secret;

const SERVICE_TYPE_FRAMED: u32 = 2;
const FRAMED_PROTOCOL_PPP: u32 = 1;
const NAS_PORT_TYPE_ETHERNET: u32 = 15;
const TERMINATE_CAUSE_USER_REQUEST: u32 = 1;

/// What an accounting request says (RFC 2866 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Start,
    Interim,
    Stop,
}

impl Status {
    const fn wire(self) -> u32 {
        match self {
            Self::Start => 1,
            Self::Stop => 2,
            Self::Interim => 3,
        }
    }
}

/// A subscriber at the BRAS.
pub(super) struct Session {
    pub(super) login: &'static str,
    pub(super) station: &'static str,
    /// Acct-Session-Id, the BRAS's own name for the session.
    pub(super) id: String,
    /// Class of the Accept, sent back in accounting (RFC 2865 §5.25).
    class: Vec<u8>,
    /// Framed-IP-Address of the Accept.
    pub(super) address: Ipv4Addr,
    seconds: u32,
}

impl Session {
    /// Somebody who is about to log in.
    pub(super) fn new(login: &'static str, station: &'static str) -> Self {
        // As many boxes do, counts from their own start: unique for this BRAS.
        let id = format!("{:08x}", SystemEntropy.u64() as u32);
        Self { login, station, id, class: Vec::new(), address: Ipv4Addr::UNSPECIFIED, seconds: 0 }
    }
}

/// What the server said to a login.
pub(super) struct Verdict {
    /// Name of the reply's code.
    pub(super) code: &'static str,
    /// Framed-Route attributes.
    pub(super) routes: Vec<String>,
}

/// The BRAS: an address that is in `nas.toml`, and its secret.
pub(super) struct Bras {
    endpoint: Endpoint,
    key: SharedKey,
    identifier: u8,
}

impl Bras {
    /// A BRAS with this secret, on a port of its own.
    pub(super) fn new(secret: &str) -> Result<Self, DemoFailure> {
        let key = SharedKey::new(Secret::new(secret));
        Ok(Self { endpoint: Endpoint::new()?, key, identifier: 0 })
    }

    /// Logs the subscriber in with a password (PAP). An Accept fills the session.
    pub(super) async fn login(
        &mut self,
        show: &Show,
        server: SocketAddr,
        session: &mut Session,
        password: &str,
    ) -> Result<Verdict, DemoFailure> {
        let mut authenticator = Authenticator::default();
        SystemEntropy.fill(&mut authenticator);
        let mut buffer = [0; RADIUS_PACKET_BYTES_MAX];
        let identifier = self.next_identifier();
        let mut writer =
            PacketWriter::access_request(&mut buffer, identifier, authenticator, Signing::First)?;
        writer.text(kind::USER_NAME, session.login)?;
        writer.user_password(&self.key, &Secret::new(password))?;
        describe_port(&mut writer, session)?;
        let request = writer.finish(&self.key)?;
        let reply = self.exchange(show, server, request).await?;
        let reply = parse(&reply)?;
        let address = reply.find(kind::FRAMED_IP_ADDRESS).and_then(|attribute| attribute.ipv4().ok());
        let class = reply.find(kind::CLASS).map(|attribute| attribute.value.to_vec());
        if let (Some(address), Some(class)) = (address, class) {
            (session.address, session.class) = (address, class);
        }
        let routes = reply.all(kind::FRAMED_ROUTE).filter_map(|route| route.text().ok().map(str::to_owned));
        Ok(Verdict { code: reply.code().name().unwrap_or("unknown"), routes: routes.collect() })
    }

    /// Reports on a session, and gives the name of the reply's code.
    pub(super) async fn account(
        &mut self,
        show: &Show,
        server: SocketAddr,
        session: &mut Session,
        status: Status,
    ) -> Result<&'static str, DemoFailure> {
        let mut buffer = [0; RADIUS_PACKET_BYTES_MAX];
        let identifier = self.next_identifier();
        if status != Status::Start {
            session.seconds += 600;
        }
        let mut writer =
            PacketWriter::request(&mut buffer, Code::ACCOUNTING_REQUEST, identifier, Signing::Omitted)?;
        writer.u32(kind::ACCT_STATUS_TYPE, status.wire())?;
        writer.text(kind::USER_NAME, session.login)?;
        describe_port(&mut writer, session)?;
        writer.ipv4(kind::FRAMED_IP_ADDRESS, session.address)?;
        writer.raw(kind::CLASS, &session.class)?;
        if status != Status::Start {
            writer.u32(kind::ACCT_SESSION_TIME, session.seconds)?;
            writer.u32(kind::ACCT_INPUT_OCTETS, session.seconds * 10_000)?;
            writer.u32(kind::ACCT_OUTPUT_OCTETS, session.seconds * 200_000)?;
        }
        if status == Status::Stop {
            writer.u32(kind::ACCT_TERMINATE_CAUSE, TERMINATE_CAUSE_USER_REQUEST)?;
        }
        let request = writer.finish(&self.key)?;
        let reply = self.exchange(show, server, request).await?;
        Ok(parse(&reply)?.code().name().unwrap_or("unknown"))
    }

    async fn exchange(
        &mut self,
        show: &Show,
        server: SocketAddr,
        request: &[u8],
    ) -> Result<Vec<u8>, DemoFailure> {
        let sent = parse(request)?;
        show.radius("->", &sent);
        let (key, authenticator, identifier) = (&self.key, *sent.authenticator(), sent.identifier());
        let is_reply = |bytes: &[u8]| {
            Packet::parse(bytes).is_ok_and(|packet| {
                packet.identifier() == identifier && key.verify_response(&packet, &authenticator).is_ok()
            })
        };
        let reply = self.endpoint.ask(server, request, "RADIUS", is_reply).await?;
        show.radius("<-", &parse(&reply)?);
        Ok(reply)
    }

    fn next_identifier(&mut self) -> u8 {
        self.identifier = self.identifier.wrapping_add(1);
        self.identifier
    }
}

/// What both kinds of request say of the line.
fn describe_port(writer: &mut PacketWriter<'_>, session: &Session) -> Result<(), EncodeError> {
    writer.u32(kind::SERVICE_TYPE, SERVICE_TYPE_FRAMED)?;
    writer.u32(kind::FRAMED_PROTOCOL, FRAMED_PROTOCOL_PPP)?;
    writer.ipv4(kind::NAS_IP_ADDRESS, Ipv4Addr::LOCALHOST)?;
    writer.text(kind::NAS_IDENTIFIER, "demo-bras")?;
    writer.u32(kind::NAS_PORT_TYPE, NAS_PORT_TYPE_ETHERNET)?;
    writer.text(kind::NAS_PORT_ID, "ether1.100")?;
    writer.text(kind::CALLING_STATION_ID, session.station)?;
    writer.text(kind::ACCT_SESSION_ID, &session.id)
}

fn parse(bytes: &[u8]) -> Result<Packet<'_>, DemoFailure> {
    Packet::parse(bytes).map_err(|error| DemoFailure::Packet { what: "RADIUS", why: error.to_string() })
}
