//! UDP listeners: bound with what the daemon needs to know about each datagram, or refused with advice.
//!
//! Opened once at start from the configured addresses. RFC 3493 §5.3 (an IPv6 wildcard does not take IPv4),
//! RFC 3542 §6.1 (packet information), RFC 2865 §3 (replies up to 4096 bytes may need fragments).
//!
//! Invariants: listeners never block; IPv6 ones never see IPv4, which has its own listener, so mapped addresses
//! do not occur; path MTU discovery is off. Nothing is received or sent here, and no capability is raised.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::batch::set_option;

/// How to open a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenOptions {
    /// Let several sockets share the address (SO_REUSEPORT); the kernel then spreads flows over them.
    pub reuse_port: bool,
    /// Receive buffer to ask for, in bytes; the kernel caps it at `net.core.rmem_max`. `None` keeps its default.
    pub recv_buffer_bytes: Option<usize>,
    /// Send buffer to ask for, in bytes; the kernel caps it at `net.core.wmem_max`. `None` keeps its default.
    pub send_buffer_bytes: Option<usize>,
    /// Allow sending to broadcast addresses: DHCP to clients without an address (RFC 2131 §4.1).
    pub broadcast: bool,
    /// Receive and send on this interface or VRF only (SO_BINDTODEVICE).
    pub bind_device: Option<String>,
    /// Have the kernel note when each datagram arrived (SO_TIMESTAMPNS).
    pub timestamps: bool,
}

/// A bound UDP socket that waits for nothing and tells the local address of each datagram.
#[derive(Debug)]
pub struct UdpListener {
    socket: Socket,
    local: SocketAddr,
}

impl UdpListener {
    /// Opens a listener on `address`; port 0 takes a free one.
    pub fn bind(address: SocketAddr, options: &ListenOptions) -> Result<Self, BindError> {
        let opened = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP));
        let socket = opened.map_err(|source| BindError::Option { address, option: "UDP", source })?;
        set_options(&socket, address, options)?;
        if let Some(device) = &options.bind_device {
            socket.bind_device(Some(device.as_bytes())).map_err(|source| BindError::Device {
                address,
                device: device.clone(),
                source,
            })?;
        }
        socket.bind(&SockAddr::from(address)).map_err(|source| BindError::at(address, source))?;
        let bound = socket.local_addr().map_err(|source| BindError::at(address, source))?;
        let local = bound.as_socket().unwrap_or(address);
        Ok(Self { socket, local })
    }

    /// The bound address, with the port the kernel chose when 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Bytes of receive buffer the kernel granted; below what was asked for when `net.core.rmem_max` is less.
    pub fn recv_buffer_bytes(&self) -> io::Result<usize> {
        // The kernel reports the double, counting its own bookkeeping (socket(7)).
        self.socket.recv_buffer_size().map(|bytes| bytes / 2)
    }
}

impl AsFd for UdpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another socket has the address.
    #[error(
        "cannot bind {address}: address in use; {} is running? ss -ulpn | grep :{}",
        likely_owner(*.address),
        .address.port()
    )]
    InUse {
        /// What was to be bound.
        address: SocketAddr,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A port below 1024 without the right to it.
    #[error("cannot bind {address}: permission denied; ports below 1024 need CAP_NET_BIND_SERVICE")]
    Denied {
        /// What was to be bound.
        address: SocketAddr,
        /// The kernel's answer.
        source: io::Error,
    },
    /// No interface has the address.
    #[error(
        "cannot bind {address}: no interface has this address; see `ip address show`, and start after the \
         network is up"
    )]
    NotLocal {
        /// What was to be bound.
        address: SocketAddr,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The interface or VRF does not exist or may not be used.
    #[error("cannot bind {address} to interface {device}: {source}; see `ip link show`")]
    Device {
        /// What was to be bound.
        address: SocketAddr,
        /// The interface asked for.
        device: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel lacks something a listener needs.
    #[error("cannot open a socket for {address}: {option}: {source}; is this kernel built with it?")]
    Option {
        /// What was to be bound.
        address: SocketAddr,
        /// The protocol or socket option refused.
        option: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot bind {address}: {source}")]
    Other {
        /// What was to be bound.
        address: SocketAddr,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl BindError {
    fn at(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { address, source },
            io::ErrorKind::PermissionDenied => Self::Denied { address, source },
            io::ErrorKind::AddrNotAvailable => Self::NotLocal { address, source },
            _ => Self::Other { address, source },
        }
    }
}

fn set_options(socket: &Socket, address: SocketAddr, options: &ListenOptions) -> Result<(), BindError> {
    let named = |option: &'static str, done: io::Result<()>| {
        done.map_err(|source| BindError::Option { address, option, source })
    };
    let flag = |option: &'static str, level: i32, name: i32, value: i32| {
        named(option, set_option(socket.as_fd(), level, name, value))
    };
    named("O_NONBLOCK", socket.set_nonblocking(true))?;
    if address.is_ipv6() {
        named("IPV6_V6ONLY", socket.set_only_v6(true))?;
        flag("IPV6_RECVPKTINFO", libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
        flag("IPV6_MTU_DISCOVER", libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DONT)?;
    } else {
        flag("IP_PKTINFO", libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
        // A long reply is fragmented on the way instead of lost: no peer resends a request because of an ICMP
        // message that a firewall ate.
        flag("IP_MTU_DISCOVER", libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT)?;
    }
    flag("SO_RXQ_OVFL", libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1)?;
    flag("SO_TIMESTAMPNS", libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, i32::from(options.timestamps))?;
    named("SO_REUSEPORT", socket.set_reuse_port(options.reuse_port))?;
    named("SO_BROADCAST", socket.set_broadcast(options.broadcast))?;
    if let Some(bytes) = options.recv_buffer_bytes {
        named("SO_RCVBUF", socket.set_recv_buffer_size(bytes))?;
    }
    if let Some(bytes) = options.send_buffer_bytes {
        named("SO_SNDBUF", socket.set_send_buffer_size(bytes))?;
    }
    Ok(())
}

fn likely_owner(address: SocketAddr) -> &'static str {
    match address.port() {
        1645 | 1646 | 1812 | 1813 | 3799 => "another RADIUS server",
        67 | 68 | 546 | 547 => "another DHCP server",
        _ => "another program",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_address_is_named_with_what_to_do() {
        let first = UdpListener::bind("127.0.0.1:0".parse().unwrap(), &ListenOptions::default()).unwrap();
        let error = UdpListener::bind(first.local_addr(), &ListenOptions::default()).unwrap_err();
        let port = first.local_addr().port();
        assert_eq!(
            error.to_string(),
            format!(
                "cannot bind 127.0.0.1:{port}: address in use; another program is running? ss -ulpn | grep :{port}"
            )
        );
    }

    #[test]
    fn the_likely_owner_of_a_taken_port_is_guessed_from_the_protocol() {
        let radius = BindError::at("0.0.0.0:1812".parse().unwrap(), io::ErrorKind::AddrInUse.into());
        assert!(
            radius.to_string().contains("0.0.0.0:1812: address in use; another RADIUS server is running?")
        );
        let dhcp = BindError::at("[::]:547".parse().unwrap(), io::ErrorKind::AddrInUse.into());
        assert!(dhcp.to_string().contains("another DHCP server is running? ss -ulpn | grep :547"));
    }

    #[test]
    fn an_address_that_no_interface_has_is_reported_as_such() {
        let error =
            UdpListener::bind("198.51.100.77:0".parse().unwrap(), &ListenOptions::default()).unwrap_err();
        assert!(matches!(error, BindError::NotLocal { .. }), "{error}");
    }

    #[test]
    fn an_unknown_interface_is_reported_by_name() {
        let options = ListenOptions { bind_device: Some("lm-none0".into()), ..ListenOptions::default() };
        let error = UdpListener::bind("127.0.0.1:0".parse().unwrap(), &options).unwrap_err();
        assert!(error.to_string().contains("to interface lm-none0"), "{error}");
    }

    #[test]
    fn sockets_that_share_a_port_are_allowed_when_both_ask_for_it() {
        let options = ListenOptions { reuse_port: true, ..ListenOptions::default() };
        let first = UdpListener::bind("127.0.0.1:0".parse().unwrap(), &options).unwrap();
        assert!(UdpListener::bind(first.local_addr(), &options).is_ok());
    }

    #[test]
    fn the_ipv6_wildcard_leaves_the_port_free_for_ipv4() {
        let options = ListenOptions::default();
        let six = UdpListener::bind("[::]:0".parse().unwrap(), &options).unwrap();
        let four = SocketAddr::new("0.0.0.0".parse().unwrap(), six.local_addr().port());
        assert!(UdpListener::bind(four, &options).is_ok());
    }

    #[test]
    fn the_receive_buffer_granted_can_be_compared_with_the_one_asked_for() {
        let options = ListenOptions { recv_buffer_bytes: Some(65_536), ..ListenOptions::default() };
        let listener = UdpListener::bind("127.0.0.1:0".parse().unwrap(), &options).unwrap();
        assert_eq!(listener.recv_buffer_bytes().unwrap(), 65_536);
    }
}
