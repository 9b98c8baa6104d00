//! How long short steps take, for people who want to know:
//! `cargo test -p forno-guest --test pace -- --ignored --nocapture`.

#![allow(clippy::print_stdout, reason = "it is asked for its figures")]

mod common;

use std::time::Instant;

use common::{bench, shell};
use forno_guest::Action;

#[tokio::test]
#[ignore = "measures, asserts nothing"]
async fn fifty_short_steps() {
    let Some(bench) = bench().await else { return };
    for _ in 0..3 {
        let started = Instant::now();
        for _ in 0..50 {
            bench.run(Action::Shell(shell("true"))).await.unwrap();
        }
        println!("50 steps: {:.2} s", started.elapsed().as_secs_f64());
    }
}
