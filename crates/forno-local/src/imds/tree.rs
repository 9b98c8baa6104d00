//! The tree of categories under `/latest/meta-data` and `/latest/dynamic`, as
//! made from what the world knows of an instance.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;

use crate::sessions::Session;
use crate::state::network::{VPC_CIDR, private_dns, subnets, vpc_id};
use crate::state::regions::Region;
use crate::state::world::{ACCOUNT, Instance, InstanceState, RegionState};

/// A folder of categories or one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    Folder(BTreeMap<String, Node>),
    Value(String),
    /// The folder of one public key: listed as `0=name`, opened as `0`.
    Key {
        name: String,
        line: String,
    },
}

/// The dates of the API that are understood; all give the same tree, as far as
/// a category existed then.
const VERSIONS: &[&str] = &[
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
    "2011-01-01",
    "2011-05-01",
    "2012-01-12",
    "2014-02-25",
    "2014-11-05",
    "2015-10-20",
    "2016-04-19",
    "2016-06-30",
    "2016-09-02",
    "2018-03-28",
    "2018-08-17",
    "2018-09-24",
    "2019-10-01",
    "2020-10-27",
    "2021-01-03",
    "2021-03-23",
    "2021-07-15",
    "2022-09-24",
    "2024-04-11",
    "latest",
];

/// What is at a path: its bytes, or nothing.
pub(super) fn look(
    path: &str,
    region: Region,
    state: &RegionState,
    instance: &Instance,
    public_address_known: bool,
    identity: Option<&Identity>,
) -> Option<Vec<u8>> {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let Some(version) = parts.next() else {
        return Some(VERSIONS.join("\n").into_bytes());
    };
    if !VERSIONS.contains(&version) {
        return None;
    }
    match parts.next() {
        None => {
            let mut names = vec!["dynamic", "meta-data"];
            names.extend(instance.user_data.is_some().then_some("user-data"));
            Some(names.join("\n").into_bytes())
        }
        Some("user-data") if parts.next().is_none() => instance.user_data.clone(),
        Some("meta-data") => {
            let mut root = metadata(region, state, instance, public_address_known);
            root.extend(identity.map(|identity| ("iam".to_owned(), iam(identity))));
            if version < "2021-03-23" {
                root.remove("tags");
            }
            open(&Node::Folder(root), parts)
        }
        Some("dynamic") => open(&dynamic(region, instance), parts),
        Some(_) => None,
    }
}

fn open<'p>(root: &Node, parts: impl Iterator<Item = &'p str>) -> Option<Vec<u8>> {
    let mut node = root;
    let mut parts = parts;
    while let Some(part) = parts.next() {
        match node {
            Node::Folder(children) => node = children.get(part)?,
            Node::Key { line, .. } => {
                return (part == "openssh-key" && parts.next().is_none())
                    .then(|| line.clone().into_bytes());
            }
            Node::Value(_) => return None,
        }
    }
    Some(match node {
        Node::Value(value) => value.clone().into_bytes(),
        Node::Key { .. } => b"openssh-key".to_vec(),
        Node::Folder(children) => {
            let names: Vec<String> = children
                .iter()
                .map(|(name, child)| match child {
                    Node::Folder(_) => format!("{name}/"),
                    Node::Value(_) => name.clone(),
                    Node::Key { name: key, .. } => format!("{name}={key}"),
                })
                .collect();
            names.join("\n").into_bytes()
        }
    })
}

/// What an instance is by its profile.
pub(super) struct Identity {
    pub(super) profile_arn: String,
    pub(super) profile_id: String,
    pub(super) role: String,
    pub(super) updated: Timestamp,
    pub(super) session: Session,
}

fn iam(identity: &Identity) -> Node {
    let time = |at: Timestamp| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let session = &identity.session;
    let info = json!({
        "Code": "Success",
        "LastUpdated": time(identity.updated),
        "InstanceProfileArn": identity.profile_arn,
        "InstanceProfileId": identity.profile_id,
    });
    let credentials = json!({
        "Code": "Success",
        "LastUpdated": time(identity.updated),
        "Type": "AWS-HMAC",
        "AccessKeyId": session.access_key_id,
        "SecretAccessKey": session.secret_access_key,
        "Token": session.token,
        "Expiration": time(session.expires),
    });
    let pretty =
        |value: &serde_json::Value| serde_json::to_string_pretty(value).unwrap_or_default();
    folder([
        ("info", value(pretty(&info))),
        (
            "security-credentials",
            folder([(identity.role.as_str(), value(pretty(&credentials)))]),
        ),
    ])
}

type Folder = BTreeMap<String, Node>;

fn value(text: impl Into<String>) -> Node {
    Node::Value(text.into())
}

fn folder<const N: usize>(entries: [(&str, Node); N]) -> Node {
    Node::Folder(
        entries
            .into_iter()
            .map(|(name, node)| (name.to_owned(), node))
            .collect(),
    )
}

/// The root by both of its names; the others, counted from one.
fn block_devices(state: &RegionState, instance: &Instance) -> Folder {
    let short = |device: &str| value(device.trim_start_matches("/dev/"));
    let mut devices: Folder = [
        ("ami".to_owned(), short(&instance.root_device)),
        ("root".to_owned(), value(&instance.root_device)),
    ]
    .into();
    let further = state
        .volumes_of(instance)
        .into_iter()
        .filter(|(volume, _)| volume.id != instance.root_volume);
    for (number, (_, attachment)) in (1..).zip(further) {
        devices.insert(format!("ebs{number}"), short(&attachment.device));
    }
    devices
}

fn metadata(region: Region, state: &RegionState, instance: &Instance, public: bool) -> Folder {
    let private_name = private_dns(instance.private_address, region.name);
    let groups: Vec<&str> = instance
        .groups
        .iter()
        .filter_map(|id| state.groups.get(id))
        .map(|group| group.name.as_str())
        .collect();
    let zone_id = region
        .zone(&instance.zone)
        .map(crate::state::regions::Zone::id)
        .unwrap_or_default();
    let mac = forno_machine::mac_address(instance.private_address);
    let mut root: Folder = [
        ("ami-id", value(&instance.image)),
        ("ami-launch-index", value(instance.launch_index.to_string())),
        ("ami-manifest-path", value("(unknown)")),
        (
            "block-device-mapping",
            Node::Folder(block_devices(state, instance)),
        ),
        ("hostname", value(&private_name)),
        ("instance-action", value("none")),
        ("instance-id", value(&instance.id)),
        (
            "instance-life-cycle",
            value(match instance.spot_request {
                Some(_) => "spot",
                None => "on-demand",
            }),
        ),
        ("instance-type", value(&instance.kind)),
        ("local-hostname", value(&private_name)),
        ("local-ipv4", value(instance.private_address.to_string())),
        ("mac", value(&mac)),
        (
            "network",
            folder([(
                "interfaces",
                folder([(
                    "macs",
                    folder([(
                        mac.as_str(),
                        interface(region, instance, &mac, &groups, public),
                    )]),
                )]),
            )]),
        ),
        (
            "placement",
            folder([
                ("availability-zone", value(&instance.zone)),
                ("availability-zone-id", value(zone_id)),
                ("region", value(region.name)),
            ]),
        ),
        ("profile", value("default-hvm")),
        ("reservation-id", value(&instance.reservation)),
        ("security-groups", value(groups.join("\n"))),
        (
            "services",
            folder([
                ("domain", value("amazonaws.com")),
                ("partition", value("aws")),
            ]),
        ),
        ("system", value("nitro")),
    ]
    .into_iter()
    .map(|(name, node)| (name.to_owned(), node))
    .collect();
    if public {
        root.insert(
            "public-hostname".to_owned(),
            value(instance.public_address.to_string()),
        );
        root.insert(
            "public-ipv4".to_owned(),
            value(instance.public_address.to_string()),
        );
    }
    if let (Some(name), Some(line)) = (&instance.key_name, &instance.public_key) {
        let key = Node::Key {
            name: name.clone(),
            line: line.clone(),
        };
        root.insert("public-keys".to_owned(), folder([("0", key)]));
    }
    if instance.metadata.show_tags {
        let tags = state
            .tags_of(&instance.id)
            .map(|(key, text)| (key.to_owned(), value(text)))
            .collect();
        root.insert(
            "tags".to_owned(),
            folder([("instance", Node::Folder(tags))]),
        );
    }
    root
}

fn interface(
    region: Region,
    instance: &Instance,
    mac: &str,
    groups: &[&str],
    public: bool,
) -> Node {
    let subnet = subnets(region)
        .into_iter()
        .find(|subnet| subnet.id == instance.subnet);
    let mut node: Folder = [
        ("device-number", value("0")),
        ("interface-id", value(&instance.interface)),
        (
            "local-hostname",
            value(private_dns(instance.private_address, region.name)),
        ),
        ("local-ipv4s", value(instance.private_address.to_string())),
        ("mac", value(mac)),
        ("network-card", value("0")),
        ("owner-id", value(ACCOUNT)),
        ("security-group-ids", value(instance.groups.join("\n"))),
        ("security-groups", value(groups.join("\n"))),
        ("subnet-id", value(&instance.subnet)),
        (
            "subnet-ipv4-cidr-block",
            value(subnet.map(|subnet| subnet.cidr()).unwrap_or_default()),
        ),
        ("vpc-id", value(vpc_id(region))),
        ("vpc-ipv4-cidr-block", value(VPC_CIDR)),
        ("vpc-ipv4-cidr-blocks", value(VPC_CIDR)),
    ]
    .into_iter()
    .map(|(name, node)| (name.to_owned(), node))
    .collect();
    if public {
        let address = instance.public_address.to_string();
        node.insert("public-hostname".to_owned(), value(&address));
        node.insert("public-ipv4s".to_owned(), value(&address));
        node.insert(
            "ipv4-associations".to_owned(),
            folder([(
                address.as_str(),
                value(instance.private_address.to_string()),
            )]),
        );
    }
    Node::Folder(node)
}

fn dynamic(region: Region, instance: &Instance) -> Node {
    let document = json!({
        "accountId": ACCOUNT,
        "architecture": if instance.arm { "arm64" } else { "x86_64" },
        "availabilityZone": instance.zone,
        "billingProducts": null,
        "devpayProductCodes": null,
        "marketplaceProductCodes": null,
        "imageId": instance.image,
        "instanceId": instance.id,
        "instanceType": instance.kind,
        "kernelId": null,
        "pendingTime": seconds(instance.launched),
        "privateIp": instance.private_address,
        "ramdiskId": null,
        "region": region.name,
        "version": "2017-09-30",
    });
    let text = serde_json::to_string_pretty(&document).unwrap_or_default();
    folder([("instance-identity", folder([("document", value(text))]))])
}

fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Whether the public address is the instance's to tell.
pub(super) fn shows_public(instance: &Instance) -> bool {
    instance.show_public
        && !matches!(
            instance.state,
            InstanceState::Stopped | InstanceState::Terminated
        )
}
