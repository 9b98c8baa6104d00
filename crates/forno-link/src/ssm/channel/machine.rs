//! One end of a data channel, without a socket and without a clock: what comes
//! in, what goes out, and until when nothing needs to be done.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use secrecy::SecretString;
use uuid::Uuid;

use super::cipher::Cipher;
use super::end::End;
use super::frame::{Malformed, Message, MessageType, PayloadType};
use super::handshake::Handshake;
use super::incoming::{Incoming, Offer};
use super::outgoing::{Outgoing, Tick};
use super::payload::{
    Acknowledgement, Challenge, ChannelClosed, Flag, HandshakeComplete, Size, open_data_channel,
    to_json,
};
use super::settings::Settings;
use super::terminal::TerminalSize;
use crate::ssm::{DataKey, Purpose};

/// So much may wait for the reader before nothing more is taken in.
const UNREAD: usize = 1024 * 1024;

/// What keeping a message costs besides its bytes.
const COST: usize = 128;

/// So many acknowledgements may wait for the socket.
const UNSENT: usize = 4096;

/// A message of the websocket.
#[derive(Clone, PartialEq, Eq)]
pub enum Frame {
    /// With the token: it is not shown.
    Text(String),
    Binary(Bytes),
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Binary(bytes) => write!(f, "Binary({} bytes)", bytes.len()),
        }
    }
}

/// The client's end of a session.
#[derive(Debug)]
pub struct Machine {
    purpose: Purpose,
    settings: Settings,
    client: Uuid,
    started: Instant,
    started_at: Duration,
    phase: Phase,
    incoming: Incoming,
    outgoing: Outgoing,
    /// The token, then acknowledgements; these go before anything else.
    control: VecDeque<Frame>,
    unread: VecDeque<Bytes>,
    unread_bytes: usize,
    cipher: Option<Cipher>,
    connected: bool,
    /// Since when the agent is away.
    paused: Option<Instant>,
    /// Since when nothing is taken in.
    deaf: Option<Instant>,
    end: Option<End>,
}

#[derive(Debug)]
enum Phase {
    /// Nothing was heard of the agent.
    Silent,
    /// A data key is to be had from KMS.
    Key(Handshake),
    /// The handshake was answered.
    Answered,
    Open,
}

impl Machine {
    /// `wall` is the time of day at `now`: messages carry it.
    pub fn new(purpose: &Purpose, settings: Settings, now: Instant, wall: SystemTime) -> Self {
        let outgoing = Outgoing::new(settings.chunk, settings.window, settings.repeats);
        Self {
            purpose: purpose.clone(),
            settings,
            client: random_id(),
            started: now,
            started_at: wall
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default(),
            phase: Phase::Silent,
            incoming: Incoming::default(),
            outgoing,
            control: VecDeque::new(),
            unread: VecDeque::new(),
            unread_bytes: 0,
            cipher: None,
            connected: false,
            paused: None,
            deaf: None,
            end: None,
        }
    }

    /// There is a connection, the first or another.
    pub fn connected(&mut self, token: &SecretString) {
        self.connected = true;
        self.paused = None;
        self.deaf = None;
        self.control.clear();
        self.control
            .push_back(Frame::Text(open_data_channel(token, self.client)));
        self.outgoing.connected();
    }

    /// The connection is gone; what was on its way may be lost.
    pub fn disconnected(&mut self) {
        self.connected = false;
        self.paused = None;
        self.deaf = None;
        self.control.clear();
        self.outgoing.disconnected();
    }

    /// Whether bytes can be sent.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Ends it from this side. What was read stays readable.
    pub fn fail(&mut self, end: End) {
        if self.end.is_none() {
            tracing::debug!(?end, "the data channel ends");
            self.end = Some(end);
        }
    }

    /// A message of the websocket. What is damaged is left to be sent again.
    pub fn receive(&mut self, frame: &Bytes, now: Instant) -> Result<(), Malformed> {
        if self.end.is_some() {
            return Ok(());
        }
        let message = Message::decode(frame)?;
        match message.kind {
            MessageType::Output => self.output(message, now),
            MessageType::Acknowledge => {
                if let Ok(ack) = serde_json::from_slice::<Acknowledgement>(&message.payload) {
                    self.outgoing
                        .acknowledge(ack.acknowledged_message_sequence_number, now);
                }
            }
            MessageType::ChannelClosed => {
                let closed: ChannelClosed =
                    serde_json::from_slice(&message.payload).unwrap_or_default();
                self.closed(closed.output.trim());
            }
            MessageType::PausePublication => {
                self.paused.get_or_insert(now);
            }
            MessageType::StartPublication => {
                if let Some(since) = self.paused.take() {
                    self.outgoing.waited(now.saturating_duration_since(since));
                }
            }
            MessageType::Input | MessageType::Other(_) => {
                tracing::debug!(kind = message.kind.name(), "a message that says nothing");
            }
        }
        Ok(())
    }

    fn closed(&mut self, why: &str) {
        self.fail(match (why, self.is_open()) {
            ("", true) => End::Closed,
            ("", false) => End::Ended("before the agent was ready".into()),
            (why, _) => End::Ended(why.to_owned()),
        });
    }

    fn output(&mut self, mut message: Message, now: Instant) {
        // A slice would keep the socket's whole buffer.
        message.payload = Bytes::copy_from_slice(&message.payload);
        let receipt = Message {
            kind: MessageType::Acknowledge,
            created: self.wall(now),
            sequence: 0,
            flags: 3,
            id: random_id(),
            payload_type: PayloadType::None,
            payload: to_json(&Acknowledgement::of(&message)).into(),
        };
        if self.incoming.offer(message) == Offer::Refused {
            return;
        }
        // Also of what was here before. The services' own ends keep silent then, and a
        // receipt that was lost with a connection would never be given.
        self.control.push_back(Frame::Binary(receipt.encode()));
        self.take_in(now);
    }

    fn take_in(&mut self, now: Instant) {
        // The answer to the handshake decides how what follows is read.
        while self.end.is_none() && !matches!(self.phase, Phase::Key(_)) {
            let Some(message) = self.incoming.next() else {
                return;
            };
            if let Err(end) = self.handle(message, now) {
                self.fail(end);
            }
        }
    }

    fn handle(&mut self, message: Message, now: Instant) -> Result<(), End> {
        let payload = match &self.cipher {
            Some(cipher) if message.payload_type.is_encrypted() => cipher
                .open(&message.payload)
                .map_err(End::Encryption)?
                .into(),
            _ => message.payload,
        };
        match message.payload_type {
            PayloadType::HandshakeRequest => {
                let handshake = Handshake::read(&payload, &self.purpose)?;
                if handshake.key_id().is_some() {
                    self.phase = Phase::Key(handshake);
                } else {
                    self.answer(handshake, None, now);
                }
            }
            PayloadType::ChallengeRequest => self.challenge(&payload, now)?,
            PayloadType::HandshakeComplete => {
                let complete: HandshakeComplete =
                    serde_json::from_slice(&payload).unwrap_or_default();
                if !complete.customer_message.is_empty() {
                    tracing::info!(said = complete.customer_message, "the session is open");
                }
                self.phase = Phase::Open;
            }
            PayloadType::Output => {
                // Agents of before 2.3 shake no hands.
                self.phase = Phase::Open;
                if !payload.is_empty() {
                    self.unread_bytes += payload.len() + COST;
                    self.unread.push_back(payload);
                }
            }
            PayloadType::Flag => match Flag::parse(&payload) {
                Some(Flag::ConnectToPortError) => return Err(End::Refused),
                Some(Flag::DisconnectToPort | Flag::TerminateSession) => return Err(End::Closed),
                None => {}
            },
            PayloadType::Error => {
                let said = String::from_utf8_lossy(&payload);
                tracing::warn!(said = said.trim(), "the agent reports an error");
            }
            other => tracing::debug!(?other, "a payload that says nothing here"),
        }
        Ok(())
    }

    fn answer(&mut self, handshake: Handshake, key: Option<&DataKey>, now: Instant) {
        self.phase = Phase::Answered;
        let answer = to_json(&handshake.answer(key));
        self.push(PayloadType::HandshakeResponse, answer.into(), false, now);
    }

    fn challenge(&mut self, payload: &[u8], now: Instant) -> Result<(), End> {
        let wrong = |what: &str| End::Encryption(format!("the agent's challenge {what}"));
        let cipher = self
            .cipher
            .as_ref()
            .ok_or_else(|| wrong("came without a key"))?;
        let asked: Challenge = serde_json::from_slice(payload).map_err(|_| wrong("is no JSON"))?;
        let sealed = STANDARD
            .decode(asked.challenge)
            .map_err(|_| wrong("is no base64"))?;
        let answer = cipher
            .open(&sealed)
            .and_then(|plain| cipher.seal(&plain))
            .map_err(End::Encryption)?;
        let answer = to_json(&Challenge {
            challenge: STANDARD.encode(answer),
        });
        self.push(PayloadType::ChallengeResponse, answer.into(), false, now);
        Ok(())
    }

    /// The key that is to be had from KMS before it can go on.
    pub fn key_wanted(&self) -> Option<&str> {
        match &self.phase {
            Phase::Key(handshake) if self.end.is_none() => handshake.key_id(),
            _ => None,
        }
    }

    /// The answer to [`Self::key_wanted`].
    pub fn key(&mut self, key: &DataKey, now: Instant) {
        if self.key_wanted().is_none() {
            return;
        }
        match Cipher::new(key) {
            Ok(cipher) => self.cipher = Some(cipher),
            Err(why) => return self.fail(End::Encryption(why)),
        }
        if let Phase::Key(handshake) = std::mem::replace(&mut self.phase, Phase::Answered) {
            self.answer(handshake, Some(key), now);
            self.take_in(now);
        }
    }

    /// How many bytes [`Self::write`] takes.
    pub fn room(&self) -> usize {
        if self.is_open() && self.end.is_none() {
            self.outgoing.room()
        } else {
            0
        }
    }

    /// Takes as much as there is room for, in one message.
    pub fn write(&mut self, bytes: &[u8], now: Instant) -> usize {
        let length = bytes.len().min(self.room());
        if length > 0 {
            let payload = Bytes::copy_from_slice(&bytes[..length]);
            self.push(PayloadType::Output, payload, false, now);
        }
        length
    }

    /// One counter for everything that goes to the agent.
    fn push(&mut self, payload_type: PayloadType, payload: Bytes, probe: bool, now: Instant) {
        let length = payload.len();
        let payload = match &self.cipher {
            Some(cipher) if payload_type.is_encrypted() => match cipher.seal(&payload) {
                Ok(sealed) => sealed.into(),
                Err(why) => return self.fail(End::Encryption(why)),
            },
            _ => payload,
        };
        let message = Message {
            kind: MessageType::Input,
            created: self.wall(now),
            sequence: self.outgoing.next(),
            flags: 0,
            id: random_id(),
            payload_type,
            payload,
        };
        self.outgoing.push(message.encode(), length, probe);
    }

    fn wall(&self, now: Instant) -> u64 {
        let at = self.started_at + now.saturating_duration_since(self.started);
        u64::try_from(at.as_millis()).unwrap_or(u64::MAX)
    }

    /// How large the terminal is, which is said past the window.
    pub fn resize(&mut self, size: TerminalSize, now: Instant) {
        let payload = to_json(&Size {
            cols: size.columns,
            rows: size.rows,
        });
        self.push(PayloadType::Size, payload.into(), false, now);
    }

    /// To the agent: past the window, because it is the last.
    pub fn flag(&mut self, flag: Flag, now: Instant) {
        self.push(PayloadType::Flag, flag.payload(), false, now);
    }

    /// What arrived, in order.
    pub fn read(&mut self) -> Option<Bytes> {
        let bytes = self.unread.pop_front()?;
        self.unread_bytes -= bytes.len() + COST;
        Some(bytes)
    }

    /// Whether more may be taken from the socket. Where not, the way back fills up
    /// and the agent waits.
    pub fn is_hungry(&self) -> bool {
        self.unread_bytes < UNREAD && self.control.len() < UNSENT
    }

    /// That the socket is, or is not, being read. While it is not, acknowledgements
    /// are not seen and nothing is repeated for want of them.
    pub fn listen(&mut self, listens: bool, now: Instant) {
        match (listens, self.deaf) {
            (false, None) => self.deaf = Some(now),
            (true, Some(since)) => {
                self.deaf = None;
                self.outgoing.waited(now.saturating_duration_since(since));
            }
            _ => {}
        }
    }

    /// The next frame for the socket.
    pub fn frame(&mut self, now: Instant) -> Option<Frame> {
        if !self.connected {
            return None;
        }
        if let Some(frame) = self.control.pop_front() {
            return Some(frame);
        }
        if self.paused.is_some() {
            return None;
        }
        self.outgoing.take(now).map(Frame::Binary)
    }

    fn repeats(&self) -> bool {
        self.connected && self.paused.is_none() && self.deaf.is_none()
    }

    /// When [`Self::tick`] has something to do, if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        if self.end.is_some() {
            return None;
        }
        let open = (!self.is_open()).then(|| self.started + self.settings.open);
        let paused = self.paused.map(|since| since + self.settings.pause);
        let repeat = if self.repeats() {
            self.outgoing.deadline()
        } else {
            None
        };
        [open, paused, repeat].into_iter().flatten().min()
    }

    pub fn tick(&mut self, now: Instant) {
        if self.end.is_some() {
            return;
        }
        let waited = |for_so_long: Duration| crate::error::seconds(&for_so_long);
        if !self.is_open() && now >= self.started + self.settings.open {
            let what = match self.phase {
                Phase::Silent => "the agent did not answer",
                _ => "the agent did not finish its handshake",
            };
            let within = waited(self.settings.open);
            return self.fail(End::Failed(format!("{what} within {within}")));
        }
        if self
            .paused
            .is_some_and(|since| now >= since + self.settings.pause)
        {
            let away = waited(self.settings.pause);
            return self.fail(End::Failed(format!("the agent was away for {away}")));
        }
        if !self.repeats() {
            return;
        }
        match self.outgoing.tick(now) {
            Tick::Nothing | Tick::Again => {}
            Tick::Probe => self.push(PayloadType::Output, Bytes::new(), true, now),
            Tick::Exhausted => self.fail(End::Failed(format!(
                "the agent did not acknowledge a message that was sent {} times",
                self.settings.repeats + 1
            ))),
        }
    }

    /// Whether everything that was written has arrived.
    pub fn is_settled(&self) -> bool {
        self.outgoing.is_empty()
    }

    /// Messages and bytes that are not acknowledged.
    pub fn in_flight(&self) -> (usize, usize) {
        self.outgoing.in_flight()
    }

    /// How many messages may be in flight now.
    pub fn window(&self) -> usize {
        self.outgoing.window()
    }

    /// What arrived and was not read, in order or not, with what it costs to keep.
    pub fn held(&self) -> usize {
        self.unread_bytes + self.incoming.bytes()
    }
}

/// Of a generator that asks the kernel only now and then: there is one for every
/// message.
fn random_id() -> Uuid {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid()
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "lossy_tests.rs"]
mod lossy;
