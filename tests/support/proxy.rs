//! A TCP proxy between a daemon and its database whose fault the test chooses: refuses, answers late, or swallows.

#![expect(clippy::unwrap_used, reason = "a proxy that cannot listen is a failed test")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// What becomes of connections, those that exist included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// None: bytes pass.
    None,
    /// Connections are closed as soon as they are made.
    Refuse,
    /// Connections are taken and bytes are swallowed: nobody ever answers.
    BlackHole,
    /// Bytes towards the client wait so long.
    Late(Duration),
}

struct State {
    fault: Mutex<(Fault, Vec<TcpStream>)>,
    changed: Condvar,
}

/// A proxy on a loopback port of its own.
pub(crate) struct Proxy {
    state: Arc<State>,
    address: SocketAddr,
}

impl Proxy {
    /// Starts a proxy to a port on loopback, without a fault.
    #[expect(clippy::disallowed_methods, reason = "a test's proxy opens sockets of its own")]
    pub(crate) fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State { fault: Mutex::new((Fault::None, Vec::new())), changed: Condvar::new() });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                shared.take(client, port);
            }
        });
        Self { state, address }
    }

    /// The port to connect to.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on this fault. Connections of before end with `Refuse`, and with the end of any other fault.
    pub(crate) fn set(&self, fault: Fault) {
        let mut state = self.state.fault.lock().unwrap();
        if fault == Fault::Refuse || fault == Fault::None {
            for connection in state.1.drain(..) {
                let _ = connection.shutdown(Shutdown::Both);
            }
        }
        state.0 = fault;
        self.state.changed.notify_all();
    }
}

impl State {
    fn take(self: &Arc<Self>, client: TcpStream, port: u16) {
        let mut state = self.fault.lock().unwrap();
        if state.0 == Fault::Refuse {
            return;
        }
        let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { return };
        state.1.extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
        for (from, to, answers) in
            [(client.try_clone().unwrap(), server.try_clone().unwrap(), false), (server, client, true)]
        {
            let state = Arc::clone(self);
            std::thread::spawn(move || state.pass(from, to, answers));
        }
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream, answers: bool) {
        let mut buffer = vec![0; 65_536];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let fault = self.fault.lock().unwrap().0;
            match fault {
                Fault::BlackHole => continue,
                Fault::Late(delay) if answers => {
                    // Ends early when the fault does.
                    let state = self.fault.lock().unwrap();
                    let _ = self.changed.wait_timeout_while(state, delay, |now| now.0 == fault);
                }
                Fault::None | Fault::Refuse | Fault::Late(_) => {}
            }
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}
