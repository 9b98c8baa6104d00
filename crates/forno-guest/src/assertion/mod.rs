//! What must hold on a machine: facts are asked there, compared here.

mod command;
mod facts;
mod file;
mod package;
mod port;
mod service;
mod user;

use forno_link::Link;

use crate::{Assertion, Mismatch, StepContext, StepError};

/// Everything about the assertion that is otherwise; nothing when it holds.
pub(crate) async fn evaluate(
    link: &dyn Link,
    assertion: &Assertion,
    ctx: &StepContext,
) -> Result<Vec<Mismatch>, StepError> {
    match assertion {
        Assertion::File(file) => file::evaluate(link, file, ctx).await,
        Assertion::Package(package) => package::evaluate(link, package, ctx).await,
        Assertion::Service(service) => service::evaluate(link, service, ctx).await,
        Assertion::Port(port) => port::evaluate(link, port, ctx).await,
        Assertion::User(user) => user::evaluate(link, user, ctx).await,
        Assertion::Command(command) => command::evaluate(link, command, ctx).await,
    }
}
