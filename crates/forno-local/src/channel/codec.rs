//! The messages of a data channel as bytes: a header of 120, big-endian, and a
//! payload. The reading side believes nothing: lengths, digest and words are
//! checked, and what is not understood is a fault and never a panic.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// What stands before the length of the payload, as the header says itself.
const HEADER: usize = 116;
/// Where the payload begins.
const PAYLOAD: usize = HEADER + 4;
const KIND: std::ops::Range<usize> = 4..36;
const SCHEMA: u32 = 1;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    /// Milliseconds since the epoch.
    pub(crate) created: u64,
    pub(crate) sequence: i64,
    pub(crate) flags: u64,
    pub(crate) id: Uuid,
    pub(crate) content: u32,
    pub(crate) payload: Vec<u8>,
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// From the client to the agent.
    Input,
    /// From the agent to the client.
    Output,
    Acknowledge,
    ChannelClosed,
    StartPublication,
    PausePublication,
}

/// What the payload of stream data is.
pub(crate) mod content {
    pub(crate) const OUTPUT: u32 = 1;
    pub(crate) const SIZE: u32 = 3;
    pub(crate) const HANDSHAKE_REQUEST: u32 = 5;
    pub(crate) const HANDSHAKE_RESPONSE: u32 = 6;
    pub(crate) const HANDSHAKE_COMPLETE: u32 = 7;
    pub(crate) const FLAG: u32 = 10;
}

/// The payload of a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Flag {
    DisconnectToPort = 1,
    TerminateSession = 2,
    ConnectToPortError = 3,
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the message is shorter than its header")]
    Short,
    #[error("the message has a header of another length")]
    Header,
    #[error("the message is of an unknown type")]
    Kind,
    #[error("the digest of the payload is another")]
    Digest,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::Input,
        Self::Output,
        Self::Acknowledge,
        Self::ChannelClosed,
        Self::StartPublication,
        Self::PausePublication,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Input => "input_stream_data",
            Self::Output => "output_stream_data",
            Self::Acknowledge => "acknowledge",
            Self::ChannelClosed => "channel_closed",
            Self::StartPublication => "start_publication",
            Self::PausePublication => "pause_publication",
        }
    }
}

impl Flag {
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let number = u32::from_be_bytes(payload.try_into().ok()?);
        [
            Self::DisconnectToPort,
            Self::TerminateSession,
            Self::ConnectToPortError,
        ]
        .into_iter()
        .find(|flag| *flag as u32 == number)
    }

    pub(crate) fn write(self) -> Vec<u8> {
        (self as u32).to_be_bytes().to_vec()
    }
}

impl Message {
    /// One that is no stream data.
    pub(crate) fn control(kind: Kind, payload: Vec<u8>) -> Self {
        Self {
            kind,
            created: now(),
            sequence: 0,
            flags: 3,
            id: Uuid::new_v4(),
            content: 0,
            payload,
        }
    }

    /// One of the agent's numbered ones; the first says that it is.
    pub(crate) fn output(sequence: i64, content: u32, payload: Vec<u8>) -> Self {
        Self {
            kind: Kind::Output,
            created: now(),
            sequence,
            flags: u64::from(sequence == 0),
            id: Uuid::new_v4(),
            content,
            payload,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(PAYLOAD + self.payload.len());
        let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        bytes.extend(length(HEADER));
        bytes.extend(format!("{:<32}", self.kind.name()).bytes());
        bytes.extend(SCHEMA.to_be_bytes());
        bytes.extend(self.created.to_be_bytes());
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.flags.to_be_bytes());
        // The two halves of an id change places.
        let (front, back) = self.id.as_bytes().split_at(8);
        bytes.extend(back);
        bytes.extend(front);
        bytes.extend(Sha256::digest(&self.payload));
        bytes.extend(self.content.to_be_bytes());
        bytes.extend(length(self.payload.len()));
        bytes.extend(&self.payload);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let (header, payload) = bytes.split_at_checked(PAYLOAD).ok_or(Fault::Short)?;
        if word(header, 0) != u32::try_from(HEADER).unwrap_or(0) {
            return Err(Fault::Header);
        }
        let padding = |byte: &u8| *byte == b' ' || *byte == 0;
        let name = &header[KIND];
        let end = name.iter().rposition(|byte| !padding(byte));
        let name = &name[..end.map_or(0, |last| last + 1)];
        let kind = Kind::ALL
            .into_iter()
            .find(|kind| kind.name().as_bytes() == name)
            .ok_or(Fault::Kind)?;
        // The length of the frame is that of the message; the field is not
        // looked at, as the real ends do not.
        let unsealed = matches!(kind, Kind::StartPublication | Kind::PausePublication);
        if !unsealed && !payload.is_empty() && header[80..112] != Sha256::digest(payload)[..] {
            return Err(Fault::Digest);
        }
        let mut id = [0; 16];
        id[..8].copy_from_slice(&header[72..80]);
        id[8..].copy_from_slice(&header[64..72]);
        Ok(Self {
            kind,
            created: long(header, 40),
            sequence: i64::from_be_bytes(long(header, 48).to_be_bytes()),
            flags: long(header, 56),
            id: Uuid::from_bytes(id),
            content: word(header, 112),
            payload: payload.to_vec(),
        })
    }
}

fn word(header: &[u8], at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&header[at..at + 4]);
    u32::from_be_bytes(bytes)
}

fn long(header: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&header[at..at + 8]);
    u64::from_be_bytes(bytes)
}

/// Milliseconds since the epoch.
pub(crate) fn now() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message() -> impl Strategy<Value = Message> {
        let kind = (0..Kind::ALL.len()).prop_map(|index| Kind::ALL[index]);
        let payload = prop::collection::vec(any::<u8>(), 0..3000);
        let numbers = any::<(u64, i64, u64, u128, u32)>();
        (kind, numbers, payload).prop_map(
            |(kind, (created, sequence, flags, id, content), payload)| Message {
                kind,
                created,
                sequence,
                flags,
                id: Uuid::from_u128(id),
                content,
                payload,
            },
        )
    }

    /// Every field at the place that the published format gives it.
    #[test]
    fn the_bytes_of_a_message() {
        let message = Message {
            kind: Kind::Acknowledge,
            created: 0x0102_0304_0506_0708,
            sequence: 0x1112_1314_1516_1718,
            flags: 3,
            id: Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
            content: 1,
            payload: b"hello".to_vec(),
        };
        let expected = concat!(
            "00000074",
            "61636b6e6f776c65646765202020202020202020202020202020202020202020",
            "00000001",
            "0102030405060708",
            "1112131415161718",
            "0000000000000003",
            "8899aabbccddeeff0011223344556677",
            "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
            "00000001",
            "00000005",
            "68656c6c6f",
        );
        assert_eq!(hex::encode(message.encode()), expected);
    }

    #[test]
    fn flags() {
        assert_eq!(Flag::TerminateSession.write(), [0, 0, 0, 2]);
        assert_eq!(Flag::read(&[0, 0, 0, 1]), Some(Flag::DisconnectToPort));
        assert_eq!(Flag::read(&[0, 0, 0, 9]), None);
        assert_eq!(Flag::read(&[1]), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(message in message()) {
            prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
        }

        #[test]
        fn a_changed_payload_is_noticed(message in message(), at in any::<prop::sample::Index>(), bit in 0..8) {
            prop_assume!(!message.payload.is_empty());
            prop_assume!(!matches!(message.kind, Kind::StartPublication | Kind::PausePublication));
            let mut bytes = message.encode();
            let at = PAYLOAD + at.index(message.payload.len());
            bytes[at] ^= 1_u8 << bit;
            prop_assert_eq!(Message::decode(&bytes), Err(Fault::Digest));
        }

        #[test]
        fn no_bytes_are_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), real in message(), cut in 0..200_usize) {
            let _ = Message::decode(&bytes);
            let mut mixed = real.encode();
            mixed.truncate(cut);
            mixed.extend(bytes);
            let _ = Message::decode(&mixed);
        }
    }
}
