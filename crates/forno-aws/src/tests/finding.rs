//! Finding what is there.

use super::endpoint::{Answer, Endpoint, instance_xml, instances, ok, refused};
use crate::{Architecture, Filters, ImageSearch, ImageState, Kind, SnapshotState, TagMatch, Tags};

fn image_xml(id: &str, name: &str, created: &str, more: &str) -> String {
    format!(
        "<item><imageId>{id}</imageId><name>{name}</name><imageState>available</imageState>\
         <architecture>x86_64</architecture><imageOwnerId>136693071363</imageOwnerId>\
         <creationDate>{created}</creationDate>{more}</item>"
    )
}

#[tokio::test]
async fn the_newest_image_comes_first_and_deprecated_ones_not_at_all() {
    let endpoint = Endpoint::start(|request| {
        // Two pages.
        if request.get("NextToken").is_none() {
            let items = [
                image_xml("ami-00000001", "debian-12-amd64-20250101-1", "2025-01-01T00:00:00.000Z", ""),
                image_xml(
                    "ami-00000002",
                    "debian-12-amd64-20260301-1",
                    "2026-03-01T00:00:00.000Z",
                    "<deprecationTime>2026-04-01T00:00:00.000Z</deprecationTime>",
                ),
            ];
            ok(
                "DescribeImages",
                &format!("<imagesSet>{}</imagesSet><nextToken>more</nextToken>", items.concat()),
            )
        } else {
            let item = image_xml(
                "ami-00000003",
                "debian-12-amd64-20260201-1",
                "2026-02-01T00:00:00.000Z",
                "<deprecationTime>2999-01-01T00:00:00.000Z</deprecationTime>\
                 <rootDeviceName>/dev/xvda</rootDeviceName><blockDeviceMapping><item>\
                 <deviceName>/dev/xvda</deviceName><ebs><volumeSize>8</volumeSize></ebs></item></blockDeviceMapping>",
            );
            ok("DescribeImages", &format!("<imagesSet>{item}</imagesSet>"))
        }
    })
    .await;
    let images = endpoint
        .gateway()
        .await
        .search_images(&ImageSearch {
            owners: vec!["136693071363".to_owned()],
            name: "debian-12-amd64-*".to_owned(),
            architecture: Some(Architecture::X86_64),
            filters: [("root-device-type".to_owned(), vec!["ebs".to_owned()])].into(),
            include_deprecated: false,
        })
        .await
        .unwrap();
    let ids: Vec<_> = images.iter().map(|image| image.id.as_str()).collect();
    assert_eq!(ids, ["ami-00000003", "ami-00000001"]);
    assert_eq!(images[0].root_size_gib(), Some(8));
    let request = &endpoint.requests()[0];
    assert_eq!(request.filter("name"), ["debian-12-amd64-*"]);
    assert_eq!(request.filter("architecture"), ["x86_64"]);
    assert_eq!(request.filter("root-device-type"), ["ebs"]);
    assert_eq!(request.get("Owner.1"), Some("136693071363"));
    assert_eq!(request.get("IncludeDeprecated"), None);
}

#[tokio::test]
async fn own_images_are_found_pending_too() {
    let endpoint = Endpoint::start(|_| {
        ok(
            "DescribeImages",
            "<imagesSet><item><imageId>ami-00000001</imageId><imageState>pending</imageState></item></imagesSet>",
        )
    })
    .await;
    let gateway = endpoint.gateway().await;
    let images = gateway
        .images_tagged(&[
            TagMatch::is("forno:bake", "01BAKE"),
            TagMatch::has("forno:digest"),
        ])
        .await
        .unwrap();
    assert_eq!(images[0].state, ImageState::Pending);
    gateway.images_named("base (2026)").await.unwrap();

    let requests = endpoint.requests();
    assert_eq!(requests[0].get("Owner.1"), Some("self"));
    assert_eq!(requests[0].filter("tag:forno:bake"), ["01BAKE"]);
    assert_eq!(requests[0].filter("tag-key"), ["forno:digest"]);
    assert!(requests[0].filter("state").is_empty());
    assert_eq!(requests[1].filter("name"), ["base (2026)"]);
}

#[tokio::test]
async fn a_search_without_conditions_asks_nobody() {
    let endpoint = Endpoint::with([]).await;
    let gateway = endpoint.gateway().await;
    assert!(gateway.images_tagged(&[]).await.unwrap().is_empty());
    assert!(gateway.instances_tagged(&[]).await.unwrap().is_empty());
    assert!(gateway.key_pairs_tagged(&[]).await.unwrap().is_empty());
    assert!(
        gateway
            .security_groups_tagged(&[])
            .await
            .unwrap()
            .is_empty()
    );
    assert!(gateway.snapshots_tagged(&[]).await.unwrap().is_empty());
    assert!(gateway.instances(&[]).await.unwrap().is_empty());
    assert!(gateway.snapshots(&[]).await.unwrap().is_empty());
    assert!(endpoint.requests().is_empty());
}

#[tokio::test]
async fn an_image_that_must_exist_is_an_error_when_it_does_not() {
    let endpoint = Endpoint::with([
        refused(400, "InvalidAMIID.NotFound", "The image id does not exist"),
        ok("DescribeImages", "<imagesSet/>"),
    ])
    .await;
    let gateway = endpoint.gateway().await;
    let id = "ami-0123456789abcdef0".parse().unwrap();
    for _ in 0..2 {
        let error = gateway.require_image(&id).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
        assert_eq!(error.code(), Some("InvalidAMIID.NotFound"));
        assert!(error.hint().unwrap().contains("Allowed AMIs"));
    }
}

#[tokio::test]
async fn instances_are_found_by_token_and_tags() {
    let endpoint =
        Endpoint::start(|_| instances(&[instance_xml("i-00000001", "running", "")])).await;
    let gateway = endpoint.gateway().await;
    let found = gateway.instances_of_token("01BAKE-builder").await.unwrap();
    assert_eq!(found[0].id.as_str(), "i-00000001");
    gateway
        .instances_tagged(&[TagMatch::is("forno:bake", "*")])
        .await
        .unwrap();
    let requests = endpoint.requests();
    assert_eq!(requests[0].filter("client-token"), ["01BAKE-builder"]);
    assert_eq!(requests[1].filter("tag:forno:bake"), [r"\*"]);
}

#[tokio::test]
async fn network_and_types_are_read() {
    let endpoint = Endpoint::start(|request| match request.action.as_str() {
        "DescribeVpcs" => ok("DescribeVpcs", "<vpcSet><item><vpcId>vpc-00000001</vpcId><isDefault>true</isDefault></item></vpcSet>"),
        "DescribeSubnets" => ok(
            "DescribeSubnets",
            "<subnetSet>\
             <item><subnetId>subnet-00000001</subnetId><vpcId>vpc-00000001</vpcId><availabilityZone>eu-west-1a</availabilityZone><availableIpAddressCount>3</availableIpAddressCount></item>\
             <item><subnetId>subnet-00000002</subnetId><vpcId>vpc-00000001</vpcId><availabilityZone>eu-west-1b</availabilityZone><availableIpAddressCount>4090</availableIpAddressCount><defaultForAz>true</defaultForAz><mapPublicIpOnLaunch>true</mapPublicIpOnLaunch></item>\
             </subnetSet>",
        ),
        "DescribeInstanceTypes" => ok(
            "DescribeInstanceTypes",
            "<instanceTypeSet><item><instanceType>t4g.small</instanceType>\
             <processorInfo><supportedArchitectures><item>arm64</item></supportedArchitectures></processorInfo>\
             <vCpuInfo><defaultVCpus>2</defaultVCpus></vCpuInfo><memoryInfo><sizeInMiB>2048</sizeInMiB></memoryInfo>\
             <burstablePerformanceSupported>true</burstablePerformanceSupported></item></instanceTypeSet>",
        ),
        "DescribeInstanceTypeOfferings" => ok(
            "DescribeInstanceTypeOfferings",
            "<instanceTypeOfferingSet>\
             <item><instanceType>t4g.small</instanceType><locationType>availability-zone</locationType><location>eu-west-1b</location></item>\
             <item><instanceType>t4g.small</instanceType><locationType>availability-zone</locationType><location>eu-west-1a</location></item>\
             </instanceTypeOfferingSet>",
        ),
        other => panic!("{other}"),
    })
    .await;
    let gateway = endpoint.gateway().await;
    let vpc = gateway.default_vpc().await.unwrap().unwrap();
    let subnets = gateway
        .subnets_like(Some(&vpc), &Filters::new())
        .await
        .unwrap();
    assert_eq!(subnets[0].id.as_str(), "subnet-00000002");
    assert!(subnets[0].public_by_default && subnets[0].default_for_zone);
    assert_eq!(subnets[1].free_addresses, 3);

    let wanted = [
        "subnet-00000001".parse().unwrap(),
        "subnet-00000009".parse().unwrap(),
    ];
    let error = gateway.subnets(&wanted).await.unwrap_err();
    assert_eq!(error.resource(), Some("subnet-00000009"));
    assert_eq!(error.kind(), Kind::NotFound);

    let types = gateway.instance_types(&["t4g.small"]).await.unwrap();
    assert_eq!(types[0].architectures, [Architecture::Arm64]);
    assert_eq!((types[0].vcpus, types[0].memory_mib), (Some(2), Some(2048)));
    let zones = gateway
        .offerings(&["t4g.small", "c9z.large"])
        .await
        .unwrap();
    assert_eq!(
        zones["t4g.small"].iter().collect::<Vec<_>>(),
        ["eu-west-1a", "eu-west-1b"]
    );
    assert!(!zones.contains_key("c9z.large"));
}

#[tokio::test]
async fn a_parameter_names_an_image() {
    let endpoint = Endpoint::start(|request| {
        assert_eq!(request.action, "GetParameter");
        let value = if request.body.contains("good") {
            "ami-0123456789abcdef0"
        } else {
            "see elsewhere"
        };
        Answer::Reply {
            status: 200,
            body: format!(
                r#"{{"Parameter":{{"Name":"x","Type":"String","Value":"{value}","Version":1}}}}"#
            ),
        }
    })
    .await;
    let gateway = endpoint.gateway().await;
    let id = gateway.image_parameter("/good").await.unwrap();
    assert_eq!(id.as_str(), "ami-0123456789abcdef0");
    let error = gateway.image_parameter("/bad").await.unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidInput);
    assert!(error.to_string().contains("names no image"), "{error}");

    let endpoint = Endpoint::with([Answer::Reply {
        status: 400,
        body: r#"{"__type":"ParameterNotFound","message":""}"#.to_owned(),
    }])
    .await;
    let error = endpoint
        .gateway()
        .await
        .parameter("/none")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    insta::assert_snapshot!(error, @"GetParameter of /none in eu-west-1 failed: ParameterNotFound");
}

#[tokio::test]
async fn the_caller_is_known() {
    let endpoint = Endpoint::with([Answer::Reply {
        status: 200,
        body: r#"<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
            <Arn>arn:aws:iam::111122223333:user/ops</Arn><UserId>AIDA</UserId><Account>111122223333</Account>
            </GetCallerIdentityResult></GetCallerIdentityResponse>"#
            .to_owned(),
    }])
    .await;
    let identity = endpoint.gateway().await.caller_identity().await.unwrap();
    assert_eq!(identity.account, "111122223333");
    assert_eq!(identity.arn, "arn:aws:iam::111122223333:user/ops");
}

#[tokio::test]
async fn everything_with_a_tag_is_listed() {
    let endpoint = Endpoint::with([ok(
        "DescribeTags",
        "<tagSet>\
         <item><resourceId>vol-00000001</resourceId><resourceType>volume</resourceType><key>forno:bake</key><value>b</value></item>\
         <item><resourceId>i-00000001</resourceId><resourceType>instance</resourceType><key>forno:bake</key><value>a</value></item>\
         </tagSet>",
    )])
    .await;
    let found = endpoint
        .gateway()
        .await
        .tagged_resources(&TagMatch::has("forno:bake"))
        .await
        .unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|resource| {
            (
                resource.kind.as_str(),
                resource.id.as_str(),
                resource.value.as_str(),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("instance", "i-00000001", "a"),
            ("volume", "vol-00000001", "b")
        ]
    );
    assert_eq!(endpoint.requests()[0].filter("key"), ["forno:bake"]);
}

#[tokio::test]
async fn key_pairs_groups_and_snapshots_are_found() {
    let endpoint = Endpoint::start(|request| match request.action.as_str() {
        "DescribeKeyPairs" => ok(
            "DescribeKeyPairs",
            "<keySet><item><keyName>forno-1</keyName><keyPairId>key-00000001</keyPairId></item></keySet>",
        ),
        "DescribeSecurityGroups" => ok(
            "DescribeSecurityGroups",
            "<securityGroupInfo><item><groupId>sg-00000001</groupId><groupName>forno-1</groupName></item></securityGroupInfo>",
        ),
        "DescribeSnapshots" => ok(
            "DescribeSnapshots",
            "<snapshotSet><item><snapshotId>snap-00000001</snapshotId><status>error</status>\
             <statusMessage>Given key ID is not accessible</statusMessage><progress>12%</progress></item></snapshotSet>",
        ),
        other => panic!("{other}"),
    })
    .await;
    let gateway = endpoint.gateway().await;
    let by_bake = [TagMatch::is("forno:bake", "1")];
    assert_eq!(
        gateway
            .key_pair_named("forno-1")
            .await
            .unwrap()
            .unwrap()
            .name,
        "forno-1"
    );
    assert_eq!(gateway.key_pairs_tagged(&by_bake).await.unwrap().len(), 1);
    assert_eq!(
        gateway.security_groups_named("forno-1").await.unwrap()[0]
            .id
            .as_str(),
        "sg-00000001"
    );
    let unknown = [
        "sg-00000001".parse().unwrap(),
        "sg-00000002".parse().unwrap(),
    ];
    let error = gateway.security_groups(&unknown).await.unwrap_err();
    assert_eq!(error.resource(), Some("sg-00000002"));
    let snapshots = gateway.snapshots_tagged(&by_bake).await.unwrap();
    assert_eq!(snapshots[0].state, SnapshotState::Error);
    assert_eq!(
        snapshots[0].state_message.as_deref(),
        Some("Given key ID is not accessible")
    );
    assert_eq!(snapshots[0].percent, Some(12));
    assert_eq!(
        endpoint.requests().last().unwrap().get("Owner.1"),
        Some("self")
    );
}

#[tokio::test]
async fn tags_are_put_on_what_exists() {
    let endpoint = Endpoint::with([ok("CreateTags", "<return>true</return>")]).await;
    let tags = Tags::new().with("forno:finished", "2026-11-22T10:00:00Z");
    endpoint
        .gateway()
        .await
        .create_tags(&["snap-0123456789abcdef0", "ami-0123456789abcdef0"], &tags)
        .await
        .unwrap();
    let request = &endpoint.requests()[0];
    assert_eq!(request.get("ResourceId.1"), Some("snap-0123456789abcdef0"));
    assert_eq!(request.get("ResourceId.2"), Some("ami-0123456789abcdef0"));
    assert_eq!(request.get("Tag.1.Key"), Some("forno:finished"));
    assert_eq!(request.get("Tag.1.Value"), Some("2026-11-22T10:00:00Z"));
}
