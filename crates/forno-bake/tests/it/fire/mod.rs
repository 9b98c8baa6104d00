//! The bake under fire: calls that fail, replies that are lost, processes that
//! die, all of them on purpose, and what an account holds afterwards.

mod blow;
mod holdings;
mod ledger;
mod matrix;
mod reactions;
mod victim;

use blow::{Blow, Call, How};
use holdings::Holdings;
use victim::{Ended, bake, resume, sweep};
