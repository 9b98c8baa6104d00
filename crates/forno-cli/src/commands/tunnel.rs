//! `forno tunnel`

use std::net::{Ipv4Addr, TcpListener};
use std::process;

use forno_bake::{Connection, ConnectionWay, ExitCode, SshWay};
use forno_saga::{Ladder, Rung};

use super::shell::connection_of;
use super::show::find;
use crate::cli::TunnelArgs;
use crate::context::{Context, block_on};
use crate::failure::CommandError;
use crate::{failure, place, signals, ssh};

pub(crate) fn run(arguments: &TunnelArgs, context: &Context) -> anyhow::Result<process::ExitCode> {
    let bake = find(&arguments.bake, context)?;
    let connection = connection_of(&bake)?;
    match &connection.way {
        ConnectionWay::Ssh(way) => by_ssh(arguments, &connection, way, bake.path(), context),
        ConnectionWay::Ssm { .. } => by_sessions(arguments, &connection, context),
    }
}

fn by_ssh(
    arguments: &TunnelArgs,
    connection: &Connection,
    way: &SshWay,
    bake: &std::path::Path,
    context: &Context,
) -> anyhow::Result<process::ExitCode> {
    // ssh chooses no local port by itself.
    let here = match wanted(arguments) {
        0 => TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())?
            .port(),
        port => port,
    };
    let forward = format!("127.0.0.1:{here}:127.0.0.1:{}", arguments.port);
    let mut command = ssh::command(way, &connection.user, bake)?;
    command.args(["-N", "-L", &forward, "-o", "ExitOnForwardFailure=yes"]);
    tell(context, here, arguments, connection);
    let status = ssh::ran(command.status())?;
    if status.code() == Some(255) {
        return Err(CommandError::new(
            ExitCode::CannotConnect,
            format!(
                "ssh gave up on {} or on port {here} here",
                connection.instance_id
            ),
        )
        .into());
    }
    Ok(ExitCode::Done.into())
}

fn by_sessions(
    arguments: &TunnelArgs,
    connection: &Connection,
    context: &Context,
) -> anyhow::Result<process::ExitCode> {
    let ladder = Ladder::new();
    block_on(async {
        let signals = signals::watch(ladder.clone())?;
        let gateway = place::gateway_of(connection, arguments.profile.as_deref(), context).await?;
        let printer = context.printer;
        let tunnel = forno_bake::tunnel(
            gateway,
            connection,
            arguments.port,
            wanted(arguments),
            move |error| failure::tell_bake(&error, printer),
        )
        .await?;
        tell(context, tunnel.address().port(), arguments, connection);
        ladder.reached(Rung::Undo).await;
        drop(tunnel);
        signals.abort();
        Ok(ExitCode::Done.into())
    })
}

fn wanted(arguments: &TunnelArgs) -> u16 {
    arguments.listen.unwrap_or(arguments.port)
}

fn tell(context: &Context, here: u16, arguments: &TunnelArgs, connection: &Connection) {
    context.printer.say(&format!(
        "127.0.0.1:{here} is port {} of {}; Ctrl-C ends it",
        arguments.port, connection.instance_id
    ));
}
