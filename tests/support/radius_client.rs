//! A NAS of the test's own: one socket, one secret, requests one at a time, each repeated until it is answered.

#![expect(clippy::unwrap_used, reason = "a client that cannot send is a failed test")]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use lastmile::ids::{Entropy, SeededEntropy};
use lastmile::radius::wire::attribute::kind;
use lastmile::radius::wire::encode::{PacketWriter, Signing};
use lastmile::radius::wire::integrity::SharedKey;
use lastmile::radius::wire::packet::{Code, Packet};
use lastmile::secret::Secret;

/// What an accounting request reports.
pub(crate) const START: u32 = 1;
pub(crate) const STOP: u32 = 2;
pub(crate) const INTERIM: u32 = 3;

/// What the tests read of an Access-Accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Accept {
    /// Framed-IP-Address.
    pub(crate) address: Option<Ipv4Addr>,
    /// Class.
    pub(crate) class: Vec<u8>,
}

/// An answer to a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Login {
    Accept(Accept),
    Reject,
}

/// One event of one session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Event {
    pub(crate) status: u32,
    pub(crate) session: String,
    pub(crate) login: String,
    pub(crate) class: Vec<u8>,
    pub(crate) address: Option<Ipv4Addr>,
    pub(crate) seconds: u32,
    pub(crate) octets: u32,
    pub(crate) delay: Option<u32>,
}

/// A NAS.
pub(crate) struct Nas {
    socket: UdpSocket,
    key: SharedKey,
    entropy: SeededEntropy,
    identifier: u8,
    /// How long an answer is waited for before the request is sent again.
    pub(crate) retry: Duration,
    /// How often a request is sent.
    pub(crate) tries: usize,
    /// Whether logins carry Message-Authenticator.
    pub(crate) signing: Signing,
}

impl Nas {
    /// A NAS at this loopback address. Its random numbers come from `seed`: no two clients of one daemon share one.
    #[expect(clippy::disallowed_methods, reason = "a test's client opens a socket of its own")]
    pub(crate) fn at(address: Ipv4Addr, secret: &str, seed: u64) -> Self {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        let key = SharedKey::new(Secret::new(secret.as_bytes()));
        let entropy = SeededEntropy::new(seed);
        Self {
            socket,
            key,
            entropy,
            identifier: 0,
            retry: Duration::from_millis(500),
            tries: 20,
            signing: Signing::First,
        }
    }

    /// Sends a request once more than it failed to be answered, to where `target` then says, and gives the answer that
    /// verifies.
    pub(crate) fn exchange(&self, request: &[u8], target: &dyn Fn() -> SocketAddr) -> Option<Vec<u8>> {
        let asked = Packet::parse(request).unwrap();
        let mut buffer = [0; 4096];
        self.socket.set_read_timeout(Some(self.retry)).unwrap();
        for _ in 0..self.tries {
            self.socket.send_to(request, target()).unwrap();
            while let Ok(length) = self.socket.recv(&mut buffer) {
                let Ok(answer) = Packet::parse(&buffer[..length]) else { continue };
                let fits = answer.identifier() == asked.identifier()
                    && self.key.verify_response(&answer, asked.authenticator()).is_ok();
                if fits {
                    return Some(buffer[..length].to_vec());
                }
            }
        }
        None
    }

    /// Sends a request without waiting for an answer.
    pub(crate) fn send(&self, request: &[u8], target: SocketAddr) {
        self.socket.send_to(request, target).unwrap();
    }

    fn next_identifier(&mut self) -> u8 {
        self.identifier = self.identifier.wrapping_add(1);
        self.identifier
    }

    /// A PPP login by password, as bytes to send.
    pub(crate) fn access_request(&mut self, login: &str, password: &str) -> Vec<u8> {
        let mut authenticator = [0; 16];
        self.entropy.fill(&mut authenticator);
        let identifier = self.next_identifier();
        let mut bytes = [0; 4096];
        let mut writer =
            PacketWriter::access_request(&mut bytes, identifier, authenticator, self.signing).unwrap();
        writer.text(kind::USER_NAME, login).unwrap();
        writer.u32(kind::SERVICE_TYPE, 2).unwrap();
        writer.u32(kind::FRAMED_PROTOCOL, 1).unwrap();
        writer.text(kind::NAS_PORT_ID, &format!("port of {login}")).unwrap();
        writer.user_password(&self.key, &Secret::new(password.as_bytes())).unwrap();
        writer.finish(&self.key).unwrap().to_vec()
    }

    /// Logs in; none when nobody answers.
    pub(crate) fn login(
        &mut self,
        target: &dyn Fn() -> SocketAddr,
        login: &str,
        password: &str,
    ) -> Option<Login> {
        let request = self.access_request(login, password);
        let answer = self.exchange(&request, target)?;
        Some(read_login(&answer))
    }

    /// An accounting request as bytes to send.
    pub(crate) fn accounting_request(&mut self, event: &Event) -> Vec<u8> {
        let identifier = self.next_identifier();
        let mut bytes = [0; 4096];
        let mut writer =
            PacketWriter::request(&mut bytes, Code::ACCOUNTING_REQUEST, identifier, Signing::Omitted)
                .unwrap();
        writer.u32(kind::ACCT_STATUS_TYPE, event.status).unwrap();
        writer.text(kind::USER_NAME, &event.login).unwrap();
        writer.u32(kind::SERVICE_TYPE, 2).unwrap();
        writer.u32(kind::FRAMED_PROTOCOL, 1).unwrap();
        writer.text(kind::NAS_PORT_ID, &format!("port of {}", event.login)).unwrap();
        writer.text(kind::ACCT_SESSION_ID, &event.session).unwrap();
        if !event.class.is_empty() {
            writer.raw(kind::CLASS, &event.class).unwrap();
        }
        if let Some(address) = event.address {
            writer.ipv4(kind::FRAMED_IP_ADDRESS, address).unwrap();
        }
        if event.status != START {
            writer.u32(kind::ACCT_SESSION_TIME, event.seconds).unwrap();
            writer.u32(kind::ACCT_INPUT_OCTETS, event.octets).unwrap();
            writer.u32(kind::ACCT_OUTPUT_OCTETS, event.octets.wrapping_mul(2)).unwrap();
        }
        if let Some(delay) = event.delay {
            writer.u32(kind::ACCT_DELAY_TIME, delay).unwrap();
        }
        writer.finish(&self.key).unwrap().to_vec()
    }

    /// Reports an event; whether it was acknowledged.
    pub(crate) fn account(&mut self, target: &dyn Fn() -> SocketAddr, event: &Event) -> bool {
        let request = self.accounting_request(event);
        self.exchange(&request, target).is_some()
    }
}

/// What an answer to an Access-Request says.
pub(crate) fn read_login(answer: &[u8]) -> Login {
    let packet = Packet::parse(answer).unwrap();
    match packet.code() {
        Code::ACCESS_ACCEPT => Login::Accept(Accept {
            address: packet.find(kind::FRAMED_IP_ADDRESS).map(|attribute| attribute.ipv4().unwrap()),
            class: packet.find(kind::CLASS).map(|attribute| attribute.value.to_vec()).unwrap_or_default(),
        }),
        Code::ACCESS_REJECT => Login::Reject,
        other => panic!("{other} is no answer to a login"),
    }
}

impl Login {
    /// The Accept; fails when it is a Reject.
    pub(crate) fn accept(self) -> Accept {
        match self {
            Self::Accept(accept) => accept,
            Self::Reject => panic!("the login was rejected"),
        }
    }
}
