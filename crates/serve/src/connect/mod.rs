//! SOCKETS: accepts connections, as many as are allowed, over TLS if there is a certificate, and speaks
//! HTTP/1.1 on each, or HTTP/2 for gRPC.

mod body;
#[cfg(feature = "grpc")]
mod frames;
mod linger;
mod pulse;
#[cfg(feature = "grpc")]
mod streams;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::config::Listen;
use crate::handle;
use crate::schedule::Client;
use crate::state::{Phase, Server};
pub(crate) use body::{Answer, read};
#[cfg(feature = "grpc")]
pub(crate) use frames::Content;
use linger::{Lent, SHORT_SILENCE, linger};
use pulse::{Pulse, Watched};

/// How long a connection without a request stays open once the server drains. A request that was on its way
/// gets an answer then, and not a closed connection.
const DRAIN_REST: Duration = Duration::from_millis(500);

/// How long a connection without a request stays open while others wait for a place.
const FULL_REST: Duration = Duration::from_secs(1);

/// The most bytes of a request's head.
const HEAD_BYTES: usize = 64 << 10;

/// The number of connections of the address that answers for health only.
pub(crate) const HEALTH_CONNECTIONS: usize = 64;

/// What is asked of a place to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Everything,
    Health,
    #[cfg(feature = "grpc")]
    Grpc,
}

/// A place where connections arrive.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener, std::path::PathBuf),
}

impl Listener {
    /// Takes the address.
    ///
    /// # Errors
    /// Those of the system, such as an address that is in use.
    pub(crate) async fn bind(listen: &Listen) -> io::Result<Self> {
        match listen {
            Listen::Tcp(address) => TcpListener::bind(address).await.map(Self::Tcp),
            #[cfg(unix)]
            Listen::Unix(path) => {
                // A socket file outlives the process that made it. Nobody listens there if nobody answers.
                if is_left_over(path) {
                    std::fs::remove_file(path)?;
                }
                Ok(Self::Unix(tokio::net::UnixListener::bind(path)?, path.clone()))
            }
            #[cfg(not(unix))]
            Listen::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Returns the address in the form of the settings.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::Tcp(listener) => listener.local_addr().map_or_else(|e| e.to_string(), |a| a.to_string()),
            #[cfg(unix)]
            Self::Unix(_, path) => format!("unix:{}", path.display()),
        }
    }
}

#[cfg(unix)]
impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            // It may be gone already.
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(unix)]
fn is_left_over(path: &std::path::Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
        && std::os::unix::net::UnixStream::connect(path).is_err()
}

/// The places of connections, which several addresses may share.
#[derive(Debug)]
pub(crate) struct Places {
    free: Arc<Semaphore>,
    all: usize,
    /// The number of connections that were accepted and wait for a place.
    waiting: watch::Sender<usize>,
}

impl Places {
    pub(crate) fn new(all: usize) -> Arc<Self> {
        Arc::new(Self { free: Arc::new(Semaphore::new(all)), all, waiting: watch::Sender::new(0) })
    }

    /// Takes a place, and lets those that rest know that one is wanted while there is none.
    async fn take(&self) -> Option<OwnedSemaphorePermit> {
        struct Waits<'a>(&'a watch::Sender<usize>);
        impl Drop for Waits<'_> {
            fn drop(&mut self) {
                self.0.send_modify(|waiting| *waiting -= 1);
            }
        }
        if let Ok(place) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(place);
        }
        self.waiting.send_modify(|waiting| *waiting += 1);
        let _waits = Waits(&self.waiting);
        // The semaphore is never closed.
        Arc::clone(&self.free).acquire_owned().await.ok()
    }

    /// Waits until no connection is open.
    pub(crate) async fn all_free(&self) {
        let all = u32::try_from(self.all).unwrap_or(u32::MAX);
        drop(self.free.acquire_many(all).await);
    }
}

/// Accepts connections until the server drains. One that was accepted waits for a place, and those behind it
/// wait to be accepted. All places are free again once the last connection is closed.
pub(crate) async fn accept(listener: Listener, server: Arc<Server>, places: Arc<Places>, purpose: Purpose) {
    let mut phases = server.phases();
    loop {
        let accepted = async {
            let stream: io::Result<(Box<dyn Stream>, Client)> = match &listener {
                Listener::Tcp(listener) => listener.accept().await.map(|(stream, peer)| {
                    // Answers are written whole, so waiting for more to send only costs time.
                    let _ = stream.set_nodelay(true);
                    (Box::new(stream) as Box<dyn Stream>, Client::of(peer.ip()))
                }),
                #[cfg(unix)]
                Listener::Unix(listener, _) => listener
                    .accept()
                    .await
                    .map(|(stream, _)| (Box::new(stream) as Box<dyn Stream>, Client::Local)),
            };
            match stream {
                Ok((stream, client)) => places.take().await.map(|place| Some((place, stream, client))),
                // A client has gone, or no descriptor is left: the loop must not spin.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    Some(None)
                }
            }
        };
        // Only health goes on to be answered to the end.
        let until = async {
            match purpose {
                Purpose::Health => std::future::pending().await,
                _ => drop(phases.wait_for(|phase| *phase == Phase::Draining).await),
            }
        };
        let accepted = tokio::select! {
            biased;
            accepted = accepted => accepted,
            () = until => return,
        };
        match accepted {
            Some(Some((place, stream, client))) => {
                let (server, waiting) = (Arc::clone(&server), places.waiting.subscribe());
                tokio::spawn(async move {
                    let _counted = Counted::new(&server, place);
                    let Some(stream) = secured(stream, &server, purpose).await else { return };
                    match purpose {
                        #[cfg(feature = "grpc")]
                        Purpose::Grpc => streams::connection(stream, client, &server, waiting).await,
                        _ => connection(stream, client, &server, purpose, waiting).await,
                    }
                });
            }
            Some(None) => {}
            None => return,
        }
    }
}

/// Counts a connection, and keeps its place, until it is closed in whatever way.
struct Counted(Arc<Server>, #[expect(dead_code, reason = "it is held and not read")] OwnedSemaphorePermit);

impl Counted {
    fn new(server: &Arc<Server>, place: OwnedSemaphorePermit) -> Self {
        server.metrics.connections.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(server), place)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.metrics.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream of bytes in both directions.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Agrees on a secret with the client, within the time for a head. The result is `None` if that fails.
/// Without a certificate, and for health only, bytes travel as they are.
#[cfg(feature = "tls")]
async fn secured(stream: Box<dyn Stream>, server: &Server, purpose: Purpose) -> Option<Box<dyn Stream>> {
    use crate::tls::Protocol;
    let protocol = match purpose {
        Purpose::Health => return Some(stream),
        Purpose::Everything => Protocol::Http,
        #[cfg(feature = "grpc")]
        Purpose::Grpc => Protocol::Grpc,
    };
    let Some(tls) = &server.tls else { return Some(stream) };
    let handshake = tls.acceptor(protocol).accept(stream);
    match tokio::time::timeout(server.config.header_timeout, handshake).await {
        Ok(Ok(stream)) => Some(Box::new(stream)),
        // Whoever speaks no TLS, or no version of it that is safe, has been told so.
        Ok(Err(_)) | Err(_) => {
            server.metrics.handshake_failed();
            None
        }
    }
}

#[cfg(not(feature = "tls"))]
async fn secured(stream: Box<dyn Stream>, _: &Server, _: Purpose) -> Option<Box<dyn Stream>> {
    Some(stream)
}

/// Answers the requests of one connection until it is closed by either side.
async fn connection(
    stream: Box<dyn Stream>,
    client: Client,
    server: &Arc<Server>,
    purpose: Purpose,
    waiting: watch::Receiver<usize>,
) {
    let (stream, returned) = Lent::new(stream);
    if speak(stream, client, server, purpose, waiting.clone()).await {
        linger(returned, server, waiting, (SHORT_SILENCE, server.config.body_timeout), usize::MAX).await;
    }
}

/// Answers the requests of one connection. Returns true if it ended by itself while its client may still be
/// sending a body that nobody reads.
async fn speak(
    stream: Lent,
    client: Client,
    server: &Arc<Server>,
    purpose: Purpose,
    mut waiting: watch::Receiver<usize>,
) -> bool {
    let pulse = Arc::new(Pulse::new(Instant::now()));
    let service = {
        let (server, pulse) = (Arc::clone(server), Arc::clone(&pulse));
        service_fn(move |request| {
            let busy = Pulse::begin(&pulse);
            let server = Arc::clone(&server);
            async move {
                let response = handle::handle(&server, client, purpose, request).await;
                Ok::<_, Infallible>(response.map(|body| body.holding(busy)))
            }
        })
    };
    let connection = http1::Builder::new()
        .max_buf_size(HEAD_BYTES)
        .pipeline_flush(false)
        .serve_connection(TokioIo::new(Watched::new(stream, Arc::clone(&pulse))), service);
    tokio::pin!(connection);
    let mut phases = server.phases();
    let may_drain = purpose == Purpose::Everything;
    let (mut drains, mut accepts) = (false, true);
    loop {
        let config = &server.config;
        let rest = match drains {
            true => DRAIN_REST,
            false if *waiting.borrow_and_update() > 0 => config.idle_timeout.min(FULL_REST),
            false => config.idle_timeout,
        };
        let end = pulse.end(rest, config.header_timeout, config.body_timeout);
        let sleep = async {
            match end {
                Some(end) => tokio::time::sleep_until(end.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = &mut connection => return pulse.has_unread(),
            () = sleep => {
                // It may have moved on since the time was read.
                let end = pulse.end(rest, config.header_timeout, config.body_timeout);
                if end.is_some_and(|end| end <= Instant::now()) {
                    return false;
                }
            }
            () = pulse.changed() => {}
            // The other end is dropped once the server has stopped.
            changed = waiting.changed(), if accepts => accepts = changed.is_ok(),
            _ = phases.wait_for(|phase| *phase == Phase::Draining), if may_drain && !drains => {
                drains = true;
                pulse.restart_rest();
            }
        }
    }
}
