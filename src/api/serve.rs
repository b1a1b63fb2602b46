//! Listeners: HTTP/1.1 over TCP and over the Unix socket.
//!
//! Connections are bounded in number and in the time their request head may take, so that slow strangers cannot hold them
//! all. The sockets are opened elsewhere and handed in; closing them is stopping.

use std::future::Future;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower::ServiceExt;

use super::auth::Peer;
use crate::limits::{API_CONNECTIONS_MAX, API_HEAD_MS_MAX};

/// Time between two attempts to accept after the system refused one, in milliseconds.
const ACCEPT_AGAIN_MS: u64 = 100;

/// Who may connect, and until when.
#[derive(Clone, Debug)]
pub struct Connections {
    permits: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
}

impl Connections {
    /// Bounds for all listeners of one API; they end when `stop` becomes true.
    pub fn new(stop: watch::Receiver<bool>) -> Self {
        Self { permits: Arc::new(Semaphore::new(API_CONNECTIONS_MAX)), stop }
    }

    /// A place for one more connection; `None` when stopped first.
    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            () = self.stopped() => None,
            permit = Arc::clone(&self.permits).acquire_owned() => permit.ok(),
        }
    }

    /// Serves a connection on a task of its own.
    fn begin<S>(&self, stream: S, peer: Peer, router: Router, permit: OwnedSemaphorePermit)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stop = self.clone();
        tokio::spawn(async move {
            converse(stream, peer, router, stop.stopped()).await;
            drop(permit);
        });
    }

    /// Resolves when the API is to stop; a sender that is gone means the same.
    async fn stopped(&self) {
        let mut stop = self.stop.clone();
        let _ = stop.wait_for(|stop| *stop).await;
    }
}

/// Serves a TCP listener until stopped.
pub async fn tcp(listener: TcpListener, router: Router, connections: Connections) {
    while let Some(permit) = connections.permit().await {
        let accepted = tokio::select! {
            () = connections.stopped() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => connections.begin(stream, Peer::Tcp, router.clone(), permit),
            Err(_) => accept_again().await,
        }
    }
}

/// Serves a Unix socket until stopped; root and `owner` are operators.
pub async fn unix(listener: UnixListener, owner: u32, router: Router, connections: Connections) {
    while let Some(permit) = connections.permit().await {
        let accepted = tokio::select! {
            () = connections.stopped() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let peer = peer_of(&stream, owner);
                connections.begin(stream, peer, router.clone(), permit);
            }
            Err(_) => accept_again().await,
        }
    }
}

fn peer_of(stream: &UnixStream, owner: u32) -> Peer {
    match stream.peer_cred() {
        Ok(credentials) => {
            let uid = credentials.uid();
            Peer::Unix { uid, trusted: uid == 0 || uid == owner }
        }
        // Without the kernel's word the socket is worth no more than TCP.
        Err(_) => Peer::Tcp,
    }
}

/// No file descriptors left, most likely: those in use will come back.
async fn accept_again() {
    tokio::time::sleep(Duration::from_millis(ACCEPT_AGAIN_MS)).await;
}

/// Opens the Unix socket for its owner and group, in place of one that nobody answers. Returns it with the user who owns
/// it: the daemon's own.
pub fn bind_unix(path: &Path) -> io::Result<(UnixListener, u32)> {
    if let Err(error) = std::os::unix::net::UnixStream::connect(path) {
        // Refused: the file is what a daemon that crashed left behind.
        if error.kind() == io::ErrorKind::ConnectionRefused {
            std::fs::remove_file(path)?;
        }
    } else {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another daemon answers on this socket"));
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    let owner = std::fs::metadata(path)?.uid();
    Ok((listener, owner))
}

/// One connection: requests one after the other, until either side has enough.
async fn converse<S>(stream: S, peer: Peer, router: Router, stopped: impl Future<Output = ()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = router.map_request(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer);
        request.map(axum::body::Body::new)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(API_HEAD_MS_MAX))
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stopped => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}
