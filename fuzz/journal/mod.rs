//! The masking of forno-bake, without that crate: it would bring the AWS SDK
//! along, which takes longer to build than fuzzing takes to find something.

#![allow(dead_code, unused_imports, reason = "the bake uses more of it")]

#[path = "../../crates/forno-bake/src/journal/forms.rs"]
pub mod forms;
#[path = "../../crates/forno-bake/src/journal/mask.rs"]
pub mod mask;
