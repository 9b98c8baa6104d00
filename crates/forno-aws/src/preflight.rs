//! Would this call be allowed?
//!
//! EC2 answers a dry run as it would the real call, only without doing it. So a
//! missing permission is found before a machine is paid for.

use aws_sdk_ec2::error::SdkError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::attempts::Pending;
use crate::error::{Error, Kind};
use crate::gateway::Gateway;
use crate::ids::SecurityGroupId;
use crate::image::NewImage;
use crate::key_pair::NewKeyPair;
use crate::launch::Launch;
use crate::security_group::{IngressRule, NewSecurityGroup};

/// A call that would create something.
#[derive(Clone, Copy, Debug)]
pub enum Call<'a> {
    ImportKeyPair(&'a NewKeyPair),
    CreateSecurityGroup(&'a NewSecurityGroup),
    AllowIngress(&'a SecurityGroupId, &'a IngressRule),
    RunInstance(&'a Launch),
    CreateImage(&'a NewImage),
}

/// What a dry run says.
#[derive(Clone, Debug)]
pub enum Verdict {
    Allowed,
    /// The real call would be refused just so.
    Denied(Error),
    /// The call names something that does not exist yet, and EC2 looked for that
    /// first; or the endpoint knows no dry run of it.
    Unclear(Error),
}

impl Gateway {
    /// Asks without doing. An error means that there was no answer.
    pub async fn preflight(&self, call: Call<'_>) -> Result<Verdict, Error> {
        match call {
            Call::ImportKeyPair(key) => {
                let pending = self.call("ImportKeyPair").on(&key.name);
                let reply = self.import_key_pair_request(key).dry_run(true).send().await;
                verdict(&pending, reply)
            }
            Call::CreateSecurityGroup(group) => {
                let pending = self.call("CreateSecurityGroup").on(&group.name);
                let request = self.create_security_group_request(group);
                verdict(&pending, request.dry_run(true).send().await)
            }
            Call::AllowIngress(group, rule) => {
                let pending = self.call("AuthorizeSecurityGroupIngress").on(group);
                let request = self.allow_ingress_request(group, rule);
                verdict(&pending, request.dry_run(true).send().await)
            }
            Call::RunInstance(launch) => {
                let pending = self.call("RunInstances").on(format_args!(
                    "{} from {}",
                    launch.instance_type, launch.image
                ));
                let request = self.run_instances_request(launch);
                verdict(&pending, request.dry_run(true).send().await)
            }
            Call::CreateImage(image) => {
                let pending = self.call("CreateImage").on(&image.instance);
                let request = self.create_image_request(image);
                verdict(&pending, request.dry_run(true).send().await)
            }
        }
    }
}

fn verdict<T, E>(
    pending: &Pending,
    reply: Result<T, SdkError<E, HttpResponse>>,
) -> Result<Verdict, Error>
where
    E: std::error::Error + aws_sdk_ec2::error::ProvideErrorMetadata + Send + Sync + 'static,
{
    let Err(error) = reply else {
        // EC2 never says yes to a dry run: this endpoint has just done it.
        return Err(pending.malformed("the endpoint ignored DryRun and carried the call out"));
    };
    let error = pending.failed(&error);
    match error.kind() {
        Kind::DryRun => Ok(Verdict::Allowed),
        Kind::Unsupported => Ok(Verdict::Unclear(error)),
        Kind::NotFound if may_be_unborn(error.code()) => Ok(Verdict::Unclear(error)),
        kind if kind.is_transient() => Err(error),
        _ => Ok(Verdict::Denied(error)),
    }
}

/// Whether the missing thing is one that the bake itself makes later.
fn may_be_unborn(code: Option<&str>) -> bool {
    matches!(
        code,
        Some(
            "InvalidGroup.NotFound"
                | "InvalidGroupId.NotFound"
                | "InvalidInstanceID.NotFound"
                | "InvalidKeyPair.NotFound"
        )
    )
}
