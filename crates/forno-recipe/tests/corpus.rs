//! What fuzzing has found stays found.

#[path = "../../../fuzz/properties/recipe.rs"]
mod property;

#[test]
fn every_input_is_read_or_refused_with_reasons() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/recipe");
    let mut inputs = 0;
    for entry in fs_err::read_dir(corpus).unwrap() {
        property::check(&fs_err::read(entry.unwrap().path()).unwrap());
        inputs += 1;
    }
    assert!(inputs > 5, "{inputs}");
}
