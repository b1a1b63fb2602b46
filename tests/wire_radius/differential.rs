//! The `radius` crate as an independent oracle.
//!
//! Left out, because that crate is known to be wrong there: Tunnel-Password (no Data-Length octet), IPv6 and
//! IPv4 prefixes (length derived from the number of bytes), passwords that contain NUL (cut at the first
//! one), request verification (every Access-Request passes, padding is hashed), and Message-Authenticator
//! (neither computed nor verified). Its unknown codes all become one value, so codes are taken from its list.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;
use radius::core::packet::Packet as Oracle;
use radius::core::{rfc2865, rfc3162};

use lastmile::radius::wire::attribute::kind;
use lastmile::radius::wire::encode::{PacketWriter, Signing};
use lastmile::radius::wire::hiding::reveal_user_password;
use lastmile::radius::wire::integrity::SharedKey;
use lastmile::radius::wire::packet::{Authenticator, Code, Packet, ReplyTo};
use lastmile::secret::Secret;

use crate::properties::values;
use crate::vector;

const SECRET: &[u8] = b"xyzzy5461";

fn key() -> SharedKey {
    SharedKey::new(Secret::new(SECRET))
}

fn unsigned_request(buffer: &mut [u8], authenticator: Authenticator) -> PacketWriter<'_> {
    PacketWriter::access_request(buffer, 9, authenticator, Signing::Omitted).unwrap()
}

/// Walks every attribute type in both codecs.
fn same_attributes(ours: &Packet<'_>, theirs: &Oracle) -> bool {
    (0..=u8::MAX).all(|kind| {
        let left = ours.all(kind).map(|found| found.value.to_vec());
        let right = theirs.lookup_all(kind).into_iter().map(radius::core::avp::AVP::encode_bytes);
        left.eq(right)
    })
}

#[test]
fn the_oracle_accepts_and_refuses_the_same_vectors() {
    for bytes in vector::packets() {
        match (Packet::parse(&bytes), Oracle::decode(&bytes, SECRET)) {
            (Ok(ours), Ok(theirs)) => assert!(same_attributes(&ours, &theirs), "{ours:?}"),
            (Err(_), Err(_)) => {}
            (ours, theirs) => panic!("{ours:?} but {:?}", theirs.map(|packet| packet.get_code())),
        }
    }
}

proptest! {
    #[test]
    fn the_oracle_reads_what_we_write(authenticator: Authenticator, values in values(), signed: bool) {
        let mut buffer = [0; 4096];
        let signing = if signed { Signing::First } else { Signing::Omitted };
        let mut writer = PacketWriter::access_request(&mut buffer, 9, authenticator, signing).unwrap();
        for (kind, value) in &values {
            writer.raw(*kind, value).unwrap();
        }
        let bytes = writer.finish(&key()).unwrap();
        let (ours, theirs) = (Packet::parse(bytes).unwrap(), Oracle::decode(bytes, SECRET).unwrap());
        prop_assert_eq!(theirs.get_identifier(), 9);
        prop_assert_eq!(theirs.get_authenticator().as_slice(), ours.authenticator());
        prop_assert!(same_attributes(&ours, &theirs));
    }

    #[test]
    fn the_oracle_frames_random_bytes_alike(mut bytes in vec(prop_oneof![0_u8..8, any::<u8>()], 20..80)) {
        let length = (bytes.len() as u16).to_be_bytes();
        bytes[2..4].copy_from_slice(&length);
        match (Packet::parse(&bytes), Oracle::decode(&bytes, SECRET)) {
            (Ok(ours), Ok(theirs)) => prop_assert!(same_attributes(&ours, &theirs)),
            (ours, theirs) => prop_assert_eq!(ours.is_ok(), theirs.is_ok()),
        }
    }

    #[test]
    fn the_oracle_believes_our_responses(authenticator: Authenticator, values in values(), signed: bool) {
        let mut request = [1, 5, 0, 20].to_vec();
        request.extend(authenticator);
        let codes = [Code::ACCESS_ACCEPT, Code::ACCESS_REJECT, Code::ACCOUNTING_RESPONSE, Code::COA_ACK];
        for code in codes {
            let mut buffer = [0; 4096];
            let to = ReplyTo { identifier: 5, authenticator };
            let signing = if signed { Signing::First } else { Signing::Omitted };
            let mut writer = PacketWriter::reply(&mut buffer, code, &to, signing).unwrap();
            for (kind, value) in &values {
                writer.raw(*kind, value).unwrap();
            }
            let response = writer.finish(&key()).unwrap();
            prop_assert!(Oracle::is_authentic_response(response, &request, SECRET));
        }
    }

    #[test]
    fn the_oracle_believes_our_accounting_requests(values in values()) {
        let mut buffer = [0; 4096];
        let code = Code::ACCOUNTING_REQUEST;
        let mut writer = PacketWriter::request(&mut buffer, code, 5, Signing::Omitted).unwrap();
        for (kind, value) in &values {
            writer.raw(*kind, value).unwrap();
        }
        prop_assert!(Oracle::is_authentic_request(writer.finish(&key()).unwrap(), SECRET));
    }

    #[test]
    fn we_believe_the_oracles_packets(values in values(), identifier: u8) {
        let code = radius::core::code::Code::AccountingRequest;
        let mut theirs = Oracle::new_with_identifier(code, SECRET, identifier);
        for (kind, value) in &values {
            theirs.add(radius::core::avp::AVP::from_bytes(*kind, value));
        }
        let bytes = theirs.encode().unwrap();
        let ours = Packet::parse(&bytes).unwrap();
        prop_assert_eq!((ours.code(), ours.identifier()), (Code::ACCOUNTING_REQUEST, identifier));
        prop_assert!(same_attributes(&ours, &theirs));
        prop_assert!(key().verify_request(&ours).is_ok());
    }

    #[test]
    fn typed_values_agree(number: u32, v4: [u8; 4], v6: [u8; 16], ifid: [u8; 8], name in "[ -~]{1,60}") {
        let mut buffer = [0; 4096];
        let authenticator = Authenticator::default();
        let mut writer = unsigned_request(&mut buffer, authenticator);
        writer.text(kind::USER_NAME, &name).unwrap();
        writer.u32(kind::NAS_PORT, number).unwrap();
        writer.ipv4(kind::NAS_IP_ADDRESS, Ipv4Addr::from(v4)).unwrap();
        writer.ipv6(kind::NAS_IPV6_ADDRESS, Ipv6Addr::from(v6)).unwrap();
        writer.interface_id(kind::FRAMED_INTERFACE_ID, ifid).unwrap();
        let bytes = writer.finish(&key()).unwrap();
        let (ours, theirs) = (Packet::parse(bytes).unwrap(), Oracle::decode(bytes, SECRET).unwrap());
        let found = |kind| ours.find(kind).unwrap();
        let name = rfc2865::lookup_user_name(&theirs).unwrap().unwrap();
        prop_assert_eq!(name, found(kind::USER_NAME).text().unwrap());
        let port = rfc2865::lookup_nas_port(&theirs).unwrap().unwrap();
        prop_assert_eq!(port, found(kind::NAS_PORT).u32().unwrap());
        let address = rfc2865::lookup_nas_ip_address(&theirs).unwrap().unwrap();
        prop_assert_eq!(address, found(kind::NAS_IP_ADDRESS).ipv4().unwrap());
        let address = rfc3162::lookup_nas_ipv6_address(&theirs).unwrap().unwrap();
        prop_assert_eq!(address, found(kind::NAS_IPV6_ADDRESS).ipv6().unwrap());
        let interface = rfc3162::lookup_framed_interface_id(&theirs).unwrap();
        prop_assert_eq!(interface, found(kind::FRAMED_INTERFACE_ID).interface_id().unwrap());
    }

    #[test]
    fn hidden_passwords_agree(authenticator: Authenticator, password in vec(1_u8.., 1..=128)) {
        let mut buffer = [0; 4096];
        let mut writer = unsigned_request(&mut buffer, authenticator);
        writer.user_password(&key(), &Secret::new(password.as_slice())).unwrap();
        let bytes = writer.finish(&key()).unwrap();
        let theirs = Oracle::decode(bytes, SECRET).unwrap();
        prop_assert_eq!(rfc2865::lookup_user_password(&theirs).unwrap().unwrap(), password.clone());
        let avp = theirs.lookup(kind::USER_PASSWORD).unwrap().encode_bytes();
        let mut clear = [0; _];
        let revealed = reveal_user_password(&key(), &authenticator, &avp, &mut clear).unwrap();
        prop_assert_eq!(revealed, &password[..]);
    }
}
