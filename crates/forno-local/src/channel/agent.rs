//! The agent's end of a session, without input or output: frames and bytes of
//! the port go in with the time, and what is to be sent, written and done comes
//! out. It behaves as `port_basic` of the real agent, which carries the bytes of
//! one connection as they are, or as its shell, whose port is that of the program
//! with the terminal.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::codec::{Flag, Kind, Message, content};
use super::incoming::{Arrival, Incoming};
use super::outgoing::{LOOK, Outgoing};
use super::session::Purpose;
use super::terminal;
use crate::fleet::AGENT_VERSION;

/// How long a client may take to answer the greeting.
const HANDSHAKE: Duration = Duration::from_secs(15);
/// How long the last bytes wait to be acknowledged.
const FAREWELL: Duration = Duration::from_mins(1);
/// What may wait to be written to the port.
const MOST_WAITING: usize = 16 << 20;

#[derive(Debug)]
pub(super) struct Agent {
    phase: Phase,
    is_terminal: bool,
    greeted: Instant,
    /// When a client was first there.
    met: Option<Instant>,
    outgoing: Outgoing,
    incoming: Incoming,
    /// What is to be sent to the client, in order.
    frames: VecDeque<Vec<u8>>,
    to_port: VecDeque<Chunk>,
    waiting: usize,
    deaf: bool,
    /// When it was last looked for what must be sent again.
    looked: Instant,
    /// All messages before this are acknowledged, or need not be.
    settled: i64,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// The client has not answered yet.
    Greeting,
    /// The port is being connected to.
    Dialling,
    Open,
    /// The last of what was sent must arrive first.
    Ending {
        output: String,
        since: Instant,
    },
    Over {
        output: String,
    },
}

/// What waits for the port; its message is acknowledged once it is done.
#[derive(Debug)]
struct Chunk {
    sequence: i64,
    id: Uuid,
    acknowledge: bool,
    bytes: Vec<u8>,
    written: usize,
    /// The connection ends when it is its turn.
    last: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Acknowledged {
    acknowledged_message_sequence_number: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HandshakeResponse {
    #[serde(default)]
    processed_client_actions: Vec<ProcessedAction>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ProcessedAction {
    action_type: String,
    action_status: i64,
    #[serde(default)]
    error: String,
}

impl Agent {
    /// One that speaks first, about what the session is for.
    pub(super) fn new(purpose: &Purpose, now: Instant) -> Self {
        let (session_type, properties) = match purpose {
            Purpose::Port(port) => ("Port", json!({ "portNumber": port.to_string() })),
            Purpose::Shell => ("Standard_Stream", Value::Null),
            Purpose::Command(command) => (
                "InteractiveCommands",
                json!({ "linux": { "commands": command, "runAsElevated": false } }),
            ),
        };
        let mut agent = Self {
            phase: Phase::Greeting,
            is_terminal: !matches!(purpose, Purpose::Port(_)),
            greeted: now,
            met: None,
            outgoing: Outgoing::new(),
            incoming: Incoming::default(),
            frames: VecDeque::new(),
            to_port: VecDeque::new(),
            waiting: 0,
            deaf: false,
            looked: now,
            settled: 0,
        };
        let greeting = json!({
            "AgentVersion": AGENT_VERSION,
            "RequestedClientActions": [{
                "ActionType": "SessionType",
                "ActionParameters": {
                    "SessionType": session_type,
                    "Properties": properties,
                },
            }],
        });
        agent.send(content::HANDSHAKE_REQUEST, greeting.to_string(), now);
        agent
    }

    /// A client is there now, perhaps another than before. It gets what the one
    /// before has not acknowledged.
    pub(super) fn attached(&mut self, now: Instant) {
        self.met.get_or_insert(now);
        self.frames = self.outgoing.again(now).collect();
    }

    /// A frame from the client. Those that are no messages are passed over.
    pub(super) fn frame(&mut self, frame: &[u8], now: Instant) {
        match Message::decode(frame) {
            Ok(message) => self.message(message, now),
            Err(fault) => tracing::warn!(%fault, "a frame of a data channel is dropped"),
        }
    }

    fn message(&mut self, message: Message, now: Instant) {
        match message.kind {
            Kind::Input => self.input(message, now),
            Kind::Acknowledge => match serde_json::from_slice::<Acknowledged>(&message.payload) {
                Ok(read) => self
                    .outgoing
                    .acknowledged(read.acknowledged_message_sequence_number, now),
                Err(error) => tracing::warn!(%error, "an acknowledgement is dropped"),
            },
            Kind::ChannelClosed => self.end(String::new(), now),
            Kind::Output | Kind::StartPublication | Kind::PausePublication => {}
        }
    }

    fn input(&mut self, message: Message, now: Instant) {
        let size = message.payload.len();
        let (sequence, id) = (message.sequence, message.id);
        if sequence >= self.settled && self.waiting + size > MOST_WAITING {
            return;
        }
        match self.incoming.arrive(message) {
            Arrival::Next(message) => {
                self.process(message, true, now);
                while let Some(message) = self.incoming.next_ready() {
                    self.process(message, false, now);
                }
                self.settle();
            }
            Arrival::Early => self.acknowledge(sequence, id),
            // The real agent keeps silent, so that a lost acknowledgement can
            // be mended by nobody.
            Arrival::Again if sequence < self.settled => self.acknowledge(sequence, id),
            Arrival::Again | Arrival::Refused => {}
        }
    }

    /// Carries out a message whose turn it is.
    fn process(&mut self, message: Message, acknowledge: bool, now: Instant) {
        let flag = (message.content == content::FLAG)
            .then(|| Flag::read(&message.payload))
            .flatten();
        // Of a connection such as SSH's, either is the end.
        let last = matches!(flag, Some(Flag::DisconnectToPort | Flag::TerminateSession));
        let bytes = match message.content {
            content::OUTPUT if self.deaf => Vec::new(),
            content::OUTPUT if self.is_terminal => terminal::keys(&message.payload),
            content::OUTPUT => message.payload,
            content::SIZE if self.is_terminal => terminal::size(&message.payload),
            _ if last => Vec::new(),
            other => {
                if acknowledge {
                    self.acknowledge(message.sequence, message.id);
                }
                if other == content::HANDSHAKE_RESPONSE && self.phase == Phase::Greeting {
                    self.answered(&message.payload, now);
                }
                return;
            }
        };
        self.waiting += bytes.len();
        self.to_port.push_back(Chunk {
            sequence: message.sequence,
            id: message.id,
            acknowledge,
            bytes,
            written: 0,
            last,
        });
        self.finish_chunks(now);
    }

    /// Takes away the chunks of which nothing is left to be written.
    fn finish_chunks(&mut self, now: Instant) {
        while let Some(chunk) = self
            .to_port
            .pop_front_if(|chunk| chunk.written == chunk.bytes.len())
        {
            if chunk.acknowledge {
                self.acknowledge(chunk.sequence, chunk.id);
            }
            if chunk.last {
                self.end(String::new(), now);
            }
        }
        self.settle();
    }

    fn answered(&mut self, payload: &[u8], now: Instant) {
        let answer = serde_json::from_slice::<HandshakeResponse>(payload).ok();
        let action = answer.as_ref().and_then(|answer| {
            let actions = &answer.processed_client_actions;
            actions
                .iter()
                .find(|action| action.action_type == "SessionType")
        });
        match action {
            Some(action) if action.action_status == 1 => {
                let took = u64::try_from((now - self.greeted).as_nanos()).unwrap_or(u64::MAX);
                let complete = json!({ "HandshakeTimeToComplete": took, "CustomerMessage": "" });
                self.send(content::HANDSHAKE_COMPLETE, complete.to_string(), now);
                self.phase = Phase::Dialling;
            }
            Some(action) => {
                let why = format!("SessionType failed on client: {}", action.error);
                self.end(why, now);
            }
            None => self.end("Handshake response is not as expected".to_owned(), now),
        }
    }

    /// Whether the port is to be connected to.
    pub(super) fn wants_port(&self) -> bool {
        self.phase == Phase::Dialling
    }

    pub(super) fn port_opened(&mut self) {
        if self.phase == Phase::Dialling {
            self.phase = Phase::Open;
        }
    }

    pub(super) fn terminal_failed(&mut self, why: &str, now: Instant) {
        self.end(format!("Unable to start command: {why}"), now);
    }

    pub(super) fn port_failed(&mut self, why: &str, now: Instant) {
        self.outgoing_flag(Flag::ConnectToPortError, now);
        self.end(format!("Unable to connect to specified port: {why}"), now);
    }

    fn outgoing_flag(&mut self, flag: Flag, now: Instant) {
        let frame = self.outgoing.send(content::FLAG, flag.write(), now);
        self.frames.push_back(frame);
    }

    /// Whether more of the port could be sent.
    pub(super) fn may_read(&self) -> bool {
        self.phase == Phase::Open && self.outgoing.has_room()
    }

    pub(super) fn read(&mut self, bytes: &[u8], now: Instant) {
        self.send(content::OUTPUT, bytes, now);
    }

    /// The port's end, or what broke it.
    pub(super) fn port_ended(&mut self, now: Instant) {
        self.end(String::new(), now);
    }

    /// What is to be written to the port.
    pub(super) fn to_write(&self) -> Option<&[u8]> {
        let chunk = self.to_port.front()?;
        (self.phase == Phase::Open).then(|| &chunk.bytes[chunk.written..])
    }

    pub(super) fn wrote(&mut self, bytes: usize, now: Instant) {
        if let Some(chunk) = self.to_port.front_mut() {
            chunk.written += bytes;
            self.waiting -= bytes;
        }
        self.finish_chunks(now);
    }

    /// The port takes nothing more, though it may still say something.
    pub(super) fn port_deaf(&mut self, now: Instant) {
        self.deaf = true;
        for chunk in &mut self.to_port {
            chunk.bytes.clear();
            chunk.written = 0;
        }
        self.waiting = 0;
        self.finish_chunks(now);
    }

    /// What was processed is settled, but for what waits to be written.
    fn settle(&mut self) {
        let first = self.to_port.front().map(|chunk| chunk.sequence);
        self.settled = first.unwrap_or_else(|| self.incoming.expected());
    }

    /// Ends the session once the client has everything.
    pub(super) fn end(&mut self, output: String, now: Instant) {
        if !matches!(self.phase, Phase::Ending { .. } | Phase::Over { .. }) {
            self.to_port.clear();
            self.waiting = 0;
            self.phase = Phase::Ending { output, since: now };
        }
    }

    /// Time has passed.
    pub(super) fn look(&mut self, now: Instant, connected: bool) {
        if now - self.looked >= LOOK {
            self.looked = now;
            // What still waits to be sent is not late.
            if connected
                && self.frames.is_empty()
                && let Some(frame) = self.outgoing.overdue(now)
            {
                self.frames.push_back(frame);
            }
        }
        if self.phase == Phase::Greeting && self.met.is_some_and(|met| now - met > HANDSHAKE) {
            let why = "Handshake timed out. Please ensure that you have the latest version of the session manager plugin.";
            self.end(why.to_owned(), now);
        }
        let lost = self.outgoing.given_up();
        if let Phase::Ending { output, since } = &mut self.phase
            && (self.outgoing.is_empty() || lost || now - *since > FAREWELL)
        {
            let output = std::mem::take(output);
            self.phase = Phase::Over { output };
        } else if lost {
            self.end(
                "Session timed out: the client does not answer".to_owned(),
                now,
            );
        }
    }

    /// Whether the agent has nothing to look after: no time need pass.
    pub(super) fn is_calm(&self) -> bool {
        self.outgoing.is_empty() && matches!(self.phase, Phase::Open | Phase::Dialling)
    }

    /// The last words, once all is said.
    pub(super) fn over(&self) -> Option<&str> {
        match &self.phase {
            Phase::Over { output } => Some(output),
            _ => None,
        }
    }

    pub(super) fn next_frame(&mut self) -> Option<Vec<u8>> {
        self.frames.pop_front()
    }

    /// How much waits to be sent.
    pub(super) fn backlog(&self) -> usize {
        self.frames.len()
    }

    /// The client is gone; the next one is told what matters then.
    pub(super) fn detached(&mut self) {
        self.frames.clear();
    }

    fn send(&mut self, content: u32, payload: impl AsRef<[u8]>, now: Instant) {
        let frame = self.outgoing.send(content, payload.as_ref().to_vec(), now);
        self.frames.push_back(frame);
    }

    fn acknowledge(&mut self, sequence: i64, id: Uuid) {
        let payload = acknowledgement(Kind::Input, id, sequence).to_string();
        let message = Message::control(Kind::Acknowledge, payload.into_bytes());
        self.frames.push_back(message.encode());
    }
}

pub(super) fn acknowledgement(of: Kind, id: Uuid, sequence: i64) -> Value {
    json!({
        "AcknowledgedMessageType": of.name(),
        "AcknowledgedMessageId": id.to_string(),
        "AcknowledgedMessageSequenceNumber": sequence,
        "IsSequentialMessage": true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Client {
        agent: Agent,
        now: Instant,
        next: i64,
    }

    impl Client {
        fn new() -> Self {
            let now = Instant::now();
            let mut agent = Agent::new(&Purpose::Port(22), now);
            agent.attached(now);
            Self {
                agent,
                now,
                next: 0,
            }
        }

        fn input(&mut self, content: u32, payload: &[u8]) -> Message {
            let message = Message {
                kind: Kind::Input,
                ..Message::output(self.next, content, payload.to_vec())
            };
            self.next += 1;
            message
        }

        fn send(&mut self, content: u32, payload: &[u8]) {
            let message = self.input(content, payload);
            self.agent.frame(&message.encode(), self.now);
        }

        fn acknowledge(&mut self, message: &Message) {
            let payload = acknowledgement(message.kind, message.id, message.sequence).to_string();
            let message = Message::control(Kind::Acknowledge, payload.into_bytes());
            self.agent.frame(&message.encode(), self.now);
        }

        fn received(&mut self) -> Vec<Message> {
            std::iter::from_fn(|| self.agent.next_frame())
                .map(|frame| Message::decode(&frame).unwrap())
                .collect()
        }

        fn open() -> Self {
            let mut client = Self::new();
            client.send(content::HANDSHAKE_RESPONSE, RESPONSE);
            assert!(client.agent.wants_port());
            client.agent.port_opened();
            for message in client.received() {
                client.acknowledge(&message);
            }
            assert!(client.agent.is_calm());
            client
        }
    }

    const RESPONSE: &[u8] = br#"{"ClientVersion":"1.2.764.0","ProcessedClientActions":[{"ActionType":"SessionType","ActionStatus":1,"ActionResult":null,"Error":""}],"Errors":null}"#;

    fn acknowledged(messages: &[Message]) -> Vec<i64> {
        messages
            .iter()
            .filter(|message| message.kind == Kind::Acknowledge)
            .map(|message| {
                let read: Acknowledged = serde_json::from_slice(&message.payload).unwrap();
                read.acknowledged_message_sequence_number
            })
            .collect()
    }

    #[test]
    fn it_greets_and_then_carries_bytes() {
        let mut client = Client::new();
        let greeting = client.received().remove(0);
        assert_eq!(
            (greeting.sequence, greeting.flags, greeting.content),
            (0, 1, content::HANDSHAKE_REQUEST)
        );
        let words: Value = serde_json::from_slice(&greeting.payload).unwrap();
        let asked = &words["RequestedClientActions"][0]["ActionParameters"];
        assert_eq!(asked["Properties"]["portNumber"], "22");
        // What comes too early waits for the port.
        client.send(content::HANDSHAKE_RESPONSE, RESPONSE);
        client.send(content::OUTPUT, b"SSH-2.0-x\r\n");
        assert_eq!(client.agent.to_write(), None);
        client.agent.port_opened();
        assert_eq!(client.agent.to_write(), Some(&b"SSH-2.0-x\r\n"[..]));
        let said = client.received();
        assert_eq!(acknowledged(&said), [0]);
        assert_eq!(said[1].content, content::HANDSHAKE_COMPLETE);
        // Written in two goes, acknowledged once it is whole.
        client.agent.wrote(4, client.now);
        assert_eq!(client.agent.backlog(), 0);
        client.agent.wrote(7, client.now);
        assert_eq!(acknowledged(&client.received()), [1]);
        client.agent.read(b"SSH-2.0-y\r\n", client.now);
        let said = client.received();
        assert_eq!((said[0].sequence, said[0].content), (2, content::OUTPUT));
    }

    #[test]
    fn a_lost_acknowledgement_is_said_again_but_not_before_its_time() {
        let mut client = Client::open();
        let message = client.input(content::OUTPUT, b"abc").encode();
        client.agent.frame(&message, client.now);
        client.agent.frame(&message, client.now);
        assert_eq!(acknowledged(&client.received()), Vec::<i64>::new());
        client.agent.wrote(3, client.now);
        client.agent.frame(&message, client.now);
        assert_eq!(acknowledged(&client.received()), [1, 1]);
        assert_eq!(client.agent.to_write(), None);
    }

    #[test]
    fn early_messages_wait_and_are_acknowledged_at_once() {
        let mut client = Client::open();
        let first = client.input(content::OUTPUT, b"first").encode();
        let second = client.input(content::OUTPUT, b"second").encode();
        client.agent.frame(&second, client.now);
        assert_eq!(acknowledged(&client.received()), [2]);
        client.agent.frame(&first, client.now);
        assert_eq!(client.agent.to_write(), Some(&b"first"[..]));
        client.agent.wrote(5, client.now);
        assert_eq!(client.agent.to_write(), Some(&b"second"[..]));
        client.agent.wrote(6, client.now);
        assert_eq!(acknowledged(&client.received()), [1]);
    }

    #[test]
    fn the_end_waits_for_the_last_bytes() {
        let mut client = Client::open();
        client.agent.read(b"bye", client.now);
        client.agent.port_ended(client.now);
        client.agent.look(client.now, true);
        assert_eq!(client.agent.over(), None);
        let last = client.received().pop().unwrap();
        client.acknowledge(&last);
        client.agent.look(client.now, true);
        assert_eq!(client.agent.over(), Some(""));
        // Of a client that never comes back, not for ever.
        let mut client = Client::open();
        client.agent.read(b"bye", client.now);
        client.agent.port_ended(client.now);
        client.now += FAREWELL * 2;
        client.agent.look(client.now, false);
        assert_eq!(client.agent.over(), Some(""));
    }

    #[test]
    fn a_port_that_refuses_and_a_client_that_does() {
        let mut client = Client::new();
        client.send(content::HANDSHAKE_RESPONSE, RESPONSE);
        client.agent.port_failed("connection refused", client.now);
        let said = client.received();
        let flag = said.last().unwrap();
        assert_eq!(Flag::read(&flag.payload), Some(Flag::ConnectToPortError));
        for message in said.iter().filter(|message| message.kind == Kind::Output) {
            client.acknowledge(message);
        }
        client.agent.look(client.now, true);
        let last = client.agent.over().unwrap();
        assert_eq!(
            last,
            "Unable to connect to specified port: connection refused"
        );

        let mut client = Client::new();
        let failed = String::from_utf8_lossy(RESPONSE).replace(":1,", ":3,");
        client.send(content::HANDSHAKE_RESPONSE, failed.as_bytes());
        assert!(!client.agent.wants_port());
        let mut silent = Client::new();
        silent.now += HANDSHAKE * 2;
        silent.agent.look(silent.now, true);
        assert!(matches!(silent.agent.phase, Phase::Ending { .. }));
    }

    #[test]
    fn a_flag_waits_for_the_bytes_before_it() {
        let mut client = Client::open();
        client.send(content::OUTPUT, b"exit\n");
        client.send(content::FLAG, &Flag::DisconnectToPort.write());
        assert_eq!(client.agent.to_write(), Some(&b"exit\n"[..]));
        client.agent.wrote(5, client.now);
        assert_eq!(acknowledged(&client.received()), [1, 2]);
        client.agent.look(client.now, true);
        assert_eq!(client.agent.over(), Some(""));
    }

    #[test]
    fn another_client_gets_what_the_first_has_not_acknowledged() {
        let mut client = Client::open();
        for part in [b"one", b"two", b"six"] {
            client.agent.read(part, client.now);
        }
        let sent = client.received();
        client.acknowledge(&sent[1]);
        client.agent.detached();
        client.agent.attached(client.now);
        assert_eq!(client.received(), [sent[0].clone(), sent[2].clone()]);
    }

    #[test]
    fn flags_end_it() {
        for flag in [Flag::DisconnectToPort, Flag::TerminateSession] {
            let mut client = Client::open();
            client.send(content::FLAG, &flag.write());
            assert!(!client.agent.may_read());
            client.agent.look(client.now, true);
            assert_eq!(client.agent.over(), Some(""));
        }
    }
}
