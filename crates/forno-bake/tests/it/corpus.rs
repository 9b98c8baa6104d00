//! What fuzzing has found stays found.

#[path = "../../../../fuzz/properties/mask.rs"]
mod property;

use forno_bake::Masker;

#[test]
fn no_secret_of_the_corpus_comes_through() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/mask");
    let mut inputs = 0;
    for entry in fs_err::read_dir(corpus).unwrap() {
        let data = fs_err::read(entry.unwrap().path()).unwrap();
        property::check(&data, |secret, lines| {
            let masker = Masker::new([("secret", secret)]).ok()?;
            Some(masker.mask_lines(lines.iter().copied()))
        });
        inputs += 1;
    }
    assert!(inputs > 5, "{inputs}");
}
