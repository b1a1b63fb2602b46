//! What must hold of the codec for any bytes: the body of its fuzz target and of the seeded test.
//!
//! A message that parses is read through every reader, answered with every kind of reply and written again
//! option by option; each law is stated where it is checked. No panic is the law for the rest.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::{
    Destination, EncodeError, LeaseTimes, Message, Op, OptionSet, RelayEcho, ReplyHead, ReplyKind,
    ReplyWriter, RequestHead, RequestWriter, WireError, Written, code, destination,
};
use crate::limits::{DHCP4_MESSAGE_BYTES_MAX, DHCP4_OPTIONS_MAX, DHCP4_PADDED_BYTES_MIN};

/// A law of the codec that does not hold: a defect in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the DHCPv4 codec broke a law: {0}")]
pub struct LawBroken(&'static str);

fn law(holds: bool, text: &'static str) -> Result<(), LawBroken> {
    if holds { Ok(()) } else { Err(LawBroken(text)) }
}

/// Feeds `bytes` to the codec and checks its laws; the fault found when they are no message.
pub fn fuzz_one(bytes: &[u8]) -> Result<Option<WireError>, LawBroken> {
    let message = match Message::parse(bytes) {
        Ok(message) => message,
        Err(error) => return Ok(Some(error)),
    };
    read(&message)?;
    write_again(&message)?;
    let mut scratch = [0; DHCP4_MESSAGE_BYTES_MAX];
    let fault = match message.relay_agent(&mut scratch) {
        Ok(Some(agent)) => {
            law(agent.vendor_specific().count() <= bytes.len(), "vendor entries are bounded by their bytes")?;
            let mut echo = [0; DHCP4_MESSAGE_BYTES_MAX];
            let echoed = agent.without_vss_control(&mut echo);
            let kept = agent.sub_options().filter(|(code, _)| *code != 152).count();
            let left =
                echoed.map(|bytes| super::RelayAgent::parse(bytes).map(|agent| agent.sub_options().count()));
            law(left == Some(Ok(kept)), "the echo without VSS-Control keeps all other sub-options")?;
            None
        }
        Ok(None) => None,
        Err(error) => Some(error),
    };
    for kind in reply_kinds(&message) {
        answer(&message, kind)?;
    }
    Ok(fault)
}

fn read(message: &Message<'_>) -> Result<(), LawBroken> {
    law(message.chaddr().len() == usize::from(message.hlen()), "chaddr has hlen bytes")?;
    law(message.options().count() <= DHCP4_OPTIONS_MAX, "the number of options is bounded")?;
    for code in 0..=u8::MAX {
        let parts = message.options().filter(|(found, _)| *found == code);
        match message.find(code) {
            None => law(parts.count() == 0, "find sees every option")?,
            Some(value) => {
                law(message.codes().contains(code), "codes has every option")?;
                law(
                    value.parts().eq(parts.map(|(_, part)| part)),
                    "parts are those of the walk, in its order",
                )?;
                law(value.bytes().count() == value.len(), "the length is that of all parts")?;
                let mut scratch = [0; DHCP4_MESSAGE_BYTES_MAX];
                let joined = value.joined(&mut scratch);
                law(joined.is_ok_and(|joined| value == joined.into()), "joining does not change the value")?;
            }
        }
    }
    law(message.client_key().is_some() || message.chaddr().is_empty(), "an address is a client key")
}

/// Writes the options of `message` into a request and parses that.
fn write_again(message: &Message<'_>) -> Result<(), LawBroken> {
    let Some(message_type) = message.message_type() else {
        return Ok(());
    };
    let head = RequestHead {
        message_type,
        htype: message.htype(),
        chaddr: message.chaddr(),
        hops: message.hops(),
        xid: message.xid(),
        secs: message.secs(),
        broadcast: message.broadcast(),
        ciaddr: message.ciaddr(),
        giaddr: message.giaddr(),
    };
    // Larger than a message: parts of overloaded fields come to stand among the options.
    let mut out = [0; 2 * DHCP4_MESSAGE_BYTES_MAX];
    let mut writer = RequestWriter::new(&head, &mut out).map_err(|_| LawBroken("a request can be begun"))?;
    let mut scratch = [0; DHCP4_MESSAGE_BYTES_MAX];
    // Option 52 would tell the reader that the empty `file` and `sname` hold options.
    let copied = |code| code != code::DHCP_MSG_TYPE && code != code::OVERLOAD;
    for code in message.codes().iter().filter(|code| copied(*code)) {
        let joined = message.find(code).and_then(|value| value.joined(&mut scratch).ok());
        law(joined.is_some_and(|value| writer.option(code, value)), "what was read can be written")?;
    }
    let written = writer.finish();
    law(written.len >= DHCP4_PADDED_BYTES_MIN, "a request has at least 300 bytes")?;
    if written.len > DHCP4_MESSAGE_BYTES_MAX {
        return Ok(());
    }
    let again = out.get(..written.len).and_then(|bytes| Message::parse(bytes).ok());
    let Some(again) = again else {
        return Err(LawBroken("what was written can be read"));
    };
    law(again.chaddr() == message.chaddr() && again.xid() == message.xid(), "the header is read as written")?;
    for code in message.codes().iter().filter(|code| *code != code::OVERLOAD) {
        law(again.find(code) == message.find(code), "an option is read as written")?;
    }
    Ok(())
}

fn reply_kinds(request: &Message<'_>) -> [ReplyKind; 4] {
    let yiaddr = Ipv4Addr::new(192, 0, 2, 9);
    let times = LeaseTimes { lease_secs: 3600, renew_secs: 900, rebind_secs: 3150 };
    [
        ReplyKind::Offer { yiaddr, times },
        ReplyKind::Ack { yiaddr, ciaddr: request.ciaddr(), times },
        ReplyKind::InformAck { ciaddr: request.ciaddr() },
        ReplyKind::Nak,
    ]
}

/// Answers `request` with more options than fit, and reads the answer.
fn answer(request: &Message<'_>, kind: ReplyKind) -> Result<(), LawBroken> {
    let server_id = Ipv4Addr::new(192, 0, 2, 1);
    let head =
        ReplyHead { kind, server_id, siaddr: Ipv4Addr::UNSPECIFIED, relay_echo: RelayEcho::AsReceived };
    let mut out = [0xaa; DHCP4_MESSAGE_BYTES_MAX];
    let mut writer = match ReplyWriter::new(request, &head, &mut out) {
        Ok(writer) => writer,
        Err(EncodeError::NotARequest) => return law(request.op() == Op::Reply, "a request is answered"),
        Err(_) => return Err(LawBroken("an answer can be begun")),
    };
    let mut taken = OptionSet::EMPTY;
    for (code, value) in
        [(1, &[255; 4][..]), (6, &[8; 8]), (43, &[7; 300]), (121, &[6; 200]), (15, &[5; 255])]
    {
        if writer.option(code, value) {
            taken.insert(code);
        }
    }
    let written = writer.finish();
    let bytes = out.get(..written.len).unwrap_or_default();
    let Ok(reply) = Message::parse(bytes) else {
        return Err(LawBroken("a reply can be read"));
    };
    check_reply(request, &reply, &head, &written)?;
    for code in [1, 6, 43, 121, 15] {
        let (present, dropped) = (reply.codes().contains(code), written.dropped.contains(code));
        law(
            present == taken.contains(code) && present != dropped,
            "an option is written or named as dropped",
        )?;
    }
    let source = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 77), 1067);
    let to_relay = matches!(destination(request, kind, source, true), Destination::Relay(_));
    law(!to_relay || !request.giaddr().is_unspecified(), "only what a relay sent goes to a relay")
}

fn check_reply(
    request: &Message<'_>,
    reply: &Message<'_>,
    head: &ReplyHead<'_>,
    written: &Written,
) -> Result<(), LawBroken> {
    law(written.len >= DHCP4_PADDED_BYTES_MIN, "a reply has at least 300 bytes")?;
    law(written.len <= request.reply_bytes_max(), "a reply is no longer than the client takes")?;
    let same_header = reply.xid() == request.xid()
        && reply.htype() == request.htype()
        && reply.chaddr() == request.chaddr()
        && reply.giaddr() == request.giaddr();
    law(reply.op() == Op::Reply && same_header, "a reply carries the request's header")?;
    law(reply.message_type() == Some(head.kind.message_type()), "a reply has its type")?;
    law(reply.server_id() == Some(head.server_id), "a reply names its server")?;
    let has_times = !matches!(head.kind, ReplyKind::InformAck { .. } | ReplyKind::Nak);
    law(reply.lease_secs().is_some() == has_times, "an offer or lease has its time")?;
    let client_id_kept = reply.client_id() == request.client_id();
    law(client_id_kept != written.dropped.contains(code::CLIENT_ID), "the client id is echoed or dropped")?;
    let Some(relay_agent) = request.relay_agent_bytes() else {
        return law(reply.relay_agent_bytes().is_none(), "no option 82 is made up");
    };
    let dropped = written.dropped.contains(code::RELAY_AGENT_INFORMATION);
    law(!dropped || relay_agent.as_slice().is_none(), "an option 82 of one part is never dropped")?;
    let echo = reply.relay_agent_bytes();
    law(dropped || echo.is_some_and(|echo| echo.parts().eq(relay_agent.parts())), "option 82 is echoed")?;
    let last = reply.options().last().map(|(code, _)| code);
    law(dropped || last == Some(code::RELAY_AGENT_INFORMATION), "option 82 is the last option")
}
