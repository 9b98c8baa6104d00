//! What fuzzing has found stays found.

#[path = "../../../fuzz/properties/ledger.rs"]
mod property;

#[test]
fn every_ledger_is_sound_torn_or_corrupt() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/ledger");
    let mut inputs = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        property::check(&std::fs::read(entry.unwrap().path()).unwrap());
        inputs += 1;
    }
    assert!(inputs > 5, "{inputs}");
}
