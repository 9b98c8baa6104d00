//! What fuzzing has found stays found.

#[path = "../../../fuzz/properties/channel.rs"]
mod property;

#[test]
fn nothing_an_agent_sends_does_harm() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/channel");
    let mut inputs = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        property::check(&std::fs::read(entry.unwrap().path()).unwrap());
        inputs += 1;
    }
    assert!(inputs > 5, "{inputs}");
}
