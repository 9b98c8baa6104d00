//! Moves everything that can be moved between the machine, the socket and the
//! stream, and sleeps exactly until there is more.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use futures::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::time::Sleep;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use super::heartbeat::{Beat, Heartbeat};
use super::machine::{Frame, Machine};
use super::settings::Settings;
use super::socket::{Socket, closing, describe};

/// Between two flushes, and between two looks at the other direction.
const BATCH: usize = 32;

/// Why it stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// The machine has ended and the reader has everything.
    Ended,
    /// The connection is gone.
    Lost(String),
    /// A data key is to be had.
    Key,
    /// The writer has ended, all has arrived, and the answer is over.
    Finished,
}

/// The near end: what the holder of the stream writes and reads.
#[derive(Debug)]
pub(super) struct Near {
    pub(super) io: DuplexStream,
    /// On its way to the reader.
    unread: Bytes,
    /// The holder writes no more; when it was last busy since.
    written: Option<Instant>,
    /// Nobody reads any more.
    pub(super) gone: bool,
    buffer: Vec<u8>,
}

impl Near {
    pub(super) fn new(io: DuplexStream, chunk: usize) -> Self {
        Self {
            io,
            unread: Bytes::new(),
            written: None,
            gone: false,
            buffer: vec![0; chunk.max(1)],
        }
    }

    /// What arrived and was not handed over yet, without a connection.
    pub(super) async fn deliver(&mut self, machine: &mut Machine) {
        while !self.gone {
            if self.unread.is_empty() {
                let Some(bytes) = machine.read() else { return };
                self.unread = bytes;
            }
            self.gone = self.io.write_all_buf(&mut self.unread).await.is_err();
        }
    }
}

/// One connection of a channel.
pub(super) struct Pump<'a> {
    pub(super) machine: &'a mut Machine,
    near: &'a mut Near,
    pub(super) socket: Socket,
    settings: &'a Settings,
    dropped: &'a CancellationToken,
    heart: Heartbeat,
    /// Something was received: the connection works.
    pub(super) heard: bool,
    ping: bool,
    unflushed: bool,
    sleep: Pin<Box<Sleep>>,
}

pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl<'a> Pump<'a> {
    pub(super) fn new(
        machine: &'a mut Machine,
        near: &'a mut Near,
        socket: Socket,
        settings: &'a Settings,
        dropped: &'a CancellationToken,
    ) -> Self {
        Self {
            machine,
            near,
            socket,
            settings,
            dropped,
            heart: Heartbeat::new(settings.ping, settings.dead, now()),
            heard: false,
            ping: false,
            unflushed: false,
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
        }
    }

    /// Until it stops; or, `opening`, until the agent is ready, which is none.
    pub(super) async fn run(&mut self, opening: bool) -> Option<Stop> {
        poll_fn(|cx| match self.poll(cx) {
            Poll::Ready(stop) => Poll::Ready(Some(stop)),
            Poll::Pending if opening && self.machine.is_open() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Sends what is to be sent, and hears of nothing.
    pub(super) async fn flush(&mut self) -> Result<(), String> {
        poll_fn(|cx| {
            while self.poll_send(cx)? {}
            if self.unflushed {
                Poll::Pending
            } else {
                Poll::Ready(Ok(()))
            }
        })
        .await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Stop> {
        loop {
            self.machine.tick(now());
            let mut moved = self.poll_read(cx);
            if self.machine.end().is_some() && !moved && self.near.unread.is_empty() {
                return Poll::Ready(Stop::Ended);
            }
            if self.machine.key_wanted().is_some() {
                return Poll::Ready(Stop::Key);
            }
            moved |= self.poll_write(cx);
            let sent = self.poll_send(cx);
            let received = self.poll_receive(cx);
            for step in [sent, received] {
                match step {
                    Ok(more) => moved |= more,
                    Err(_) if self.machine.end().is_some() => {}
                    Err(why) => return Poll::Ready(Stop::Lost(why)),
                }
            }
            if moved {
                continue;
            }
            if self.is_finished() {
                return Poll::Ready(Stop::Finished);
            }
            match self.poll_time(cx) {
                Err(why) => return Poll::Ready(Stop::Lost(why)),
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
            }
        }
    }

    /// From the machine to the reader.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        loop {
            if self.near.unread.is_empty() {
                match self.machine.read() {
                    Some(bytes) => self.near.unread = bytes,
                    None => return moved,
                }
                if let Some(busy) = &mut self.near.written {
                    *busy = now();
                }
            }
            if self.near.gone {
                self.near.unread = Bytes::new();
                continue;
            }
            match Pin::new(&mut self.near.io).poll_write(cx, &self.near.unread) {
                Poll::Pending => return moved,
                Poll::Ready(Ok(length)) => self.near.unread.advance(length),
                Poll::Ready(Err(_)) => self.near.gone = true,
            }
            moved = true;
        }
    }

    /// From the writer to the machine, as far as there is room.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while self.near.written.is_none() {
            let room = self.machine.room().min(self.near.buffer.len());
            if room == 0 {
                break;
            }
            let mut buffer = ReadBuf::new(&mut self.near.buffer[..room]);
            match Pin::new(&mut self.near.io).poll_read(cx, &mut buffer) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.machine.write(buffer.filled(), now());
                }
                Poll::Ready(_) => self.near.written = Some(now()),
            }
            moved = true;
        }
        moved
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<bool, String> {
        let failed = |error| describe(&error);
        let mut socket = Pin::new(&mut self.socket);
        if self.unflushed {
            match socket.as_mut().poll_flush(cx).map_err(failed)? {
                Poll::Pending => return Ok(false),
                Poll::Ready(()) => self.unflushed = false,
            }
        }
        let mut moved = false;
        for _ in 0..BATCH {
            if socket.as_mut().poll_ready(cx).map_err(failed)?.is_pending() {
                break;
            }
            let message = if std::mem::take(&mut self.ping) {
                Message::Ping(Bytes::new())
            } else {
                match self.machine.frame(now()) {
                    Some(Frame::Text(text)) => Message::text(text),
                    Some(Frame::Binary(bytes)) => Message::Binary(bytes),
                    None => break,
                }
            };
            socket.as_mut().start_send(message).map_err(failed)?;
            self.unflushed = true;
            moved = true;
        }
        Ok(moved)
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Result<bool, String> {
        let mut moved = false;
        for _ in 0..BATCH {
            let hungry = self.machine.is_hungry();
            self.machine.listen(hungry, now());
            if !hungry {
                // What cannot be heard is no silence.
                self.heart.heard(now());
                break;
            }
            let message = match Pin::new(&mut self.socket).poll_next(cx) {
                Poll::Pending => break,
                Poll::Ready(None) => return Err("closed by the gateway".into()),
                Poll::Ready(Some(message)) => message.map_err(|error| describe(&error))?,
            };
            self.heart.heard(now());
            moved = true;
            match message {
                Message::Binary(frame) => {
                    self.heard = true;
                    if let Err(why) = self.machine.receive(&frame, now()) {
                        tracing::debug!(%why, "dropped a message of a data channel");
                    }
                }
                Message::Close(_) => return Err(closing(&message)),
                // A ping is answered by the next flush.
                Message::Ping(_) => self.unflushed = true,
                Message::Pong(_) => self.heard = true,
                Message::Text(_) | Message::Frame(_) => {}
            }
        }
        Ok(moved)
    }

    /// A writer that has ended can not be told to the machine's connection without
    /// ending it, so an answer is waited for as long as it comes.
    fn is_finished(&self) -> bool {
        self.near.written.is_some_and(|busy| {
            let nobody = self.near.gone || self.dropped.is_cancelled();
            let over = nobody || now() >= busy + self.settings.linger;
            over && self.machine.is_settled()
        })
    }

    /// Whether it is time for something.
    fn poll_time(&mut self, cx: &mut Context<'_>) -> Result<bool, String> {
        let listens = self.machine.is_hungry() && self.machine.end().is_none();
        if listens {
            match self.heart.beat(now()) {
                Beat::Wait => {}
                Beat::Ping => {
                    self.ping = true;
                    return Ok(true);
                }
                Beat::Dead => {
                    let silence = crate::error::seconds(&self.heart.silence(now()));
                    return Err(format!("the gateway was silent for {silence}"));
                }
            }
        }
        let beat = listens.then(|| self.heart.deadline());
        let linger = self.near.written.map(|busy| busy + self.settings.linger);
        let linger = linger.filter(|&at| at > now());
        let deadlines = [self.machine.deadline(), beat, linger];
        let Some(deadline) = deadlines.into_iter().flatten().min() else {
            return Ok(false);
        };
        self.sleep.as_mut().reset(deadline.into());
        Ok(self.sleep.as_mut().poll(cx).is_ready())
    }
}
