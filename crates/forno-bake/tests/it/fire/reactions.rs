//! What EC2 may answer, and what a bake makes of it: the failures that are known
//! from its documentation and from those who met them, one row each.

use std::time::Duration;

use forno_bake::ExitCode;
use forno_local::{CallRecord, Fault, FaultPlan, InjectedError, Moment, Then};

use super::victim::{Ended, bake, judge};
use crate::rig::Rig;

const RECIPE: &str = r#"
[[step]]
name = "say"
shell = { run = "echo hello" }
[[test]]
run = "true"
"#;

/// Two types in three subnets: six places.
const TYPES: &str = "\n[builder]\ninstance_types = [\"c7i.large\", \"c6i.large\"]\n";

struct Row {
    name: &'static str,
    recipe: String,
    faults: Vec<Fault>,
    ends: Ends,
    /// What must hold of the calls that were made.
    calls: fn(&Log) -> bool,
}

enum Ends {
    /// With the image, as if nothing had been.
    Well,
    /// With this code, saying all this, and nothing left.
    Badly(ExitCode, &'static [&'static str]),
}

struct Log(Vec<CallRecord>);

impl Log {
    /// How many calls of this action were made, dry runs aside.
    fn made(&self, action: &str) -> usize {
        self.0
            .iter()
            .filter(|call| call.action == action)
            .filter(|call| call.code.as_deref() != Some("DryRunOperation"))
            .count()
    }
}

impl Row {
    fn new(name: &'static str, faults: impl IntoIterator<Item = Fault>) -> Self {
        Self {
            name,
            recipe: RECIPE.to_owned(),
            faults: faults.into_iter().collect(),
            ends: Ends::Well,
            calls: |_| true,
        }
    }

    fn of(mut self, recipe: &str) -> Self {
        recipe.clone_into(&mut self.recipe);
        self
    }

    fn fails(mut self, code: ExitCode, says: &'static [&'static str]) -> Self {
        self.ends = Ends::Badly(code, says);
        self
    }

    fn calls(mut self, calls: fn(&Log) -> bool) -> Self {
        self.calls = calls;
        self
    }

    fn run(self, runtime: &tokio::runtime::Runtime) -> Result<(), String> {
        let rig = runtime.block_on(Rig::start());
        rig.endpoint().set_faults(FaultPlan::of(self.faults));
        let ended = bake(&rig, rig.recipe("one", &self.recipe), &[]);
        let log = Log(rig.endpoint().calls());
        let judged = judge(&rig);
        let Ended::With(code, told) = &ended else {
            unreachable!("nothing kills it");
        };
        let as_expected = match self.ends {
            Ends::Well => *code == ExitCode::Done && judged == Ok(true),
            Ends::Badly(expected, says) => {
                *code == expected
                    && judged == Ok(false)
                    && says.iter().all(|words| told.contains(words))
            }
        };
        let struck = log.0.iter().any(|call| !call.faults.is_empty());
        let result = if as_expected && struck && (self.calls)(&log) {
            Ok(())
        } else {
            let calls: Vec<String> = log
                .0
                .iter()
                .map(|call| format!("{} {:?} {:?}", call.action, call.code, call.faults))
                .collect();
            Err(format!(
                "{}: {ended:?}, {judged:?}\n    {}",
                self.name,
                calls.join("\n    ")
            ))
        };
        runtime.block_on(rig.end());
        result
    }
}

/// All rows at once; what goes wrong in any is told together.
fn run(rows: Vec<Row>) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let rows = std::sync::Mutex::new(rows);
    let wrong = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let Some(row) = rows.lock().unwrap().pop() else {
                        return;
                    };
                    if let Err(why) = row.run(&runtime) {
                        wrong.lock().unwrap().push(why);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The outcome of a call that was answered late, twice, or not at all.
#[test]
fn what_passes_is_outlived() {
    use ExitCode as E;
    run(vec![
        Row::new(
            "an instance is not known at once",
            [Fault::of("RunInstances").hide(secs(2))],
        ),
        Row::new(
            "a security group is not known at once",
            [Fault::of("CreateSecurityGroup").hide(secs(2))],
        )
        .calls(|log| log.made("CreateSecurityGroup") == 1),
        Row::new(
            "a group that was seen is not known to RunInstances",
            [Fault::of("RunInstances").calls([1, 2]).error("InvalidGroup.NotFound")],
        ),
        Row::new(
            "a key pair is not known at once",
            [Fault::of("ImportKeyPair").hide(secs(2))],
        ),
        Row::new(
            "an image is not known at once",
            [Fault::of("CreateImage").hide(secs(2))],
        )
        .calls(|log| log.made("CreateImage") == 1),
        Row::new(
            "an image is not known to CreateTags",
            [Fault::of("CreateTags").calls([1, 2]).error("InvalidAMIID.NotFound")],
        )
        .calls(|log| log.made("DeregisterImage") == 0),
        Row::new(
            "somebody else tags at the same moment",
            [Fault::of("CreateTags").calls([1, 2]).error("ConcurrentTagAccess")],
        ),
        Row::new(
            "the volume has a pending snapshot already",
            [Fault::of("CreateImage").error("ConcurrentSnapshotLimitExceeded")],
        )
        .calls(|log| log.made("CreateImage") == 2),
        Row::new(
            "a snapshot of the volume was taken seconds ago",
            [Fault::of("CreateImage").error("SnapshotCreationPerVolumeRateExceeded")],
        )
        .calls(|log| log.made("CreateImage") == 2),
        Row::new(
            "the account has too many pending snapshots",
            [Fault::of("CreateImage").error("PendingSnapshotLimitExceeded")],
        ),
        Row::new(
            "the instance profile was made seconds ago",
            [Fault::of("RunInstances").calls([1, 2]).refusal(InjectedError {
                message: "Value (x) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name"
                    .to_owned(),
                ..InjectedError::new("InvalidParameterValue")
            })],
        ),
        Row::new(
            "a token was used by an instance that has ended",
            [Fault::of("RunInstances").error("IdempotentInstanceTerminated")],
        )
        .of(&format!("{TYPES}{RECIPE}"))
        .calls(|log| log.made("RunInstances") == 3),
        Row::new(
            "the key's name is taken by a call without an answer",
            [Fault::of("ImportKeyPair").reset(Moment::After)],
        ),
        Row::new(
            "the group's name is taken by a call without an answer",
            [Fault::of("CreateSecurityGroup").reset(Moment::After)],
        ),
        Row::new(
            "the rule is there already",
            [Fault::of("AuthorizeSecurityGroupIngress").reset(Moment::After)],
        ),
        Row::new(
            "the image's name is taken by a call without an answer, and it does not show yet",
            [Fault::of("CreateImage").reset(Moment::After).hide(secs(1))],
        ),
        Row::new(
            "a launch without an answer",
            [Fault::of("RunInstances").reset(Moment::After)],
        ),
        Row::new(
            "a stop without an answer",
            [Fault::of("StopInstances").reset(Moment::After)],
        ),
        Row::new(
            "the group is in use while the interface of the builder goes",
            [Fault::of("DeleteSecurityGroup").calls([1, 2, 3]).error("DependencyViolation")],
        ),
        Row::new(
            "a termination is not known where it is asked for",
            [Fault::of("TerminateInstances").error("InvalidInstanceID.NotFound")],
        ),
        Row::new(
            "the credentials run out and are renewed while it tears down",
            [Fault::of("TerminateInstances").error("RequestExpired")],
        ),
        Row::new(
            "no credentials for a while, in a wait",
            [Fault::of("DescribeImages").with("Filter.*.Name", "image-id").error("InternalError")],
        ),
        // Not a fault of the bake: the image is refused, and nothing of it may stay.
        Row::new(
            "the image is gone already when it is to be removed",
            [
                Fault::of("CreateImage").then(Then::ImageFailed("Server.InternalError".into())),
                Fault::of("DeregisterImage").error("InvalidAMIID.Unavailable"),
            ],
        )
        .fails(E::Capture, &["failed"]),
        Row::new(
            "a snapshot is in use while its image goes",
            [
                Fault::of("CreateImage").then(Then::ImageFailed("Server.InternalError".into())),
                Fault::of("DeleteSnapshot").error("InvalidSnapshot.InUse"),
            ],
        )
        .fails(E::Capture, &["failed"]),
    ]);
}

/// EC2's own faults and its limits on requests, at every call that changes anything.
#[test]
fn faults_and_limits_of_ec2_cost_nothing_but_time() {
    let actions = [
        "ImportKeyPair",
        "CreateSecurityGroup",
        "AuthorizeSecurityGroupIngress",
        "RunInstances",
        "StopInstances",
        "CreateImage",
        "CreateTags",
        "TerminateInstances",
        "DeleteSecurityGroup",
        "DeleteKeyPair",
        "DescribeInstances",
        "DescribeImages",
    ];
    let codes = ["InternalError", "Unavailable", "RequestLimitExceeded"];
    let rows = actions.into_iter().enumerate().map(|(at, action)| {
        // Each code meets a third of the actions.
        let code = codes[at % codes.len()];
        Row::new(action, [Fault::of(action).error(code)])
    });
    run(rows.collect());
}

/// A place that has no machine is passed over for the next, under another token.
#[test]
fn where_there_is_no_capacity_the_next_place_is_tried() {
    use ExitCode as E;
    let refused = |code: &str| Fault::of("RunInstances").calls([1, 2]).error(code);
    let places = format!("{TYPES}{RECIPE}");
    let mut rows: Vec<Row> = [
        "InsufficientInstanceCapacity",
        "Unsupported",
        "InsufficientFreeAddressesInSubnet",
        "UnfulfillableCapacity",
    ]
    .into_iter()
    .map(|code| {
        // Twice, then the builder; the test machine is the fourth.
        Row::new("capacity", [refused(code)])
            .of(&places)
            .calls(|log| log.made("RunInstances") == 4)
    })
    .collect();
    rows.push(
        Row::new(
            "nowhere",
            [Fault::of("RunInstances")
                .every()
                .error("InsufficientInstanceCapacity")],
        )
        .of(&places)
        .fails(
            E::NoBuilder,
            &[
                "nothing to be had",
                "c6i.large",
                "InsufficientInstanceCapacity",
            ],
        )
        .calls(|log| log.made("RunInstances") == 6),
    );
    rows.push(
        Row::new(
            "accepted, and then there was none",
            [Fault::of("RunInstances").then(Then::InstanceTerminated(
                "Server.InsufficientInstanceCapacity".into(),
            ))],
        )
        .of(&places),
    );
    run(rows);
}

/// What no patience mends ends at once, says what it is, and leaves nothing.
#[test]
fn what_does_not_pass_ends_the_bake_with_its_reason() {
    use ExitCode as E;
    let at_once =
        |reason: &str| Fault::of("RunInstances").then(Then::InstanceTerminated(reason.to_owned()));
    let refused = |code: &str| Fault::of("RunInstances").every().error(code);
    run(vec![
        Row::new(
            "a KMS key that may not be used",
            [at_once("Client.InternalError")],
        )
        .fails(E::NoBuilder, &["Client.InternalError"])
        .calls(|log| log.made("RunInstances") == 1),
        Row::new(
            "a snapshot that is gone",
            [at_once("Client.InvalidSnapshot.NotFound")],
        )
        .fails(E::NoBuilder, &["Client.InvalidSnapshot.NotFound"]),
        Row::new(
            "a quota of storage",
            [at_once("Client.VolumeLimitExceeded")],
        )
        .fails(E::NoBuilder, &["Client.VolumeLimitExceeded"]),
        Row::new("a quota of processors", [refused("VcpuLimitExceeded")])
            .fails(E::NoBuilder, &["VcpuLimitExceeded"])
            .calls(|log| log.made("RunInstances") == 1),
        Row::new("a quota of instances", [refused("InstanceLimitExceeded")])
            .fails(E::NoBuilder, &["InstanceLimitExceeded"]),
        Row::new("terms that were not accepted", [refused("OptInRequired")])
            .fails(E::NoBuilder, &["OptInRequired"]),
        Row::new("not allowed", [refused("UnauthorizedOperation")])
            .fails(E::NoBuilder, &["UnauthorizedOperation"]),
        Row::new(
            "an account under verification",
            [refused("PendingVerification")],
        )
        .fails(E::NoBuilder, &["PendingVerification"]),
        Row::new("a blocked account", [refused("Blocked")]).fails(E::NoBuilder, &["Blocked"]),
        Row::new(
            "CreateImage is refused",
            [Fault::of("CreateImage").error("InvalidRequest")],
        )
        .fails(E::Capture, &["InvalidRequest"]),
        Row::new(
            "the image fails",
            [
                Fault::of("CreateImage")
                    .then(Then::ImageFailed("Client.InstanceTerminated".into())),
            ],
        )
        .fails(E::Capture, &["Client.InstanceTerminated"]),
        Row::new(
            "the snapshot fails",
            [Fault::of("CreateImage").then(Then::SnapshotError("Client.InternalError".into()))],
        )
        .fails(E::Capture, &["failed"]),
    ]);
}

/// Where Packer 1.6.6 was seen to fail, to leak, or to lose half a minute.
#[test]
fn where_packer_fails_leaks_or_waits_nothing_is_lost() {
    let many =
        |action: &str, calls: u64, code: &str| Fault::of(action).calls(1..=calls).error(code);
    run(vec![
        Row::new(
            "throttled thrice",
            [many("RunInstances", 3, "RequestLimitExceeded")],
        ),
        // It repeats the same request at the same place.
        Row::new(
            "no capacity",
            [many("RunInstances", 1, "InsufficientInstanceCapacity")],
        )
        .of(&format!("{TYPES}{RECIPE}")),
        Row::new(
            "a fault at the launch",
            [many("RunInstances", 1, "InternalError")],
        )
        .calls(|log| log.made("RunInstances") == 3),
        // It waits 30 s.
        Row::new(
            "a new instance is not known",
            [many("DescribeInstances", 2, "InvalidInstanceID.NotFound")],
        ),
        // Its build fails.
        Row::new(
            "a new group is not known",
            [many(
                "AuthorizeSecurityGroupIngress",
                1,
                "InvalidGroup.NotFound",
            )],
        ),
        // It waits 30 s.
        Row::new(
            "a new image is not known",
            [
                many("DescribeImages", 2, "InvalidAMIID.NotFound")
                    .with("Filter.*.Name", "image-id"),
            ],
        ),
        // Its build fails, and the finished image is deleted.
        Row::new(
            "a new image is not known to CreateTags",
            [many("CreateTags", 1, "InvalidAMIID.NotFound")],
        )
        .calls(|log| log.made("DeregisterImage") == 0),
        Row::new(
            "faults at the stop",
            [many("StopInstances", 2, "InternalError")],
        ),
        Row::new(
            "faults at the capture",
            [many("CreateImage", 1, "InternalError")],
        )
        .calls(|log| log.made("CreateImage") == 2),
        Row::new(
            "faults at the end",
            [many("TerminateInstances", 9, "InternalError")],
        ),
        // Its instance leaks, and the exit code is 0.
        Row::new(
            "a machine is not known at its end",
            [many("TerminateInstances", 1, "InvalidInstanceID.NotFound")],
        ),
        Row::new(
            "the group is in use",
            [many("DeleteSecurityGroup", 3, "DependencyViolation")],
        ),
    ]);
}
