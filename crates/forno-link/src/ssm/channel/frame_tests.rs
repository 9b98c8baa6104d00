//! Vectors made by hand from the published format, and what holds for any bytes.

use proptest::prelude::*;

use super::*;
use crate::ssm::channel::payload::{
    Acknowledgement, Flag, HandshakeComplete, HandshakeRequest, SessionType,
};

/// From a text with comments, each line a field.
fn bytes(fields: &[(&str, &str)]) -> Bytes {
    let digits: String = fields.iter().map(|(_, hex)| hex.replace(' ', "")).collect();
    Bytes::from(hex::decode(digits).unwrap())
}

/// An acknowledgement by an agent of message 7. The digest is `sha256sum`'s.
#[test]
fn an_acknowledgement_byte_by_byte() {
    let json = concat!(
        r#"{"AcknowledgedMessageType":"input_stream_data","#,
        r#""AcknowledgedMessageId":"00112233-4455-6677-8899-aabbccddeeff","#,
        r#""AcknowledgedMessageSequenceNumber":7,"IsSequentialMessage":true}"#
    );
    let frame = bytes(&[
        ("HeaderLength", "00000074"),
        // "acknowledge" and 21 spaces
        (
            "MessageType",
            "61636b6e6f776c65646765 202020202020202020202020202020202020202020",
        ),
        ("SchemaVersion", "00000001"),
        ("CreatedDate", "0000019ab0c1d2e3"),
        ("SequenceNumber", "0000000000000000"),
        ("Flags", "0000000000000003"),
        ("MessageId, low half", "8182838485868788"),
        ("MessageId, high half", "0102030405060708"),
        (
            "PayloadDigest",
            "a9f76a768525acbe672fa953c7dc2ca8cbfe7c9eb4fe74582ef27b04aceda565",
        ),
        ("PayloadType", "00000000"),
        ("PayloadLength", "000000af"),
        ("Payload", &hex::encode(json)),
    ]);
    let message = Message::decode(&frame).unwrap();
    assert_eq!(message.kind, MessageType::Acknowledge);
    assert_eq!(message.created, 0x0000_019a_b0c1_d2e3);
    assert_eq!((message.sequence, message.flags), (0, 3));
    assert_eq!(
        message.id.to_string(),
        "01020304-0506-0708-8182-838485868788"
    );
    assert_eq!(message.payload_type, PayloadType::None);
    assert_eq!(
        serde_json::from_slice::<Acknowledgement>(&message.payload).unwrap(),
        Acknowledgement {
            acknowledged_message_type: "input_stream_data".into(),
            acknowledged_message_id: "00112233-4455-6677-8899-aabbccddeeff".into(),
            acknowledged_message_sequence_number: 7,
            is_sequential_message: true,
        }
    );
    assert_eq!(message.encode(), frame);
}

/// The first words of an agent whose machine's port 22 was asked for.
#[test]
fn a_handshake_byte_by_byte() {
    let json = concat!(
        r#"{"AgentVersion":"3.3.3572.0","RequestedClientActions":[{"ActionType":"SessionType","#,
        r#""ActionParameters":{"SessionType":"Port","Properties":{"portNumber":"22"}}}]}"#
    );
    let frame = bytes(&[
        ("HeaderLength", "00000074"),
        // "output_stream_data", padded with NULs as some do
        (
            "MessageType",
            "6f75747075745f73747265616d5f64617461 0000000000000000000000000000",
        ),
        ("SchemaVersion", "00000001"),
        ("CreatedDate", "0000019ab0c1d2e3"),
        ("SequenceNumber", "0000000000000000"),
        ("Flags, SYN", "0000000000000001"),
        ("MessageId, low half", "ffeeddccbbaa9988"),
        ("MessageId, high half", "7766554433221100"),
        (
            "PayloadDigest",
            "0000000000000000000000000000000000000000000000000000000000000000",
        ),
        ("PayloadType", "00000005"),
        ("PayloadLength", "000000a0"),
        ("Payload", &hex::encode(json)),
    ]);
    assert_eq!(Message::decode(&frame), Err(Malformed::Digest));
    let mut frame = frame.to_vec();
    frame[80..112].copy_from_slice(
        &hex::decode("d5c03241f62595644e31efa1d7aece54ca464a3d77d986fc2387a6fd994279ec").unwrap(),
    );
    let message = Message::decode(&frame.into()).unwrap();
    assert_eq!(
        (message.kind, message.payload_type, message.flags),
        (MessageType::Output, PayloadType::HandshakeRequest, 1)
    );
    assert_eq!(
        message.id.to_string(),
        "77665544-3322-1100-ffee-ddccbbaa9988"
    );
    let request: HandshakeRequest = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!(request.agent_version, "3.3.3572.0");
    let action = &request.requested_client_actions[0];
    let asked: SessionType = serde_json::from_value(action.action_parameters.clone()).unwrap();
    assert_eq!(
        (action.action_type.as_str(), asked.session_type.as_str()),
        ("SessionType", "Port")
    );
}

#[test]
fn a_flag_and_the_end_of_a_handshake() {
    for (number, flag) in [
        (1, Flag::DisconnectToPort),
        (2, Flag::TerminateSession),
        (3, Flag::ConnectToPortError),
    ] {
        assert_eq!(flag.payload()[..], [0, 0, 0, number]);
        assert_eq!(Flag::parse(&flag.payload()), Some(flag));
    }
    assert_eq!(Flag::parse(b""), None);
    assert_eq!(Flag::parse(&[1]), None);
    let over: HandshakeComplete =
        serde_json::from_str(r#"{"HandshakeTimeToComplete":1500000,"CustomerMessage":"hello"}"#)
            .unwrap();
    assert_eq!(over.handshake_time_to_complete, 1_500_000);
    assert_eq!(over.customer_message, "hello");
}

/// A payload begins where the header says, and its stated length is not believed.
#[test]
fn what_the_services_own_clients_bear_is_borne() {
    let message = Message {
        kind: MessageType::Output,
        created: 1,
        sequence: 3,
        flags: 0,
        id: Uuid::nil(),
        payload_type: PayloadType::Output,
        payload: Bytes::from_static(b"hello"),
    };
    let mut frame = message.encode().to_vec();
    frame[116..120].copy_from_slice(&[0xff; 4]);
    assert_eq!(Message::decode(&frame.clone().into()).unwrap(), message);
    // Four more bytes of header.
    frame[3] += 4;
    frame.splice(116..116, [9, 9, 9, 9]);
    assert_eq!(Message::decode(&frame.into()).unwrap(), message);
    // What the gateway says about publication carries no digest.
    let mut pause = message;
    pause.kind = MessageType::PausePublication;
    let mut frame = pause.encode().to_vec();
    frame[90] ^= 1;
    assert_eq!(Message::decode(&frame.into()).unwrap(), pause);
}

#[test]
fn what_is_no_message_is_refused() {
    let decode = |bytes: &[u8]| Message::decode(&Bytes::copy_from_slice(bytes));
    assert_eq!(decode(b""), Err(Malformed::Short(0)));
    assert_eq!(decode(&[0; 120]), Err(Malformed::Header(0)));
    assert_eq!(decode(&[0xff; 120]), Err(Malformed::Header(u32::MAX)));
    assert_eq!(
        decode(&vec![0; MAX_FRAME + 1]),
        Err(Malformed::Long(MAX_FRAME + 1))
    );
}

fn messages() -> impl Strategy<Value = Message> {
    let kind = prop_oneof![
        Just(MessageType::Input),
        Just(MessageType::Output),
        Just(MessageType::Acknowledge),
        Just(MessageType::ChannelClosed),
        Just(MessageType::PausePublication),
        "[a-z_]{1,32}".prop_map(|name| MessageType::named(&name)),
    ];
    let payload = proptest::collection::vec(any::<u8>(), 0..300);
    let numbers = (any::<u64>(), any::<i64>(), any::<u64>(), any::<u128>());
    (kind, numbers, any::<u32>(), payload).prop_map(|(kind, numbers, payload_type, payload)| {
        Message {
            kind,
            created: numbers.0,
            sequence: numbers.1,
            flags: numbers.2,
            id: Uuid::from_u128(numbers.3),
            payload_type: PayloadType::numbered(payload_type % 20),
            payload: payload.into(),
        }
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(message in messages()) {
        prop_assert_eq!(Message::decode(&message.encode()).unwrap(), message);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Message::decode(&bytes.into());
    }

    /// A digest that does not fit is noticed, whichever byte was harmed.
    #[test]
    fn a_damaged_payload_is_noticed(message in messages(), at in any::<prop::sample::Index>()) {
        prop_assume!(!message.payload.is_empty() && !message.kind.is_publication());
        let mut frame = message.encode().to_vec();
        let at = HEADER + at.index(message.payload.len());
        frame[at] ^= 0x40;
        prop_assert_eq!(Message::decode(&frame.into()), Err(Malformed::Digest));
    }
}
