//! Everything settled before the first effect.

use std::collections::BTreeMap;
use std::sync::Arc;

use forno_aws::{
    CapacityReservation, Cidr, Gateway, Identity, Image, ImageId, Launch, NewKeyPair,
    NewSecurityGroup, Placement, Spot, Tags,
};
use forno_events::{BakeId, StepInfo};
use forno_recipe::{
    AmiNameFault, BakeFacts, Connect, Digest, Late, MachineOptions, Market, Recipe, UserData,
};
use jiff::Timestamp;

use super::change::compare;
use super::estimate::estimate;
use super::ingress;
use super::network::{Ground, Place, ground, places};
use super::preflight::{Calls, ask};
use super::source::{Found, fit, resolve};
use super::steps::announce;
use super::view::{
    Candidate, Change, Estimate, Network, Plan, PlannedSource, Preflight, SourceImage, Variable,
};
use crate::bake::user_data_fits;
use crate::{Bakes, Error, ErrorKind, Goal, Settings, names};

/// What a recipe starts from, as far as the run knows.
#[derive(Clone, Debug)]
pub(crate) enum Base {
    /// As the recipe says, found now.
    Find,
    /// Baked a moment ago in the same run.
    Baked(ImageId),
    /// Will have been baked by then; only ever planned with.
    Later(String),
}

/// A bake, ready to begin.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub(crate) recipe: Arc<Recipe>,
    pub(crate) bake: BakeId,
    pub(crate) goal: Goal,
    pub(crate) region: String,
    /// Whose credentials these are, where that could be asked.
    pub(crate) identity: Option<Identity>,
    pub(crate) started: Timestamp,
    /// When everything that it makes counts as forgotten.
    pub(crate) expires: Timestamp,
    /// How its machines are reached.
    pub(crate) connect: Connect,
    /// How long a machine lives on without a sign of life, where that was said.
    pub(crate) orphan_after: Option<std::time::Duration>,
    pub(crate) source: Image,
    pub(crate) ground: Ground,
    pub(crate) ingress: Vec<Cidr>,
    pub(crate) places: Vec<Place>,
    pub(crate) prove_places: Vec<Place>,
    pub(crate) ami_name: String,
    pub(crate) description: Option<String>,
    pub(crate) image_tags: Tags,
    /// What the snapshots of the image have besides, or instead.
    pub(crate) snapshot_tags: Tags,
    /// The recipe's tags of everything temporary.
    pub(crate) builder_tags: Tags,
    pub(crate) user_data: Option<String>,
    pub(crate) prove_user_data: Option<String>,
    pub(crate) digest: Digest,
    pub(crate) change: Change,
    pub(crate) steps: Vec<StepInfo>,
    pub(crate) warnings: Vec<String>,
    pub(super) source_found_by: String,
}

/// What does not depend on the source.
struct Survey {
    identity: Option<Identity>,
    ground: Ground,
    ingress: Vec<Cidr>,
    places: Vec<Place>,
    prove_places: Vec<Place>,
    connect: Connect,
    warnings: Vec<String>,
}

/// Settles a bake, or all of it that can be settled while its base is still
/// to be baked.
pub(crate) async fn prepare(
    gateway: &Gateway,
    settings: &Settings,
    recipe: &Arc<Recipe>,
    base: &Base,
) -> Result<Prepared, Error> {
    let survey = survey(gateway, settings, recipe);
    let found = async {
        match base {
            Base::Baked(id) => {
                let image = gateway
                    .require_image(id)
                    .await
                    .map_err(ErrorKind::Planning)?;
                fit(gateway, recipe, &image)?;
                Ok(Found {
                    image,
                    by: "baked in this run".to_owned(),
                })
            }
            Base::Find | Base::Later(_) => resolve(gateway, recipe).await,
        }
    };
    let (survey, found) = tokio::try_join!(survey, found)?;
    settle(gateway, settings, recipe, survey, found).await
}

/// The plan of a bake, with the preflight of its calls.
pub(crate) async fn plan(
    gateway: &Gateway,
    settings: &Settings,
    recipe: &Arc<Recipe>,
    base: &Base,
) -> Result<Plan, Error> {
    if let Base::Later(name) = base {
        let survey = survey(gateway, settings, recipe).await?;
        let mut plan = unsettled(gateway, recipe, survey, name)?;
        plan.estimate = estimate_of(settings, &plan);
        return Ok(plan);
    }
    let prepared = prepare(gateway, settings, recipe, base).await?;
    let preflight = prepared.preflight(gateway).await?;
    let mut plan = prepared.view(preflight);
    plan.estimate = estimate_of(settings, &plan);
    Ok(plan)
}

fn estimate_of(settings: &Settings, plan: &Plan) -> Option<Estimate> {
    let bakes = Bakes::under(&settings.home);
    estimate(&bakes, &plan.image, &plan.region, plan.account.as_deref())
}

async fn survey(gateway: &Gateway, settings: &Settings, recipe: &Recipe) -> Result<Survey, Error> {
    // First of all, and alone: without credentials everything else would say
    // the same in other words.
    let mut warnings = Vec::new();
    let identity = match gateway.caller_identity().await {
        Ok(identity) => Some(identity),
        // An endpoint without STS. AWS lets everybody ask who they are.
        Err(error) if error.kind() == forno_aws::Kind::Unsupported => {
            warnings.push(format!("whose credentials these are is not known: {error}"));
            None
        }
        Err(error) => return Err(unknown_caller(error)),
    };
    let total = recipe.builder.timeouts.total.get();
    if let Ok(Some(expiry)) = gateway.credentials_expiry().await
        && jiff::SignedDuration::try_from(total)
            .is_ok_and(|total| Timestamp::now() + total > expiry)
    {
        warnings.push(format!(
            "the credentials end at {expiry}, and the bake may take longer; they must renew themselves"
        ));
    }
    let connect = settings.connect.unwrap_or(recipe.builder.connect);
    if connect.needs_agent() {
        warnings.extend(unmanaged(gateway, recipe).await);
    }
    let ground = ground(gateway, recipe).await?;
    let ingress = async {
        if ground.groups.is_empty() {
            let said = &recipe.builder.ingress_cidrs;
            ingress::sources(gateway, &settings.ingress, said, connect).await
        } else {
            Ok(Vec::new())
        }
    };
    let types = &recipe.builder.instance_types;
    let prove_types = &recipe.prove.instance_types;
    let (ingress, places, prove_places) = tokio::try_join!(
        ingress,
        places(gateway, recipe, types, &ground.subnets),
        async {
            if prove_types == types {
                Ok(None)
            } else {
                places(gateway, recipe, prove_types, &ground.subnets)
                    .await
                    .map(Some)
            }
        },
    )?;
    if let Some(open) = ingress.iter().find(|range| range.is_everywhere()) {
        warnings.push(format!("the builder is open to {open}, which is everybody"));
    }
    Ok(Survey {
        identity,
        prove_places: prove_places.unwrap_or_else(|| places.clone()),
        ground,
        ingress,
        places,
        connect,
        warnings,
    })
}

/// A bake without its account in the ledger could not be told from one of another account,
/// and no sweep would take it up.
fn unknown_caller(error: forno_aws::Error) -> Error {
    let refused = error.kind() == forno_aws::Kind::Unauthorized;
    let error = Error::new(ErrorKind::Planning(error));
    if refused {
        error.with_hint(
            "AWS lets everybody ask who they are: most likely the policy of a VPC endpoint for STS stands between; let it allow sts:GetCallerIdentity",
        )
    } else {
        error
    }
}

/// Why the agents of machines may not be let in, as far as it can be asked.
pub(crate) async fn unmanaged(gateway: &Gateway, recipe: &Recipe) -> Option<String> {
    let builder = &recipe.builder;
    if builder.instance_profile.is_some() || builder.temporary_profile.is_some() {
        return None;
    }
    // Not being allowed to ask is no news about it.
    let role = gateway.default_host_management().await.ok()?;
    role.is_none().then(|| {
        format!(
            "builder.instance_profile is not set and default host management is off in {}: \
             Systems Manager lets no agent register",
            gateway.region()
        )
    })
}

async fn settle(
    gateway: &Gateway,
    settings: &Settings,
    recipe: &Arc<Recipe>,
    survey: Survey,
    found: Found,
) -> Result<Prepared, Error> {
    let bake = BakeId::new(&recipe.name);
    let started = Timestamp::now();
    let source = found.image;
    let facts = facts(&bake, started, &source);
    let render = |late: &Late| render(late, &facts);
    let render_all = |tags: &BTreeMap<String, Late>| {
        tags.iter()
            .map(|(key, late)| Ok((key.clone(), render(late)?)))
            .collect::<Result<Tags, Error>>()
    };
    let ami_name = render(&recipe.ami_name)?;
    check_ami_name(&ami_name)?;
    let taken = match settings.goal {
        Goal::Image => gateway
            .images_named(&ami_name)
            .await
            .map_err(ErrorKind::Planning)?,
        Goal::Trial => Vec::new(),
    };
    if let Some(image) = taken.first() {
        return Err(Error::new(ErrorKind::Preflight(format!(
            "the name `{ami_name}` is taken by {} in {}",
            image.id,
            gateway.region()
        )))
        .with_hint("put something that differs from bake to bake into image.ami_name, such as {{ bake.short_id }}"));
    }
    let user_data = written(recipe.builder.user_data.as_ref(), &facts)?;
    let prove_user_data = written(recipe.prove.user_data.as_ref(), &facts)?;
    let digest = digest_of(recipe, &source).await?;
    let change = compare(
        gateway,
        &Bakes::under(&settings.home),
        &recipe.name,
        &digest,
    )
    .await?;
    let expires = expiry(started, recipe);
    // Forno's own win over those of the recipe.
    let mut image_tags = render_all(&recipe.tags)?;
    if image_tags.get("Name").is_none() {
        image_tags.insert("Name", ami_name.as_str());
    }
    image_tags = image_tags.overlaid(&names::tags(&bake, "image", expires));
    image_tags.insert(names::DIGEST, digest.whole.as_str());
    image_tags.insert(names::SOURCE_IMAGE, source.id.as_str());
    let prepared = Prepared {
        description: recipe.description.as_ref().map(render).transpose()?,
        snapshot_tags: render_all(&recipe.snapshot_tags)?,
        builder_tags: render_all(&recipe.builder.tags)?,
        steps: announce(
            recipe,
            settings.goal,
            survey.connect,
            survey.ground.groups.is_empty(),
        ),
        goal: settings.goal,
        recipe: Arc::clone(recipe),
        bake,
        region: gateway.region().to_owned(),
        identity: survey.identity,
        started,
        expires,
        connect: survey.connect,
        orphan_after: settings.orphan_after,
        source,
        ground: survey.ground,
        ingress: survey.ingress,
        places: survey.places,
        prove_places: survey.prove_places,
        ami_name,
        image_tags,
        user_data,
        prove_user_data,
        digest,
        change,
        warnings: survey.warnings,
        source_found_by: found.by,
    };
    user_data_fits(&prepared)?;
    Ok(prepared)
}

/// What only a running bake knows.
pub(super) fn facts(bake: &BakeId, started: Timestamp, source: &Image) -> BakeFacts {
    BakeFacts {
        bake_id: bake.to_string(),
        bake_short_id: bake.short().to_owned(),
        started,
        source_id: source.id.to_string(),
        source_name: source.name.clone().unwrap_or_default(),
    }
}

fn render(late: &Late, facts: &BakeFacts) -> Result<String, Error> {
    late.render(facts)
        .map_err(|error| Error::new(ErrorKind::Recipe(error.to_string())))
}

/// The user data of a machine, as far as the recipe has any.
pub(super) fn written(data: Option<&UserData>, facts: &BakeFacts) -> Result<Option<String>, Error> {
    Ok(match data {
        None => None,
        Some(UserData::Text(late)) => Some(render(late, facts)?),
        Some(UserData::File(path)) => Some(
            fs_err::read_to_string(&path.absolute)
                .map_err(Error::io("read the user data of a machine"))?,
        ),
    })
}

/// It reads every file that the recipe names.
pub(crate) async fn digest_of(recipe: &Arc<Recipe>, source: &Image) -> Result<Digest, Error> {
    let recipe = Arc::clone(recipe);
    let source = source.id.to_string();
    tokio::task::spawn_blocking(move || forno_recipe::digest(&recipe, &source))
        .await
        .map_err(|error| Error::io("make the digest")(std::io::Error::other(error)))?
        .map_err(|error| Error::io("make the digest")(std::io::Error::other(error)))
}

/// A while after the bake must be over, so that a sweep never takes what a
/// bake at its end is just removing.
fn expiry(started: Timestamp, recipe: &Recipe) -> Timestamp {
    let grace = std::time::Duration::from_mins(30);
    jiff::SignedDuration::try_from(recipe.builder.timeouts.total.get() + grace)
        .ok()
        .and_then(|after| started.checked_add(after).ok())
        .unwrap_or(Timestamp::MAX)
}

/// EC2's rule for names of images; a template can break it with real values.
fn check_ami_name(name: &str) -> Result<(), Error> {
    AmiNameFault::of(name).map_or(Ok(()), |fault| {
        let error = Error::new(ErrorKind::Recipe(format!(
            "EC2 would refuse the AMI name `{name}`: {fault}"
        )));
        Err(error.with_hint(AmiNameFault::ALLOWED))
    })
}

impl Prepared {
    pub(crate) fn account(&self) -> Option<String> {
        self.identity
            .as_ref()
            .map(|identity| identity.account.clone())
    }

    /// The tags of a temporary resource.
    pub(crate) fn tags(&self, step: &str, name: &str) -> Tags {
        let tags = self.builder_tags.clone().with("Name", name);
        tags.overlaid(&names::tags(&self.bake, step, self.expires))
    }

    pub(crate) fn new_key(&self, public_key: String) -> NewKeyPair {
        let name = names::temporary(&self.bake);
        NewKeyPair {
            tags: self.tags("key-pair", &name),
            name,
            public_key,
        }
    }

    pub(crate) fn new_group(&self) -> NewSecurityGroup {
        let name = names::temporary(&self.bake);
        NewSecurityGroup {
            description: match self.connect {
                Connect::Ssh => format!("SSH to the builder of {}", self.bake),
                Connect::Ssm | Connect::SshOverSsm => format!("the builder of {}", self.bake),
            },
            vpc: self.ground.vpc.clone(),
            tags: self.tags("security-group", &name),
            name,
        }
    }

    pub(crate) fn launch(&self, machine: &Machine<'_>, place: &Place) -> Launch {
        let name = format!("{}-{}", names::temporary(&self.bake), machine.step);
        Launch {
            client_token: names::client_token(
                &self.bake,
                &[
                    machine.step,
                    place.market.as_str(),
                    &place.instance_type,
                    place.subnet.as_str(),
                    &machine.round.to_string(),
                ],
            ),
            image: machine.image.id.clone(),
            instance_type: place.instance_type.clone(),
            subnet: Some(place.subnet.clone()),
            security_groups: machine.groups.to_vec(),
            public_address: self.recipe.builder.public_ip,
            key_name: machine.key_name.map(str::to_owned),
            user_data: machine.user_data.map(str::to_owned),
            volumes: self.volumes(machine.image),
            instance_profile: self.instance_profile(),
            imds: forno_aws::Imds {
                tokens_required: self.recipe.builder.imds.tokens
                    == forno_recipe::ImdsTokens::Required,
                hop_limit: Some(self.recipe.builder.imds.hop_limit),
            },
            spot: (place.market == Market::Spot).then(|| Spot {
                max_price: self.recipe.builder.spot_max_price.clone(),
            }),
            placement: placement(&self.recipe.builder.machine),
            tags: self.tags(machine.step, &name),
        }
    }

    fn instance_profile(&self) -> Option<String> {
        let builder = &self.recipe.builder;
        let own = builder.temporary_profile.as_ref();
        let own = own.map(|_| names::profile(&self.bake));
        own.or_else(|| builder.instance_profile.clone())
    }

    /// Asks EC2 whether it would allow the calls of the bake.
    pub(crate) async fn preflight(&self, gateway: &Gateway) -> Result<Vec<Preflight>, Error> {
        let Some(place) = self.places.first() else {
            return Ok(Vec::new());
        };
        let mut launch = self.launch(
            &Machine {
                step: "builder",
                image: &self.source,
                groups: &self.ground.groups,
                key_name: None,
                user_data: None,
                round: 0,
            },
            place,
        );
        if self.recipe.builder.temporary_profile.is_some() {
            // EC2 would say that there is none.
            launch.instance_profile = None;
        }
        let calls = Calls {
            key: (self.connect != Connect::Ssm).then(|| {
                self.new_key(forno_link::Identity::generate("forno preflight").public_line())
            }),
            group: self.ground.groups.is_empty().then(|| self.new_group()),
            launch,
        };
        let mut found = ask(gateway, &calls).await?;
        if self.goal == Goal::Image {
            found.extend(
                super::publish::ask(gateway, &self.recipe, &self.source, &self.ami_name).await?,
            );
        }
        Ok(found)
    }

    fn view(&self, preflight: Vec<Preflight>) -> Plan {
        Plan {
            image: self.recipe.name.clone(),
            region: self.region.clone(),
            account: self.account(),
            source: PlannedSource::Image(SourceImage {
                id: self.source.id.to_string(),
                name: self.source.name.clone(),
                created: self.source.created,
                found_by: self.source_found_by.clone(),
            }),
            ami_name: self.ami_name.clone(),
            architecture: self.recipe.architecture.as_str().to_owned(),
            network: network_view(&self.ground, &self.ingress),
            candidates: candidates(&self.places),
            volumes: self.recipe.builder.volumes.clone(),
            register: self.recipe.register.clone(),
            early_snapshots: self.recipe.builder.early_snapshots,
            variables: variables(&self.recipe),
            tags: self
                .image_tags
                .iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            digest: Some(self.digest.clone()),
            change: self.change.clone(),
            publish: self.recipe.publish.clone(),
            steps: self.steps.clone(),
            left_out: self.recipe.left_out.clone(),
            estimate: None,
            preflight,
            warnings: self.warnings.clone(),
        }
    }
}

fn placement(options: &MachineOptions) -> Placement {
    Placement {
        ebs_optimized: options.ebs_optimized,
        cpu_credits: options.cpu_credits.map(forno_recipe::CpuCredits::as_str),
        nitro_enclaves: options.nitro_enclaves,
        tenancy: options.tenancy.map(forno_recipe::Tenancy::as_str),
        host_id: options.host_id.clone(),
        host_resource_group_arn: options.host_resource_group_arn.clone(),
        placement_group: options.placement_group.clone(),
        capacity_reservation: options
            .capacity_reservation
            .as_deref()
            .map(|said| match said {
                "open" => CapacityReservation::Open,
                "none" => CapacityReservation::None,
                arn if arn.starts_with("arn:") => {
                    CapacityReservation::ResourceGroup(arn.to_owned())
                }
                id => CapacityReservation::Id(id.to_owned()),
            }),
        license_configuration_arns: options.license_configuration_arns.clone(),
    }
}

/// A machine to be launched, in what builder and test machine differ.
pub(crate) struct Machine<'a> {
    /// The tag `forno:step`.
    pub(crate) step: &'static str,
    pub(crate) image: &'a Image,
    pub(crate) groups: &'a [forno_aws::SecurityGroupId],
    pub(crate) key_name: Option<&'a str>,
    pub(crate) user_data: Option<&'a str>,
    /// Counts the launches after one that was accepted and came to nothing.
    pub(crate) round: usize,
}

fn unsettled(
    gateway: &Gateway,
    recipe: &Recipe,
    survey: Survey,
    base: &str,
) -> Result<Plan, Error> {
    let id = BakeId::new(&recipe.name);
    let facts = BakeFacts {
        bake_id: id.to_string(),
        bake_short_id: id.short().to_owned(),
        started: Timestamp::now(),
        source_id: String::new(),
        source_name: String::new(),
    };
    let ami_name = recipe
        .ami_name
        .render(&facts)
        .map_err(|error| Error::new(ErrorKind::Recipe(error.to_string())))?;
    Ok(Plan {
        image: recipe.name.clone(),
        region: gateway.region().to_owned(),
        account: survey.identity.map(|identity| identity.account),
        source: PlannedSource::BakedBefore {
            recipe: base.to_owned(),
        },
        ami_name,
        architecture: recipe.architecture.as_str().to_owned(),
        network: network_view(&survey.ground, &survey.ingress),
        candidates: candidates(&survey.places),
        volumes: recipe.builder.volumes.clone(),
        register: recipe.register.clone(),
        early_snapshots: recipe.builder.early_snapshots,
        variables: variables(recipe),
        tags: BTreeMap::new(),
        digest: None,
        change: Change::Base {
            recipe: base.to_owned(),
        },
        publish: recipe.publish.clone(),
        steps: announce(
            recipe,
            Goal::Image,
            survey.connect,
            survey.ground.groups.is_empty(),
        ),
        left_out: recipe.left_out.clone(),
        estimate: None,
        preflight: Vec::new(),
        warnings: survey.warnings,
    })
}

fn network_view(ground: &Ground, ingress: &[Cidr]) -> Network {
    Network {
        vpc: ground.vpc.to_string(),
        subnets: ground
            .subnets
            .iter()
            .map(|subnet| subnet.id.to_string())
            .collect(),
        security_groups: ground.groups.iter().map(ToString::to_string).collect(),
        ingress: ingress.iter().map(ToString::to_string).collect(),
    }
}

fn candidates(places: &[Place]) -> Vec<Candidate> {
    places
        .iter()
        .map(|place| Candidate {
            instance_type: place.instance_type.clone(),
            subnet: place.subnet.to_string(),
            availability_zone: place.zone.clone(),
            market: place.market,
        })
        .collect()
}

fn variables(recipe: &Recipe) -> Vec<Variable> {
    recipe
        .vars
        .iter()
        .map(|(name, var)| Variable {
            name: name.clone(),
            value: serde_json::to_value(&var.value).unwrap_or_default(),
            origin: serde_json::to_value(&var.origin).unwrap_or_default(),
        })
        .collect()
}
