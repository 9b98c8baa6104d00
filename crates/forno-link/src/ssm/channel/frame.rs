//! The binary messages of a data channel: a header of 120 bytes and a payload.
//!
//! Numbers are big-endian. Reading is as tolerant as the services' own clients
//! are: the payload begins where the header says, and ends where the frame ends.

use bytes::{BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// What we write; the payload follows.
pub const HEADER: usize = 120;

/// What the first field says: everything before the payload's length.
const HEADER_LENGTH: u32 = 116;

/// The fields that are read, whatever the header's length is said to be.
const FIELDS: usize = 116;

const TYPE_LENGTH: usize = 32;

/// The agent sends 1 KiB at a time, some 32 KiB. No frame is longer.
pub const MAX_FRAME: usize = 256 * 1024;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub kind: MessageType,
    /// Milliseconds since 1970.
    pub created: u64,
    /// Per direction, from 0; 0 in acknowledgements.
    pub sequence: i64,
    pub flags: u64,
    pub id: Uuid,
    pub payload_type: PayloadType,
    pub payload: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageType {
    /// From the client to the agent.
    Input,
    /// From the agent to the client.
    Output,
    Acknowledge,
    ChannelClosed,
    /// The other end is there again.
    StartPublication,
    /// The other end is away: nothing is sent, everything is kept.
    PausePublication,
    Other(String),
}

impl MessageType {
    pub fn name(&self) -> &str {
        match self {
            Self::Input => "input_stream_data",
            Self::Output => "output_stream_data",
            Self::Acknowledge => "acknowledge",
            Self::ChannelClosed => "channel_closed",
            Self::StartPublication => "start_publication",
            Self::PausePublication => "pause_publication",
            Self::Other(name) => name,
        }
    }

    fn named(name: &str) -> Self {
        let known = [
            Self::Input,
            Self::Output,
            Self::Acknowledge,
            Self::ChannelClosed,
            Self::StartPublication,
            Self::PausePublication,
        ];
        known
            .into_iter()
            .find(|kind| kind.name() == name)
            .unwrap_or_else(|| Self::Other(name.to_owned()))
    }

    /// Whether its digest is worth nothing.
    fn is_publication(&self) -> bool {
        matches!(self, Self::StartPublication | Self::PausePublication)
    }
}

/// What a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadType {
    /// Of acknowledgements and the gateway's own messages.
    None,
    /// Bytes of the stream, in both directions.
    Output,
    Error,
    Size,
    Parameter,
    HandshakeRequest,
    HandshakeResponse,
    HandshakeComplete,
    ChallengeRequest,
    ChallengeResponse,
    Flag,
    StdErr,
    ExitCode,
    Other(u32),
}

impl PayloadType {
    const KNOWN: [Self; 13] = [
        Self::None,
        Self::Output,
        Self::Error,
        Self::Size,
        Self::Parameter,
        Self::HandshakeRequest,
        Self::HandshakeResponse,
        Self::HandshakeComplete,
        Self::ChallengeRequest,
        Self::ChallengeResponse,
        Self::Flag,
        Self::StdErr,
        Self::ExitCode,
    ];

    fn numbered(number: u32) -> Self {
        usize::try_from(number)
            .ok()
            .and_then(|at| Self::KNOWN.get(at).copied())
            .unwrap_or(Self::Other(number))
    }

    pub fn number(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Output => 1,
            Self::Error => 2,
            Self::Size => 3,
            Self::Parameter => 4,
            Self::HandshakeRequest => 5,
            Self::HandshakeResponse => 6,
            Self::HandshakeComplete => 7,
            Self::ChallengeRequest => 8,
            Self::ChallengeResponse => 9,
            Self::Flag => 10,
            Self::StdErr => 11,
            Self::ExitCode => 12,
            Self::Other(number) => number,
        }
    }

    /// What is encrypted, in sessions that are.
    pub(super) fn is_encrypted(self) -> bool {
        matches!(self, Self::Output | Self::StdErr | Self::ExitCode)
    }
}

/// Why a frame is no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("a message of {0} bytes is too short")]
    Short(usize),
    #[error("a message of {0} bytes is too long")]
    Long(usize),
    #[error("a header of {0} bytes does not fit its message")]
    Header(u32),
    #[error("a message's type is not text")]
    Type,
    #[error("a payload arrived damaged")]
    Digest,
}

impl Message {
    /// As it is sent.
    pub fn encode(&self) -> Bytes {
        let mut frame = BytesMut::with_capacity(HEADER + self.payload.len());
        frame.put_u32(HEADER_LENGTH);
        let name = self.kind.name().as_bytes();
        let name = &name[..name.len().min(TYPE_LENGTH)];
        frame.put_slice(name);
        frame.put_bytes(b' ', TYPE_LENGTH - name.len());
        frame.put_u32(1);
        frame.put_u64(self.created);
        frame.put_i64(self.sequence);
        frame.put_u64(self.flags);
        let (high, low) = self.id.as_u64_pair();
        frame.put_u64(low);
        frame.put_u64(high);
        frame.put_slice(&Sha256::digest(&self.payload));
        frame.put_u32(self.payload_type.number());
        frame.put_u32(u32::try_from(self.payload.len()).unwrap_or(u32::MAX));
        frame.put_slice(&self.payload);
        frame.freeze()
    }

    /// What a frame holds, its payload unharmed.
    pub fn decode(frame: &Bytes) -> Result<Self, Malformed> {
        if frame.len() < FIELDS {
            return Err(Malformed::Short(frame.len()));
        }
        if frame.len() > MAX_FRAME {
            return Err(Malformed::Long(frame.len()));
        }
        let header = u32::from_be_bytes(array(frame, 0));
        let start = usize::try_from(header)
            .ok()
            .and_then(|header| header.checked_add(4))
            .filter(|&start| header > 0 && start <= frame.len())
            .ok_or(Malformed::Header(header))?;
        let name = std::str::from_utf8(&frame[4..4 + TYPE_LENGTH]).map_err(|_| Malformed::Type)?;
        let kind = MessageType::named(name.trim_matches([' ', '\0']));
        let payload = frame.slice(start..);
        let digest: [u8; 32] = array(frame, 80);
        let checked = !payload.is_empty() && !kind.is_publication();
        if checked && Sha256::digest(&payload)[..] != digest {
            return Err(Malformed::Digest);
        }
        let (low, high) = (
            u64::from_be_bytes(array(frame, 64)),
            u64::from_be_bytes(array(frame, 72)),
        );
        Ok(Self {
            kind,
            created: u64::from_be_bytes(array(frame, 40)),
            sequence: i64::from_be_bytes(array(frame, 48)),
            flags: u64::from_be_bytes(array(frame, 56)),
            id: Uuid::from_u64_pair(high, low),
            payload_type: PayloadType::numbered(u32::from_be_bytes(array(frame, 112))),
            payload,
        })
    }
}

/// The bytes from there on; the caller has seen to there being that many.
fn array<const N: usize>(frame: &[u8], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    if let Some(found) = frame.get(at..at + N) {
        bytes.copy_from_slice(found);
    }
    bytes
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
