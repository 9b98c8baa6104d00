//! Keys of KMS as names: none is made here and nothing is encrypted, but what was asked for
//! is kept and told as EC2 tells it, by the ARN of a key.

use crate::api::error::ApiError;
use crate::state::world::ACCOUNT;

/// The key with which EBS encrypts when nobody names one.
const DEFAULT: &str = "alias/aws/ebs";

/// How the name of an alias begins.
const ALIAS: &str = "alias/";

/// The ARN of a key by its id, its ARN, or the alias of one. Every key exists.
pub(crate) fn key_arn(region: &str, given: &str) -> Result<String, ApiError> {
    let named = match given.splitn(6, ':').collect::<Vec<_>>()[..] {
        ["arn", _, "kms", here, _, alias] if here == region && alias.starts_with(ALIAS) => alias,
        ["arn", _, "kms", here, _, _] if here == region => return Ok(given.to_owned()),
        ["arn", ..] => {
            return Err(ApiError::invalid(format!(
                "Value ({given}) for parameter kmsKeyId is invalid: it is no key of {region}"
            )));
        }
        _ => given,
    };
    Ok(if named.starts_with(ALIAS) {
        arn(region, &id_of(named))
    } else {
        arn(region, named)
    })
}

fn arn(region: &str, id: &str) -> String {
    format!("arn:aws:kms:{region}:{ACCOUNT}:key/{id}")
}

/// What something is encrypted with, if it is: the key that was named, or the default.
pub(crate) fn key_of(region: &str, encrypted: bool, named: Option<&String>) -> Option<String> {
    let default = || arn(region, &id_of(DEFAULT));
    encrypted.then(|| named.cloned().unwrap_or_else(default))
}

/// The key that an alias leads to: always the same.
fn id_of(alias: &str) -> String {
    use sha2::Digest as _;
    let hash = hex::encode(sha2::Sha256::digest(alias));
    format!(
        "{}-{}-{}-{}-{}",
        &hash[..8],
        &hash[8..12],
        &hash[12..16],
        &hash[16..20],
        &hash[20..32]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_told_by_its_arn() {
        let id = "1234abcd-12ab-34cd-56ef-1234567890ab";
        let arn = key_arn("eu-west-1", id).unwrap();
        assert_eq!(arn, format!("arn:aws:kms:eu-west-1:{ACCOUNT}:key/{id}"));
        assert_eq!(key_arn("eu-west-1", &arn).unwrap(), arn);
        assert!(key_arn("us-east-1", &arn).is_err());
        let alias = key_arn("eu-west-1", "alias/images").unwrap();
        assert_eq!(alias, key_arn("eu-west-1", "alias/images").unwrap());
        assert_ne!(Some(alias), key_of("eu-west-1", true, None));
        assert_eq!(key_of("eu-west-1", false, None), None);
    }
}
