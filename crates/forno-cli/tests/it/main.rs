//! Whole bakes by the built `forno`, as a person would run it.
//!
//! Most run on stub machines against an endpoint of their own (`forno local serve`),
//! which is asked afterwards what it still holds. What only a real machine can show
//! runs on containers (root) and one virtual machine. Everything lives in a
//! temporary folder; only the made Debian disk is shared, in the user's cache.

mod bad_input;
mod containers;
mod crowd;
mod examples;
mod failures;
mod foreign;
mod interrupts;
mod killed;
mod lifecycle;
mod orphans;
mod peer;
mod private;
mod resume;
mod support;
mod team_images;
mod virtual_machine;
mod ways;
