//! What a machine is told at its first boot: the host key that it must show, where
//! it is entered by SSH, and when to shut itself down whatever happens.
//!
//! Made in memory and never written anywhere here. The host key's private half
//! is a secret between this process and the machine, of no use once the seal
//! has removed it.

use forno_link::HostKeyPair;
use forno_recipe::MOST_USER_DATA;
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::lifeline;
use crate::plan::Prepared;
use crate::{Error, ErrorKind};

/// Whether what the recipe says still fits when forno's own stands beside it.
pub(crate) fn fits(prepared: &Prepared) -> Result<(), Error> {
    let arming = lifeline::arming(lifeline::grace(prepared), prepared.expires);
    for (key, data) in [
        ("builder.user_data", &prepared.user_data),
        ("prove.user_data", &prepared.prove_user_data),
    ] {
        let Some(excess) = data.as_ref().and_then(|data| excess(&arming, data)) else {
            continue;
        };
        return Err(Error::new(ErrorKind::Recipe(format!(
            "{key} is too long by {excess} bytes: with what forno adds, EC2 takes {MOST_USER_DATA}"
        )))
        .with_hint("let it fetch the rest, or make a step of it"));
    }
    Ok(())
}

/// In bytes.
fn excess(arming: &str, also: &str) -> Option<u64> {
    let whole = user_data(Some(&HostKeyPair::generate()), arming, Some(also));
    let excess = (whole.len() as u64).saturating_sub(MOST_USER_DATA);
    (excess > 0).then_some(excess)
}

/// The cloud-config of a machine, with the script of its switch; `also` is user
/// data of the recipe.
pub(super) fn user_data(
    host_key: Option<&HostKeyPair>,
    arming: &str,
    also: Option<&str>,
) -> String {
    let own = cloud_config(host_key, arming);
    match also {
        None => own,
        Some(also) => multipart(&[&own, also]),
    }
}

fn cloud_config(host_key: Option<&HostKeyPair>, arming: &str) -> String {
    // `bootcmd` runs at every boot, which is when the switch has to be armed anew.
    let mut config = json!({ "bootcmd": [["sh", "-c", arming]] });
    if let Some(key) = host_key {
        config["ssh_keys"] = json!({
            "ed25519_private": key.private_openssh().expose_secret(),
            "ed25519_public": key.public().line(),
        });
    }
    // JSON is YAML, and its quoting is beyond doubt.
    format!("#cloud-config\n{config:#}\n")
}

/// Several user data in one, as cloud-init takes them.
fn multipart(parts: &[&str]) -> String {
    // Each part is base64, so no line of it can look like the boundary.
    const BOUNDARY: &str = "==forno-user-data==";
    // Two cloud-configs are joined: neither's lists push out the other's.
    const MERGE: &str = "list(append)+dict(recurse_array)+str()";
    use base64::Engine as _;
    let mut text =
        format!("Content-Type: multipart/mixed; boundary=\"{BOUNDARY}\"\nMIME-Version: 1.0\n\n");
    for part in parts {
        let kind = content_type(part);
        let encoded = base64::engine::general_purpose::STANDARD.encode(part);
        text.push_str(&format!(
            "--{BOUNDARY}\nContent-Type: {kind}; charset=\"utf-8\"\nMIME-Version: 1.0\n\
             X-Merge-Type: {MERGE}\nContent-Transfer-Encoding: base64\n\n"
        ));
        for line in encoded.as_bytes().chunks(76) {
            text.extend(line.iter().copied().map(char::from));
            text.push('\n');
        }
    }
    text.push_str(&format!("--{BOUNDARY}--\n"));
    text
}

/// What cloud-init takes it for by its first line.
fn content_type(part: &str) -> &'static str {
    const KINDS: [(&str, &str); 7] = [
        ("#cloud-config-archive", "text/cloud-config-archive"),
        ("#cloud-config-jsonp", "text/cloud-config-jsonp"),
        ("#cloud-config", "text/cloud-config"),
        ("#cloud-boothook", "text/cloud-boothook"),
        ("#include-once", "text/x-include-once-url"),
        ("#include", "text/x-include-url"),
        ("#!", "text/x-shellscript"),
    ];
    KINDS
        .into_iter()
        .find(|(start, _)| part.trim_start().starts_with(start))
        .map_or("text/plain", |(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_gets_its_host_key_and_its_switch() {
        let pair = HostKeyPair::generate();
        let text = user_data(Some(&pair), "echo armed\n", None);
        let json = text.strip_prefix("#cloud-config\n").unwrap();
        let config: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(
            config["ssh_keys"]["ed25519_public"],
            pair.public().line().as_str()
        );
        assert_eq!(config["bootcmd"], json!([["sh", "-c", "echo armed\n"]]));
    }

    #[test]
    fn what_is_too_long_is_known_before_ec2_says_so() {
        assert_eq!(excess("true", "#!/bin/sh\ntrue\n"), None);
        let long = "#".repeat(16 * 1024);
        assert!(excess("true", &long).is_some_and(|excess| excess > 1000));
    }

    #[test]
    fn user_data_of_the_recipe_stands_beside_it() {
        let pair = HostKeyPair::generate();
        let text = user_data(Some(&pair), "true", Some("#!/bin/sh\ntrue\n"));
        assert!(text.starts_with("Content-Type: multipart/mixed"));
        assert!(text.contains("text/cloud-config"));
        assert!(text.contains("text/x-shellscript"));
        assert!(text.lines().all(|line| line.len() <= 120));
    }
}
