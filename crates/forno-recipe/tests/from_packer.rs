//! The page for people who come from Packer: it leaves out no option of Packer's, and
//! names no key that a recipe does not have.

use std::collections::BTreeSet;

use serde_json::Value;

const PAGE: &str = include_str!("../../../docs/FROM-PACKER.md");

/// `amazon-ebs` and its communicators, nested blocks too: plugin 1.8.2.
const BUILDER: &str = "\
    access_key ami_block_device_mappings ami_description ami_groups ami_name ami_org_arns \
    ami_ou_arns ami_product_codes ami_regions ami_users ami_virtualization_type \
    associate_public_ip_address assume_role availability_zone aws_polling \
    block_duration_minutes capacity_reservation_group_arn capacity_reservation_id \
    capacity_reservation_preference communicator custom_endpoint_ec2 \
    decode_authorization_messages delay_seconds delete_on_termination deprecate_at \
    deregistration_protection device_name disable_stop_instance duration_seconds ebs_optimized \
    ena_support enable_fast_launch enable_nitro_enclave enable_t2_unlimited \
    enable_unlimited_credits encrypt_boot engine_name external_id fast_launch fleet_tag \
    fleet_tags force_delete_snapshot force_deregister host_id host_resource_group_arn \
    http_endpoint http_put_response_hop_limit http_tokens iam_instance_profile imds_support \
    include_deprecated insecure_skip_tls_verify instance_metadata_tags instance_type kms_key_id \
    launch_block_device_mappings license_configuration_arn license_configuration_request \
    license_specifications max_attempts max_parallel_launches max_retries metadata_options \
    mfa_code most_free most_recent no_device no_ephemeral pause_before_connecting \
    pause_before_ssm policy_arns profile region region_kms_key_ids region_launch_templates \
    role_arn run_tag run_tags run_volume_tag run_volume_tags secret_key security_group_filter \
    security_group_id security_group_ids session_manager_port session_name \
    shared_credentials_file shutdown_behavior skip_ami_run_tags skip_create_ami \
    skip_credential_validation skip_metadata_api_check skip_profile_validation \
    skip_region_validation skip_save_build_region snapshot_copy_duration_minutes \
    snapshot_groups snapshot_id snapshot_tag snapshot_tags snapshot_users source_ami \
    source_ami_filter spot_allocation_strategy spot_instance_types spot_price \
    spot_price_auto_product spot_tag spot_tags sriov_support ssh_agent_auth \
    ssh_bastion_agent_auth ssh_bastion_certificate_file ssh_bastion_host \
    ssh_bastion_interactive ssh_bastion_password ssh_bastion_port ssh_bastion_private_key_file \
    ssh_bastion_username ssh_certificate_file ssh_ciphers ssh_clear_authorized_keys \
    ssh_disable_agent_forwarding ssh_file_transfer_method ssh_handshake_attempts ssh_host \
    ssh_interface ssh_keep_alive_interval ssh_key_exchange_algorithms ssh_keypair_name \
    ssh_local_tunnels ssh_password ssh_port ssh_private_key ssh_private_key_file ssh_proxy_host \
    ssh_proxy_password ssh_proxy_port ssh_proxy_username ssh_pty ssh_public_key \
    ssh_read_write_timeout ssh_remote_tunnels ssh_timeout ssh_username ssh_wait_timeout \
    subnet_filter subnet_id tag tags target_resource_count template_id template_name \
    template_version temporary_iam_instance_profile_policy_document temporary_key_pair_bits \
    temporary_key_pair_name temporary_key_pair_type temporary_security_group_source_cidrs \
    temporary_security_group_source_public_ip tenancy token transitive_tag_keys user_data \
    user_data_file vault_aws_engine virtual_name volume_size volume_type vpc_filter vpc_id \
    windows_password_timeout winrm_host winrm_insecure winrm_no_proxy winrm_password winrm_port \
    winrm_timeout winrm_use_ntlm winrm_use_ssl winrm_username with_cooldown";

/// What the provisioners `shell`, `file`, `shell-local`, `ansible`, `ansible-local` and `breakpoint` take,
/// all of them, and the post-processor `manifest`.
const PROVISIONERS: &str = "\
    clean_staging_directory collection_paths group_vars host_vars inventory_groups playbook_dir \
    playbook_files playbook_paths role_paths staging_directory \
    ansible_env_vars ansible_proxy_key_type ansible_ssh_extra_args ansible_winrm_use_http \
    binary collections_path command content continue_on_error custom_data destination direction \
    disable empty_groups env env_var_format environment_vars except execute_command \
    expect_disconnect extra_arguments galaxy_command galaxy_file galaxy_force_install \
    galaxy_force_with_deps generated groups host_alias inline inline_shebang \
    inventory_directory inventory_file inventory_file_template keep_inventory_file local_port \
    max_retries note only only_on output override pause_after pause_before playbook_file \
    remote_file remote_folder remote_path roles_path script scripts sftp_command skip_clean \
    skip_version_check source sources ssh_authorized_key_file ssh_host_key_file \
    start_retry_timeout strip_path strip_time tempfile_extension timeout use_env_var_file \
    use_linux_pathing use_proxy use_sftp user valid_exit_codes";

/// Of `packer build`.
const FLAGS: &str = "\
    -color=false -debug -except -force -machine-readable -on-error -only -parallel-builds \
    -timestamp-ui -var -var-file -warn-on-undeclared-var";

fn quoted() -> BTreeSet<&'static str> {
    PAGE.split('`').skip(1).step_by(2).collect()
}

#[test]
fn no_option_of_packers_is_left_out() {
    let quoted = quoted();
    let lists = [BUILDER, PROVISIONERS, FLAGS];
    let missing: Vec<&str> = lists
        .iter()
        .flat_map(|list| list.split_whitespace())
        .filter(|name| !quoted.contains(name))
        .collect();
    assert!(missing.is_empty(), "docs/FROM-PACKER.md lacks {missing:?}");
}

/// Follows one key through references and alternatives.
fn below<'a>(whole: &'a Value, schema: &'a Value, key: &str) -> Option<&'a Value> {
    if let Some(found) = schema["properties"].get(key) {
        return Some(found);
    }
    let referred = schema["$ref"]
        .as_str()
        .and_then(|path| whole.pointer(path.trim_start_matches('#')));
    let alternatives = ["anyOf", "oneOf", "allOf"]
        .iter()
        .filter_map(|kind| schema[*kind].as_array())
        .flatten();
    referred
        .into_iter()
        .chain(alternatives)
        .find_map(|schema| below(whole, schema, key))
}

#[test]
fn every_key_of_a_recipe_that_it_names_is_one() {
    let schema = forno_recipe::schema();
    let whole = serde_json::to_value(&schema).unwrap();
    let tables = ["image", "source", "builder", "publish", "prove", "seal"];
    let mut seen = 0;
    for path in quoted() {
        let path = path.split(" = ").next().unwrap_or(path);
        let keys: Vec<&str> = path.split('.').collect();
        if keys.len() < 2 || !tables.contains(&keys[0]) {
            continue;
        }
        let mut place = &whole;
        for key in keys {
            place = below(&whole, place, key).unwrap_or_else(|| panic!("no key `{path}`"));
        }
        seen += 1;
    }
    assert!(seen > 20, "{seen}");
}
