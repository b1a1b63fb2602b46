//! Socket addresses and control messages, read and written as the plain bytes the kernel exchanges.
//!
//! Used by [`batch`](super::batch) on both sides of a system call; working on bytes keeps this half free of
//! `unsafe`. Layouts: `sockaddr_in` and `sockaddr_in6` (RFC 3493 §3.3), `cmsghdr` and `in6_pktinfo` (RFC 3542
//! §6.1, §20.2), Linux `in_pktinfo` (ip(7)); the sizes are checked against libc when this is compiled.
//!
//! Invariants: any bytes parse without panic and in one pass; unknown control messages are skipped. IPv4
//! addresses mapped into IPv6 do not occur, because IPv6 listeners are V6ONLY.

use std::mem::{offset_of, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Where a datagram goes and which of our addresses it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Destination address and port.
    pub to: SocketAddr,
    /// Our address to send from; an unspecified or multicast address, or one of the other family, lets the
    /// kernel choose.
    pub from: IpAddr,
    /// Interface to send on by its kernel index; 0 lets routing decide. IPv6 link-local destinations need it.
    pub interface: u32,
}

impl Envelope {
    /// To `to`, from the address and interface that routing chooses.
    pub const fn to(to: SocketAddr) -> Self {
        Self { to, from: IpAddr::V4(Ipv4Addr::UNSPECIFIED), interface: 0 }
    }
}

/// What the control messages of one received datagram say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Arrival {
    /// Our address to reply from.
    pub(super) local: Option<IpAddr>,
    /// The destination in the IP header, which may be broadcast or multicast.
    pub(super) destination: Option<IpAddr>,
    /// Kernel index of the interface it arrived on; 0 when unknown.
    pub(super) interface: u32,
    /// When the kernel received it, in nanoseconds since the Unix epoch by the system clock.
    pub(super) received: Option<u64>,
    /// Datagrams that this socket has dropped since it was opened, modulo 2^32.
    pub(super) dropped: Option<u32>,
}

/// Bytes of the larger of the two socket address forms.
pub(super) const NAME_BYTES: usize = size_of::<libc::sockaddr_in6>();
/// Bytes of control messages accepted with one datagram: packet information, time and drop count fit.
pub(super) const RECV_CONTROL_BYTES: usize = 128;
/// Bytes of the one control message sent with a datagram, at most: header and `in6_pktinfo`.
pub(super) const SEND_CONTROL_BYTES: usize = align(CONTROL_HEADER_BYTES + PACKET_INFO_6_BYTES);

const NAME_4_BYTES: usize = size_of::<libc::sockaddr_in>();
const CONTROL_HEADER_BYTES: usize = size_of::<usize>() + 8;
const PACKET_INFO_4_BYTES: usize = size_of::<libc::in_pktinfo>();
const PACKET_INFO_6_BYTES: usize = size_of::<libc::in6_pktinfo>();

const _: () = assert!(NAME_4_BYTES == 16 && NAME_BYTES == 28);
const _: () =
    assert!(offset_of!(libc::sockaddr_in, sin_port) == 2 && offset_of!(libc::sockaddr_in, sin_addr) == 4);
const _: () = assert!(offset_of!(libc::sockaddr_in6, sin6_addr) == 8);
const _: () = assert!(offset_of!(libc::sockaddr_in6, sin6_scope_id) == 24);
const _: () = assert!(CONTROL_HEADER_BYTES == size_of::<libc::cmsghdr>());
const _: () = assert!(PACKET_INFO_4_BYTES == 12 && PACKET_INFO_6_BYTES == 20);
const _: () = assert!(4 * align(CONTROL_HEADER_BYTES + PACKET_INFO_6_BYTES) > RECV_CONTROL_BYTES);
const _: () = assert!(3 * align(CONTROL_HEADER_BYTES + PACKET_INFO_6_BYTES) <= RECV_CONTROL_BYTES);

/// Rounds up to where the next control message begins (`CMSG_ALIGN`).
const fn align(length: usize) -> usize {
    length.saturating_add(size_of::<usize>() - 1) & !(size_of::<usize>() - 1)
}

/// Reads a socket address; `None` for another family or too few bytes.
pub(super) fn read_name(bytes: &[u8]) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes(field(bytes, 0)?));
    let port = u16::from_be_bytes(field(bytes, 2)?);
    match family {
        libc::AF_INET => {
            let ip = Ipv4Addr::from(field::<4>(bytes, 4)?);
            Some(SocketAddrV4::new(ip, port).into())
        }
        libc::AF_INET6 => {
            let flow = u32::from_be_bytes(field(bytes, 4)?);
            let ip = Ipv6Addr::from(field::<16>(bytes, 8)?);
            let scope = u32::from_ne_bytes(field(bytes, 24)?);
            Some(SocketAddrV6::new(ip, port, flow, scope).into())
        }
        _ => None,
    }
}

/// Writes a socket address and returns how many bytes of `name` it takes.
pub(super) fn write_name(address: SocketAddr, name: &mut [u8; NAME_BYTES]) -> usize {
    let mut writer = Writer::new(name);
    match address {
        SocketAddr::V4(v4) => {
            writer.put(&(libc::AF_INET as u16).to_ne_bytes());
            writer.put(&v4.port().to_be_bytes());
            writer.put(&v4.ip().octets());
            writer.put(&[0; 8]);
        }
        SocketAddr::V6(v6) => {
            writer.put(&(libc::AF_INET6 as u16).to_ne_bytes());
            writer.put(&v6.port().to_be_bytes());
            writer.put(&v6.flowinfo().to_be_bytes());
            writer.put(&v6.ip().octets());
            writer.put(&v6.scope_id().to_ne_bytes());
        }
    }
    writer.written
}

/// Reads the control messages of one datagram; stops at the first that does not fit.
pub(super) fn read_control(mut bytes: &[u8]) -> Arrival {
    let mut arrival = Arrival::default();
    while let Some((level, kind, data, rest)) = split_control(bytes) {
        note_control(&mut arrival, level, kind, data);
        bytes = rest;
    }
    arrival
}

/// Writes the control message that makes a datagram leave as `envelope` says; returns its length in bytes, 0
/// when the kernel is to choose.
pub(super) fn write_control(envelope: &Envelope, control: &mut [u8; SEND_CONTROL_BYTES]) -> usize {
    let interface = envelope.interface.to_ne_bytes();
    let mut writer = Writer::new(control);
    match envelope.to {
        SocketAddr::V4(_) => {
            let from = match envelope.from {
                IpAddr::V4(from) if !from.is_multicast() && !from.is_broadcast() => from,
                _ => Ipv4Addr::UNSPECIFIED,
            };
            if from.is_unspecified() && envelope.interface == 0 {
                return 0;
            }
            writer.put_control_header(libc::IPPROTO_IP, libc::IP_PKTINFO, PACKET_INFO_4_BYTES);
            writer.put(&interface);
            writer.put(&from.octets());
            writer.put(&[0; 4]);
        }
        SocketAddr::V6(_) => {
            let from = match envelope.from {
                IpAddr::V6(from) if !from.is_multicast() => from,
                _ => Ipv6Addr::UNSPECIFIED,
            };
            if from.is_unspecified() && envelope.interface == 0 {
                return 0;
            }
            writer.put_control_header(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, PACKET_INFO_6_BYTES);
            writer.put(&from.octets());
            writer.put(&interface);
        }
    }
    align(writer.written)
}

type ControlParts<'a> = (i32, i32, &'a [u8], &'a [u8]);

/// Level, type, data and the bytes behind the first control message.
fn split_control(bytes: &[u8]) -> Option<ControlParts<'_>> {
    let length = usize::from_ne_bytes(field(bytes, 0)?);
    let level = i32::from_ne_bytes(field(bytes, size_of::<usize>())?);
    let kind = i32::from_ne_bytes(field(bytes, size_of::<usize>() + 4)?);
    // A length below the header's would not advance; `get` refuses it because the range is reversed.
    let data = bytes.get(CONTROL_HEADER_BYTES..length)?;
    Some((level, kind, data, bytes.get(align(length)..).unwrap_or_default()))
}

fn note_control(arrival: &mut Arrival, level: i32, kind: i32, data: &[u8]) -> Option<()> {
    match (level, kind) {
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            arrival.interface = u32::from_ne_bytes(field(data, 0)?);
            // For unicast both addresses are the header's destination; for broadcast and multicast the first
            // is the interface's own address, the only one that can be replied from.
            arrival.local = Some(Ipv4Addr::from(field::<4>(data, 4)?).into());
            arrival.destination = Some(Ipv4Addr::from(field::<4>(data, 8)?).into());
        }
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            let destination = Ipv6Addr::from(field::<16>(data, 0)?);
            arrival.interface = u32::from_ne_bytes(field(data, 16)?);
            arrival.destination = Some(destination.into());
            if !destination.is_multicast() {
                arrival.local = Some(destination.into());
            }
        }
        (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
            let secs = u64::try_from(i64::from_ne_bytes(field(data, 0)?)).ok()?;
            let nanos = u64::try_from(i64::from_ne_bytes(field(data, 8)?)).ok()?;
            arrival.received = secs.checked_mul(1_000_000_000)?.checked_add(nanos);
        }
        (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
            arrival.dropped = Some(u32::from_ne_bytes(field(data, 0)?));
        }
        _ => {}
    }
    Some(())
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Appends to a buffer sized for the largest form; what would not fit is cut, which the sizes above rule out.
struct Writer<'a> {
    buffer: &'a mut [u8],
    written: usize,
}

impl<'a> Writer<'a> {
    fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, written: 0 }
    }

    fn put(&mut self, bytes: &[u8]) {
        if let Some(room) = self.buffer.get_mut(self.written..self.written.saturating_add(bytes.len())) {
            room.copy_from_slice(bytes);
            self.written += bytes.len();
        }
    }

    fn put_control_header(&mut self, level: i32, kind: i32, data_bytes: usize) {
        self.put(&(CONTROL_HEADER_BYTES + data_bytes).to_ne_bytes());
        self.put(&level.to_ne_bytes());
        self.put(&kind.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn control(parts: &[(i32, i32, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (level, kind, data) in parts {
            bytes.extend((CONTROL_HEADER_BYTES + data.len()).to_ne_bytes());
            bytes.extend(level.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(*data);
            bytes.resize(align(bytes.len()), 0);
        }
        bytes
    }

    #[test]
    fn addresses_read_back_as_written_with_port_flow_and_scope() {
        for text in ["192.0.2.7:1812", "[2001:db8::1]:547", "[fe80::1%3]:546"] {
            let address: SocketAddr = text.parse().unwrap();
            let mut name = [0xff; NAME_BYTES];
            let length = write_name(address, &mut name);
            assert_eq!(read_name(&name[..length]), Some(address));
            assert_eq!(read_name(&name[..length - 1]).is_some(), address.is_ipv4(), "cut: {text}");
        }
        assert_eq!(read_name(&[0; NAME_BYTES]), None);
    }

    #[test]
    fn a_broadcast_request_is_answered_from_the_interface_address() {
        let mut info = 4_u32.to_ne_bytes().to_vec();
        info.extend([10, 0, 0, 1, 255, 255, 255, 255]);
        let arrival = read_control(&control(&[(libc::IPPROTO_IP, libc::IP_PKTINFO, &info)]));
        assert_eq!(arrival.interface, 4);
        assert_eq!(arrival.local, Some("10.0.0.1".parse().unwrap()));
        assert_eq!(arrival.destination, Some("255.255.255.255".parse().unwrap()));
    }

    #[test]
    fn a_multicast_request_names_no_local_address() {
        let group: Ipv6Addr = "ff02::1:2".parse().unwrap();
        let mut info = group.octets().to_vec();
        info.extend(9_u32.to_ne_bytes());
        let arrival = read_control(&control(&[(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info)]));
        assert_eq!((arrival.local, arrival.interface), (None, 9));
        assert_eq!(arrival.destination, Some(group.into()));
    }

    #[test]
    fn unknown_control_messages_are_skipped_and_those_behind_them_read() {
        let mut time = 5_i64.to_ne_bytes().to_vec();
        time.extend(7_i64.to_ne_bytes());
        let bytes = control(&[
            (libc::SOL_SOCKET, 9999, &[1, 2, 3]),
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS, &time),
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL, &12_u32.to_ne_bytes()),
        ]);
        let arrival = read_control(&bytes);
        assert_eq!(arrival.received, Some(5_000_000_007));
        assert_eq!(arrival.dropped, Some(12));
    }

    #[test]
    fn only_an_address_that_can_be_a_source_is_asked_for() {
        let mut bytes = [0; SEND_CONTROL_BYTES];
        let to: SocketAddr = "[fe80::9%3]:546".parse().unwrap();
        let group: IpAddr = "ff02::1:2".parse().unwrap();
        let link = Envelope { to, from: group, interface: 3 };
        let length = write_control(&link, &mut bytes);
        let read = read_control(&bytes[..length]);
        assert_eq!(read.interface, 3);
        assert_eq!(read.destination, Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)));
        assert_eq!(write_control(&Envelope { interface: 0, ..link }, &mut bytes), 0);
        assert_eq!(write_control(&Envelope::to("192.0.2.1:67".parse().unwrap()), &mut bytes), 0);
    }

    proptest! {
        #[test]
        fn hostile_control_bytes_never_panic_or_loop(bytes in proptest::collection::vec(any::<u8>(), 0..160)) {
            read_control(&bytes);
            read_name(&bytes);
        }

        #[test]
        fn hostile_control_lengths_never_panic_or_loop(length in any::<usize>(), small in 0_usize..64) {
            for length in [length, small, usize::MAX - small] {
                let mut bytes = control(&[(1, 2, &[0; 40])]);
                bytes[..size_of::<usize>()].copy_from_slice(&length.to_ne_bytes());
                read_control(&bytes);
            }
        }
    }
}
