//! The calls of a bake as they go over the wire, and what becomes of the replies.

use super::endpoint::{Answer, Endpoint, instance_xml, ok, refused};
use crate::{
    Call, CapacityReservation, Cidr, ImageCopy, Imds, IngressRule, Kind, Launch, LaunchPermissions,
    NewImage, NewKeyPair, NewSecurityGroup, Placement, Spot, Tags, Verdict, Volume, VolumeType,
    Volumes,
};

fn tags() -> Tags {
    Tags::new()
        .with("forno:bake", "01BAKE")
        .with("forno:image", "base")
}

fn launch() -> Launch {
    Launch {
        client_token: "01BAKE-builder".to_owned(),
        image: "ami-0123456789abcdef0".parse().unwrap(),
        instance_type: "c7i.large".to_owned(),
        subnet: Some("subnet-0123456789abcdef0".parse().unwrap()),
        security_groups: vec!["sg-0123456789abcdef0".parse().unwrap()],
        public_address: None,
        key_name: Some("forno-01BAKE".to_owned()),
        user_data: Some("#cloud-config\n".to_owned()),
        volumes: Volumes {
            with: vec![
                Volume {
                    device: "/dev/xvda".to_owned(),
                    size_gib: Some(16),
                    volume_type: Some(VolumeType::Gp3),
                    throughput: Some(500),
                    encrypted: Some(true),
                    ..Volume::default()
                },
                Volume {
                    device: "/dev/sdf".to_owned(),
                    snapshot: Some("snap-0123456789abcdef0".parse().unwrap()),
                    ..Volume::default()
                },
            ],
            without: vec!["/dev/sdb".to_owned()],
        },
        instance_profile: None,
        imds: Imds::default(),
        spot: None,
        placement: Placement::default(),
        tags: tags(),
    }
}

#[tokio::test]
async fn a_builder_is_launched_with_everything_in_one_call() {
    let more = "<clientToken>01BAKE-builder</clientToken>\
        <ipAddress>203.0.113.7</ipAddress><privateIpAddress>172.31.0.9</privateIpAddress>\
        <subnetId>subnet-0123456789abcdef0</subnetId><vpcId>vpc-0123456789abcdef0</vpcId>\
        <placement><availabilityZone>eu-west-1a</availabilityZone></placement>\
        <rootDeviceName>/dev/xvda</rootDeviceName><launchTime>2026-11-22T10:00:00.000Z</launchTime>\
        <groupSet><item><groupId>sg-0123456789abcdef0</groupId></item></groupSet>\
        <blockDeviceMapping><item><deviceName>/dev/xvda</deviceName><ebs><volumeId>vol-0123456789abcdef0</volumeId></ebs></item></blockDeviceMapping>\
        <tagSet><item><key>forno:bake</key><value>01BAKE</value></item></tagSet>";
    let item = instance_xml("i-0123456789abcdef0", "pending", more);
    let endpoint = Endpoint::with([ok(
        "RunInstances",
        &format!("<instancesSet>{item}</instancesSet>"),
    )])
    .await;
    let instance = endpoint
        .gateway()
        .await
        .run_instance(&launch())
        .await
        .unwrap();
    insta::assert_debug_snapshot!(instance, @r#"
    Instance {
        id: i-0123456789abcdef0,
        image: Some(
            ami-0123456789abcdef0,
        ),
        state: Pending,
        state_reason: None,
        instance_type: "c7i.large",
        is_spot: false,
        public_address: Some(
            203.0.113.7,
        ),
        private_address: Some(
            172.31.0.9,
        ),
        availability_zone: Some(
            "eu-west-1a",
        ),
        subnet: Some(
            subnet-0123456789abcdef0,
        ),
        vpc: Some(
            vpc-0123456789abcdef0,
        ),
        security_groups: [
            sg-0123456789abcdef0,
        ],
        root_device: Some(
            "/dev/xvda",
        ),
        volumes: [
            (
                "/dev/xvda",
                vol-0123456789abcdef0,
            ),
        ],
        key_name: None,
        client_token: Some(
            "01BAKE-builder",
        ),
        launched: Some(
            2026-11-22T10:00:00Z,
        ),
        tags: Tags(
            {
                "forno:bake": "01BAKE",
            },
        ),
    }
    "#);

    let request = &endpoint.requests()[0];
    let mut sent = request.form.clone();
    assert_eq!(sent.remove("Action").unwrap(), "RunInstances");
    sent.remove("Version").unwrap();
    insta::assert_debug_snapshot!(sent, @r#"
    {
        "BlockDeviceMapping.1.DeviceName": "/dev/xvda",
        "BlockDeviceMapping.1.Ebs.DeleteOnTermination": "true",
        "BlockDeviceMapping.1.Ebs.Encrypted": "true",
        "BlockDeviceMapping.1.Ebs.Throughput": "500",
        "BlockDeviceMapping.1.Ebs.VolumeSize": "16",
        "BlockDeviceMapping.1.Ebs.VolumeType": "gp3",
        "BlockDeviceMapping.2.DeviceName": "/dev/sdf",
        "BlockDeviceMapping.2.Ebs.DeleteOnTermination": "true",
        "BlockDeviceMapping.2.Ebs.SnapshotId": "snap-0123456789abcdef0",
        "BlockDeviceMapping.3.DeviceName": "/dev/sdb",
        "BlockDeviceMapping.3.NoDevice": "",
        "ClientToken": "01BAKE-builder",
        "ImageId": "ami-0123456789abcdef0",
        "InstanceInitiatedShutdownBehavior": "terminate",
        "InstanceType": "c7i.large",
        "KeyName": "forno-01BAKE",
        "MaxCount": "1",
        "MetadataOptions.HttpEndpoint": "enabled",
        "MetadataOptions.HttpTokens": "required",
        "MinCount": "1",
        "SecurityGroupId.1": "sg-0123456789abcdef0",
        "SubnetId": "subnet-0123456789abcdef0",
        "TagSpecification.1.ResourceType": "instance",
        "TagSpecification.1.Tag.1.Key": "forno:bake",
        "TagSpecification.1.Tag.1.Value": "01BAKE",
        "TagSpecification.1.Tag.2.Key": "forno:image",
        "TagSpecification.1.Tag.2.Value": "base",
        "TagSpecification.2.ResourceType": "volume",
        "TagSpecification.2.Tag.1.Key": "forno:bake",
        "TagSpecification.2.Tag.1.Value": "01BAKE",
        "TagSpecification.2.Tag.2.Key": "forno:image",
        "TagSpecification.2.Tag.2.Value": "base",
        "TagSpecification.3.ResourceType": "network-interface",
        "TagSpecification.3.Tag.1.Key": "forno:bake",
        "TagSpecification.3.Tag.1.Value": "01BAKE",
        "TagSpecification.3.Tag.2.Key": "forno:image",
        "TagSpecification.3.Tag.2.Value": "base",
        "UserData": "I2Nsb3VkLWNvbmZpZwo=",
    }
    "#);
}

#[tokio::test]
async fn a_launch_says_how_it_is_bought_and_where_it_stands() {
    let spot = instance_xml(
        "i-0123456789abcdef0",
        "pending",
        "<instanceLifecycle>spot</instanceLifecycle>",
    );
    let endpoint = Endpoint::with([ok(
        "RunInstances",
        &format!("<instancesSet>{spot}</instancesSet>"),
    )])
    .await;
    let plain = launch();
    let launch = Launch {
        spot: Some(Spot {
            max_price: Some("0.05".to_owned()),
        }),
        placement: Placement {
            ebs_optimized: Some(true),
            cpu_credits: Some("unlimited"),
            nitro_enclaves: true,
            tenancy: Some("host"),
            host_id: Some("h-0123456789abcdef0".to_owned()),
            host_resource_group_arn: None,
            placement_group: Some("near".to_owned()),
            capacity_reservation: Some(CapacityReservation::Id("cr-0123456789abcdef0".to_owned())),
            license_configuration_arns: vec![
                "arn:aws:license-manager:eu-west-1:1:license".to_owned(),
            ],
        },
        ..launch()
    };
    let gateway = endpoint.gateway().await;
    assert!(gateway.run_instance(&launch).await.unwrap().is_spot);
    // What a plain launch does not say.
    let said_by = |launch: &Launch| {
        let request = gateway.run_instances_request(launch);
        let input = request.as_input();
        (
            input.get_instance_market_options().is_some(),
            input.get_placement().is_some(),
            input.get_capacity_reservation_specification().is_some(),
        )
    };
    assert_eq!(said_by(&plain), (false, false, false));
    let mut sent = endpoint.requests()[0].form.clone();
    sent.retain(|key, _| {
        !["TagSpecification", "BlockDevice", "Metadata"]
            .iter()
            .any(|prefix| key.starts_with(prefix))
    });
    insta::assert_debug_snapshot!(sent);
}

#[tokio::test]
async fn a_public_address_is_asked_for_on_the_interface() {
    let item = instance_xml("i-0123456789abcdef0", "pending", "");
    let endpoint = Endpoint::with([ok(
        "RunInstances",
        &format!("<instancesSet>{item}</instancesSet>"),
    )])
    .await;
    let launch = Launch {
        public_address: Some(true),
        ..launch()
    };
    endpoint
        .gateway()
        .await
        .run_instance(&launch)
        .await
        .unwrap();
    let request = &endpoint.requests()[0];
    assert_eq!(request.get("SubnetId"), None);
    assert_eq!(
        request.get("NetworkInterface.1.AssociatePublicIpAddress"),
        Some("true")
    );
    assert_eq!(
        request.get("NetworkInterface.1.SubnetId"),
        Some("subnet-0123456789abcdef0")
    );
    assert_eq!(
        request.get("NetworkInterface.1.SecurityGroupId.1"),
        Some("sg-0123456789abcdef0")
    );
}

#[tokio::test]
async fn key_and_group_carry_tags_and_one_rule() {
    let endpoint = Endpoint::start(|request| match request.action.as_str() {
        "ImportKeyPair" => ok(
            "ImportKeyPair",
            "<keyName>forno-01BAKE</keyName><keyPairId>key-0123456789abcdef0</keyPairId><keyFingerprint>aa:bb</keyFingerprint>",
        ),
        "CreateSecurityGroup" => ok("CreateSecurityGroup", "<groupId>sg-0123456789abcdef0</groupId>"),
        // What a repetition after a lost reply gets.
        "AuthorizeSecurityGroupIngress" => refused(
            400,
            "InvalidPermission.Duplicate",
            "the specified rule already exists",
        ),
        other => panic!("{other}"),
    })
    .await;
    let gateway = endpoint.gateway().await;
    let key = gateway
        .import_key_pair(&NewKeyPair {
            name: "forno-01BAKE".to_owned(),
            public_key: "ssh-ed25519 AAAA forno".to_owned(),
            tags: tags(),
        })
        .await
        .unwrap();
    assert_eq!(key.id.unwrap().as_str(), "key-0123456789abcdef0");
    let group = gateway
        .create_security_group(&NewSecurityGroup {
            name: "forno-01BAKE".to_owned(),
            description: "builder of base".to_owned(),
            vpc: "vpc-0123456789abcdef0".parse().unwrap(),
            tags: tags(),
        })
        .await
        .unwrap();
    gateway
        .allow_ingress(
            &group,
            &IngressRule {
                port: 22,
                from: Cidr::host([203, 0, 113, 7].into()),
                description: None,
            },
        )
        .await
        .unwrap();

    let requests = endpoint.requests();
    // base64 of the public key
    assert_eq!(
        requests[0].get("PublicKeyMaterial"),
        Some("c3NoLWVkMjU1MTkgQUFBQSBmb3Jubw==")
    );
    assert_eq!(
        requests[0].get("TagSpecification.1.ResourceType"),
        Some("key-pair")
    );
    assert_eq!(
        requests[1].get("TagSpecification.1.ResourceType"),
        Some("security-group")
    );
    assert_eq!(
        requests[1].get("TagSpecification.1.Tag.1.Key"),
        Some("forno:bake")
    );
    assert_eq!(
        requests[2].get("IpPermissions.1.IpRanges.1.CidrIp"),
        Some("203.0.113.7/32")
    );
    assert_eq!(requests[2].get("IpPermissions.1.FromPort"), Some("22"));
    assert_eq!(requests[2].get("IpPermissions.1.IpProtocol"), Some("tcp"));
}

#[tokio::test]
async fn an_image_and_its_snapshots_are_tagged_at_creation() {
    let endpoint = Endpoint::with([ok(
        "CreateImage",
        "<imageId>ami-0aaaaaaaaaaaaaaaa</imageId>",
    )])
    .await;
    endpoint
        .gateway()
        .await
        .create_image(&NewImage {
            instance: "i-0123456789abcdef0".parse().unwrap(),
            name: "base 2026-11-22".to_owned(),
            description: Some("the base".to_owned()),
            tags: tags(),
            snapshot_tags: Tags::new(),
            volumes: Volumes::default(),
        })
        .await
        .unwrap();
    let request = &endpoint.requests()[0];
    assert_eq!(request.get("Name"), Some("base 2026-11-22"));
    assert_eq!(
        request.get("TagSpecification.1.ResourceType"),
        Some("image")
    );
    assert_eq!(
        request.get("TagSpecification.2.ResourceType"),
        Some("snapshot")
    );
    assert_eq!(request.get("TagSpecification.2.Tag.2.Value"), Some("base"));
}

const AMI: &str = "ami-0aaaaaaaaaaaaaaaa";

fn image_with_snapshots(snapshots: &[&str]) -> Answer {
    let devices = snapshots
        .iter()
        .enumerate()
        .map(|(n, snapshot)| {
            format!("<item><deviceName>/dev/xvd{n}</deviceName><ebs><snapshotId>{snapshot}</snapshotId></ebs></item>")
        })
        .collect::<Vec<_>>()
        .concat();
    ok(
        "DescribeImages",
        &format!(
            "<imagesSet><item><imageId>{AMI}</imageId><imageState>available</imageState>\
             <blockDeviceMapping>{devices}</blockDeviceMapping></item></imagesSet>"
        ),
    )
}

#[tokio::test]
async fn snapshots_go_with_their_image_where_ec2_does_it() {
    let endpoint = Endpoint::start(|request| match request.action.as_str() {
        "DescribeImages" => image_with_snapshots(&["snap-00000000000000001", "snap-00000000000000002"]),
        "DeregisterImage" => ok(
            "DeregisterImage",
            "<return>true</return><deleteSnapshotResultSet>\
             <item><snapshotId>snap-00000000000000001</snapshotId><returnCode>success</returnCode></item>\
             <item><snapshotId>snap-00000000000000002</snapshotId><returnCode>skipped</returnCode></item>\
             </deleteSnapshotResultSet>",
        ),
        // EC2 has done it; asking again shows as much.
        "DeleteSnapshot" => refused(400, "InvalidSnapshot.NotFound", "does not exist"),
        other => panic!("{other}"),
    })
    .await;
    let left = endpoint
        .gateway()
        .await
        .deregister_image(&AMI.parse().unwrap())
        .await
        .unwrap();
    assert_eq!(
        left.kept,
        [(
            "snap-00000000000000002".parse().unwrap(),
            "skipped".to_owned()
        )]
    );
    assert_eq!(
        endpoint.requests()[1].get("DeleteAssociatedSnapshots"),
        Some("true")
    );
}

#[tokio::test]
async fn snapshots_are_deleted_one_by_one_where_the_endpoint_leaves_them() {
    let endpoint = Endpoint::start(|request| match request.action.as_str() {
        "DescribeImages" => {
            image_with_snapshots(&["snap-00000000000000001", "snap-00000000000000002"])
        }
        "DeregisterImage" => ok("DeregisterImage", "<return>true</return>"),
        "DeleteSnapshot" if request.get("SnapshotId") == Some("snap-00000000000000001") => {
            ok("DeleteSnapshot", "<return>true</return>")
        }
        "DeleteSnapshot" => refused(
            400,
            "InvalidSnapshot.InUse",
            "is in use by ami-0bbbbbbbbbbbbbbbb",
        ),
        other => panic!("{other}"),
    })
    .await;
    let left = endpoint
        .gateway()
        .await
        .deregister_image(&AMI.parse().unwrap())
        .await
        .unwrap();
    assert_eq!(left.kept.len(), 1);
    assert!(left.kept[0].1.contains("InvalidSnapshot.InUse"), "{left:?}");
    assert_eq!(
        endpoint.actions(),
        [
            "DescribeImages",
            "DeregisterImage",
            "DeleteSnapshot",
            "DeleteSnapshot"
        ]
    );
}

#[tokio::test]
async fn an_image_that_is_gone_is_no_failure() {
    let endpoint = Endpoint::with([
        ok("DescribeImages", "<imagesSet/>"),
        refused(400, "InvalidAMIID.Unavailable", "no longer available"),
    ])
    .await;
    let left = endpoint
        .gateway()
        .await
        .deregister_image(&AMI.parse().unwrap())
        .await
        .unwrap();
    assert!(left.kept.is_empty());
}

#[tokio::test]
async fn a_group_in_use_is_told_by_its_kind() {
    let endpoint = Endpoint::with([refused(
        400,
        "DependencyViolation",
        "resource sg-0123456789abcdef0 has a dependent object",
    )])
    .await;
    let error = endpoint
        .gateway()
        .await
        .delete_security_group(&"sg-0123456789abcdef0".parse().unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::DependencyViolation);
}

#[tokio::test]
async fn the_plug_is_pulled_only_on_demand() {
    let endpoint = Endpoint::start(|_| ok("TerminateInstances", "<instancesSet/>")).await;
    let gateway = endpoint.gateway().await;
    let id = "i-0123456789abcdef0".parse().unwrap();
    gateway.terminate_instance(&id, false).await.unwrap();
    gateway.terminate_instance(&id, true).await.unwrap();
    let requests = endpoint.requests();
    assert_eq!(requests[0].get("SkipOsShutdown"), None);
    assert_eq!(requests[1].get("SkipOsShutdown"), Some("true"));
}

#[tokio::test]
async fn console_output_is_decoded_and_asked_for_again_without_latest() {
    let endpoint = Endpoint::start(|request| match request.get("Latest") {
        Some(_) => refused(400, "UnsupportedOperation", "only on Nitro"),
        None => ok("GetConsoleOutput", "<output>bG9naW46\nIAo=\n</output>"),
    })
    .await;
    let output = endpoint
        .gateway()
        .await
        .console_output(&"i-0123456789abcdef0".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(output.as_deref(), Some("login: \n"));

    let endpoint = Endpoint::with([ok("GetConsoleOutput", "<output></output>")]).await;
    let output = endpoint
        .gateway()
        .await
        .console_output(&"i-0123456789abcdef0".parse().unwrap())
        .await
        .unwrap();
    assert_eq!(output, None);
}

#[tokio::test]
async fn a_dry_run_tells_allowed_denied_and_unclear() {
    let endpoint = Endpoint::start(|request| {
        assert_eq!(request.get("DryRun"), Some("true"));
        match request.action.as_str() {
            "RunInstances" => refused(
                412,
                "DryRunOperation",
                "Request would have succeeded, but DryRun flag is set.",
            ),
            "CreateSecurityGroup" => {
                refused(403, "UnauthorizedOperation", "You are not authorized.")
            }
            "CreateImage" => refused(400, "InvalidInstanceID.NotFound", "does not exist"),
            other => panic!("{other}"),
        }
    })
    .await;
    let gateway = endpoint.gateway().await;
    let verdict = gateway
        .preflight(Call::RunInstance(&launch()))
        .await
        .unwrap();
    assert!(matches!(verdict, Verdict::Allowed));
    let group = NewSecurityGroup {
        name: "forno".to_owned(),
        description: "builder".to_owned(),
        vpc: "vpc-0123456789abcdef0".parse().unwrap(),
        tags: tags(),
    };
    let verdict = gateway
        .preflight(Call::CreateSecurityGroup(&group))
        .await
        .unwrap();
    let Verdict::Denied(error) = verdict else {
        panic!("{verdict:?}")
    };
    assert_eq!(error.kind(), Kind::Unauthorized);
    let image = NewImage {
        instance: "i-0123456789abcdef0".parse().unwrap(),
        name: "base".to_owned(),
        description: None,
        tags: tags(),
        snapshot_tags: Tags::new(),
        volumes: Volumes::default(),
    };
    let verdict = gateway.preflight(Call::CreateImage(&image)).await.unwrap();
    assert!(matches!(verdict, Verdict::Unclear(_)));
}

#[tokio::test]
async fn an_endpoint_that_ignores_dry_run_is_found_out() {
    let item = instance_xml("i-0123456789abcdef0", "pending", "");
    let endpoint = Endpoint::with([ok(
        "RunInstances",
        &format!("<instancesSet>{item}</instancesSet>"),
    )])
    .await;
    let error = endpoint
        .gateway()
        .await
        .preflight(Call::RunInstance(&launch()))
        .await
        .unwrap_err();
    assert!(error.message().contains("ignored DryRun"), "{error}");
}

#[tokio::test]
async fn an_image_is_handed_on_call_by_call() {
    let done = "<return>true</return>";
    let endpoint = Endpoint::with([
        ok("ModifyImageAttribute", done),
        ok("ModifySnapshotAttribute", done),
        ok("EnableImageDeprecation", done),
        ok(
            "EnableImageDeregistrationProtection",
            "<return>enabled-with-cooldown</return>",
        ),
        ok(
            "GetImageBlockPublicAccessState",
            "<imageBlockPublicAccessState>block-new-sharing</imageBlockPublicAccessState>",
        ),
        ok("ModifyImageAttribute", done),
    ])
    .await;
    let gateway = endpoint.gateway().await;
    let image = "ami-0123456789abcdef0".parse().unwrap();
    let with = LaunchPermissions {
        accounts: vec!["111122223333".to_owned()],
        organizations: vec!["arn:o".to_owned()],
        organizational_units: vec!["arn:ou".to_owned()],
        public: true,
    };
    gateway.share_image(&image, &with).await.unwrap();
    let snapshot = "snap-0123456789abcdef0".parse().unwrap();
    gateway
        .share_snapshot(&snapshot, &with.accounts, true)
        .await
        .unwrap();
    let at = "2031-01-02T03:04:05Z".parse().unwrap();
    gateway.deprecate_image(&image, at).await.unwrap();
    gateway.protect_image(&image, true).await.unwrap();
    assert!(!gateway.may_share_publicly().await.unwrap());
    gateway.require_imds_v2(&image).await.unwrap();

    let requests = endpoint.requests();
    let add = |n: usize, what: &str| {
        requests[0]
            .get(&format!("LaunchPermission.Add.{n}.{what}"))
            .map(str::to_owned)
    };
    assert_eq!(add(1, "UserId").as_deref(), Some("111122223333"));
    assert_eq!(add(2, "OrganizationArn").as_deref(), Some("arn:o"));
    assert_eq!(add(3, "OrganizationalUnitArn").as_deref(), Some("arn:ou"));
    assert_eq!(add(4, "Group").as_deref(), Some("all"));
    assert_eq!(
        requests[1].get("CreateVolumePermission.Add.1.UserId"),
        Some("111122223333")
    );
    assert_eq!(requests[2].get("DeprecateAt"), Some("2031-01-02T03:04:05Z"));
    assert_eq!(requests[3].get("WithCooldown"), Some("true"));
    assert_eq!(requests[5].get("ImdsSupport.Value"), Some("v2.0"));
}

#[tokio::test]
async fn a_copy_is_asked_for_in_its_own_region() {
    let endpoint =
        Endpoint::with([ok("CopyImage", "<imageId>ami-0fedcba9876543210</imageId>")]).await;
    let home = endpoint.gateway().await;
    let there = home.in_region("sa-east-1");
    assert_eq!(there.region(), "sa-east-1");
    assert_eq!(there.in_region("sa-east-1").region(), "sa-east-1");
    let copy = ImageCopy {
        source: "ami-0123456789abcdef0".parse().unwrap(),
        source_region: home.region().to_owned(),
        client_token: "forno-copy".to_owned(),
        name: "base-1".to_owned(),
        description: None,
        tags: tags(),
        snapshot_tags: Tags::new().with("tier", "cold"),
        kms_key_id: Some("alias/images".to_owned()),
        within_minutes: Some(30),
    };
    let id = there.copy_image(&copy).await.unwrap();
    assert_eq!(id.as_str(), "ami-0fedcba9876543210");
    let requests = endpoint.requests();
    let request = &requests[0];
    for (name, value) in [
        ("SourceImageId", "ami-0123456789abcdef0"),
        ("SourceRegion", home.region()),
        ("ClientToken", "forno-copy"),
        ("Name", "base-1"),
        ("Encrypted", "true"),
        ("KmsKeyId", "alias/images"),
        ("TagSpecification.1.ResourceType", "image"),
        ("TagSpecification.2.ResourceType", "snapshot"),
        // In the order of their keys, and on the snapshots only.
        ("TagSpecification.2.Tag.3.Key", "tier"),
        ("TagSpecification.2.Tag.3.Value", "cold"),
    ] {
        assert_eq!(request.get(name), Some(value), "{name}");
    }
}
