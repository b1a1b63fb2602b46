//! Laws of the codec over random packets and bytes.

use proptest::collection::vec;
use proptest::prelude::*;

use lastmile::radius::wire::append::ipv6_prefix_value;
use lastmile::radius::wire::encode::{PacketWriter, Signing};
use lastmile::radius::wire::fuzz::fuzz_one;
use lastmile::radius::wire::hiding::{hide_salted, hide_user_password, reveal_salted, reveal_user_password};
use lastmile::radius::wire::integrity::{SharedKey, Signature};
use lastmile::radius::wire::packet::{Authenticator, Code, Packet, ReplyTo};
use lastmile::secret::Secret;

type Values = Vec<(u8, Vec<u8>)>;

/// Attributes of any type but Message-Authenticator, which the writer places itself.
pub(crate) fn values() -> impl Strategy<Value = Values> {
    let kind = any::<u8>().prop_filter("placed by the writer", |kind| *kind != 80);
    vec((kind, vec(any::<u8>(), 0..=253)), 0..12)
}

fn key() -> SharedKey {
    SharedKey::new(Secret::new("xyzzy5461"))
}

fn signing() -> impl Strategy<Value = Signing> {
    prop_oneof![Just(Signing::First), Just(Signing::Omitted)]
}

fn filled(mut writer: PacketWriter<'_>, values: &Values) -> Vec<u8> {
    for (kind, value) in values {
        writer.raw(*kind, value).unwrap();
    }
    writer.finish(&key()).unwrap().to_vec()
}

fn access_request(authenticator: Authenticator, signing: Signing, values: &Values) -> Vec<u8> {
    let mut buffer = [0; 4096];
    filled(PacketWriter::access_request(&mut buffer, 5, authenticator, signing).unwrap(), values)
}

fn accounting_request(signing: Signing, values: &Values) -> Vec<u8> {
    let mut buffer = [0; 4096];
    filled(PacketWriter::request(&mut buffer, Code::ACCOUNTING_REQUEST, 5, signing).unwrap(), values)
}

fn accept(authenticator: Authenticator, signing: Signing, values: &Values) -> Vec<u8> {
    let mut buffer = [0; 4096];
    let to = ReplyTo { identifier: 5, authenticator };
    filled(PacketWriter::reply(&mut buffer, Code::ACCESS_ACCEPT, &to, signing).unwrap(), values)
}

/// The packet with one bit changed, unless it is no packet any more.
fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    let bit = bit % (changed.len() * 8);
    changed[bit / 8] ^= 1 << (bit % 8);
    changed
}

proptest! {
    #[test]
    fn what_is_written_is_read(authenticator: Authenticator, values in values(), signing in signing()) {
        let bytes = access_request(authenticator, signing, &values);
        let packet = Packet::parse(&bytes).unwrap();
        let skipped = usize::from(signing == Signing::First);
        let read: Values =
            packet.attributes().skip(skipped).map(|found| (found.kind, found.value.to_vec())).collect();
        prop_assert_eq!(read, values);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..600)) {
        fuzz_one(&bytes);
    }

    #[test]
    fn any_bytes_after_a_sound_header_are_read_or_refused(mut bytes in vec(any::<u8>(), 20..600)) {
        let length = (bytes.len() as u16).to_be_bytes();
        bytes[2..4].copy_from_slice(&length);
        fuzz_one(&bytes);
    }

    #[test]
    fn what_we_sign_verifies_and_any_flipped_bit_fails(
        authenticator: Authenticator,
        values in values(),
        signing in signing(),
        bit: usize,
    ) {
        let (request, signature) = match signing {
            Signing::First => {
                (access_request(authenticator, signing, &values), Signature::MessageAuthenticator)
            }
            Signing::Omitted => (accounting_request(signing, &values), Signature::Authenticator),
        };
        prop_assert_eq!(key().verify_request(&Packet::parse(&request).unwrap()), Ok(signature));
        let changed = flipped(&request, bit);
        if let Ok(packet) = Packet::parse(&changed) {
            let outcome = key().verify_request(&packet);
            // Turning the only Message-Authenticator into another type leaves an unsigned request, which the
            // NAS's policy refuses, not the digest.
            let byte = bit % (changed.len() * 8) / 8;
            prop_assert!(outcome.is_err() || (outcome == Ok(Signature::None) && byte == 20));
        }
    }

    #[test]
    fn a_reply_verifies_and_any_flipped_bit_fails(
        authenticator: Authenticator,
        values in values(),
        signing in signing(),
        bit: usize,
    ) {
        let reply = accept(authenticator, signing, &values);
        prop_assert!(key().verify_response(&Packet::parse(&reply).unwrap(), &authenticator).is_ok());
        let changed = flipped(&reply, bit);
        if let Ok(packet) = Packet::parse(&changed) {
            prop_assert!(key().verify_response(&packet, &authenticator).is_err());
        }
        let mut other = authenticator;
        other[bit % 16] ^= 1;
        prop_assert!(key().verify_response(&Packet::parse(&reply).unwrap(), &other).is_err());
    }

    #[test]
    fn hidden_passwords_come_back(authenticator: Authenticator, password in vec(1_u8.., 0..=128)) {
        let (mut hidden, mut clear) = ([0; _], [0; _]);
        let secret = Secret::new(password.as_slice());
        let hidden = hide_user_password(&key(), &authenticator, &secret, &mut hidden).unwrap();
        let revealed = reveal_user_password(&key(), &authenticator, hidden, &mut clear).unwrap();
        prop_assert_eq!(revealed, &password[..]);
    }

    #[test]
    fn salted_values_come_back(authenticator: Authenticator, salt: u16, value in vec(any::<u8>(), 0..=239)) {
        let (mut hidden, mut clear) = ([0; _], [0; _]);
        let secret = Secret::new(value.as_slice());
        let hidden = hide_salted(&key(), &authenticator, salt, &secret, &mut hidden).unwrap();
        prop_assert_eq!(reveal_salted(&key(), &authenticator, hidden, &mut clear).unwrap(), &value[..]);
    }

    #[test]
    fn a_prefix_comes_back_without_its_host_bits(address: u128, length in 0_u8..=128) {
        let prefix = ipnetwork::Ipv6Network::new(address.into(), length).unwrap();
        let (value, used) = ipv6_prefix_value(prefix);
        let attribute = lastmile::radius::wire::attribute::Attribute { kind: 97, value: &value[..used] };
        let read = attribute.ipv6_prefix().unwrap();
        prop_assert_eq!((read.ip(), read.prefix()), (prefix.network(), length));
    }
}
