//! The peer: Debian's Packer 1.6.6 makes an image of the pocket EC2's, as it would of EC2's,
//! and forno goes on from it.

use std::process::Command;

use forno_aws::InstanceState;
use serde_json::json;

use crate::support::{Machine, Running, Sandbox, eventually, traces};

/// OpenSSH of today does not let in what Packer 1.6.6 signs with.
const USER_DATA: &str = "#cloud-config\n\
    bootcmd:\n  \
    - printf 'PubkeyAcceptedAlgorithms +ssh-rsa\\n' >/etc/ssh/sshd_config.d/peer.conf\n";

#[test]
fn packer_bakes_an_image_and_forno_bakes_from_it() {
    let Some(sandbox) = Sandbox::real(Machine::Container) else {
        return;
    };
    if Command::new("packer").arg("version").output().is_err() {
        forno_testing::skip("packer is missing (Debian package packer)");
        return;
    }
    let endpoint = sandbox.serve();
    let access = endpoint.variables();
    sandbox.file("user-data.yaml", USER_DATA);
    sandbox.file("tree/deep/file", "from a folder\n");
    let template = json!({
        "builders": [{
            "type": "amazon-ebs",
            "region": access["AWS_REGION"],
            "access_key": access["AWS_ACCESS_KEY_ID"],
            "secret_key": access["AWS_SECRET_ACCESS_KEY"],
            "custom_endpoint_ec2": endpoint.url(),
            "skip_metadata_api_check": true,
            "source_ami_filter": {
                "filters": { "name": "debian-12-amd64-*" },
                "owners": ["136693071363"],
                "most_recent": true,
            },
            "instance_type": "t3.small",
            "associate_public_ip_address": true,
            "ssh_username": "admin",
            "user_data_file": "user-data.yaml",
            "ami_name": "peer-{{timestamp}}",
            "ami_description": "made by the peer",
            "launch_block_device_mappings": [
                { "device_name": "/dev/sdf", "volume_size": 1, "delete_on_termination": true },
            ],
            "tags": { "made-by": "packer" },
            "run_tags": { "made-by": "packer" },
        }],
        "provisioners": [
            { "type": "shell", "inline": ["echo peer | sudo tee /etc/made-by"] },
            { "type": "file", "source": "tree", "destination": "/tmp" },
            { "type": "shell", "inline": ["sudo cp /tmp/tree/deep/file /etc/peer-file"] },
        ],
    });
    sandbox.file("peer.json", &template.to_string());
    let mut packer = Command::new("packer");
    packer
        .args(["build", "-color=false", "peer.json"])
        .current_dir(sandbox.path())
        .env("CHECKPOINT_DISABLE", "1")
        .env("HOME", sandbox.path());
    let said = Running::start(packer).finish().code(0).stdout;
    assert!(said.contains("AMIs were created:"), "{said}");
    let [image] = &endpoint.images("made-by")[..] else {
        panic!("{:?}", endpoint.images("made-by"))
    };
    assert_eq!(image.description.as_deref(), Some("made by the peer"));
    let devices: Vec<&str> = image
        .block_devices
        .iter()
        .map(|one| one.device.as_str())
        .collect();
    assert_eq!(devices, ["/dev/xvda", "/dev/sdf"]);
    let machines = endpoint.instances("made-by");
    assert!(
        machines
            .iter()
            .all(|one| one.state == InstanceState::Terminated),
        "{machines:?}"
    );

    sandbox.file(
        "images/next.toml",
        "schema = 1\n[image]\nname = 'next'\n[source]\nowners = ['self']\nname = 'peer-*'\n\
         [[step]]\nname = 'what the peer did is there'\n\
         shell = { run = \"grep -x peer /etc/made-by && grep -x 'from a folder' /etc/peer-file\" }\n\
         [[test]]\nname = 'so is its other volume'\nrun = 'test -b /dev/sdf'\n",
    );
    sandbox.run(&["bake", "next", "--local"]).code(0);
    endpoint.holds_only_images_on(1, 2);
    drop(endpoint);
    eventually(&Vec::<String>::new(), || traces(sandbox.path()));
}
