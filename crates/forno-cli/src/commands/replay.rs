//! `forno replay`

use std::process;
use std::time::Duration;

use forno_bake::ExitCode;
use forno_events::Envelope;
use forno_report::{Mode, Renderer, TICK};
use jiff::Timestamp;

use super::show::find;
use crate::cli::{Output, ReplayArgs};
use crate::context::{Context, block_on};
use crate::stage;

/// Waits that say nothing are cut to this, at any speed.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

pub(crate) fn run(arguments: &ReplayArgs, context: &Context) -> anyhow::Result<process::ExitCode> {
    let bake = find(&arguments.bake, context)?;
    let events = bake.events()?;
    let mode = match (arguments.output, arguments.speed) {
        // All at once there is nothing to see moving.
        (Output::Auto, None) => Mode::Plain,
        (output, _) => context.printer.mode(output, &context.environment),
    };
    let mut renderer = stage::renderer(mode, context, &context.folders()?, false);
    let played = match arguments.speed {
        Some(speed) => block_on(async {
            tokio::select! {
                played = in_time(&events, renderer.as_mut(), speed) => Ok(played),
                _ = crate::signals::ending() => Ok(Ok(())),
            }
        })?,
        None => events.iter().try_for_each(|event| renderer.apply(event)),
    };
    match played.and_then(|()| renderer.finish()) {
        // The reader has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(ExitCode::Done.into()),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(ExitCode::Done.into()),
    }
}

async fn in_time(
    events: &[Envelope],
    renderer: &mut dyn Renderer,
    speed: f64,
) -> std::io::Result<()> {
    let mut at = events.first().map(|event| event.at);
    for event in events {
        let gap = at.map_or(Duration::ZERO, |at| {
            Duration::try_from(event.at.duration_since(at)).unwrap_or_default()
        });
        let mut left = gap.div_f64(speed).min(LONGEST_PAUSE);
        while !left.is_zero() {
            let nap = left.min(TICK);
            tokio::time::sleep(nap).await;
            left = left.saturating_sub(nap);
            let before = jiff::SignedDuration::try_from(left.mul_f64(speed)).unwrap_or_default();
            let moment = event
                .at
                .checked_sub(before)
                .unwrap_or(Timestamp::UNIX_EPOCH);
            renderer.tick(moment)?;
        }
        renderer.apply(event)?;
        at = Some(event.at);
    }
    Ok(())
}
