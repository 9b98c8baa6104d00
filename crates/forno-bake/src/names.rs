//! Names and tags: how everything that a bake makes is found again, by
//! this process, by another, and by people in the console.

use forno_aws::{TagMatch, Tags};
use forno_events::BakeId;
use jiff::Timestamp;

pub(crate) const BAKE: &str = "forno:bake";
pub(crate) const IMAGE: &str = "forno:image";
pub(crate) const STEP: &str = "forno:step";
pub(crate) const EXPIRES: &str = "forno:expires";
pub(crate) const DIGEST: &str = "forno:digest";
pub(crate) const SOURCE_IMAGE: &str = "forno:source-image";
/// Put on an image when its bake is past the point of no return. An image
/// without it is unfinished, however available it looks.
pub(crate) const FINISHED: &str = "forno:finished";
/// The port of SSH where it is not 22; only an endpoint of its own kind sets it.
pub(crate) const SSH_PORT: &str = "forno:ssh-port";

/// Of everything that bake makes in this step.
pub(crate) fn tags(bake: &BakeId, step: &str, expires: Timestamp) -> Tags {
    Tags::new()
        .with(BAKE, bake.as_str())
        .with(IMAGE, bake.image())
        .with(STEP, step)
        .with(EXPIRES, expires.to_string())
}

/// Finds what this bake made in this step.
pub(crate) fn found_by(bake: &BakeId, step: &str) -> [TagMatch; 2] {
    [TagMatch::is(BAKE, bake.as_str()), TagMatch::is(STEP, step)]
}

/// The name of a temporary resource: unique, and telling whose it is.
pub(crate) fn temporary(bake: &BakeId) -> String {
    format!("forno-{bake}")
}

/// How the names of temporary buckets begin.
pub(crate) const BUCKETS: &str = "forno-";

/// Below which path of IAM temporary roles and instance profiles lie.
pub(crate) const IAM_PATH: &str = "/forno/";

/// The name of a bake's role and of its instance profile: unique, and as short as IAM wants.
pub(crate) fn profile(bake: &BakeId) -> String {
    bucket(bake)
}

/// In whose ARNs a region's things are.
pub(crate) fn partition(region: &str) -> &'static str {
    match region {
        region if region.starts_with("cn-") => "aws-cn",
        region if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

/// The name of a bake's bucket. Names are shared with all of AWS and short; the
/// ULID of a bake is as unique as that, and of the letters that S3 allows.
pub(crate) fn bucket(bake: &BakeId) -> String {
    let id = bake.as_str();
    let ulid = id.rsplit_once('-').map_or(id, |(_, ulid)| ulid);
    format!("{BUCKETS}{}", ulid.to_lowercase())
}

/// The same in every process that tries the same thing, and another for
/// anything else: a repeated launch makes no second machine.
pub(crate) fn client_token(bake: &BakeId, variation: &[&str]) -> String {
    use sha2::Digest as _;
    let mut hash = sha2::Sha256::new();
    hash.update(bake.as_str());
    for part in variation {
        hash.update([0]);
        hash.update(part);
    }
    let mut token = hex::encode(hash.finalize());
    // EC2 takes at most 64 characters, which is what this is; the prefix makes
    // it recognisable in CloudTrail.
    token.truncate(56);
    format!("forno-{token}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_the_same_for_the_same_and_only_for_it() {
        let bake = BakeId::new("base");
        let token = client_token(&bake, &["builder", "t3.medium", "subnet-1"]);
        assert_eq!(
            token,
            client_token(&bake, &["builder", "t3.medium", "subnet-1"])
        );
        assert!(token.len() <= 64);
        assert_ne!(token, client_token(&bake, &["builder", "t3.medium"]));
        assert_ne!(
            client_token(&bake, &["a", "bc"]),
            client_token(&bake, &["ab", "c"])
        );
        assert_ne!(
            token,
            client_token(&BakeId::new("base"), &["builder", "t3.medium", "subnet-1"])
        );
    }
}
