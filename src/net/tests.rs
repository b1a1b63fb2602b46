//! Batches on loopback sockets: what a datagram tells, where a reply leaves from, and what a refusal costs.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;

use super::{Datagram, Envelope, ListenOptions, RecvBatch, SendBatch, UdpListener, Unqueued};
use crate::limits::{DATAGRAM_BYTES_MAX, DATAGRAMS_PER_CALL_MAX};

fn bind(address: &str) -> UdpListener {
    let options = ListenOptions { timestamps: true, ..ListenOptions::default() };
    UdpListener::bind(address.parse().unwrap(), &options).unwrap()
}

fn put(bytes: &[u8]) -> impl FnOnce(&mut [u8]) -> Option<usize> + '_ {
    move |slot| {
        slot.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(bytes.len())
    }
}

fn envelope(to: SocketAddr, from: &str) -> Envelope {
    Envelope { to, from: from.parse().unwrap(), interface: 0 }
}

fn at(ip: &str, listener: &UdpListener) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), listener.local_addr().port())
}

/// One request to `ip`, one reply along `Datagram::reply`; returns the address the reply came from.
fn reply_source(wildcard: &str, client: &str, ip: &str) -> IpAddr {
    let (server, client) = (bind(wildcard), bind(client));
    let (mut requests, mut replies, mut batch) = (RecvBatch::new(), RecvBatch::new(), SendBatch::new());
    batch.push(Envelope::to(at(ip, &server)), put(b"request")).unwrap();
    assert_eq!(batch.flush(&client).sent, 1);
    assert_eq!(requests.recv(&server).unwrap(), 1);
    let request = requests.iter().next().unwrap();
    assert_eq!((request.source, request.bytes), (client.local_addr(), b"request".as_slice()));
    assert_eq!((request.local, request.destination), (ip.parse().unwrap(), ip.parse().unwrap()));
    assert!(request.interface > 0 && !request.truncated);
    assert!(request.received.unwrap() > 1_600_000_000_000_000_000);
    batch.push(request.reply(), put(b"reply")).unwrap();
    assert_eq!(batch.flush(&server).sent, 1);
    assert_eq!(replies.recv(&client).unwrap(), 1);
    let reply = replies.iter().next().unwrap();
    assert_eq!(reply.bytes, b"reply");
    reply.source.ip()
}

#[test]
fn an_ipv4_reply_leaves_from_the_address_the_request_came_to() {
    assert_eq!(reply_source("0.0.0.0:0", "127.0.0.1:0", "127.0.0.2"), IpAddr::from([127, 0, 0, 2]));
}

#[test]
fn an_ipv6_reply_leaves_from_the_address_the_request_came_to() {
    assert_eq!(reply_source("[::]:0", "[::1]:0", "::1"), "::1".parse::<IpAddr>().unwrap());
}

#[test]
fn the_messages_of_one_flush_leave_from_different_addresses() {
    let (server, client) = (bind("0.0.0.0:0"), bind("127.0.0.1:0"));
    let mut batch = SendBatch::new();
    for from in ["127.0.0.2", "127.0.0.3", "127.0.0.4"] {
        batch.push(envelope(client.local_addr(), from), put(from.as_bytes())).unwrap();
    }
    assert_eq!(batch.flush(&server).sent, 3);
    let mut replies = RecvBatch::new();
    assert_eq!(replies.recv(&client).unwrap(), 3);
    for reply in replies.iter() {
        assert_eq!(reply.source.ip().to_string().as_bytes(), reply.bytes);
    }
}

#[test]
fn a_reply_on_a_link_names_the_link() {
    let mut datagram = Datagram {
        source: "[fe80::9%3]:546".parse().unwrap(),
        local: "fe80::1".parse().unwrap(),
        destination: "ff02::1:2".parse().unwrap(),
        interface: 3,
        bytes: &[],
        truncated: false,
        received: None,
        dropped: None,
    };
    assert_eq!(datagram.reply().interface, 3);
    datagram.source = "[2001:db8::9]:547".parse().unwrap();
    assert_eq!(datagram.reply().interface, 0);
}

#[test]
fn a_datagram_longer_than_its_slot_is_marked_and_the_next_one_is_whole() {
    let (server, client) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let long = vec![7; DATAGRAM_BYTES_MAX + 1];
    let sender = std::net::UdpSocket::from(client.as_fd().try_clone_to_owned().unwrap());
    for bytes in [&long[..], &long[..DATAGRAM_BYTES_MAX], b"short"] {
        sender.send_to(bytes, server.local_addr()).unwrap();
    }
    let mut batch = RecvBatch::new();
    assert_eq!(batch.recv(&server).unwrap(), 3);
    let seen: Vec<_> = batch.iter().map(|datagram| (datagram.bytes.len(), datagram.truncated)).collect();
    assert_eq!(seen, [(DATAGRAM_BYTES_MAX, true), (DATAGRAM_BYTES_MAX, false), (5, false)]);
}

#[test]
fn refused_messages_are_counted_and_those_behind_them_are_sent() {
    let (server, client) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let nowhere = SocketAddr::new(client.local_addr().ip(), 0);
    let mut batch = SendBatch::new();
    batch.push(Envelope::to(nowhere), put(b"no port")).unwrap();
    batch.push(Envelope::to(client.local_addr()), put(b"one")).unwrap();
    batch.push(envelope(client.local_addr(), "198.51.100.1"), put(b"not our address")).unwrap();
    batch.push(Envelope::to("127.255.255.255:68".parse().unwrap()), put(b"broadcast")).unwrap();
    batch.push(Envelope::to(client.local_addr()), put(b"two")).unwrap();
    let sent = batch.flush(&server);
    assert_eq!((sent.sent, sent.failed), (2, 3));
    assert_eq!(sent.error.unwrap().kind(), io::ErrorKind::PermissionDenied);
    assert!(batch.is_empty());
    let mut replies = RecvBatch::new();
    assert_eq!(replies.recv(&client).unwrap(), 2);
    assert_eq!(replies.iter().map(|reply| reply.bytes).collect::<Vec<_>>(), [b"one", b"two"]);
}

#[test]
fn a_batch_takes_no_more_than_one_call_can_carry() {
    let (server, client) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let mut batch = SendBatch::new();
    for _ in 0..DATAGRAMS_PER_CALL_MAX {
        batch.push(Envelope::to(server.local_addr()), put(b"x")).unwrap();
    }
    assert!(batch.is_full());
    assert_eq!(batch.push(Envelope::to(server.local_addr()), put(b"x")), Err(Unqueued::Full));
    assert_eq!(batch.flush(&client).sent, DATAGRAMS_PER_CALL_MAX);
    assert_eq!(RecvBatch::new().recv(&server).unwrap(), DATAGRAMS_PER_CALL_MAX);
}

#[test]
fn a_writer_that_gives_up_or_overstates_queues_nothing() {
    let mut batch = SendBatch::new();
    let to = Envelope::to("127.0.0.1:9".parse().unwrap());
    assert_eq!(batch.push(to, |_| None), Err(Unqueued::Unwritten));
    assert_eq!(batch.push(to, |slot| Some(slot.len() + 1)), Err(Unqueued::Unwritten));
    assert!(batch.is_empty());
}

#[test]
fn an_empty_socket_yields_nothing_and_forgets_the_batch_before() {
    let (server, client) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let mut send = SendBatch::new();
    send.push(Envelope::to(server.local_addr()), put(b"x")).unwrap();
    send.flush(&client);
    let mut batch = RecvBatch::new();
    assert_eq!(batch.recv(&server).unwrap(), 1);
    assert_eq!(batch.recv(&server).unwrap(), 0);
    assert_eq!(batch.iter().len(), 0);
}

#[test]
fn an_overrun_receive_buffer_reports_how_much_it_dropped() {
    let options = ListenOptions { recv_buffer_bytes: Some(8192), ..ListenOptions::default() };
    let server = UdpListener::bind("127.0.0.1:0".parse().unwrap(), &options).unwrap();
    let client = bind("127.0.0.1:0");
    let mut send = SendBatch::new();
    let mut batch = RecvBatch::new();
    for _ in 0..DATAGRAMS_PER_CALL_MAX {
        send.push(Envelope::to(server.local_addr()), |_| Some(1024)).unwrap();
    }
    assert_eq!(send.flush(&client).sent, DATAGRAMS_PER_CALL_MAX);
    let kept = batch.recv(&server).unwrap();
    // The count travels with datagrams queued after the drop.
    send.push(Envelope::to(server.local_addr()), put(b"after")).unwrap();
    send.flush(&client);
    assert_eq!(batch.recv(&server).unwrap(), 1);
    let dropped = batch.iter().next().unwrap().dropped.unwrap();
    assert_eq!(dropped as usize + kept, DATAGRAMS_PER_CALL_MAX);
}

#[test]
fn messages_that_find_no_room_in_time_are_counted_as_failed() {
    // UDP on loopback never fills its send buffer; a local datagram pair does when nobody reads.
    let (near, _far) = std::os::unix::net::UnixDatagram::pair().unwrap();
    let mut batch = SendBatch::new();
    let mut sent = 0;
    let full = loop {
        while batch.push_to_peer(put(b"x")).is_ok() {}
        let outcome = batch.flush(&near);
        sent += outcome.sent;
        assert_eq!(outcome.sent + outcome.failed, DATAGRAMS_PER_CALL_MAX);
        if outcome.failed > 0 {
            break outcome;
        }
    };
    assert!(sent > 0);
    assert_eq!(full.error.unwrap().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn a_source_address_that_is_not_ours_is_refused_in_both_families() {
    for (ip, foreign) in [("127.0.0.1:0", "198.51.100.1"), ("[::1]:0", "2001:db8::1")] {
        let (server, client) = (bind(ip), bind(ip));
        let mut batch = SendBatch::new();
        batch.push(envelope(client.local_addr(), foreign), put(b"x")).unwrap();
        assert_eq!(batch.flush(&server).failed, 1, "{foreign}");
    }
}
