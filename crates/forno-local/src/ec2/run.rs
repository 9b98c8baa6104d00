//! RunInstances.

use std::net::Ipv4Addr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::call::Call;
use super::images::unavailable;
use super::instance_reply::write_reservation;
use super::run_disk::{Disk, Disks, Ground, read_mappings};
use super::run_hardware;
use super::run_network::{self, Network};
use super::tags::TagSpecs;
use crate::api::error::ApiError;
use crate::api::params::Level;
use crate::api::xml::Xml;
use crate::fleet::Order;
use crate::state::iam::{Iam, Profile};
use crate::state::ids::Resource;
use crate::state::network::public_address;
use crate::state::parameters::find_parameter;
use crate::state::types::InstanceType;
use crate::state::world::{
    ACCOUNT, Attachment, Hardware, Image, ImageState, Instance, InstanceState, MetadataOptions,
    OnShutdown, Volume,
};

/// EC2's limit on decoded user data.
const LARGEST_USER_DATA: usize = 16 * 1024;
/// Most instances of one call; real machines have to fit on this computer.
const MOST_AT_ONCE: i64 = 20;

pub(super) fn run_instances(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let digest = call.form.digest_without(&["ClientToken", "DryRun"]);
    let token = client_token(call)?;
    if let Some(token) = token
        && let Some(reservation) = same_token(call, token, &digest)?
    {
        read_nothing_new(call)?;
        write_reservation(
            xml,
            call.world.region(call.region.name),
            call.region,
            &reservation,
        );
        return Ok(());
    }
    let launch = Launch::read(call)?;
    call.commit()?;
    let reservation = launch.carry_out(call, token, &digest)?;
    write_reservation(
        xml,
        call.world.region(call.region.name),
        call.region,
        &reservation,
    );
    Ok(())
}

pub(super) fn client_token<'a>(call: &Call<'a>) -> Result<Option<&'a str>, ApiError> {
    let token = call.params.given("ClientToken");
    if token.is_some_and(|token| token.len() > 64 || !token.is_ascii()) {
        return Err(ApiError::invalid(
            "The client token must be at most 64 ASCII characters",
        ));
    }
    Ok(token)
}

/// The reservation that an earlier call with this token made.
fn same_token(call: &mut Call<'_>, token: &str, digest: &str) -> Result<Option<String>, ApiError> {
    let made: Vec<&Instance> = call
        .state()
        .instances
        .values()
        .filter(|instance| instance.client_token.as_deref() == Some(token))
        .collect();
    let Some(first) = made.first() else {
        return Ok(None);
    };
    if first.request_digest != digest {
        return Err(ApiError::new(
            "IdempotentParameterMismatch",
            "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
        ));
    }
    if made
        .iter()
        .all(|instance| instance.state == InstanceState::Terminated)
    {
        return Err(ApiError::new(
            "IdempotentInstanceTerminated",
            "The request to launch an instance uses the same client token as a previous request for which the \
             instance has been terminated.",
        ));
    }
    Ok(Some(first.reservation.clone()))
}

/// A repeated request was read whole the first time; nothing is unknown now.
pub(super) fn read_nothing_new(call: &mut Call<'_>) -> Result<(), ApiError> {
    call.form.all_read();
    call.commit()
}

/// A launch that passed every check.
struct Launch {
    image: Image,
    kind: InstanceType,
    count: u32,
    key: Option<(String, String)>,
    network: Network,
    disks: Disks,
    user_data: Option<Vec<u8>>,
    metadata: MetadataOptions,
    on_shutdown: OnShutdown,
    protect_termination: bool,
    protect_stop: bool,
    ebs_optimized: bool,
    monitoring: bool,
    profile: Option<String>,
    spot: bool,
    hardware: Hardware,
    tags: TagSpecs,
}

impl Launch {
    fn read(call: &mut Call<'_>) -> Result<Self, ApiError> {
        let params = call.params.clone();
        refuse_unsupported(&params)?;
        let profile = profile(&call.world.iam, &params)?;
        let count = count(&params)?;
        let image = image(call, &params)?;
        let kind = instance_type(&params, &image)?;
        if kind.nitro && !image.ena {
            return Err(ApiError::combination(format!(
                "Enhanced networking with the Elastic Network Adapter (ENA) is required for the '{}' instance \
                 type. Ensure that you are using an AMI that is enabled for ENA.",
                kind.name
            )));
        }
        let key = key(call, &params)?;
        let network = run_network::read(call)?;
        let region = call.region.name;
        let ground = Ground {
            region,
            snapshots: &call.state().snapshots,
            root_device: &image.root_device,
        };
        let disks = read_mappings(&params, ground, Disks::of(&image))?;
        let on_shutdown =
            match params.choice("InstanceInitiatedShutdownBehavior", &["stop", "terminate"])? {
                Some("terminate") => OnShutdown::Terminate,
                _ => OnShutdown::Stop,
            };
        let spot = run_hardware::is_spot(&params)?;
        let made = [
            Resource::Instance,
            Resource::Volume,
            Resource::NetworkInterface,
            Resource::SpotRequest,
        ];
        let monitoring = match params.group("Monitoring") {
            Some(monitoring) => monitoring.flag("Enabled")?.unwrap_or(false),
            None => false,
        };
        Ok(Self {
            count,
            key,
            network,
            disks,
            user_data: user_data(&params)?,
            metadata: metadata_options(&params, image.imds_v2)?,
            on_shutdown,
            protect_termination: params.flag("DisableApiTermination")?.unwrap_or(false),
            protect_stop: params.flag("DisableApiStop")?.unwrap_or(false),
            ebs_optimized: params.flag("EbsOptimized")?.unwrap_or(kind.nitro),
            monitoring,
            profile,
            spot,
            hardware: run_hardware::read(&params, &kind)?,
            tags: TagSpecs::read(&params, &made[..if spot { 4 } else { 3 }])?,
            image,
            kind,
        })
    }

    /// Makes the instances, pending, with their volumes; their machines start
    /// once this is on disk.
    fn carry_out(
        &self,
        call: &mut Call<'_>,
        token: Option<&str>,
        digest: &str,
    ) -> Result<String, ApiError> {
        let reservation = Resource::Reservation.fresh();
        let (now, region) = (call.now, call.region.name.to_owned());
        let mut addresses = Vec::new();
        for _ in 0..self.count {
            addresses.push(self.addresses(call, &addresses)?);
        }
        for (index, (private_address, public_address)) in (0..).zip(addresses) {
            let (id, root) = (Resource::Instance.fresh(), Resource::Volume.fresh());
            let instance = Instance {
                id: id.clone(),
                reservation: reservation.clone(),
                launch_index: index,
                image: self.image.id.clone(),
                arm: self.image.arm,
                kind: self.kind.name.clone(),
                key_name: self.key.as_ref().map(|(name, _)| name.clone()),
                public_key: self.key.as_ref().map(|(_, line)| line.clone()),
                groups: self.network.groups.clone(),
                subnet: self.network.subnet.id.clone(),
                zone: self.network.subnet.zone.name(),
                private_address,
                public_address,
                show_public: self.network.show_public,
                ssh_port: None,
                interface: Resource::NetworkInterface.fresh(),
                interface_delete: self.network.delete_interface,
                interface_description: self.network.description.clone(),
                attachment_id: Resource::NetworkInterface.fresh().replacen(
                    "eni-",
                    "eni-attach-",
                    1,
                ),
                root_device: self.image.root_device.clone(),
                root_volume: root.clone(),
                user_data: self.user_data.clone(),
                client_token: token.map(str::to_owned),
                request_digest: digest.to_owned(),
                metadata: self.metadata,
                on_shutdown: self.on_shutdown,
                protect_termination: self.protect_termination,
                protect_stop: self.protect_stop,
                ebs_optimized: self.ebs_optimized,
                monitoring: self.monitoring,
                profile: self.profile.clone(),
                spot_request: self.spot.then(|| Resource::SpotRequest.fresh()),
                hardware: self.hardware.clone(),
                firmware: self.image.firmware.clone(),
                state: InstanceState::Pending,
                reason: None,
                transition: String::new(),
                launched: now,
                ended: None,
                reachable: false,
            };
            self.add_volume(
                call,
                &instance,
                root,
                &self.image.root_device,
                &self.disks.root,
            );
            for (device, disk) in &self.disks.further {
                self.add_volume(call, &instance, Resource::Volume.fresh(), device, disk);
            }
            let state = call.state();
            self.tags.apply(state, Resource::Instance, &id);
            self.tags
                .apply(state, Resource::NetworkInterface, &instance.interface);
            if let Some(request) = &instance.spot_request {
                self.tags.apply(state, Resource::SpotRequest, request);
            }
            state.instances.insert(id.clone(), instance);
            call.order(Order::Launch {
                region: region.clone(),
                instance: id,
            });
        }
        Ok(reservation)
    }

    fn add_volume(
        &self,
        call: &mut Call<'_>,
        instance: &Instance,
        id: String,
        device: &str,
        disk: &Disk,
    ) {
        let Disk { from, ebs } = disk;
        let volume = Volume {
            id: id.clone(),
            size_gib: ebs.size_gib,
            snapshot: from.clone(),
            zone: instance.zone.clone(),
            performance: ebs.performance.clone(),
            encrypted: ebs.encrypted,
            kms_key: ebs.kms_key.clone(),
            created: call.now,
            attachment: Some(Attachment {
                instance: instance.id.clone(),
                device: device.to_owned(),
                at: call.now,
                delete_on_termination: ebs.delete_on_termination,
            }),
            disk: call.fleet.folder.disks().join(format!("{id}.raw")),
        };
        let state = call.state();
        self.tags.apply(state, Resource::Volume, &id);
        state.volumes.insert(id, volume);
    }

    fn addresses(
        &self,
        call: &Call<'_>,
        taken: &[(Ipv4Addr, Ipv4Addr)],
    ) -> Result<(Ipv4Addr, Ipv4Addr), ApiError> {
        let in_use = |address: Ipv4Addr| {
            taken
                .iter()
                .any(|(private, public)| *private == address || *public == address)
                || call.world.address_taken(address)
        };
        let private = self.network.subnet.free_address(in_use).ok_or_else(|| {
            ApiError::new(
                "InsufficientFreeAddressesInSubnet",
                format!(
                    "There are not enough free addresses in subnet '{}'",
                    self.network.subnet.id
                ),
            )
        })?;
        Ok((private, public_address(in_use)))
    }
}

/// Parameters that EC2 has and that would change the result here.
fn refuse_unsupported(params: &Level<'_>) -> Result<(), ApiError> {
    for (name, what) in [
        ("LaunchTemplate", "launch templates"),
        ("CpuOptions", "CPU options"),
        ("HibernationOptions", "hibernation"),
        ("PrivateDnsNameOptions", "host name options"),
    ] {
        if params.group(name).is_some() {
            return Err(ApiError::unsupported(what));
        }
    }
    if !params.members("LicenseSpecification").is_empty() {
        return Err(ApiError::unsupported("license configurations"));
    }
    // Credits and recovery say how AWS bills and moves machines; here they
    // change nothing.
    if let Some(credits) = params.group("CreditSpecification") {
        credits.choice("CpuCredits", &["standard", "unlimited"])?;
    }
    if let Some(maintenance) = params.group("MaintenanceOptions") {
        maintenance.choice("AutoRecovery", &["disabled", "default"])?;
    }
    Ok(())
}

/// The name of the instance profile. Every one exists: there is no IAM here.
/// Its full name. One that was made here has its path; any other is taken for one that
/// somebody made elsewhere, unless it is known to be gone.
fn profile(iam: &Iam, params: &Level<'_>) -> Result<Option<String>, ApiError> {
    let Some(profile) = params.group("IamInstanceProfile") else {
        return Ok(None);
    };
    let (parameter, value, name) = match (profile.given("Arn"), profile.given("Name")) {
        (Some(_), Some(_)) => {
            return Err(ApiError::combination(
                "The parameter 'iamInstanceProfile.name' may not be used in combination with 'iamInstanceProfile.arn'",
            ));
        }
        (Some(arn), None) => {
            let path = arn
                .strip_prefix("arn:aws:iam::")
                .and_then(|rest| rest.split_once(":instance-profile/"))
                .map_or("", |(_, path)| path);
            (
                "iamInstanceProfile.arn",
                arn,
                path.rsplit('/').next().unwrap_or(""),
            )
        }
        (None, Some(name)) => ("iamInstanceProfile.name", name, name),
        (None, None) => return Ok(None),
    };
    let fine = (1..=128).contains(&name.len())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c));
    let known = iam.profiles.get(name);
    if !fine || (known.is_none() && iam.gone.contains(name)) {
        return Err(ApiError::invalid(format!(
            "Value ({value}) for parameter {parameter} is invalid. Invalid IAM Instance Profile name"
        )));
    }
    Ok(Some(
        known.map_or_else(|| name.to_owned(), Profile::full_name),
    ))
}

fn count(params: &Level<'_>) -> Result<u32, ApiError> {
    let given = |name: &str| params.number(name)?.ok_or_else(|| ApiError::missing(name));
    let (least, most) = (given("MinCount")?, given("MaxCount")?);
    for (name, value) in [("minCount", least), ("maxCount", most)] {
        if value < 1 {
            return Err(ApiError::invalid(format!(
                "Value ({value}) for parameter {name} is invalid. Minimum value is 1."
            )));
        }
    }
    if least > most {
        return Err(ApiError::combination(format!(
            "Value ({least}) for parameter minCount must not exceed maxCount ({most})"
        )));
    }
    if least > MOST_AT_ONCE {
        return Err(ApiError::new(
            "InstanceLimitExceeded",
            format!(
                "Your quota allows for {MOST_AT_ONCE} instances in one request. You requested at least {least}"
            ),
        ));
    }
    u32::try_from(most.min(MOST_AT_ONCE)).map_err(|_| ApiError::invalid("maxCount is out of range"))
}

fn image(call: &mut Call<'_>, params: &Level<'_>) -> Result<Image, ApiError> {
    let given = params.require("ImageId")?;
    let state = call.state();
    let id = match given.strip_prefix("resolve:ssm:") {
        None => given.to_owned(),
        Some(name) => find_parameter(state, name)
            .map(|found| found.value)
            .map_err(|_| ApiError::invalid(format!("We couldn't resolve the parameter {name}")))?,
    };
    Resource::Image.check(&id)?;
    let image = match state.images.get(&id) {
        Some(image) => image.clone(),
        None if state.deregistered.contains_key(&id) => return Err(unavailable(&id)),
        None => return Err(Resource::Image.not_found(&id)),
    };
    if image.state != ImageState::Available {
        return Err(ApiError::new(
            "InvalidAMIID.Unavailable",
            format!(
                "The image ID '{id}' is not available: it is {}",
                image.state.name()
            ),
        ));
    }
    let usable = image.public
        || image.owner == ACCOUNT
        || image.launch_accounts.iter().any(|id| id == ACCOUNT);
    if usable {
        Ok(image)
    } else {
        Err(Resource::Image.not_found(&id))
    }
}

fn instance_type(params: &Level<'_>, image: &Image) -> Result<InstanceType, ApiError> {
    let name = params.require("InstanceType")?;
    let kind = InstanceType::find(name)
        .ok_or_else(|| ApiError::invalid(format!("Invalid value '{name}' for InstanceType.")))?;
    if kind.arm != image.arm {
        let of_image = if image.arm { "arm64" } else { "x86_64" };
        return Err(ApiError::invalid(format!(
            "The architecture '{}' of the specified instance type does not match the architecture '{of_image}' of \
             the specified AMI. Specify an instance type and an AMI that have matching architectures, and try again. \
             You can use 'describe-instance-types' or 'describe-images' to discover the architecture of the instance \
             type or AMI.",
            kind.architecture()
        )));
    }
    Ok(kind)
}

fn key(call: &mut Call<'_>, params: &Level<'_>) -> Result<Option<(String, String)>, ApiError> {
    let Some(name) = params.given("KeyName") else {
        return Ok(None);
    };
    let pair = call
        .state()
        .key_named(name)
        .ok_or_else(|| Resource::KeyPair.not_found(name))?;
    Ok(Some((pair.name.clone(), pair.public_key.clone())))
}

fn user_data(params: &Level<'_>) -> Result<Option<Vec<u8>>, ApiError> {
    let Some(encoded) = params.given("UserData") else {
        return Ok(None);
    };
    let packed: String = encoded.split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(packed).map_err(|_| {
        ApiError::new(
            "InvalidUserData.Malformed",
            "Invalid BASE64 encoding of user data.",
        )
    })?;
    if bytes.len() > LARGEST_USER_DATA {
        return Err(ApiError::invalid(format!(
            "User data is limited to {LARGEST_USER_DATA} bytes"
        )));
    }
    Ok(Some(bytes))
}

/// What the call does not say is as the image has it: IMDSv2 with two hops, or neither.
fn metadata_options(params: &Level<'_>, imds_v2: bool) -> Result<MetadataOptions, ApiError> {
    let mut options = MetadataOptions {
        enabled: true,
        tokens_required: imds_v2,
        hop_limit: if imds_v2 { 2 } else { 1 },
        show_tags: false,
    };
    let Some(given) = params.group("MetadataOptions") else {
        return Ok(options);
    };
    if let Some(tokens) = given.choice("HttpTokens", &["optional", "required"])? {
        options.tokens_required = tokens == "required";
    }
    options.enabled = given.choice("HttpEndpoint", &["enabled", "disabled"])? != Some("disabled");
    options.show_tags =
        given.choice("InstanceMetadataTags", &["enabled", "disabled"])? == Some("enabled");
    if given.choice("HttpProtocolIpv6", &["enabled", "disabled"])? == Some("enabled") {
        return Err(ApiError::unsupported("the metadata service over IPv6"));
    }
    if let Some(hops) = given.number("HttpPutResponseHopLimit")? {
        options.hop_limit = u8::try_from(hops).ok().filter(|hops| (1..=64).contains(hops)).ok_or_else(|| {
            ApiError::invalid(format!("Value ({hops}) for parameter HttpPutResponseHopLimit is invalid. It must be between 1 and 64."))
        })?;
    }
    Ok(options)
}
