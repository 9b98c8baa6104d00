//! What a person sees when a recipe is wrong.

#[expect(dead_code, reason = "each test file uses its part")]
mod common;

use common::{Fixture, HEAD, environment, inputs};
use forno_recipe::{Inputs, MASK};
use insta::assert_snapshot;

#[test]
fn unknown_key() {
    let fixture = Fixture::below_head(
        r#"
[[step]]
name  = "packages"
shell = { scirpt = "base.sh", sudo = true }
"#,
    );
    assert_snapshot!(fixture.complaint());
}

#[test]
fn unknown_table_and_other_spelling() {
    let fixture = Fixture::below_head("[builder]\ninstance-types = [\"t3.small\"]\n[zebra]\n");
    assert_snapshot!(fixture.complaint());
}

#[test]
fn wrong_types() {
    let fixture = Fixture::below_head(
        r#"
[builder]
instance_types = "t3.small"
disk           = { size = 16, encrypted = "yes" }
imds           = { hop_limit = 99 }

[[step]]
file     = { content = "x", to = "/x", mode = 644 }
attempts = 0

[[step]]
timeout = 90
reboot  = {}
"#,
    );
    assert_snapshot!(fixture.complaint());
}

#[test]
fn single_brackets() {
    assert_snapshot!(Fixture::below_head("[step]\nreboot = {}\n").complaint());
}

#[test]
fn broken_syntax_is_told_in_full_and_alone() {
    let fixture = Fixture::with("[image\nname = \"worker\"\nfrom = = 3\n[builder]\nx = \n");
    assert_snapshot!(fixture.complaint());
}

#[test]
fn missing_script() {
    let fixture = Fixture::below_head("[[step]]\nshell = { script = \"../provision/bse.sh\" }\n")
        .file("provision/base.sh", "");
    assert_snapshot!(fixture.complaint());
}

#[test]
fn missing_playbook_and_folders() {
    let fixture = Fixture::below_head(
        r#"
[[step]]
ansible = { playbook = "../provision/site.yml", roles_path = ["../roles"], requirements = "../provision" }
"#,
    )
    .file("provision/x", "");
    assert_snapshot!(fixture.complaint());
}

#[test]
fn when_is_a_question() {
    let fixture = Fixture::below_head(
        r#"
[vars]
stage = "homologation"
token = { from = "env:TOKEN", secret = true }
[[step]]
when      = "{{ vars.stage }}"
shell.run = "true"
[[step]]
when      = 1
shell.run = "true"
[[step]]
when      = "{{ vars.stagee == 'x' }}"
shell.run = "true"
[[step]]
when      = "{{ vars.token == 'x' }}"
shell.run = "true"
[[check]]
when = false
file = "not absolute"
"#,
    );
    assert_snapshot!(fixture.complaint_of("worker", &environment(&[("TOKEN", "x")])));
}

#[test]
fn what_ssh_is_made_of() {
    assert_snapshot!(
        Fixture::below_head(
            "[builder.ssh]\nciphers = [\"aes256-cbc\"]\nkey_exchanges = [\"curve25519-sha256\", \"none\"]\n"
        )
        .complaint()
    );
    assert_snapshot!(
        Fixture::below_head("[builder]\nconnect = \"ssm\"\nssh = { ciphers = [\"aes256-ctr\"] }\n")
            .complaint()
    );
}

#[test]
fn a_profile_for_the_bake() {
    let fixture = Fixture::below_head(
        r#"
[builder]
instance_profile = "baker"
[builder.temporary_profile]
policy_file = "policy.json"
policy_arns = ["ReadOnlyAccess"]
permissions_boundary = "arn:aws:iam::111122223333:role/x"
"#,
    )
    .file(
        "images/policy.json",
        "{\"Statement\": [{\"Effect\": \"Allow\", \"Action\": \"*\"}]}",
    );
    assert_snapshot!(fixture.complaint());
    assert_snapshot!(Fixture::below_head("[builder]\ntemporary_profile = {}\n").complaint());
    assert_snapshot!(
        Fixture::below_head("[builder]\ntemporary_profile = { policy = '{' }\n").complaint()
    );
}

#[test]
fn registering_an_image() {
    let fixture = Fixture::with(
        r#"
[image]
name = "worker"
architecture = "arm64"
register = { boot_mode = "legacy-bios", tpm_support = "v2.0", uefi_data_file = "uefi.txt" }
[source]
ami = "ami-0123456789abcdef0"
[builder]
market = ["spot", "on-demand"]
"#,
    )
    .file("images/uefi.txt", "not base64!\n");
    assert_snapshot!(fixture.complaint());
}

#[test]
fn names_of_an_inventory() {
    let fixture = Fixture::below_head(
        r#"
[[step]]
ansible = { playbook = "p.yml", host = "-x", groups = ["a b"], empty_groups = ["all"], inventory = "none" }
[[step]]
ansible = { playbook = "p.yml", host = "web", groups = ["web"], empty_groups = ["web", "db"] }
"#,
    )
    .file("images/p.yml", "");
    assert_snapshot!(fixture.complaint());
}

#[test]
fn undefined_variable() {
    let fixture = Fixture::below_head(
        r#"
[vars]
java = "17"

[[step]]
shell.run = '''
apt-get update
apt-get install -y openjdk-{{ vars.jaav }}-jdk
'''

[[step]]
shell.run = "echo {{ java }} {{ bake.id }}"
"#,
    );
    assert_snapshot!(fixture.complaint());
}

#[test]
fn undefined_variable_in_a_script_that_is_a_template() {
    let fixture = Fixture::below_head("[[step]]\nshell = { script = \"a.sh\", template = true }\n")
        .file("images/a.sh", "#!/bin/sh\necho one\necho {{ vars.two }}\n");
    assert_snapshot!(fixture.complaint());
}

#[test]
fn broken_template() {
    let fixture =
        Fixture::below_head("[[step]]\nshell.run = \"docker ps --format '{{.Names}}'\"\n");
    assert_snapshot!(fixture.complaint());
}

#[test]
fn circular_from() {
    let fixture = Fixture::new()
        .file("images/a.toml", "[image]\nname = \"aaa\"\nfrom = \"bbb\"\n")
        .file("images/b.toml", "[image]\nname = \"bbb\"\nfrom = \"ccc\"\n")
        .file("images/c.toml", "[image]\nname = \"ccc\"\nfrom = \"bbb\"\n");
    assert_snapshot!(fixture.complaint_of("aaa", &Inputs::default()));
}

#[test]
fn from_names_no_recipe() {
    let fixture = Fixture::with("[image]\nname = \"worker\"\nfrom = \"bsae\"\n")
        .file("images/base.toml", &HEAD.replace("worker", "base"));
    assert_snapshot!(fixture.complaint());
}

#[test]
fn names_that_aws_refuses() {
    let fixture = Fixture::with(
        r#"
[image]
name     = "a worker"
ami_name = "worker: {{ bake.timestamp }}"
tags     = { "aws:owner" = "us" }
[source]
ami = "ami-123"
"#,
    );
    assert_snapshot!(fixture.complaint());
}

#[test]
fn an_ami_name_that_is_too_long_once_it_is_filled_in() {
    let long = "x".repeat(120);
    let recipe = HEAD.replace(
        "[source]",
        &format!("ami_name = \"{long}-{{{{ bake.timestamp }}}}\"\n[source]"),
    );
    assert_snapshot!(Fixture::with(&recipe).complaint());
}

#[test]
fn disks() {
    let fixture = Fixture::below_head(
        "[builder]\ndisk = { size = \"1GiB\", iops = 16000, throughput = 1500 }\n",
    );
    assert_snapshot!("ratio", fixture.complaint());
    let fixture = Fixture::below_head("[builder]\ndisk = { size = \"16GB\", type = \"gp9\" }\n");
    assert_snapshot!("units", fixture.complaint());
    let fixture = Fixture::below_head(
        "[builder]\ndisk = { size = \"2TiB\", type = \"standard\", throughput = 200 }\n",
    );
    assert_snapshot!("ranges", fixture.complaint());
    let fixture = Fixture::below_head("[builder]\ndisk = { type = \"io2\", throughput = 200 }\n");
    assert_snapshot!("io2", fixture.complaint());
    let fixture = Fixture::below_head(
        "[builder]\ndisk = { iops = 8000, throughput = 2000, size = \"16GiB\" }\n",
    );
    fixture.load().unwrap();
}

#[test]
fn bad_times_and_modes() {
    let fixture = Fixture::below_head(
        r#"
[[step]]
timeout = "5 minutes"
file    = { content = "x", to = "etc/x", mode = "u+x" }
"#,
    );
    assert_snapshot!(fixture.complaint());
}

#[test]
fn steps_do_one_thing() {
    let fixture = Fixture::below_head(
        r#"
[[step]]
name = "both"
shell = { run = "true" }
file  = { content = "x", to = "/x" }

[[step]]
name = "none"

[[step]]
ansibel = { playbook = "x.yml" }

[[step]]
shell = { run = "true", script = "x.sh" }

[[step]]
shell = { sudo = true }

[[step]]
file = { from = "x", content = "y", to = "/x" }
"#,
    );
    assert_snapshot!(fixture.complaint());
}

#[test]
fn checks_that_say_nothing_or_too_much() {
    let fixture = Fixture::below_head(
        r#"
[[check]]
service = "nginx"

[[check]]
file   = "/etc/x"
exists = false
mode   = "0644"

[[check]]
package = "nginx"
mode    = "0644"

[[check]]
port    = 70000

[[check]]
file   = "etc/passwd"
sha256 = "abc"

[[test]]
runn = "true"
"#,
    );
    assert_snapshot!(fixture.complaint());
}

#[test]
fn sources() {
    let fixture = Fixture::with("[image]\nname = \"worker\"\n");
    assert_snapshot!("none", fixture.complaint());
    let fixture =
        Fixture::with("[image]\nname = \"worker\"\nfrom = \"base\"\n[source]\nssm = \"/x\"\n");
    assert_snapshot!("from_and_source", fixture.complaint());
    let fixture =
        Fixture::with("[image]\nname = \"worker\"\n[source]\nssm = \"/x\"\nname = \"debian-*\"\n");
    assert_snapshot!("two", fixture.complaint());
    let fixture = Fixture::with("[image]\nname = \"worker\"\n[source]\nname = \"debian-*\"\n");
    assert_snapshot!("owners", fixture.complaint());
}

#[test]
fn what_is_not_available_yet_says_so() {
    let fixture = Fixture::below_head(
        r#"
[vars]
key = { from = "ssm:/prod/key" }
[publish]
channel = "candidate"
"#,
    );
    assert_snapshot!(fixture.complaint());
}

#[test]
fn where_a_builder_stands_and_how_it_is_bought() {
    let fixture = Fixture::below_head(
        r##"
[builder]
instance_types = ["t3.medium", "m7i.large"]
market = ["spot", "spot"]
spot_max_price = "a little"
subnet_ids = ["subnet-0123456789abcdef0"]
subnet_filters = { "tag:tier" = "build" }
vpc_id = "vpc-1"
security_group_filters = { group-name = [] }
user_data = "#!/bin/sh"
user_data_file = "there.sh"

[builder.machine]
cpu_credits = "unlimited"
host_id = "h-0123456789abcdef0"
capacity_reservation = "mine"
license_configuration_arns = ["arn:aws:ec2:eu-west-1:123456789012:license"]
"##,
    );
    assert_snapshot!(fixture.complaint());
}

#[test]
fn the_way_to_a_builder() {
    for (way, words) in [
        ("bastion = 'ops@jump'", "from where does SSH come"),
        (
            "bastion = '-oX'\ningress_cidrs = ['10.0.0.0/8']",
            "is no host",
        ),
        (
            "bastion = 'jump'\nproxy_command = 'nc %h %p'\ningress_cidrs = ['10.0.0.0/8']",
            "here are two",
        ),
        (
            "proxy_command = 'nc %h %p'\nconnect = 'ssm'\nsecurity_group_ids = ['sg-0123456789abcdef0']",
            "`proxy_command` would not be used",
        ),
        (
            "proxy_command = ''\ningress_cidrs = ['10.0.0.0/8']",
            "names no program",
        ),
        ("ingress_cidrs = ['10.0.0.0']", "is no range of addresses"),
        (
            "ingress_cidrs = ['10.1.2.3/8']",
            "the range is `10.0.0.0/8`",
        ),
        ("ingress_cidrs = ['fd00::1/64']", "the range is `fd00::/64`"),
        (
            "ingress_cidrs = ['10.0.0.0/8']\nsecurity_group_ids = ['sg-0123456789abcdef0']",
            "have rules of their own",
        ),
        (
            "ingress_cidrs = ['10.0.0.0/8']\nconnect = 'ssm'",
            "opens no port",
        ),
    ] {
        let fixture = Fixture::below_head(&format!("[builder]\n{way}\n"));
        let complaint = fixture.complaint();
        assert!(complaint.contains(words), "{complaint}");
        assert!(complaint.contains("1 problem found"), "{complaint}");
    }
}

#[test]
fn the_disk_in_the_image() {
    let fixture = Fixture::with(
        r#"
schema = 1
[image]
name = "worker"
disk = { type = "gp2", iops = 4000, throughput = 3000 }
[source]
ssm = "/aws/service/debian/release/12/latest/amd64"
"#,
    );
    assert_snapshot!(fixture.complaint());
}

#[test]
fn volumes() {
    let fixture = Fixture::below_head(
        r#"
[builder]
disk = { type = "sc1" }
[[builder.volumes]]
size = "9GiB"
[[builder.volumes]]
device = "/dev/nvme1n1"
size = "9GiB"
[[builder.volumes]]
device = "/dev/sdf"
size = "64GiB"
type = "st1"
[[builder.volumes]]
device = "/dev/sdf"
size = "9GiB"
type = "gp2"
iops = 4000
encrypted = false
kms_key_id = "alias/images"
[[builder.volumes]]
device = "/dev/sdg"
no_device = true
size = "9GiB"
[[builder.volumes]]
device = "/dev/sdh"
size = "9GiB"
snapshot_id = "snap"
in_image = false
delete_on_termination = false
[[builder.volumes]]
device = "/dev/sdi"
virtual_name = "ephemeral0"
"#,
    );
    assert_snapshot!(fixture.complaint());
    let fixture = Fixture::below_head(
        r#"
[builder.disk]
encrypted = false
[[builder.volumes]]
device = "/dev/sdf"
size = "9GiB"
[publish]
accounts = ["111122223333"]
"#,
    );
    assert_snapshot!("volumes_shared", fixture.complaint());
}

#[test]
fn breakpoints() {
    let fixture = Fixture::below_head(
        r#"
[[step]]
breakpoint = { note = "look" }
attempts = 2
on_failure = "continue"
[[step]]
breakpoint = { message = "look" }
[[on_failure]]
breakpoint = {}
"#,
    );
    assert_snapshot!(fixture.complaint());
}

#[test]
fn publish() {
    let fixture = Fixture::below_head(
        r#"
[publish]
accounts = ["111122223333", "me"]
organizations = ["o-abcdefghij"]
organizational_units = ["arn:aws:organizations::111122223333:organization/o-abcdefghij"]
deprecate_in = "10s"
deregistration_protection = "yes"
"#,
    );
    assert_snapshot!("publish_values", fixture.complaint());
    let fixture = Fixture::below_head(
        r#"
[publish]
organizations = ["arn:aws:organizations::111122223333:organization/o-abcdefghij"]
share_snapshots = true
"#,
    );
    assert_snapshot!("publish_encrypted", fixture.complaint());
    let fixture = Fixture::below_head(
        r#"
[builder]
disk = { kms_key_id = "alias/images" }
[publish]
regions = ["sa-east-1", "mars", "sa-east-1", "us-west-2"]
kms_key_ids = { sa-east-1 = "alias/images", eu-west-1 = "alias/images" }
accounts = ["111122223333"]
"#,
    );
    assert_snapshot!("publish_regions", fixture.complaint());
    let fixture = Fixture::below_head("[publish]\npublic = true\n");
    assert_snapshot!("publish_public", fixture.complaint());
    for (within, words) in [
        ("20m", "EC2 makes no copy within 20m"),
        ("49h", "EC2 makes no copy within 2d1h"),
        ("15m500ms", "quarters of an hour, from `15m` to `48h`"),
        ("30m", "the image is not copied"),
    ] {
        let fixture = Fixture::below_head(&format!("[publish]\ncopy_within = \"{within}\"\n"));
        let complaint = fixture.complaint();
        assert!(complaint.contains(words), "{complaint}");
    }
}

#[test]
fn files_over_run_command() {
    let fixture = Fixture::below_head(
        r#"
[builder]
connect = "ssm"
[builder.ssm]
bucket = "Not_A_Bucket"
"#,
    );
    assert_snapshot!("bucket_name", fixture.complaint());
    let fixture = Fixture::below_head(
        r#"
[builder]
connect = "ssm"
[builder.ssm]
files = "commands"
bucket = "artifacts"
"#,
    );
    assert_snapshot!("bucket_unused", fixture.complaint());
}

#[test]
fn variables_without_a_value() {
    let fixture = Fixture::below_head(
        r#"
[vars]
one   = { description = "required" }
two   = { from = "env:TWO" }
three = { from = "file:three.txt", secret = true }
four  = "{{ vars.five }}"
five  = "{{ vars.four }}"
six   = { default = 3 }
seven = { default = "x", type = "bool" }
"#,
    );
    assert_snapshot!(fixture.complaint_of("worker", &inputs(&[("six", "many"), ("sixx", "1")])));
}

#[test]
fn a_secret_where_others_could_read_it() {
    let fixture = Fixture::below_head(
        r#"
[vars]
token = { from = "env:TOKEN", secret = true }
[builder]
tags = { t = "{{ vars.token }}" }
[prove]
user_data = "token={{ vars.token | upper }}"
[[check]]
service = "{{ vars.token }}"
active = true
"#,
    );
    let complaint = fixture.complaint_of("worker", &environment(&[("TOKEN", "hunter2-hunter2")]));
    assert!(!complaint.to_lowercase().contains("hunter2"), "{complaint}");
    assert_snapshot!(complaint);
}

#[test]
fn a_secret_in_the_recipe_is_refused_and_not_shown() {
    let fixture = Fixture::below_head(
        "[vars]\ntoken = { default = \"hunter2-hunter2\", secret = true } # mine\nnext = 3\nmore = { zzz = 1 }\n",
    );
    let complaint = fixture.complaint();
    assert!(!complaint.contains("hunter2"), "{complaint}");
    assert!(complaint.contains(MASK), "{complaint}");
    assert_snapshot!(complaint);
}

#[test]
fn a_var_file_is_shown_without_its_values() {
    let fixture =
        Fixture::below_head("[vars]\ntoken = { secret = true, from = \"env:X\" }\ncount = 1\n")
            .file(
                "secret.toml",
                "count = \"héllo\"\ntoken = \"hunter2-hunter2\"\ntokne = \"hunter2-hunter2\"\n",
            );
    let given = Inputs {
        var_files: vec![fixture.path("secret.toml")],
        ..Inputs::default()
    };
    let complaint = fixture.complaint_of("worker", &given);
    assert!(!complaint.contains("hunter2"), "{complaint}");
    assert_snapshot!(complaint);

    fixture.write("secret.toml", "token = \"hunter2-hunter2\nx = 1\n");
    let complaint = fixture.complaint_of("worker", &given);
    assert!(!complaint.contains("hunter2"), "{complaint}");
    assert_snapshot!("syntax", complaint);
}

#[test]
fn a_secret_too_short_to_be_masked_or_where_processes_show_it() {
    let fixture = Fixture::below_head(
        r#"
[vars]
pin   = { from = "env:PIN", secret = true }
token = { from = "env:TOKEN", secret = true }

[[step]]
shell = { script = "s.sh", args = ["--token", "{{ vars.token }}"] }

[[step]]
ansible = { playbook = "p.yml", args = ["-e", "token={{ vars.token }}"] }
"#,
    )
    .file("images/s.sh", "true\n")
    .file("images/p.yml", "[]\n");
    let given = environment(&[("PIN", " 4711471 "), ("TOKEN", "hunter2-hunter2")]);
    let complaint = fixture.complaint_of("worker", &given);
    assert!(!complaint.contains("4711") && !complaint.contains("hunter2"));
    assert_snapshot!(complaint);
}

#[test]
fn a_seal_that_keeps_or_allows_what_it_must_not() {
    let fixture = Fixture::below_head(
        r#"
[seal]
keep = ["logs", "machine_id", "aptlists", "zebra"]

[[seal.allow]]
path = "/srv/test/*.key"

[[seal.allow]]
path   = "srv/test.key"
reason = " "

[[seal.allow]]
path   = "/*"
reason = "in a hurry"
"#,
    );
    assert_snapshot!(fixture.complaint());
    let twice = Fixture::below_head("[seal]\nkeep = [\"logs\", \"logs\"]\n");
    assert_snapshot!("kept_twice", twice.complaint());
}

#[test]
fn forno_toml_is_checked_too() {
    let fixture = Fixture::below_head("").file(
        "forno.toml",
        "images = [\"imags\"]\nregin = \"eu-west-1\"\n[builder]\ndisk = { size = \"lots\" }\n",
    );
    assert_snapshot!(fixture.complaint());
}

#[test]
fn roles() {
    let fixture = Fixture::below_head("").file(
        "forno.toml",
        r#"
[[assume_role]]
role_arn = "arn:aws:iam::111122223333:role/jump"
duration = "13h"
transitive_tag_keys = ["team"]
[[assume_role]]
role_arn = "baker"
session_name = "a b"
external_id = "x"
duration = "2h"
mfa_serial = "mine"
policy = "{"
policy_arns = ["ReadOnlyAccess"]
"#,
    );
    assert_snapshot!(fixture.complaint());
}

#[test]
fn a_problem_in_a_default_points_to_forno_toml() {
    let fixture = Fixture::below_head("[builder]\ndisk = { size = \"8GiB\" }\n").file(
        "forno.toml",
        "images = [\"images\"]\n[builder]\ndisk = { iops = 9000 }\n",
    );
    assert_snapshot!(fixture.complaint());
}

#[test]
fn no_such_recipe() {
    let fixture = Fixture::below_head("").file("forno.toml", "");
    assert_snapshot!(fixture.complaint_of("wroker", &Inputs::default()));
    assert_snapshot!(
        "empty",
        Fixture::new().complaint_of("base", &Inputs::default())
    );
}

#[test]
fn two_recipes_of_one_name() {
    let fixture = Fixture::below_head("").file("images/other.toml", HEAD);
    assert_snapshot!(fixture.complaint());
}

#[test]
fn tags_that_a_snapshot_cannot_have() {
    let many = |first: u32, last: u32| {
        let tags: Vec<String> = (first..=last).map(|n| format!("t{n} = \"\"")).collect();
        tags.join(", ")
    };
    let with = |own: &str| {
        Fixture::with(&format!(
            "[image]\nname = \"worker\"\ntags = {{ {} }}\nsnapshot_tags = {{ {own} }}\n[source]\nssm = \"/x\"\n",
            many(1, 30)
        ))
    };
    // Those of both names count once.
    with(&many(21, 40)).load().unwrap();
    assert_snapshot!(with(&many(22, 41)).complaint());
    assert_snapshot!(with("\"forno:bake\" = \"x\"").complaint());
}

#[test]
fn everything_is_told_at_once_in_the_order_of_lines() {
    let fixture = Fixture::with(
        r#"
[image]
name = "w"
colour = "brown"
[source]
ami = "debian"
[vars]
"a b" = 1
[builder]
disk = { size = "0GiB" }
[[step]]
shell = { script = "none.sh" }
[[step]]
shell = { run = "{{ vars.x }}" }
[[check]]
port = 0
"#,
    );
    let error = fixture.load().unwrap_err();
    let lines: Vec<usize> = error
        .problems()
        .iter()
        .map(|problem| problem.line_column().unwrap().0)
        .collect();
    assert_eq!(lines, [3, 4, 6, 8, 10, 12, 14, 16], "{error}");
    let json = serde_json::to_value(error.problems()).unwrap();
    assert_eq!(json[1]["file"], "images/worker.toml");
    assert_eq!(json[1]["line"], 4);
    assert_eq!(json[1]["column"], 1);
}
