//! `forno local serve`

use std::process;

use anyhow::Context as _;
use forno_bake::ExitCode;
use forno_local::Mode as Service;

use crate::cli::{Output, ServeArgs};
use crate::context::{Context, block_on};
use crate::place::Conduct;
use crate::{place, settings, signals};

pub(crate) fn run(arguments: &ServeArgs, context: &Context) -> anyhow::Result<process::ExitCode> {
    let folders = context.folders()?;
    let printer = context.printer;
    let mut config = place::config(&folders, &arguments.machine);
    if let Some(conduct) = Conduct::read(&arguments.conduct)? {
        conduct.apply(&mut config);
    }
    config.listen = arguments.listen;
    config.mode = Service::Serve;
    if let Some(region) = settings::region(arguments.region.as_deref(), &context.environment, None)
    {
        config.region = region;
    }
    let mode = printer.mode(Output::Auto, &context.environment);
    block_on(async {
        let ending = signals::ending();
        tokio::pin!(ending);
        let pocket = tokio::select! {
            pocket = place::start(config, mode, context) => pocket?,
            reason = &mut ending => {
                printer.say(reason?);
                return Ok(ExitCode::Interrupted.into());
            }
        };
        let credentials = pocket.credentials();
        for (name, value) in [
            ("AWS_ENDPOINT_URL", pocket.endpoint_url()),
            ("FORNO_MACHINE_ENDPOINT", pocket.machine_endpoint()),
            ("AWS_ACCESS_KEY_ID", &credentials.access_key_id),
            ("AWS_SECRET_ACCESS_KEY", &credentials.secret_access_key),
            // The AWS CLI and boto3 read this one, every other SDK the next.
            ("AWS_DEFAULT_REGION", pocket.region()),
            ("AWS_REGION", pocket.region()),
        ] {
            printer.line(&format!("export {name}={value}"))?;
        }
        let theme = printer.prose;
        printer.say(&format!(
            "{} the pocket EC2 listens on {}",
            theme.ok(),
            theme.strong(pocket.endpoint_url())
        ));
        printer.say(&format!("  state in {}", folders.local().display()));
        printer.say("  Ctrl-C ends it and its machines; images stay");
        let reason = ending.await.context("listen for signals")?;
        printer.say(&format!("{reason}: ending every machine"));
        pocket.shutdown().await.context("end the pocket EC2")?;
        Ok(ExitCode::Done.into())
    })
}
