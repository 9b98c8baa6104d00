//! Whatever options of a builder are put together: either EC2 is asked in a way that it
//! understands, or an error names the option. Nothing panics, and nothing is made.

use std::cell::Cell;

use forno_bake::{ExitCode, RunOptions};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::runtime::Runtime;

use crate::rig::Rig;

/// Keys of `[builder]` with values as a recipe has them, good and bad.
const OPTIONS: &[(&str, &[&str])] = &[
    (
        "instance_types",
        &[
            "[\"t3.small\"]",
            "[\"m7i.large\", \"t3.small\"]",
            "[\"t4g.small\"]",
            "[\"nonsense\"]",
        ],
    ),
    (
        "market",
        &[
            "[\"spot\"]",
            "[\"spot\", \"on-demand\"]",
            "[\"on-demand\", \"on-demand\"]",
            "[]",
        ],
    ),
    ("spot_max_price", &["\"0.05\"", "\"-1\"", "\"\""]),
    (
        "disk",
        &[
            "{ size = \"64GiB\", iops = 16000, throughput = 1000 }",
            "{ type = \"io2\", iops = 100000, size = \"100GiB\" }",
            "{ type = \"gp2\", throughput = 125 }",
            "{ encrypted = false, kms_key_id = \"alias/images\" }",
            "{ kms_key_id = \"arn:aws:kms:eu-west-1:111122223333:key/1\" }",
        ],
    ),
    (
        "volumes",
        &[
            "[{ device = \"/dev/sdf\", size = \"9GiB\" }]",
            "[{ device = \"/dev/sdf\", snapshot_id = \"snap-0123456789abcdef0\" }]",
            "[{ device = \"/dev/sdf\", size = \"125GiB\", type = \"sc1\", in_image = false }]",
            "[{ device = \"/dev/xvda\", no_device = true }]",
            "[{ device = \"/dev/sdf\" }, { device = \"/dev/sdf\" }]",
            "[{ size = \"9GiB\" }]",
        ],
    ),
    ("early_snapshots", &["true", "\"yes\""]),
    (
        "ssh",
        &[
            "{ ciphers = [\"aes256-gcm@openssh.com\"] }",
            "{ key_exchanges = [\"rot13\"] }",
        ],
    ),
    (
        "subnet_ids",
        &["[\"subnet-0123456789abcdef0\"]", "[\"subnet-x\"]"],
    ),
    (
        "subnet_filters",
        &[
            "{ availability-zone = \"*a\" }",
            "{ \"tag:x\" = [] }",
            "{ nonsense = \"1\" }",
        ],
    ),
    ("vpc_id", &["\"vpc-0123456789abcdef0\"", "\"vpc\""]),
    (
        "vpc_filters",
        &["{ is-default = \"true\" }", "{ is-default = \"false\" }"],
    ),
    (
        "security_group_ids",
        &["[\"sg-0123456789abcdef0\"]", "[\"\"]"],
    ),
    (
        "security_group_filters",
        &["{ group-name = \"default\" }", "{ group-name = \"\" }"],
    ),
    ("public_ip", &["true", "false"]),
    ("address", &["\"public\"", "\"private\""]),
    (
        "temporary_profile",
        &[
            "{ policy_arns = [\"arn:aws:iam::aws:policy/ReadOnlyAccess\"] }",
            "{ policy = \"{}\" }",
            "{}",
        ],
    ),
    ("instance_profile", &["\"baker\"", "\"no body\""]),
    ("connect", &["\"ssh\"", "\"ssm\"", "\"ssh-over-ssm\""]),
    ("bastion", &["\"ops@jump:2222\"", "\"-x\""]),
    ("proxy_command", &["\"nc %h %p\"", "[]"]),
    (
        "ingress_cidrs",
        &["[\"10.0.0.0/8\"]", "[\"10.0.0.1/8\"]", "[\"10.0.0.0/33\"]"],
    ),
    ("user_data", &["\"#!/bin/sh\\ntrue\\n\"", "\"\""]),
    (
        "imds",
        &[
            "{ tokens = \"optional\", hop_limit = 64 }",
            "{ hop_limit = 0 }",
        ],
    ),
    (
        "machine",
        &[
            "{ ebs_optimized = true, cpu_credits = \"standard\" }",
            "{ tenancy = \"host\", host_id = \"h-0123456789abcdef0\" }",
            "{ tenancy = \"dedicated\", nitro_enclaves = true }",
            "{ host_id = \"h-0123456789abcdef0\" }",
            "{ capacity_reservation = \"cr-0123456789abcdef0\", placement_group = \"near\" }",
            "{ license_configuration_arns = [\"arn:aws:license-manager:us-east-1:111122223333:license-configuration:lic-1\"] }",
        ],
    ),
];

/// Each key with one of its values, or without.
fn builders() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let each: Vec<_> = OPTIONS
        .iter()
        .map(|(key, values)| {
            // Most are left out, so that some combinations come through.
            prop::option::weighted(0.2, prop::sample::select(*values))
                .prop_map(|value| value.map(|value| (*key, value)))
        })
        .collect();
    each.prop_map(|chosen| chosen.into_iter().flatten().collect())
}

#[test]
fn any_options_together_are_asked_for_or_named_in_an_error() {
    let runtime = Runtime::new().unwrap();
    let rig = runtime.block_on(Rig::start());
    let (planned, refused) = (Cell::new(0_u32), Cell::new(0_u32));
    let config = ProptestConfig {
        cases: 192,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    TestRunner::new(config)
        .run(&builders(), |chosen| {
            let lines: Vec<String> = chosen
                .iter()
                .map(|(key, value)| format!("{key} = {value}"))
                .collect();
            let text = format!(
                "\n[builder]\n{}\n[[step]]\nname = \"say\"\nshell = {{ run = \"true\" }}\n",
                lines.join("\n")
            );
            let names_one = |said: &str| chosen.iter().any(|(key, _)| said.contains(key));
            let recipe = match rig.try_recipe("one", &text) {
                Ok(recipe) => recipe,
                Err(said) => {
                    prop_assert!(
                        said.contains("images/one.toml:") && names_one(&said),
                        "{said}"
                    );
                    return Ok(());
                }
            };
            let engine = rig.engine();
            let recipes = [recipe];
            match runtime.block_on(engine.plan(&recipes, RunOptions::default())) {
                Ok(plans) => {
                    prop_assert_eq!(plans.len(), 1);
                    planned.set(planned.get() + 1);
                }
                Err(error) => {
                    let code = error.exit_code();
                    prop_assert!(
                        matches!(code, ExitCode::Preflight | ExitCode::RecipeInvalid),
                        "{error}"
                    );
                    refused.set(refused.get() + 1);
                }
            }
            Ok(())
        })
        .unwrap();
    let (planned, refused) = (planned.get(), refused.get());
    assert!(
        planned > 0 && refused > 0,
        "{planned} planned, {refused} refused"
    );
    assert_eq!(runtime.block_on(rig.left()), [""; 0]);
    runtime.block_on(rig.end());
}
