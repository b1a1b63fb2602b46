//! The body of every fuzzing run of this codec: one input, every reader, and the laws that must hold.
//!
//! A library function, so that a seeded mutation test on the stable toolchain and a coverage-guided run call
//! the same code. It asserts; nothing on the packet path calls it.

use super::attribute::{Attribute, Attributes, kind};
use super::class::ClassKey;
use super::encode::{PacketWriter, Signing};
use super::hiding::{ChapPassword, reveal_salted, reveal_tunnel_password, reveal_user_password};
use super::integrity::SharedKey;
use super::packet::{Code, Packet, ReplyTo};
use crate::limits::{RADIUS_PACKET_BYTES_MAX, RADIUS_PACKET_BYTES_MIN};
use crate::secret::Secret;

/// Feeds one input to every reader of the codec.
///
/// # Panics
///
/// When a law of the codec is broken, which is what the caller is looking for.
pub fn fuzz_one(bytes: &[u8]) {
    let key = SharedKey::new(Secret::new("xyzzy5461"));
    let _ = ClassKey::new(&Secret::new("class")).verify(bytes);
    Attributes::checked(bytes).into_iter().flatten().for_each(read_every_type);
    let Ok(packet) = Packet::parse(bytes) else {
        return;
    };
    assert!(packet.bytes().len() <= bytes.len(), "a packet is never longer than its datagram");
    index_agrees_with_walk(&packet);
    for attribute in packet.attributes() {
        read_every_type(attribute);
        reveal(&key, &packet, attribute.value);
    }
    for specific in packet.vendor_specific() {
        assert!(specific.data.len() <= 249, "a vendor payload lies inside its attribute");
    }
    packet.vendor_attributes().for_each(|found| read_every_type(found.attribute));
    let mut whole = [0; RADIUS_PACKET_BYTES_MAX];
    let eap = packet.concat(kind::EAP_MESSAGE);
    assert_eq!(eap.copy_to(&mut whole).map(<[u8]>::len), Some(eap.len()), "a packet's values fit a packet");
    let _ = key.verify_request(&packet);
    let _ = key.verify_response(&packet, packet.authenticator());
    rewritten_is_identical_and_verifies(&key, &packet);
}

fn index_agrees_with_walk(packet: &Packet<'_>) {
    let mut firsts: [Option<Attribute<'_>>; 256] = [None; 256];
    let mut walked = RADIUS_PACKET_BYTES_MIN;
    for attribute in packet.attributes() {
        if let Some(first) = firsts.get_mut(usize::from(attribute.kind)) {
            first.get_or_insert(attribute);
        }
        walked = walked.saturating_add(attribute.value.len()).saturating_add(2);
    }
    assert_eq!(walked, packet.bytes().len(), "a checked packet is attributes to its last byte");
    for (kind, first) in (0..=u8::MAX).zip(firsts) {
        assert_eq!(packet.find(kind), first, "the index points at the first of each type");
    }
}

fn read_every_type(attribute: Attribute<'_>) {
    let _ = (attribute.text(), attribute.u32(), attribute.u64(), attribute.date(), attribute.ipv4());
    let _ = (attribute.ipv6(), attribute.interface_id(), attribute.ipv4_prefix(), attribute.tagged_u32());
    if let Ok(prefix) = attribute.ipv6_prefix() {
        assert_eq!(prefix.ip(), prefix.network(), "a prefix that was read has no host bits");
    }
    assert!(attribute.tagged_string().tag <= 0x1f, "a tag is at most 0x1f");
    if let Some(extended) = attribute.extended() {
        let _ = extended.vendor_specific();
    }
    if let Some(specific) = attribute.vendor_specific() {
        let _ = specific.attributes().map(Iterator::count);
    }
}

fn reveal(key: &SharedKey, packet: &Packet<'_>, value: &[u8]) {
    let authenticator = packet.authenticator();
    let _ = reveal_user_password(key, authenticator, value, &mut [0; _]);
    let _ = reveal_salted(key, authenticator, value, &mut [0; _]);
    let _ = reveal_tunnel_password(key, authenticator, value, &mut [0; _]).map(|found| found.tag);
    let _ = ChapPassword::parse(value).map(|chap| chap.matches(&Secret::new("x"), authenticator));
}

/// Appending what was read gives the same attribute bytes, and the result verifies.
fn rewritten_is_identical_and_verifies(key: &SharedKey, packet: &Packet<'_>) {
    let mut buffer = [0; RADIUS_PACKET_BYTES_MAX];
    let to: ReplyTo = packet.reply_to();
    let Ok(mut writer) = PacketWriter::reply(&mut buffer, Code::COA_ACK, &to, Signing::Omitted) else {
        return;
    };
    assert_eq!(writer.copy(packet.attributes()), Ok(()), "what came in one packet fits one packet");
    let Ok(written) = writer.finish(key) else {
        return;
    };
    assert_eq!(
        written.get(RADIUS_PACKET_BYTES_MIN..),
        packet.bytes().get(RADIUS_PACKET_BYTES_MIN..),
        "decode then encode is the identity"
    );
    if !packet.has(kind::MESSAGE_AUTHENTICATOR) {
        let signed =
            Packet::parse(written).map(|reply| key.verify_response(&reply, &to.authenticator).is_ok());
        assert_eq!(signed, Ok(true), "what we sign verifies");
    }
}
