//! QEMU's machine protocol: one JSON value per line over a unix socket.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::net::connect_unix;

const ANSWER_DEADLINE: Duration = Duration::from_mins(1);

/// A conversation with one QEMU.
#[derive(Debug)]
pub(super) struct Qmp {
    writer: OwnedWriteHalf,
    replies: mpsc::UnboundedReceiver<Value>,
}

/// What QEMU reports by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// The machine stops being one; why, in QEMU's words.
    Shutdown { reason: String },
    /// The guest's kernel says that it panicked.
    Panicked,
}

impl Qmp {
    /// Connects as soon as QEMU listens. Events go to `events`, which ends with
    /// QEMU.
    pub(super) async fn connect(
        socket: &Path,
        events: mpsc::UnboundedSender<Event>,
        patience: Duration,
    ) -> io::Result<Self> {
        let deadline = Instant::now() + patience;
        let stream = loop {
            match connect_unix(socket) {
                Ok(stream) => break stream,
                Err(e) if Instant::now() > deadline => return Err(e),
                Err(_) => sleep(Duration::from_millis(10)).await,
            }
        };
        stream.set_nonblocking(true)?;
        let (reader, writer) = UnixStream::from_std(stream)?.into_split();
        let (reply_sender, replies) = mpsc::unbounded_channel();
        tokio::spawn(read(BufReader::new(reader).lines(), events, reply_sender));
        let mut qmp = Self { writer, replies };
        qmp.execute("qmp_capabilities", json!({})).await?;
        Ok(qmp)
    }

    /// Executes one command and returns its result.
    pub(super) async fn execute(&mut self, command: &str, arguments: Value) -> io::Result<Value> {
        let mut line = json!({ "execute": command, "arguments": arguments }).to_string();
        line.push('\n');
        self.writer.write_all(line.as_bytes()).await?;
        let mut reply = timeout(ANSWER_DEADLINE, self.replies.recv())
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
            .ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
        if let Some(error) = reply.get("error") {
            return Err(io::Error::other(format!("{command}: {}", error["desc"])));
        }
        Ok(reply["return"].take())
    }

    /// Executes a command of the human monitor, whose answer is prose; none is
    /// good news.
    pub(super) async fn human(&mut self, line: &str) -> io::Result<()> {
        let said = self
            .execute("human-monitor-command", json!({ "command-line": line }))
            .await?;
        match said.as_str().map(str::trim) {
            None | Some("") => Ok(()),
            Some(said) => Err(io::Error::other(format!("{line}: {said}"))),
        }
    }
}

async fn read(
    mut lines: Lines<BufReader<OwnedReadHalf>>,
    events: mpsc::UnboundedSender<Event>,
    replies: mpsc::UnboundedSender<Value>,
) {
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(value) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        if let Some(event) = parse_event(&value) {
            drop(events.send(event));
        } else if value.get("return").is_some() || value.get("error").is_some() {
            drop(replies.send(value));
        }
    }
}

fn parse_event(value: &Value) -> Option<Event> {
    match value.get("event")?.as_str()? {
        "SHUTDOWN" => Some(Event::Shutdown {
            reason: value["data"]["reason"]
                .as_str()
                .unwrap_or("none")
                .to_owned(),
        }),
        "GUEST_PANICKED" => Some(Event::Panicked),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_from_replies() {
        let event =
            json!({ "event": "SHUTDOWN", "data": { "guest": true, "reason": "guest-reset" } });
        assert_eq!(
            parse_event(&event),
            Some(Event::Shutdown {
                reason: "guest-reset".to_owned()
            })
        );
        assert_eq!(parse_event(&json!({ "return": {} })), None);
        assert_eq!(parse_event(&json!({ "event": "RTC_CHANGE" })), None);
    }
}
