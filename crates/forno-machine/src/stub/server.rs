//! The SSH server of a stub.

use std::sync::Arc;
use std::time::Duration;

use russh::keys::PublicKey;
use russh::server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, MethodKind, MethodSet};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::command;
use super::metadata::Identity;
use super::scratch::Scratch;
use super::script::Inside;

/// How long a command may hold up a stub that goes down: one whose client is gone, or reads
/// nothing any more, would do so for ever.
const LINGER: Duration = Duration::from_secs(2);

/// What the connections of one boot share.
#[derive(Debug, Clone)]
struct Context {
    authorized: Arc<Vec<PublicKey>>,
    scratch: Scratch,
    /// A command has ended; it may have asked something of the machine.
    command_ended: mpsc::UnboundedSender<()>,
    down: CancellationToken,
    commands: TaskTracker,
}

/// Serves until `inside.down` is cancelled, and then until no command is left.
pub(super) async fn serve(listener: Arc<TcpListener>, identity: &Identity, inside: Inside) {
    let Inside {
        scratch,
        command_ended,
        down,
        commands,
    } = inside;
    let config = Arc::new(Config {
        keys: vec![identity.host_key.clone()],
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        auth_rejection_time: Duration::from_millis(200),
        auth_rejection_time_initial: Some(Duration::ZERO),
        nodelay: true,
        ..Config::default()
    });
    let context = Context {
        authorized: Arc::new(identity.authorized.clone()),
        scratch,
        command_ended,
        down: down.clone(),
        commands,
    };
    loop {
        tokio::select! {
            () = down.cancelled() => break,
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    tokio::spawn(connection(Arc::clone(&config), stream, context.clone()));
                }
            }
        }
    }
    context.commands.close();
    context.commands.wait().await;
}

async fn connection(config: Arc<Config>, stream: TcpStream, context: Context) {
    drop(stream.set_nodelay(true));
    let down = context.down.clone();
    let session = Connection { context };
    let served = async {
        match russh::server::run_stream(config, stream, session).await {
            Ok(running) => {
                let handle = running.handle();
                tokio::select! {
                    result = running => {
                        if let Err(error) = result {
                            tracing::debug!(%error, "a session of a stub broke off");
                        }
                    }
                    () = down.cancelled() => {
                        let goodbye = handle.disconnect(
                            russh::Disconnect::ByApplication,
                            "the stub goes down".to_owned(),
                            String::new(),
                        );
                        drop(goodbye.await);
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "no session with a stub"),
        }
    };
    served.await;
}

/// Until a command has had its time to end after the stub went down.
async fn lingered(down: &CancellationToken) {
    down.cancelled().await;
    tokio::time::sleep(LINGER).await;
}

struct Connection {
    context: Context,
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        let known = self
            .context
            .authorized
            .iter()
            .any(|authorized| authorized.key_data() == key.public_key.key_data());
        // Root is let in with nothing but advice on a cloud image.
        Ok(if known && user != "root" {
            Auth::Accept
        } else {
            Auth::reject()
        })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        let context = self.context.clone();
        let handle = session.handle();
        self.context.commands.spawn(async move {
            let down = context.down.clone();
            tokio::select! {
                () = command::serve(channel, context.scratch, handle, context.down) => {}
                // Dropped, its processes are killed.
                () = lingered(&down) => {}
            }
            // The machine may be gone already.
            let _ = context.command_ended.send(());
        });
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        _value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)
    }

    async fn shell_request(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }
}
