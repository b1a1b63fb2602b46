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
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
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

    /// Resolves when the API is to stop; a sender that is gone means the same.
    async fn stopped(&self) {
        let mut stop = self.stop.clone();
        let _ = stop.wait_for(|stop| *stop).await;
    }
}

/// Serves a TCP listener until stopped.
pub async fn tcp(listener: TcpListener, router: Router, connections: Connections) {
    accept(listener, router, connections).await;
}

/// Serves a Unix socket until stopped; root and `owner` are operators.
pub async fn unix(listener: UnixListener, owner: u32, router: Router, connections: Connections) {
    accept(LocalListener { listener, owner }, router, connections).await;
}

/// Where connections come from.
trait Listener {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn next(&self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<(TcpStream, Peer)> {
        let (stream, _) = self.accept().await?;
        Ok((stream, Peer::Tcp))
    }
}

struct LocalListener {
    listener: UnixListener,
    owner: u32,
}

impl Listener for LocalListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<(UnixStream, Peer)> {
        let (stream, _) = self.listener.accept().await?;
        // Without the kernel's word the socket is worth no more than TCP.
        let peer = stream.peer_cred().map_or(Peer::Tcp, |credentials| {
            let uid = credentials.uid();
            Peer::Unix { uid, trusted: uid == 0 || uid == self.owner }
        });
        Ok((stream, peer))
    }
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

async fn accept(listener: impl Listener, router: Router, connections: Connections) {
    loop {
        let accepted = async {
            let permit = Arc::clone(&connections.permits).acquire_owned().await;
            (permit, listener.next().await)
        };
        let (permit, accepted) = tokio::select! {
            () = connections.stopped() => return,
            accepted = accepted => accepted,
        };
        let (Ok(permit), Ok((stream, peer))) = (permit, accepted) else {
            // No file descriptors left, most likely: those in use will come back.
            tokio::time::sleep(Duration::from_millis(ACCEPT_AGAIN_MS)).await;
            continue;
        };
        let (router, stop) = (router.clone(), connections.clone());
        tokio::spawn(async move {
            converse(stream, peer, router, stop.stopped()).await;
            drop(permit);
        });
    }
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
