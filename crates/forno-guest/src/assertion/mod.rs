//! What must hold on a machine: looked at, compared, and every difference told.

mod glob;
mod look;
mod port;

use forno_link::Link;

use crate::error::StepErrorKind;
use crate::step::{Assertion, Mismatch};
use crate::{StepContext, StepError};

pub(crate) use glob::matches;

pub(crate) async fn run(
    link: &dyn Link,
    assertion: &Assertion,
    ctx: &StepContext,
) -> Result<(), StepError> {
    let mut found = Findings::default();
    let mut tail = Vec::new();
    match assertion {
        Assertion::File(file) => look::file(link, file, &mut found, ctx).await?,
        Assertion::Package(package) => look::package(link, package, &mut found, ctx).await?,
        Assertion::Service(service) => look::service(link, service, &mut found, ctx).await?,
        Assertion::Port(port) => port::look(link, port, &mut found, ctx).await?,
        Assertion::User(user) => look::user(link, user, &mut found, ctx).await?,
        Assertion::Command(command) => tail = look::command(link, command, &mut found, ctx).await?,
    }
    if found.0.is_empty() {
        return Ok(());
    }
    Err(StepError::new(StepErrorKind::Assertion(found.0)).tail(tail))
}

/// The differences seen so far.
#[derive(Debug, Default)]
struct Findings(Vec<Mismatch>);

impl Findings {
    fn add(
        &mut self,
        what: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        self.0.push(Mismatch {
            what: what.into(),
            expected: expected.into(),
            found: found.into(),
        });
    }

    /// When they differ.
    fn compare(&mut self, what: impl Into<String>, expected: &str, found: &str) {
        if expected != found {
            self.add(what, expected, found);
        }
    }
}
