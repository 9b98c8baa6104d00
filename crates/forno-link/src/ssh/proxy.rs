//! A program whose standard input and output are the connection, as OpenSSH's
//! ProxyCommand has it: through a bastion, a SOCKS or an HTTP proxy, whatever the
//! program can do with the person's own keys, agent and settings.

use std::net::SocketAddr;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, Join, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::ErrorKind;

/// How much of what it says is kept: the end of it.
const TAIL: usize = 1024;

/// How long its last words are waited for once it has closed its output. Something that
/// it left in the background may hold them open for ever.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How long it may take to end when it is told to.
const GRACE: Duration = Duration::from_secs(1);

/// What OpenSSH says when trying again is of no use.
const FINAL: [&str; 4] = [
    "Permission denied",
    "Host key verification failed",
    "Could not resolve hostname",
    "Bad configuration option",
];

/// A program, and what it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyCommand {
    words: Vec<String>,
    to: SocketAddr,
}

impl ProxyCommand {
    /// Of program and arguments, in which `%h` stands for the machine's address, `%p` for
    /// its port and `%%` for a percent sign. No shell has a part in it.
    pub fn new(words: &[String], to: SocketAddr) -> Self {
        Self {
            words: words.iter().map(|word| filled(word, to)).collect(),
            to,
        }
    }

    pub(super) fn to(&self) -> SocketAddr {
        self.to
    }

    pub(super) fn program(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// Starts it. It is in a process group of its own: what a terminal sends to forno is
    /// not for it, because the machine is still needed then.
    pub(super) fn open(&self) -> Result<(ProxyStream, Proxy), ErrorKind> {
        let mut child = tokio::process::Command::new(self.program())
            .args(self.words.iter().skip(1))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| ErrorKind::Local {
                what: format!("cannot start `{}`", self.program()),
                error,
            })?;
        let (Some(input), Some(output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(ErrorKind::Handshake("it has no pipes".into()));
        };
        let said = Arc::new(Mutex::new(Vec::new()));
        let listening = tokio::spawn(listen(errors, Arc::clone(&said)));
        let over = CancellationToken::new();
        tokio::spawn(mind(child, over.clone()));
        let output = ProxyOutput {
            output,
            last_words: Box::pin(async move {
                let _ = timeout(LAST_WORDS, listening).await;
            }),
        };
        let proxy = Proxy {
            program: self.program().to_owned(),
            said,
            _over: over.drop_guard(),
        };
        Ok((tokio::io::join(output, input), proxy))
    }
}

fn filled(word: &str, to: SocketAddr) -> String {
    let mut text = String::new();
    let mut rest = word.chars();
    while let Some(c) = rest.next() {
        match (c, rest.clone().next()) {
            ('%', Some(which @ ('h' | 'p' | '%'))) => {
                rest.next();
                match which {
                    'h' => text.push_str(&to.ip().to_string()),
                    'p' => text.push_str(&to.port().to_string()),
                    _ => text.push('%'),
                }
            }
            _ => text.push(c),
        }
    }
    text
}

async fn listen(mut errors: ChildStderr, said: Arc<Mutex<Vec<u8>>>) {
    let mut buffer = [0; 512];
    while let Ok(read @ 1..) = errors.read(&mut buffer).await {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        said.extend_from_slice(&buffer[..read]);
        let excess = said.len().saturating_sub(TAIL);
        said.drain(..excess);
    }
}

/// Until it has ended, or has to.
async fn mind(mut child: Child, over: CancellationToken) {
    let group = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    tokio::select! {
        _ = child.wait() => return,
        () = over.cancelled() => {}
    }
    let signal = |signal| group.map(|group| kill_process_group(group, signal));
    signal(Signal::TERM);
    if timeout(GRACE, child.wait()).await.is_err() {
        signal(Signal::KILL);
        let _ = child.wait().await;
    }
}

/// One that runs; ended when this is dropped.
pub(super) struct Proxy {
    program: String,
    said: Arc<Mutex<Vec<u8>>>,
    _over: DropGuard,
}

impl Proxy {
    /// What it has said of its troubles, if anything.
    pub(super) fn reason(&self) -> Option<ErrorKind> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let said = String::from_utf8_lossy(&said).trim().replace("\r\n", "\n");
        (!said.is_empty()).then(|| ErrorKind::Proxy {
            program: self.program.clone(),
            is_final: FINAL.iter().any(|words| said.contains(words)),
            said,
        })
    }
}

/// Its output is read, its input is written.
pub(crate) type ProxyStream = Join<ProxyOutput, ChildStdin>;

/// What it says on its standard output. The end comes after its last words on the other, so
/// that they can be told.
pub(crate) struct ProxyOutput {
    output: ChildStdout,
    last_words: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
}

impl AsyncRead for ProxyOutput {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.output).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) if buffer.filled().len() == before => {
                self.last_words.as_mut().poll(cx).map(Ok)
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_filled_in() {
        let words = ["nc", "-x", "proxy:1080", "%h", "%p", "100%%", "%x%", "%"].map(str::to_owned);
        let command = ProxyCommand::new(&words, "10.0.0.7:2222".parse().unwrap());
        assert_eq!(
            command.words,
            [
                "nc",
                "-x",
                "proxy:1080",
                "10.0.0.7",
                "2222",
                "100%",
                "%x%",
                "%"
            ]
        );
        assert_eq!(command.program(), "nc");
    }

    #[tokio::test]
    async fn its_last_words_are_the_reason() {
        let command = |script: &str| {
            ProxyCommand::new(
                &["sh", "-c", script].map(str::to_owned),
                "127.0.0.1:22".parse().unwrap(),
            )
        };
        for (script, is_final) in [
            (
                "echo 'ops@bastion: Permission denied (publickey).' >&2",
                true,
            ),
            (
                "echo 'channel 0: open failed: Connection refused' >&2; exit 1",
                false,
            ),
        ] {
            let (mut stream, proxy) = command(script).open().unwrap();
            let mut read = Vec::new();
            stream.read_to_end(&mut read).await.unwrap();
            let reason = proxy.reason().unwrap();
            assert_eq!(reason.may_pass(), !is_final, "{reason}");
            assert!(script.contains(&reason.to_string().split_once(": ").unwrap().1[..20]));
        }
        let (_, quiet) = command("exit 1").open().unwrap();
        assert!(quiet.reason().is_none());
        let missing = ProxyCommand::new(
            &["no-such-program".to_owned()],
            "127.0.0.1:22".parse().unwrap(),
        );
        let error = missing.open().err().unwrap();
        assert!(!error.may_pass(), "{error}");
    }

    #[tokio::test]
    async fn it_ends_when_nobody_needs_it_any_more() {
        let words = ["sh", "-c", "sleep 600 & echo $$; wait"].map(str::to_owned);
        let command = ProxyCommand::new(&words, "127.0.0.1:22".parse().unwrap());
        let (mut stream, proxy) = command.open().unwrap();
        let mut line = [0; 16];
        let read = stream.read(&mut line).await.unwrap();
        let group: i32 = String::from_utf8_lossy(&line[..read])
            .trim()
            .parse()
            .unwrap();
        let group = Pid::from_raw(group).unwrap();
        drop(proxy);
        timeout(Duration::from_mins(1), async {
            while rustix::process::test_kill_process_group(group).is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("it is gone, with what it started");
    }
}
