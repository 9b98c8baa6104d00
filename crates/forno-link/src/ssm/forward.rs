//! A port of a machine as a port of this computer: for `forno tunnel`, and for
//! the ssh client of Ansible, which knows addresses only.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{Dial, Error, ErrorKind};

/// Each is a session, or a program.
const CONNECTIONS: usize = 32;

/// How long a way may take to open. A session is asked for again and again until then.
const WITHIN: Duration = Duration::from_mins(2);

type Tell = Arc<dyn Fn(Error) + Send + Sync>;

/// Listens on loopback until it is dropped; its connections end with it.
#[derive(Debug)]
pub struct Forward {
    address: SocketAddr,
    _listening: DropGuard,
}

impl Forward {
    /// On that port of 127.0.0.1, or on a free one for 0. Every connection opens a
    /// way of its own; `tell` hears of those that fail.
    ///
    /// Must be called within a Tokio runtime.
    pub fn listen(
        to: impl Into<Dial>,
        port: u16,
        tell: impl Fn(Error) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let (to, over) = (to.into(), CancellationToken::new());
        let listening = over.clone().drop_guard();
        tokio::spawn(async move {
            tokio::select! {
                () = over.cancelled() => {}
                () = accept(listener, to, Arc::new(tell), &over) => {}
            }
        });
        Ok(Self {
            address,
            _listening: listening,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn accept(listener: TcpListener, to: Dial, tell: Tell, over: &CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let client = match listener.accept().await {
            Ok((client, _)) => client,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        let (to, tell, over) = (to.clone(), Arc::clone(&tell), over.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = over.cancelled() => {}
                result = carry(client, &to) => {
                    if let Err(kind) = result {
                        tell(Error::new(to.to_string(), kind));
                    }
                }
            }
            drop(place);
        });
    }
}

async fn carry(mut client: TcpStream, to: &Dial) -> Result<(), ErrorKind> {
    let _ = client.set_nodelay(true);
    let (mut stream, hangup) = tokio::select! {
        way = to.dial(WITHIN) => way?,
        () = left(&client) => return Ok(()),
    };
    let copied = copy_bidirectional(&mut client, &mut stream).await;
    tracing::debug!(?copied, peer = %to, "a forwarded connection is over");
    let heard = matches!(copied, Ok((_, back)) if back > 0);
    // Nothing also when it was the client who broke it off.
    hangup.fault(heard).map_or(Ok(()), Err)
}

/// When the client hangs up before it has said anything.
async fn left(client: &TcpStream) {
    match client.peek(&mut [0]).await {
        Ok(0) | Err(_) => {}
        Ok(_) => std::future::pending().await,
    }
}
