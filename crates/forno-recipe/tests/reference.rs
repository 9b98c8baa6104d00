//! The reference page is what the types say, and its examples are right.

#[expect(dead_code, reason = "each test file uses its part")]
mod common;

use std::path::Path;

use common::{Fixture, HEAD};
use forno_recipe::{Inputs, Unset, reference};

/// With `FORNO_UPDATE=1` the page is written anew.
#[test]
fn the_page_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/RECIPE.md");
    let page = format!("{}\n", reference());
    #[expect(clippy::disallowed_methods, reason = "a switch for who works on forno")]
    if std::env::var_os("FORNO_UPDATE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/RECIPE.md is stale: run `FORNO_UPDATE=1 cargo test -p forno-recipe --test reference`"
    );
}

#[test]
fn every_key_says_what_it_is() {
    for line in reference().lines().filter(|line| line.starts_with("| `")) {
        let about = line
            .trim_end_matches('|')
            .rsplit('|')
            .next()
            .unwrap()
            .trim();
        assert!(about.len() > 5, "{line}");
    }
}

#[test]
fn the_examples_of_the_page_are_right() {
    let page = reference();
    let mut examples = 0;
    for block in page.split("```toml\n").skip(1) {
        let block = block.split("```").next().unwrap();
        let recipe = if block.contains("[image]") {
            block.to_owned()
        } else {
            format!("{HEAD}{block}")
        };
        let fixture = Fixture::with(&recipe)
            .file("images/files/index.html", "")
            .file("images/files/fetch.sh", "");
        let given = Inputs {
            unset: Unset::StandIn,
            ..Inputs::default()
        };
        let name = if block.contains("\"web\"") {
            "web"
        } else {
            "worker"
        };
        fixture
            .load_with(name, &given)
            .unwrap_or_else(|error| panic!("{error}"));
        examples += 1;
    }
    assert_eq!(examples, 2);
}
