//! Where a command calls: AWS, or the pocket EC2 of this machine.
//!
//! The one place where `--local` makes a difference. What comes out is the same
//! in both cases: an address, credentials and a region for the gateway.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use forno_aws::{Access, AskCode, Gateway, Role, StaticCredentials};
use forno_bake::Connection;
use forno_events::{Outcome, Unit};
use forno_local::{
    Config, Credentials, EndpointInfo, FaultPlan, MachineChoice, Mode as Service, Pace, PocketEc2,
    Progress,
};
use forno_recipe::{AssumeRole, Period, Project};
use forno_report::{Activity, Mode};
use secrecy::SecretString;
use tokio::sync::OnceCell;

use crate::ask::CodeAtTerminal;
use crate::cli::{ConductArgs, MachineArgs, MachineKind, PaceChoice, WhereArgs};
use crate::context::Context;
use crate::failure::CommandError;
use crate::settings::{self, Folders};

/// The services that know the machine of a bake.
pub(crate) async fn gateway_of(
    connection: &Connection,
    profile: Option<&str>,
    context: &Context,
) -> anyhow::Result<Gateway> {
    let running = forno_local::running_endpoint(&context.folders()?.local())?;
    let access = match (&connection.endpoint_url, running) {
        (Some(url), Some((info, credentials))) if *url == info.url => {
            access(&info, &credentials, connection.region.clone())
        }
        (url, _) => Access {
            region: Some(connection.region.clone()),
            endpoint_url: url.clone(),
            ..on_aws(profile, &context.settings_of_project()?, context)
        },
    };
    Ok(Gateway::connect(access).await?)
}

/// As whom AWS is called: by the usual chain, and then the roles of the project.
fn on_aws(profile: Option<&str>, project: &Project, context: &Context) -> Access {
    let asks = context.printer.can_ask();
    Access {
        profile: profile.map(str::to_owned),
        machine_endpoint_url: machine_endpoint(context),
        roles: project.roles().iter().map(role).collect(),
        ask_code: asks.then(|| Arc::new(CodeAtTerminal(context.printer)) as Arc<dyn AskCode>),
        ..Access::default()
    }
}

fn role(said: &AssumeRole) -> Role {
    let AssumeRole {
        role_arn,
        session_name,
        external_id,
        duration,
        mfa_serial,
        tags,
        transitive_tag_keys,
        policy,
        policy_arns,
    } = said.clone();
    Role {
        arn: role_arn,
        session_name,
        external_id,
        duration: duration.map(Period::get),
        mfa_serial,
        tags: tags.into_iter().collect(),
        transitive_tag_keys,
        policy,
        policy_arns,
    }
}

/// Where machines reach S3, for an endpoint that they know under another address
/// than we do: a pocket EC2 that is named by the usual variables.
fn machine_endpoint(context: &Context) -> Option<String> {
    let url = context.environment.get("FORNO_MACHINE_ENDPOINT");
    url.map(str::to_owned)
}

/// An open place; [`close`](Self::close) ends what was started for it.
#[derive(Debug)]
pub(crate) struct Place {
    access: Access,
    /// Made once: a role may want a person to be asked for it.
    gateway: OnceCell<Gateway>,
    pocket: Option<PocketEc2>,
}

impl Place {
    /// Opens the place that the arguments name; the project knows what they leave open.
    pub(crate) async fn open(
        arguments: &WhereArgs,
        project: &Project,
        mode: Mode,
        context: &Context,
    ) -> anyhow::Result<Self> {
        Self::open_as(arguments, None, project, mode, context).await
    }

    /// The same, with a pocket EC2 that behaves in a certain way.
    pub(crate) async fn open_as(
        arguments: &WhereArgs,
        conduct: Option<Conduct>,
        project: &Project,
        mode: Mode,
        context: &Context,
    ) -> anyhow::Result<Self> {
        let region = settings::region(
            arguments.region.as_deref(),
            &context.environment,
            project.region(),
        );
        if !arguments.local {
            let mut access = on_aws(arguments.profile.as_deref(), project, context);
            access.region = region;
            return Ok(Self {
                access,
                gateway: OnceCell::new(),
                pocket: None,
            });
        }
        let folders = context.folders()?;
        if let Some((info, credentials)) = forno_local::running_endpoint(&folders.local())?
            && info.mode == Service::Serve
        {
            if conduct.is_some() {
                let said = format!(
                    "the pocket EC2 on {} runs already, with faults and a pace of its own",
                    info.url
                );
                let hint = "give --faults and --pace to `forno local serve`, or end it";
                return Err(CommandError::usage(said).hint(hint).into());
            }
            tracing::info!(url = info.url, "using the pocket EC2 that runs already");
            let region = region.unwrap_or_else(|| info.region.clone());
            return Ok(Self {
                access: access(&info, &credentials, region),
                gateway: OnceCell::new(),
                pocket: None,
            });
        }
        let mut config = config(&folders, &arguments.machine);
        config.mode = Service::Embedded;
        if let Some(conduct) = conduct {
            conduct.apply(&mut config);
        }
        if let Some(region) = region {
            config.region = region;
        }
        let pocket = start(config, mode, context).await?;
        Ok(Self {
            access: access(
                pocket.info(),
                pocket.credentials(),
                pocket.region().to_owned(),
            ),
            gateway: OnceCell::new(),
            pocket: Some(pocket),
        })
    }

    pub(crate) async fn gateway(&self) -> Result<Gateway, forno_aws::Error> {
        let connect = || Gateway::connect(self.access.clone());
        self.gateway.get_or_try_init(connect).await.cloned()
    }

    /// The same place in another region.
    pub(crate) async fn gateway_in(&self, region: &str) -> Result<Gateway, forno_aws::Error> {
        Ok(self.gateway().await?.in_region(region))
    }

    /// Ends the pocket EC2 where one was started.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        match self.pocket {
            Some(pocket) => pocket.shutdown().await.context("end the pocket EC2"),
            None => Ok(()),
        }
    }
}

/// How a pocket EC2 is to behave.
#[derive(Debug)]
pub(crate) struct Conduct {
    faults: FaultPlan,
    pace: Pace,
}

impl Conduct {
    /// Reads the files that the arguments name; nothing where they name none.
    pub(crate) fn read(arguments: &ConductArgs) -> Result<Option<Self>, forno_local::Error> {
        if arguments.faults.is_none() && arguments.pace.is_none() {
            return Ok(None);
        }
        let faults = arguments.faults.as_deref().map(FaultPlan::read);
        let pace = match &arguments.pace {
            None | Some(PaceChoice::Instant) => Pace::INSTANT,
            Some(PaceChoice::Ec2) => Pace::ec2(),
            Some(PaceChoice::File(path)) => Pace::read(path)?,
        };
        Ok(Some(Self {
            faults: faults.transpose()?.unwrap_or_default(),
            pace,
        }))
    }

    pub(crate) fn apply(self, config: &mut Config) {
        config.faults = self.faults;
        config.pace = self.pace;
    }
}

fn access(info: &EndpointInfo, credentials: &Credentials, region: String) -> Access {
    Access {
        region: Some(region),
        endpoint_url: Some(info.url.clone()),
        machine_endpoint_url: Some(info.machine_url.clone()),
        credentials: Some(StaticCredentials {
            access_key_id: credentials.access_key_id.clone(),
            secret_access_key: SecretString::from(credentials.secret_access_key.clone()),
            session_token: None,
        }),
        ..Access::default()
    }
}

/// A pocket EC2 on this user's folders.
pub(crate) fn config(folders: &Folders, machine: &MachineArgs) -> Config {
    let mut config = Config::new(folders.local(), &folders.cache);
    config.machine = match machine.machine {
        MachineKind::Auto => MachineChoice::Auto,
        MachineKind::Vm => MachineChoice::Vm,
        MachineKind::Container => MachineChoice::Container,
        MachineKind::Stub => MachineChoice::Stub,
    };
    config.mirror.clone_from(&machine.mirror);
    config.ca_bundle.clone_from(&machine.ca_bundle);
    config
}

/// Starts a pocket EC2, showing what takes long: the first start makes a disk.
pub(crate) async fn start(
    config: Config,
    mode: Mode,
    context: &Context,
) -> anyhow::Result<PocketEc2> {
    let printer = context.printer;
    let activity: Mutex<Option<Activity>> = Mutex::new(None);
    let show = |progress: Progress| {
        let Ok(mut shown) = activity.lock() else {
            return;
        };
        let activity = shown.get_or_insert_with(|| {
            let title = "preparing the pocket EC2";
            Activity::begin(mode, printer.prose, printer.prose_sink(), title)
        });
        // Nobody can be told that nothing can be told.
        drop(activity.detail(&progress.message));
        if let Some(percent) = progress.fraction.map(percent) {
            drop(activity.progress(percent, Some(100), Unit::Percent));
        }
    };
    let started = PocketEc2::start(config, &show).await;
    if let Ok(Some(activity)) = activity.into_inner() {
        if started.is_ok() && activity.elapsed() < Duration::from_secs(2) {
            activity.dismiss();
        } else {
            let outcome = match &started {
                Ok(_) => Outcome::Ok,
                Err(_) => Outcome::Failed,
            };
            drop(activity.finish(
                outcome,
                Some("the pocket EC2 is ready").filter(|_| started.is_ok()),
            ));
        }
    }
    Ok(started?)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 0..=100 before"
)]
fn percent(fraction: f32) -> u64 {
    (fraction * 100.0).clamp(0.0, 100.0) as u64
}
