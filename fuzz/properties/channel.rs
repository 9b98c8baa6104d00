//! Whatever an agent or a gateway sends: a message is read or refused and is the
//! same when it is written and read again, and the client's end neither panics,
//! nor holds more than it may, nor sends more than its window.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use forno_link::ssm::Purpose;
use forno_link::ssm::channel::Settings;
use forno_link::ssm::channel::frame::{Message, MessageType};
use forno_link::ssm::channel::machine::{Frame, Machine};

/// Some windows and buffers, in bytes.
const HELD: usize = 6 * 1024 * 1024;

/// One step each: a kind, a length in two bytes, and so many bytes.
pub(crate) fn check(data: &[u8]) {
    message(data);
    let mut now = Instant::now();
    let mut machine = Machine::new(
        &Purpose::Port(22),
        Settings::default(),
        now,
        SystemTime::UNIX_EPOCH,
    );
    let mut sequence = 0;
    let mut rest = data;
    while let [kind, high, low, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (bytes, tail) = tail.split_at(length);
        rest = tail;
        match kind % 8 {
            0 => machine.connected(&"token".into()),
            1 => machine.disconnected(),
            // As it came.
            2 => drop(machine.receive(&Bytes::copy_from_slice(bytes), now)),
            // Made sound, so that something is reached behind the digest.
            3 => drop(machine.receive(&sound(bytes, None), now)),
            // And in order.
            4 => {
                drop(machine.receive(&sound(bytes, Some(sequence)), now));
                sequence += 1;
            }
            5 => {
                let room = machine.room();
                let taken = machine.write(bytes, now);
                assert_eq!(taken, bytes.len().min(room));
                let (messages, _) = machine.in_flight();
                assert!(taken == 0 || messages <= machine.window());
            }
            6 => {
                now += Duration::from_millis(u64::try_from(length).unwrap_or(0));
                machine.tick(now);
                machine.listen(bytes.first().is_some_and(|b| b % 2 == 0), now);
            }
            _ => {
                while machine.read().is_some() {}
                while let Some(frame) = machine.frame(now) {
                    if let Frame::Binary(frame) = frame {
                        Message::decode(&frame).unwrap();
                    }
                }
            }
        }
        assert!(machine.held() <= HELD + data.len());
        if let Some(deadline) = machine.deadline() {
            assert!(machine.end().is_none());
            assert!(deadline <= now + Duration::from_hours(1));
        }
    }
}

fn message(data: &[u8]) {
    let Ok(message) = Message::decode(&Bytes::copy_from_slice(data)) else {
        return;
    };
    let again = Message::decode(&message.encode()).unwrap();
    match &message.kind {
        // A name with spaces inside is kept, one that is cut short is another.
        MessageType::Other(_) => assert_eq!(again.payload, message.payload),
        _ => assert_eq!(again, message),
    }
}

/// The bytes as a message of the agent's: type, payload type, sequence, payload.
fn sound(bytes: &[u8], sequence: Option<i64>) -> Bytes {
    let at = |n: usize| bytes.get(n).copied().unwrap_or(0);
    let kind = match at(0) % 6 {
        0 => MessageType::Acknowledge,
        1 => MessageType::ChannelClosed,
        2 => MessageType::PausePublication,
        3 => MessageType::StartPublication,
        _ => MessageType::Output,
    };
    let mut frame = Message {
        kind,
        created: 1,
        sequence: sequence.unwrap_or(i64::from(at(1))),
        flags: 0,
        id: uuid::Uuid::nil(),
        payload_type: forno_link::ssm::channel::frame::PayloadType::Output,
        payload: Bytes::copy_from_slice(bytes.get(3..).unwrap_or_default()),
    }
    .encode()
    .to_vec();
    // The payload's type is of no part of the digest.
    frame[115] = at(2);
    frame.into()
}
