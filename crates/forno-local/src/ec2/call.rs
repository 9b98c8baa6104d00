//! One call of an action: what it was asked, the world it may change, and the
//! point of no return before which nothing has been changed.

use jiff::Timestamp;

use crate::api::error::ApiError;
use crate::api::params::{Form, Level};
use crate::fleet::{Fleet, Order};
use crate::keypair::MadeKey;
use crate::state::ids::Resource;
use crate::state::regions::Region;
use crate::state::world::{RegionState, SecurityGroup, World};

/// A call while it is carried out.
pub(crate) struct Call<'a> {
    pub(crate) form: &'a Form,
    pub(crate) params: Level<'a>,
    pub(crate) region: Region,
    pub(crate) world: &'a mut World,
    pub(crate) fleet: &'a Fleet,
    pub(crate) now: Timestamp,
    /// The key of a CreateKeyPair, made before the world was locked.
    pub(crate) made_key: Option<MadeKey>,
    dry_run: bool,
    committed: bool,
    orders: Vec<Order>,
}

/// What a successful call leaves to be done.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Whether the world was changed and must be on disk before the reply.
    pub(crate) changed: bool,
    pub(crate) orders: Vec<Order>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(
        form: &'a Form,
        region: Region,
        world: &'a mut World,
        fleet: &'a Fleet,
        now: Timestamp,
    ) -> Result<Self, ApiError> {
        let params = form.root();
        let dry_run = params.flag("DryRun")?.unwrap_or(false);
        default_group(world.region(region.name), region);
        Ok(Self {
            form,
            params,
            region,
            world,
            fleet,
            now,
            made_key: None,
            dry_run,
            committed: false,
            orders: Vec::new(),
        })
    }

    /// The region that the call is about.
    pub(crate) fn state(&mut self) -> &mut RegionState {
        self.world.region(self.region.name)
    }

    /// To be passed between the last check and the first change: refuses
    /// parameters that nothing has read, and ends a dry run.
    pub(crate) fn commit(&mut self) -> Result<(), ApiError> {
        self.committed = true;
        if let Some(name) = self.form.unread() {
            return Err(ApiError::new(
                "UnknownParameter",
                format!(
                    "The parameter {name} is not recognized or not supported by the pocket EC2"
                ),
            ));
        }
        if self.dry_run {
            Err(ApiError::dry_run())
        } else {
            Ok(())
        }
    }

    /// Leaves something to be done to the machines once the change is safe.
    pub(crate) fn order(&mut self, order: Order) {
        self.orders.push(order);
    }

    /// The end of a call that gave a reply.
    pub(crate) fn finish(mut self) -> Result<Outcome, ApiError> {
        let changed = self.committed;
        if !changed {
            self.commit()?;
        }
        Ok(Outcome {
            changed,
            orders: self.orders,
        })
    }
}

/// Every VPC has its default group.
fn default_group(state: &mut RegionState, region: Region) {
    if state.group_named("default").is_none() {
        let id = Resource::SecurityGroup.derived(region.name);
        let group = SecurityGroup {
            id: id.clone(),
            name: "default".to_owned(),
            description: "default VPC security group".to_owned(),
            ingress: Vec::new(),
        };
        state.groups.insert(id, group);
    }
}

/// Times as EC2 writes them.
pub(super) fn iso(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// An ARN of a resource of this account.
pub(super) fn arn(region: Region, account: &str, resource: Resource, id: &str) -> String {
    format!(
        "arn:aws:ec2:{}:{account}:{}/{id}",
        region.name,
        resource.tag_type()
    )
}
