//! EC2's error codes: what kind each is, and what to do about the well-known ones.
//!
//! A table, because EC2 has no other way to tell its errors apart. Codes that are
//! not in it are sorted by their endings, which EC2 uses with some consistency
//! (`….NotFound`, `….Duplicate`, `….Malformed`), and by the HTTP status.

use crate::error::{Error, Kind, Outcome};

/// The kind of an error that the service answered with.
pub(crate) fn kind(code: &str, message: &str, status: u16) -> Kind {
    match code {
        "DryRunOperation" => Kind::DryRun,
        "AuthFailure" if message.contains("not authorized for images") => Kind::NotFound,
        "AuthFailure"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "InvalidAccessKeyId"
        | "RequestTimeTooSkewed" => Kind::Credentials,
        "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => Kind::Expired,
        "UnauthorizedOperation"
        | "AccessDenied"
        | "AccessDeniedException"
        | "OptInRequired"
        | "OperationNotPermitted"
        | "PendingVerification"
        | "Blocked" => Kind::Unauthorized,
        "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "EC2ThrottledException"
        | "SlowDown"
        | "BandwidthLimitExceeded" => Kind::Throttled,
        "SnapshotCreationPerVolumeRateExceeded"
        | "ConcurrentSnapshotLimitExceeded"
        | "PendingSnapshotLimitExceeded"
        | "ConcurrentCreateImageNoRebootLimitExceeded"
        | "ConcurrentModification"
        | "ConcurrentTagAccess" => Kind::Busy,
        "InsufficientInstanceCapacity"
        | "InsufficientHostCapacity"
        | "InsufficientReservedInstanceCapacity"
        | "InsufficientCapacity"
        | "InsufficientCapacityOnHost"
        | "InsufficientFreeAddressesInSubnet"
        | "InsufficientAddressCapacity"
        | "InsufficientVolumeCapacity"
        | "UnfulfillableCapacity"
        | "Unsupported"
        | "UnsupportedHostConfiguration"
        | "SpotMaxPriceTooLow" => Kind::Capacity,
        "MaxSpotInstanceCountExceeded" | "ResourceCountExceeded" => Kind::Quota,
        "DependencyViolation" | "VolumeInUse" | "BucketNotEmpty" | "DeleteConflict" => {
            Kind::DependencyViolation
        }
        // The last two are SSM's words for an agent that is not online.
        "IncorrectInstanceState"
        | "IncorrectState"
        | "IncorrectSpotRequestState"
        | "InvalidInstanceId"
        | "TargetNotConnected" => Kind::WrongState,
        "IdempotentParameterMismatch" | "IdempotentInstanceTerminated" => Kind::TokenReused,
        "InvalidAMIID.Unavailable"
        | "ParameterNotFound"
        | "ParameterVersionNotFound"
        | "InvocationDoesNotExist"
        | "DoesNotExistException"
        | "NoSuchBucket"
        | "NoSuchEntity"
        | "NoSuchKey" => Kind::NotFound,
        "BucketAlreadyExists" | "BucketAlreadyOwnedByYou" | "EntityAlreadyExists" => {
            Kind::Duplicate
        }
        "InvalidAction"
        | "UnsupportedOperation"
        | "UnsupportedProtocol"
        | "UnknownOperationException"
        | "UnknownParameter" => Kind::Unsupported,
        "MissingParameter"
        | "MissingAction"
        | "InvalidUserData"
        | "InvalidRequest"
        | "MalformedQueryString"
        | "FilterLimitExceeded"
        | "ValidationError"
        | "ValidationException"
        | "MalformedPolicyDocument"
        | "TagLimitExceeded"
        | "InvalidID" => Kind::InvalidInput,
        _ if code.ends_with(".NotFound")
            || code.ends_with("NotFoundException")
            || code.ends_with(".VersionNotFound") =>
        {
            Kind::NotFound
        }
        _ if code.ends_with(".Duplicate") => Kind::Duplicate,
        _ if code.ends_with(".InUse") => Kind::DependencyViolation,
        _ if code.ends_with("LimitExceeded") => Kind::Quota,
        _ if code.starts_with("InvalidParameter")
            || code.starts_with("UnknownParameter")
            || code.ends_with(".Malformed")
            || code.starts_with("Invalid") =>
        {
            Kind::InvalidInput
        }
        _ if status == 429 => Kind::Throttled,
        _ if status >= 500 => Kind::Server,
        _ if status < 400 => Kind::Lost,
        _ => Kind::Other,
    }
}

/// Whether a call that was answered with an error may have taken effect. A 4xx is a
/// refusal. Of the 5xx only those that EC2 documents as a refusal are.
pub(crate) fn outcome(kind: Kind, status: u16) -> Outcome {
    match kind {
        Kind::Throttled | Kind::Busy | Kind::Capacity | Kind::Quota | Kind::DryRun => {
            Outcome::DidNotHappen
        }
        _ if (400..500).contains(&status) && status != 408 => Outcome::DidNotHappen,
        _ => Outcome::Unknown,
    }
}

pub(crate) fn hint(error: &Error) -> Option<String> {
    if let Some(text) = error.code().and_then(|code| by_code(code, error)) {
        return Some(text);
    }
    let text = match error.kind() {
        Kind::Settings if error.region().is_empty() => {
            "give a region by `--region`, in forno.toml, by AWS_REGION, or in the profile of ~/.aws/config".to_owned()
        }
        Kind::Credentials => {
            "sign in (`aws sso login`, `aws configure`), or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; `forno bake --local` needs none".to_owned()
        }
        Kind::Expired => "sign in again (`aws sso login`), or raise the session duration of the role".to_owned(),
        Kind::Throttled => "other clients of this account call EC2 a lot; try again, or bake fewer images at once".to_owned(),
        Kind::Unreachable => "check the network, the proxy settings, the name of the region and AWS_ENDPOINT_URL".to_owned(),
        Kind::Lost if error.outcome() == Outcome::Unknown => {
            "the reply was lost; forno looks by name and tags for what the call may have made".to_owned()
        }
        _ => return None,
    };
    Some(text)
}

fn by_code(code: &str, error: &Error) -> Option<String> {
    let region = error.region();
    let text = match code {
        "InvalidAMIID.NotFound" => format!(
            "the image does not exist in {region} (ids differ from region to region), or it is not shared with this account, or the Allowed AMIs settings of the account hide it"
        ),
        "InvalidAMIID.Unavailable" => "the image was deregistered or is not available yet".to_owned(),
        "InvalidAMIID.Malformed" => "an image id looks like ami-0123456789abcdef0".to_owned(),
        "UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException" => format!(
            "the role or user lacks the permission for {}, or a policy of the organisation denies it",
            error.operation()
        ),
        "OptInRequired" => "open the image's page in AWS Marketplace with this account and accept its terms".to_owned(),
        "PendingVerification" => "AWS is still verifying this account for the region; this takes up to four hours".to_owned(),
        "Blocked" => "AWS has blocked this account; contact AWS support".to_owned(),
        "AuthFailure" | "SignatureDoesNotMatch" | "InvalidClientTokenId" | "UnrecognizedClientException" => {
            "the credentials are wrong, belong to another partition, or the region is not enabled for the account; `aws sts get-caller-identity` shows who you are".to_owned()
        }
        "RequestTimeTooSkewed" | "RequestExpired" => "check this machine's clock".to_owned(),
        "VcpuLimitExceeded" | "InstanceLimitExceeded" => format!(
            "the quota for running On-Demand instances in {region} is used up (terminated ones count for a while); ask for more under Service Quotas, or use another instance family"
        ),
        "MaxSpotInstanceCountExceeded" => {
            format!("the quota for Spot instances in {region} is used up; ask for more under Service Quotas")
        }
        "AuthFailure.ServiceLinkedRoleCreationNotPermitted" => {
            "Spot Instances need the role AWSServiceRoleForEC2Spot: have it made once by `aws iam create-service-linked-role --aws-service-name spot.amazonaws.com`".to_owned()
        }
        "SpotMaxPriceTooLow" => "builder.spot_max_price is below the Spot price now: raise it, or leave it out".to_owned(),
        "InsufficientInstanceCapacity" | "UnfulfillableCapacity" => {
            "AWS has none of this type left in this zone right now: name more instance types or subnets of other zones in `[builder]`".to_owned()
        }
        "Unsupported" => "this instance type is not offered in this zone: name another type, or a subnet of another zone".to_owned(),
        "InsufficientFreeAddressesInSubnet" => "the subnet has no free address left; name another one".to_owned(),
        "ResourceLimitExceeded" => "too many copies or snapshots are in progress; wait until they are done".to_owned(),
        "ConcurrentSnapshotLimitExceeded" | "PendingSnapshotLimitExceeded" => {
            "other snapshots of the volume or account are still pending; wait until they are done".to_owned()
        }
        "InvalidAMIName.Duplicate" => "an image of this name exists; deregister it, or let the name carry the date".to_owned(),
        "VPCIdNotSpecified" | "DefaultVpcDoesNotExist" | "MissingInput" => {
            format!("{region} has no default VPC: name a subnet in `[builder]`")
        }
        "InvalidSnapshot.InUse" => "an image still uses the snapshot; deregister the image first".to_owned(),
        "InvalidParameterValue" if error.message().contains("Instance Profile") => {
            "the instance profile does not exist, or was made seconds ago and is not known everywhere yet".to_owned()
        }
        "MalformedPolicyDocument" => "IAM does not take builder.temporary_profile.policy; `aws accessanalyzer validate-policy` says more".to_owned(),
        "ParameterNotFound" => format!("there is no such SSM parameter in {region}"),
        "OperationNotPermitted" if error.operation() == "DeregisterImage" => {
            "the image has deregistration protection; disable it first and mind its cooldown".to_owned()
        }
        "InvalidAction" => "this endpoint does not know the call; is it the one you meant?".to_owned(),
        _ => return None,
    };
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted() {
        for (code, status, expected) in [
            ("InvalidInstanceID.NotFound", 400, Kind::NotFound),
            ("InvalidGroup.Duplicate", 400, Kind::Duplicate),
            ("InvalidGroup.InUse", 400, Kind::DependencyViolation),
            ("DependencyViolation", 400, Kind::DependencyViolation),
            ("RequestLimitExceeded", 503, Kind::Throttled),
            ("VcpuLimitExceeded", 400, Kind::Quota),
            ("ConcurrentSnapshotLimitExceeded", 400, Kind::Busy),
            ("InsufficientInstanceCapacity", 500, Kind::Capacity),
            ("InvalidParameterCombination", 400, Kind::InvalidInput),
            ("InvalidAMIID.Malformed", 400, Kind::InvalidInput),
            ("InternalError", 500, Kind::Server),
            ("Unavailable", 503, Kind::Server),
            ("SomethingNew", 400, Kind::Other),
            ("UnauthorizedOperation", 403, Kind::Unauthorized),
            ("ExpiredToken", 400, Kind::Expired),
            ("AuthFailure", 401, Kind::Credentials),
            ("IncorrectInstanceState", 400, Kind::WrongState),
        ] {
            assert_eq!(kind(code, "", status), expected, "{code}");
        }
    }

    #[test]
    fn only_a_refusal_is_certain() {
        assert_eq!(outcome(Kind::Server, 500), Outcome::Unknown);
        assert_eq!(outcome(Kind::Server, 503), Outcome::Unknown);
        assert_eq!(outcome(Kind::Capacity, 500), Outcome::DidNotHappen);
        assert_eq!(outcome(Kind::Throttled, 503), Outcome::DidNotHappen);
        assert_eq!(outcome(Kind::InvalidInput, 400), Outcome::DidNotHappen);
        assert_eq!(outcome(Kind::Other, 408), Outcome::Unknown);
        assert_eq!(outcome(Kind::Other, 200), Outcome::Unknown);
    }
}
