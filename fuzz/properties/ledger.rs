//! Whatever a ledger's file holds: it is sound, torn at its end, or corrupt, and
//! what is sound says the same however often it is written and read.

use std::path::PathBuf;

use forno_saga::parse;
use serde_json::Value;

pub(crate) fn check(data: &[u8]) {
    let path = || PathBuf::from("ledger.jsonl");
    let Ok(history) = parse(path(), data) else {
        return;
    };
    for effect in history.fold.unreleased() {
        let _ = format!("{effect:?}");
    }
    // A line that was not finished was never acknowledged: it changes nothing.
    let sound = &data[..data.len() - history.torn];
    let again = parse(path(), sound).unwrap();
    assert_eq!((again.torn, &again.records), (0, &history.records));

    // serde_json reads fractions to the last digit but one; no effect has any.
    let fractions = |record| fractional(&serde_json::to_value(record).unwrap());
    if history.records.iter().any(fractions) {
        return;
    }
    let mut written = Vec::new();
    for record in &history.records {
        serde_json::to_writer(&mut written, record).unwrap();
        written.push(b'\n');
    }
    let again = parse(path(), &written).unwrap();
    assert_eq!(again.records, history.records);
    assert_eq!(format!("{:?}", again.fold), format!("{:?}", history.fold));
    for (at, record) in history.records.iter().enumerate() {
        assert_eq!(record.seq, at as u64);
    }
}

fn fractional(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(items) => items.iter().any(fractional),
        Value::Object(map) => map.values().any(fractional),
        _ => false,
    }
}
