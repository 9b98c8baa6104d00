//! The other side's own reading of the format; it shares nothing with ours.

use bytes::Bytes;
use sha2::{Digest, Sha256};

pub(crate) const OUTPUT: u32 = 1;
pub(crate) const HANDSHAKE_REQUEST: u32 = 5;
pub(crate) const HANDSHAKE_RESPONSE: u32 = 6;
pub(crate) const HANDSHAKE_COMPLETE: u32 = 7;
pub(crate) const FLAG: u32 = 10;

pub(crate) struct Parsed {
    pub(crate) kind: String,
    pub(crate) sequence: i64,
    pub(crate) id: String,
    pub(crate) payload_type: u32,
    pub(crate) payload: Bytes,
}

fn number(frame: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(frame[at..at + 8].try_into().unwrap())
}

pub(crate) fn parse(frame: &Bytes) -> Parsed {
    assert_eq!(frame[0..4], [0, 0, 0, 116]);
    let payload = frame.slice(120..);
    let length = u32::from_be_bytes(frame[116..120].try_into().unwrap());
    assert_eq!(length as usize, payload.len());
    assert_eq!(frame[80..112], Sha256::digest(&payload)[..]);
    // The low half comes first.
    let id = hex::encode([&frame[72..80], &frame[64..72]].concat());
    Parsed {
        kind: String::from_utf8(frame[4..36].to_vec())
            .unwrap()
            .trim_end()
            .to_owned(),
        sequence: i64::try_from(number(frame, 48)).unwrap(),
        id: [&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]].join("-"),
        payload_type: u32::from_be_bytes(frame[112..116].try_into().unwrap()),
        payload,
    }
}

pub(crate) fn build(
    kind: &str,
    sequence: i64,
    flags: u64,
    payload_type: u32,
    payload: &[u8],
) -> Bytes {
    let mut frame = Vec::with_capacity(120 + payload.len());
    frame.extend(116_u32.to_be_bytes());
    frame.extend(format!("{kind:<32}").as_bytes());
    frame.extend(1_u32.to_be_bytes());
    frame.extend(1_764_000_000_000_u64.to_be_bytes());
    frame.extend(sequence.to_be_bytes());
    frame.extend(flags.to_be_bytes());
    frame.extend(rand::random::<[u8; 16]>());
    frame.extend(Sha256::digest(payload));
    frame.extend(payload_type.to_be_bytes());
    frame.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
    frame.extend(payload);
    frame.into()
}
