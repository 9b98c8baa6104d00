#![no_main]

#[path = "../journal/mod.rs"]
mod journal;
#[path = "../properties/mask.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|data: &[u8]| property::check(data, |secret, lines| {
    let masker = journal::mask::Masker::new([("secret", secret)]).ok()?;
    Some(masker.mask_lines(lines.iter().copied()))
}));
