//! What the machine says to an agent, one thing at a time. How it fares on a bad
//! line is in `lossy_tests.rs`.

use super::*;

const MS: Duration = Duration::from_millis(1);

/// A machine, a clock, and the agent's numbers.
pub(super) struct Bench {
    pub(super) machine: Machine,
    pub(super) now: Instant,
    next: i64,
}

impl Bench {
    fn new() -> Self {
        Self::of(&Purpose::Port(22))
    }

    fn of(purpose: &Purpose) -> Self {
        let now = Instant::now();
        let wall = SystemTime::UNIX_EPOCH + Duration::from_hours(490_000);
        let mut machine = Machine::new(purpose, Settings::default(), now, wall);
        machine.connected(&SecretString::from("the token"));
        Self {
            machine,
            now,
            next: 0,
        }
    }

    /// Past the handshake, with nothing on its way.
    fn open() -> Self {
        let mut bench = Self::new();
        bench.says(PayloadType::HandshakeRequest, HANDSHAKE.as_bytes());
        bench.says(PayloadType::HandshakeComplete, b"{}");
        bench.acknowledge_all();
        assert!(bench.machine.is_open());
        bench
    }

    fn message(&mut self, payload_type: PayloadType, payload: &[u8]) -> Message {
        let sequence = self.next;
        self.next += 1;
        Message {
            kind: MessageType::Output,
            created: 1,
            sequence,
            flags: u64::from(sequence == 0),
            id: Uuid::from_u128(7),
            payload_type,
            payload: Bytes::copy_from_slice(payload),
        }
    }

    fn receive(&mut self, message: &Message) {
        self.machine.receive(&message.encode(), self.now).unwrap();
    }

    fn says(&mut self, payload_type: PayloadType, payload: &[u8]) {
        let message = self.message(payload_type, payload);
        self.receive(&message);
    }

    fn gateway(&mut self, kind: MessageType, payload: &str) {
        let mut message = self.message(PayloadType::None, payload.as_bytes());
        self.next -= 1;
        message.kind = kind;
        self.receive(&message);
    }

    fn acknowledge(&mut self, sequence: i64) {
        self.gateway(
            MessageType::Acknowledge,
            &format!(r#"{{"AcknowledgedMessageSequenceNumber":{sequence}}}"#),
        );
    }

    fn frames(&mut self) -> Vec<Message> {
        let frames = std::iter::from_fn(|| self.machine.frame(self.now));
        frames
            .filter_map(|frame| match frame {
                Frame::Binary(bytes) => Some(Message::decode(&bytes).unwrap()),
                Frame::Text(_) => None,
            })
            .collect()
    }

    fn acknowledge_all(&mut self) {
        for message in self.frames() {
            if message.kind == MessageType::Input {
                self.acknowledge(message.sequence);
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.machine.tick(self.now);
    }
}

const HANDSHAKE: &str = r#"{"AgentVersion":"3.3.3572.0","RequestedClientActions":[{"ActionType":"SessionType","ActionParameters":{"SessionType":"Port","Properties":{"portNumber":"22"}}}]}"#;

fn text(message: &Message) -> &str {
    std::str::from_utf8(&message.payload).unwrap()
}

#[test]
fn the_token_goes_first_and_is_not_shown() {
    let mut bench = Bench::new();
    let Some(frame @ Frame::Text(_)) = bench.machine.frame(bench.now) else {
        panic!("no token");
    };
    assert!(!format!("{frame:?}").contains("the token"));
    let Frame::Text(text) = frame else { panic!() };
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["MessageSchemaVersion"], "1.0");
    assert_eq!(value["TokenValue"], "the token");
    assert_eq!(value["ClientVersion"], "1.2.764.0");
    for id in ["RequestId", "ClientId"] {
        assert_eq!(value[id].as_str().unwrap().len(), 36, "{id}");
    }
    assert_eq!(bench.machine.frame(bench.now), None);
}

#[test]
fn a_handshake_is_acknowledged_answered_and_waited_for() {
    let mut bench = Bench::new();
    bench.says(PayloadType::HandshakeRequest, HANDSHAKE.as_bytes());
    assert_eq!(bench.machine.write(b"too early", bench.now), 0);
    let frames = bench.frames();
    assert_eq!(frames.len(), 2);
    assert_eq!(
        (&frames[0].kind, frames[0].flags, frames[0].sequence),
        (&MessageType::Acknowledge, 3, 0)
    );
    assert_eq!(
        text(&frames[0]),
        r#"{"AcknowledgedMessageType":"output_stream_data","AcknowledgedMessageId":"00000000-0000-0000-0000-000000000007","AcknowledgedMessageSequenceNumber":0,"IsSequentialMessage":true}"#
    );
    assert_eq!(
        (&frames[1].kind, frames[1].payload_type, frames[1].sequence),
        (&MessageType::Input, PayloadType::HandshakeResponse, 0)
    );
    assert_eq!(frames[1].created, 1_764_000_000_000);
    assert_eq!(
        text(&frames[1]),
        r#"{"ClientVersion":"1.2.764.0","ProcessedClientActions":[{"ActionType":"SessionType","ActionStatus":1,"ActionResult":null,"Error":""}],"Errors":null}"#
    );
    bench.says(
        PayloadType::HandshakeComplete,
        br#"{"HandshakeTimeToComplete":12,"CustomerMessage":""}"#,
    );
    assert_eq!(bench.machine.write(b"hello", bench.now), 5);
    let frames = bench.frames();
    // One counter for the handshake's answer and the data.
    assert_eq!(
        (frames[1].sequence, &frames[1].payload[..]),
        (1, &b"hello"[..])
    );
}

#[test]
fn an_action_nobody_knows_is_refused_and_the_rest_is_done() {
    let mut bench = Bench::new();
    bench.says(
        PayloadType::HandshakeRequest,
        br#"{"RequestedClientActions":[{"ActionType":"Dance","ActionParameters":{}}]}"#,
    );
    let frames = bench.frames();
    assert_eq!(
        text(&frames[1]),
        r#"{"ClientVersion":"1.2.764.0","ProcessedClientActions":[{"ActionType":"Dance","ActionStatus":3,"ActionResult":null,"Error":"Unsupported action Dance"}],"Errors":["Unsupported action Dance"]}"#
    );
}

#[test]
fn an_old_agent_just_speaks() {
    let mut bench = Bench::new();
    bench.says(PayloadType::Output, b"SSH-2.0-old\r\n");
    assert!(bench.machine.is_open());
    assert_eq!(bench.machine.read().unwrap(), "SSH-2.0-old\r\n");
}

#[test]
fn a_terminal_is_spoken_where_one_was_asked_for() {
    let terminal = Purpose::Terminal("sudo -i".into());
    for kind in ["InteractiveCommands", "Standard_Stream"] {
        let mut bench = Bench::of(&terminal);
        let asked = HANDSHAKE.replace("Port\"", &format!("{kind}\""));
        bench.says(PayloadType::HandshakeRequest, asked.as_bytes());
        bench.says(PayloadType::HandshakeComplete, b"{}");
        assert!(bench.machine.is_open(), "{kind}");
        bench.frames();
        let size = TerminalSize {
            columns: 91,
            rows: 37,
        };
        bench.machine.resize(size, bench.now);
        let frames = bench.frames();
        let [sized] = frames.as_slice() else {
            panic!("{frames:?}");
        };
        assert_eq!(
            (&sized.kind, sized.payload_type, text(sized)),
            (
                &MessageType::Input,
                PayloadType::Size,
                r#"{"cols":91,"rows":37}"#
            )
        );
    }
    let mut bench = Bench::of(&terminal);
    bench.says(PayloadType::HandshakeRequest, HANDSHAKE.as_bytes());
    let Some(End::Failed(why)) = bench.machine.end() else {
        panic!("a port was taken for a terminal");
    };
    assert!(why.contains("AWS-StartInteractiveCommand"), "{why}");
}

#[test]
fn another_kind_of_session_is_not_spoken() {
    let multiplexed = HANDSHAKE.replace(r#""22""#, r#""22","type":"LocalPortForwarding""#);
    let shell = HANDSHAKE.replace(r#""Port""#, r#""Standard_Stream""#);
    for (asked, says) in [
        (multiplexed, "Port, multiplexed"),
        (shell, "Standard_Stream"),
    ] {
        let mut bench = Bench::new();
        bench.says(PayloadType::HandshakeRequest, asked.as_bytes());
        let Some(End::Failed(why)) = bench.machine.end() else {
            panic!("{asked}");
        };
        assert!(
            why.contains(says) && why.contains("AWS-StartSSHSession"),
            "{why}"
        );
    }
}

#[test]
fn the_ends_are_told_apart() {
    let closed =
        |output: &str| format!(r#"{{"MessageType":"channel_closed","Output":"{output}"}}"#);
    let ended = |bench: &mut Bench| bench.machine.end().cloned().unwrap();

    let mut bench = Bench::open();
    bench.says(PayloadType::Output, b"last words");
    bench.gateway(MessageType::ChannelClosed, &closed(""));
    assert_eq!(ended(&mut bench), End::Closed);
    assert_eq!(bench.machine.read().unwrap(), "last words");
    assert_eq!(bench.machine.deadline(), None);

    let mut bench = Bench::open();
    bench.gateway(MessageType::ChannelClosed, &closed("idle for 20 minutes"));
    let end = ended(&mut bench);
    assert_eq!(end, End::Ended("idle for 20 minutes".into()));
    assert_eq!(
        end.kind().to_string(),
        "the session's data channel failed: the session was ended: idle for 20 minutes"
    );

    let mut bench = Bench::new();
    bench.gateway(MessageType::ChannelClosed, &closed(""));
    assert_eq!(
        ended(&mut bench),
        End::Ended("before the agent was ready".into())
    );

    let mut bench = Bench::open();
    bench.says(PayloadType::Flag, &[0, 0, 0, 3]);
    assert_eq!(ended(&mut bench), End::Refused);
    assert!(ended(&mut bench).kind().hint().unwrap().contains("sshd"));

    let mut bench = Bench::open();
    bench.says(PayloadType::Flag, &[0, 0, 0, 1]);
    assert_eq!(ended(&mut bench), End::Closed);
}

#[test]
fn an_agent_that_says_nothing_is_not_waited_for_forever() {
    let mut bench = Bench::new();
    assert_eq!(
        bench.machine.deadline(),
        Some(bench.now + Duration::from_mins(1))
    );
    bench.pass(Duration::from_mins(1));
    assert_eq!(
        bench.machine.end(),
        Some(&End::Failed("the agent did not answer within 60 s".into()))
    );
}

/// What came twice is acknowledged twice: the first receipt may be lost.
#[test]
fn what_comes_early_or_twice() {
    let mut bench = Bench::open();
    let [a, b, c] = ["a", "b", "c"].map(|s| bench.message(PayloadType::Output, s.as_bytes()));
    bench.receive(&c);
    assert_eq!(bench.machine.read(), None);
    assert_eq!(bench.frames().len(), 1);
    bench.receive(&a);
    bench.receive(&a);
    bench.receive(&b);
    let read: Vec<Bytes> = std::iter::from_fn(|| bench.machine.read()).collect();
    assert_eq!(read, ["a", "b", "c"]);
    assert_eq!(bench.frames().len(), 3);
}

#[test]
fn a_damaged_message_is_left_to_be_sent_again() {
    let mut bench = Bench::open();
    let message = bench.message(PayloadType::Output, b"hello");
    let mut damaged = message.encode().to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let found = bench.machine.receive(&damaged.into(), bench.now);
    assert_eq!(found, Err(Malformed::Digest));
    assert!(bench.frames().is_empty() && bench.machine.read().is_none());
    bench.receive(&message);
    assert_eq!(bench.machine.read().unwrap(), "hello");
}

#[test]
fn an_idle_session_has_nothing_to_wake_up_for() {
    let mut bench = Bench::open();
    assert_eq!(bench.machine.deadline(), None);
    bench.machine.write(b"x", bench.now);
    // Not on its way yet.
    assert_eq!(bench.machine.deadline(), None);
    assert_eq!(bench.frames().len(), 1);
    let deadline = bench.machine.deadline().unwrap();
    assert!(deadline > bench.now);
    bench.acknowledge(1);
    assert_eq!(bench.machine.deadline(), None);
}

#[test]
fn only_the_oldest_is_repeated_with_patience_that_grows() {
    let mut bench = Bench::open();
    bench.machine.write(b"one", bench.now);
    bench.machine.write(b"two", bench.now);
    assert_eq!(bench.frames().len(), 2);
    let mut waits = Vec::new();
    for _ in 0..3 {
        let deadline = bench.machine.deadline().unwrap();
        waits.push(deadline - bench.now);
        bench.pass(deadline - bench.now);
        let frames = bench.frames();
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].payload, "one");
    }
    // The handshake's answer was acknowledged at once: 10 ms.
    assert_eq!(waits, [10 * MS, 20 * MS, 40 * MS]);
}

#[test]
fn a_message_that_is_never_acknowledged_ends_it_after_minutes() {
    let mut bench = Bench::open();
    bench.machine.write(b"one", bench.now);
    bench.frames();
    let started = bench.now;
    while bench.machine.end().is_none() {
        let deadline = bench.machine.deadline().unwrap();
        bench.pass(deadline - bench.now);
        bench.frames();
    }
    let waited = bench.now - started;
    assert!(
        waited > Duration::from_mins(4) && waited < Duration::from_mins(6),
        "{waited:?}"
    );
    assert_eq!(
        bench.machine.end(),
        Some(&End::Failed(
            "the agent did not acknowledge a message that was sent 301 times".into()
        ))
    );
}

#[test]
fn an_agent_that_is_away_is_sent_nothing_and_then_everything() {
    let mut bench = Bench::open();
    bench.machine.write(b"one", bench.now);
    assert_eq!(bench.frames().len(), 1);
    bench.gateway(MessageType::PausePublication, "");
    bench.machine.write(b"two", bench.now);
    assert!(bench.frames().is_empty());
    assert_eq!(
        bench.machine.deadline(),
        Some(bench.now + Duration::from_mins(5))
    );
    bench.pass(Duration::from_mins(2));
    bench.gateway(MessageType::StartPublication, "");
    assert_eq!(bench.frames()[0].payload, "two");
    // The pause was no silence of the agent's.
    bench.pass(5 * MS);
    assert!(bench.frames().is_empty());
    bench.pass(5 * MS);
    assert_eq!(bench.frames()[0].payload, "one");
    bench.gateway(MessageType::PausePublication, "");
    bench.pass(Duration::from_mins(5));
    let Some(End::Failed(why)) = bench.machine.end() else {
        panic!();
    };
    assert_eq!(why, "the agent was away for 300 s");
}

/// While nobody acknowledges, no more than the window goes out; with every
/// acknowledgement more may, up to the cap.
#[test]
fn messages_are_paced_by_acknowledgements() {
    let mut bench = Bench::open();
    let block = vec![0; 100_000];
    let mut most = 0;
    for _ in 0..2000 {
        while bench.machine.write(&block, bench.now) > 0 {}
        let (messages, bytes) = bench.machine.in_flight();
        assert!(messages <= bench.machine.window());
        assert!(bytes <= bench.machine.window() * 8192);
        most = most.max(messages);
        let sent = bench.frames();
        bench.now += MS;
        for message in sent {
            bench.acknowledge(message.sequence);
        }
        if most == 256 {
            break;
        }
    }
    assert_eq!(most, 256);
    while bench.machine.write(&block, bench.now) > 0 {}
    assert_eq!(bench.machine.in_flight(), (256, 256 * 8192));
    // Small messages are bounded by number.
    let mut bench = Bench::open();
    while bench.machine.write(b"x", bench.now) > 0 {}
    assert_eq!(bench.machine.in_flight(), (16, 16));
}

#[test]
fn a_way_that_fills_up_is_given_less() {
    let mut bench = Bench::open();
    let mut delay = 20 * MS;
    for _ in 0..400 {
        while bench.machine.write(&[0; 8192], bench.now) > 0 {}
        let sent: Vec<i64> = bench.frames().iter().map(|m| m.sequence).collect();
        // The more is on its way, the longer it takes.
        delay = 20 * MS + u32::try_from(bench.machine.in_flight().0).unwrap() * 4 * MS;
        bench.now += delay;
        for sequence in sent {
            bench.acknowledge(sequence);
        }
        bench.frames();
    }
    // 256 would take more than a second.
    assert!(delay < 250 * MS, "{delay:?}");
    assert!(bench.machine.window() >= 8);
}

/// Whatever the agent sends, the reader's absence stops the intake, and what is
/// held is bounded.
#[test]
fn what_is_held_for_a_reader_is_bounded() {
    let mut bench = Bench::open();
    let mut taken = 0;
    while bench.machine.is_hungry() {
        bench.says(PayloadType::Output, &[0; 1024]);
        bench.frames();
        taken += 1;
    }
    assert_eq!(taken, 911);
    assert_eq!(bench.machine.held(), 911 * (1024 + 128));
    bench.machine.read();
    assert!(bench.machine.is_hungry());
    // A byte in a message of its own is not held for the price of a byte.
    let mut bench = Bench::open();
    let mut taken = 0;
    while bench.machine.is_hungry() {
        bench.says(PayloadType::Output, b"x");
        bench.frames();
        taken += 1;
    }
    assert_eq!(taken, 8129);
    // Nor may receipts pile up for a socket that takes none.
    let mut bench = Bench::open();
    let mut taken = 0;
    while bench.machine.is_hungry() {
        bench.says(PayloadType::Output, b"x");
        bench.machine.read();
        taken += 1;
    }
    assert_eq!(taken, UNSENT);
}

#[test]
fn a_socket_that_is_not_read_repeats_nothing() {
    let mut bench = Bench::open();
    bench.machine.write(b"one", bench.now);
    bench.frames();
    bench.machine.listen(false, bench.now);
    assert_eq!(bench.machine.deadline(), None);
    bench.pass(Duration::from_hours(1));
    assert!(bench.frames().is_empty());
    bench.machine.listen(true, bench.now);
    assert_eq!(bench.machine.deadline(), Some(bench.now + 10 * MS));
    // Nor was the way a slow one.
    bench.acknowledge(1);
    bench.machine.write(b"two", bench.now);
    bench.frames();
    assert_eq!(bench.machine.deadline(), Some(bench.now + 10 * MS));
    assert_eq!(bench.machine.window(), 16);
}

#[test]
fn another_connection_goes_on_where_the_last_one_was() {
    let mut bench = Bench::open();
    bench.machine.write(b"one", bench.now);
    bench.machine.write(b"two", bench.now);
    bench.frames();
    bench.acknowledge(1);
    bench.says(PayloadType::Output, b"a");
    bench.machine.disconnected();
    assert_eq!(bench.machine.frame(bench.now), None);
    assert_eq!(bench.machine.deadline(), None);
    assert_eq!(bench.machine.write(b"three", bench.now), 5);
    bench
        .machine
        .connected(&SecretString::from("another token"));
    let Some(Frame::Text(token)) = bench.machine.frame(bench.now) else {
        panic!();
    };
    assert!(token.contains("another token"));
    let sent: Vec<_> = bench.frames().iter().map(|m| m.payload.clone()).collect();
    assert_eq!(sent, ["two", "three"]);
    assert_eq!(bench.machine.read().unwrap(), "a");
}

/// The agent had both, its receipts were lost with the connection, and it gives
/// none again.
#[test]
fn receipts_that_were_lost_with_a_connection_are_not_waited_for() {
    let mut bench = Bench::open();
    bench.machine.write(b"one", bench.now);
    bench.machine.write(b"two", bench.now);
    bench.frames();
    bench.machine.disconnected();
    bench.machine.connected(&SecretString::from("t"));
    let started = bench.now;
    let mut had = 2;
    while !bench.machine.is_settled() {
        for message in bench.frames() {
            if message.sequence > had {
                had = message.sequence;
                bench.now += 5 * MS;
                bench.acknowledge(message.sequence);
            }
        }
        if let Some(deadline) = bench.machine.deadline() {
            let wait = deadline.saturating_duration_since(bench.now);
            bench.pass(wait);
        }
        assert!(bench.machine.end().is_none());
    }
    let waited = bench.now - started;
    assert!(waited < Duration::from_secs(10), "{waited:?}");
}

#[cfg(not(feature = "kms"))]
#[test]
fn without_the_feature_encryption_is_refused_in_words() {
    let mut bench = Bench::new();
    bench.says(PayloadType::HandshakeRequest, encrypted().as_bytes());
    let end = bench.machine.end().unwrap();
    assert_eq!(
        end.kind().to_string(),
        "the session is encrypted by KMS: the account's session preferences ask for encryption by the KMS key arn:aws:kms:eu-west-1:123456789012:key/x, which this forno was built without (feature `kms`)"
    );
    assert!(end.kind().hint().is_some());
}

fn encrypted() -> String {
    HANDSHAKE.replace(
        "]}",
        r#",{"ActionType":"KMSEncryption","ActionParameters":{"KMSKeyId":"arn:aws:kms:eu-west-1:123456789012:key/x"}}]}"#,
    )
}

#[cfg(feature = "kms")]
#[test]
fn an_encrypted_session() {
    let key = |bytes: Vec<u8>| DataKey {
        plaintext: STANDARD.encode(bytes).into(),
        ciphertext: "c2VhbGVk".into(),
    };
    let agent = Cipher::new(&key((32..64).chain(0..32).collect())).unwrap();
    let mut bench = Bench::new();
    bench.says(PayloadType::HandshakeRequest, encrypted().as_bytes());
    assert_eq!(
        bench.machine.key_wanted(),
        Some("arn:aws:kms:eu-west-1:123456789012:key/x")
    );
    // Too early, and waited with.
    let challenge = STANDARD.encode(agent.seal(b"prove it").unwrap());
    bench.says(
        PayloadType::ChallengeRequest,
        format!(r#"{{"Challenge":"{challenge}"}}"#).as_bytes(),
    );
    assert_eq!(bench.frames().len(), 2);
    bench.machine.key(&key((0..64).collect()), bench.now);
    let frames = bench.frames();
    assert!(text(&frames[0]).contains(r#""ActionResult":{"KMSCipherTextKey":"c2VhbGVk"}"#));
    assert_eq!(frames[1].payload_type, PayloadType::ChallengeResponse);
    let answer: Challenge = serde_json::from_slice(&frames[1].payload).unwrap();
    let answer = STANDARD.decode(answer.challenge).unwrap();
    assert_eq!(agent.open(&answer).unwrap(), b"prove it");
    bench.says(PayloadType::HandshakeComplete, b"{}");
    bench.frames();
    bench.machine.write(b"hello", bench.now);
    assert_eq!(agent.open(&bench.frames()[0].payload).unwrap(), b"hello");
    bench.says(PayloadType::Output, &agent.seal(b"hi").unwrap());
    assert_eq!(bench.machine.read().unwrap(), "hi");
    // Control payloads never are.
    bench.machine.flag(Flag::TerminateSession, bench.now);
    assert_eq!(bench.frames().last().unwrap().payload[..], [0, 0, 0, 2]);
    bench.says(PayloadType::Output, b"in clear");
    assert!(matches!(bench.machine.end(), Some(End::Encryption(_))));
}
