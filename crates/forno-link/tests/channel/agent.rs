//! An agent as Amazon's: one TCP connection, 1 KiB at a time, one receipt per
//! message, and only its oldest message is repeated.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::mpsc;

use crate::wire::{
    FLAG, HANDSHAKE_COMPLETE, HANDSHAKE_REQUEST, HANDSHAKE_RESPONSE, OUTPUT, Parsed, build, parse,
};

/// How many of its messages may wait for a receipt before it reads no more, and how
/// long the oldest does. Amazon's is more patient, and tests would take minutes.
const MOST: usize = 64;
const REPEAT: Duration = Duration::from_millis(15);

/// To the client that is connected now, if one is.
pub(crate) type Out = Arc<Mutex<Option<mpsc::Sender<Bytes>>>>;

#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// By the client's flag.
    pub(crate) terminated: AtomicBool,
}

pub(crate) struct Agent {
    pub(crate) out: Out,
    pub(crate) port: u16,
    pub(crate) seen: Arc<Seen>,
    next: i64,
    waiting: VecDeque<(i64, Bytes, Instant)>,
    expected: i64,
    early: BTreeMap<i64, Parsed>,
    server: Option<OwnedReadHalf>,
    to_server: Option<mpsc::UnboundedSender<Bytes>>,
}

impl Agent {
    pub(crate) fn new(out: Out, port: u16, seen: Arc<Seen>) -> Self {
        Self {
            out,
            port,
            seen,
            next: 0,
            waiting: VecDeque::new(),
            expected: 0,
            early: BTreeMap::new(),
            server: None,
            to_server: None,
        }
    }

    async fn put(&self, frame: Bytes) {
        let out = self.out.lock().unwrap().clone();
        if let Some(out) = out {
            let _ = out.send(frame).await;
        }
    }

    async fn send(&mut self, payload_type: u32, payload: &[u8]) {
        let flags = u64::from(self.next == 0);
        let frame = build(
            "output_stream_data",
            self.next,
            flags,
            payload_type,
            payload,
        );
        self.waiting
            .push_back((self.next, frame.clone(), Instant::now()));
        self.next += 1;
        self.put(frame).await;
    }

    /// Until the connection or the session ends.
    pub(crate) async fn run(mut self, mut from_client: mpsc::UnboundedReceiver<Bytes>) {
        let asked = json!({
            "AgentVersion": "3.3.3572.0",
            "RequestedClientActions": [{
                "ActionType": "SessionType",
                "ActionParameters": {
                    "SessionType": "Port",
                    "Properties": { "portNumber": self.port.to_string() },
                },
            }],
        });
        self.send(HANDSHAKE_REQUEST, asked.to_string().as_bytes())
            .await;
        let mut buffer = [0; 1024];
        let mut over = false;
        while !over || !self.waiting.is_empty() {
            let due = self.waiting.front().map(|(_, _, at)| *at + REPEAT);
            let readable = self.server.is_some() && self.waiting.len() < MOST;
            tokio::select! {
                frame = from_client.recv() => match frame {
                    Some(frame) => if !self.receive(&frame).await { return },
                    None => return,
                },
                read = read(&mut self.server, &mut buffer), if readable => {
                    let length = read.unwrap_or(0);
                    if length == 0 {
                        self.server = None;
                        over = true;
                        continue;
                    }
                    self.send(OUTPUT, &buffer[..length]).await;
                }
                () = until(due), if due.is_some() => {
                    if let Some((_, frame, at)) = self.waiting.front_mut() {
                        *at = Instant::now();
                        let frame = frame.clone();
                        self.put(frame).await;
                    }
                }
            }
        }
    }

    async fn receive(&mut self, frame: &Bytes) -> bool {
        let message = parse(frame);
        if message.kind == "acknowledge" {
            let ack: Value = serde_json::from_slice(&message.payload).unwrap();
            assert_eq!(ack["AcknowledgedMessageType"], "output_stream_data");
            let sequence = ack["AcknowledgedMessageSequenceNumber"].as_i64().unwrap();
            self.waiting.retain(|(n, ..)| *n != sequence);
            return true;
        }
        assert_eq!(message.kind, "input_stream_data");
        if message.sequence < self.expected {
            return true;
        }
        let receipt = json!({
            "AcknowledgedMessageType": message.kind,
            "AcknowledgedMessageId": message.id,
            "AcknowledgedMessageSequenceNumber": message.sequence,
            "IsSequentialMessage": true,
        });
        let receipt = build("acknowledge", 0, 3, 0, receipt.to_string().as_bytes());
        self.put(receipt).await;
        self.early.insert(message.sequence, message);
        while let Some(message) = self.early.remove(&self.expected) {
            self.expected += 1;
            if !self.handle(message).await {
                return false;
            }
        }
        true
    }

    async fn handle(&mut self, message: Parsed) -> bool {
        match message.payload_type {
            HANDSHAKE_RESPONSE => {
                let answer: Value = serde_json::from_slice(&message.payload).unwrap();
                assert_eq!(answer["ProcessedClientActions"][0]["ActionStatus"], 1);
                let over = br#"{"HandshakeTimeToComplete":1000000,"CustomerMessage":""}"#;
                self.send(HANDSHAKE_COMPLETE, over).await;
                match TcpStream::connect(("127.0.0.1", self.port)).await {
                    Ok(stream) => self.serve(stream),
                    Err(_) => self.send(FLAG, &[0, 0, 0, 3]).await,
                }
                true
            }
            OUTPUT => {
                if let Some(server) = &self.to_server {
                    let _ = server.send(message.payload);
                }
                true
            }
            FLAG => {
                assert_eq!(message.payload[..], [0, 0, 0, 2]);
                self.seen.terminated.store(true, Ordering::Relaxed);
                false
            }
            other => panic!("a payload of the type {other}"),
        }
    }

    fn serve(&mut self, stream: TcpStream) {
        stream.set_nodelay(true).unwrap();
        let (read, mut write) = stream.into_split();
        let (sender, mut receiver) = mpsc::unbounded_channel::<Bytes>();
        tokio::spawn(async move {
            while let Some(bytes) = receiver.recv().await {
                if write.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        });
        self.server = Some(read);
        self.to_server = Some(sender);
    }
}

async fn read(server: &mut Option<OwnedReadHalf>, buffer: &mut [u8]) -> std::io::Result<usize> {
    match server {
        Some(server) => server.read(buffer).await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
