//! What whoever bakes must be allowed, and no more: the IAM policy of a set of recipes.
//!
//! Made from the recipes alone, without a call: it is wanted before there is anybody who
//! could make one. Everything that can be tied to forno's tags is: what is made must carry
//! `forno:image` with the name of one of these images, and only what carries it can be
//! changed or removed. Reading (`Describe*`) knows no resources in IAM.
//!
//! Actions, their resources and their condition keys are those of AWS's Service
//! Authorization Reference.

mod statement;

use std::collections::BTreeSet;

use forno_recipe::{Bucket, Connect, Market, Recipe, Source};
use serde::Serialize;

use self::statement::{Condition, Statement};
use crate::names;

/// The most characters of a managed policy, white space not counted.
pub const MOST_OF_A_MANAGED_POLICY: usize = 6144;

/// Where the policy shall hold.
#[derive(Clone, Debug, Default)]
pub struct PolicyScope {
    /// `None`: in every region.
    pub region: Option<String>,
    /// In place of what the recipes say.
    pub connect: Option<Connect>,
}

/// An IAM policy document.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Policy {
    version: &'static str,
    statement: Vec<Statement>,
}

impl Policy {
    /// Of bakes of these recipes, with their teardown, `forno resume`, and a sweep of what
    /// they left.
    pub fn of(recipes: &[Recipe], scope: &PolicyScope) -> Self {
        let needs = Needs::new(recipes, scope);
        let mut statement = vec![
            needs.look(),
            needs.make(),
            needs.make_from(),
            needs.tag(),
            needs.own(),
        ];
        statement.extend(needs.group_in_vpc());
        statement.extend(needs.copy());
        statement.extend(needs.spot());
        statement.extend(needs.profile());
        statement.extend(needs.keys());
        statement.extend(needs.parameters());
        statement.extend(needs.systems_manager());
        statement.extend(needs.temporary_profile());
        statement.extend(needs.buckets());
        Self {
            version: "2012-10-17",
            statement,
        }
    }

    /// What it allows, as `service:Action`.
    pub fn actions(&self) -> BTreeSet<&str> {
        self.statement.iter().flat_map(Statement::actions).collect()
    }

    /// Its length as IAM counts it.
    pub fn length(&self) -> usize {
        serde_json::to_string(self).map_or(0, |text| text.len())
    }

    /// Whether it lets roles be passed, which only the account knows by name.
    pub fn passes_roles(&self) -> bool {
        self.actions().contains("iam:PassRole")
    }
}

/// What the recipes ask for, together.
struct Needs<'a> {
    recipes: &'a [Recipe],
    /// Names of images: the values of the tag `forno:image`.
    images: Vec<String>,
    regions: Vec<String>,
    partition: &'static str,
    ways: Vec<Connect>,
}

impl<'a> Needs<'a> {
    fn new(recipes: &'a [Recipe], scope: &PolicyScope) -> Self {
        let published = recipes.iter().flat_map(|recipe| &recipe.publish.regions);
        // A copy's region without that of the bake would shut the bake out.
        let regions: BTreeSet<String> = match &scope.region {
            None => BTreeSet::new(),
            Some(region) => published.chain([region]).cloned().collect(),
        };
        let ways = recipes
            .iter()
            .map(|recipe| scope.connect.unwrap_or(recipe.builder.connect));
        Self {
            images: recipes.iter().map(|recipe| recipe.name.clone()).collect(),
            partition: names::partition(scope.region.as_deref().unwrap_or_default()),
            regions: regions.into_iter().collect(),
            ways: Connect::ALL
                .into_iter()
                .filter(|way| ways.clone().any(|one| one == *way))
                .collect(),
            recipes,
        }
    }

    fn any(&self, is: impl Fn(&Recipe) -> bool) -> bool {
        self.recipes.iter().any(is)
    }

    fn by(&self, way: Connect) -> bool {
        self.ways.contains(&way)
    }

    fn has_key(&self) -> bool {
        self.by(Connect::Ssh) || self.by(Connect::SshOverSsm)
    }

    fn makes_group(&self) -> bool {
        self.any(|recipe| {
            let builder = &recipe.builder;
            builder.security_group_ids.is_empty() && builder.security_group_filters.is_empty()
        })
    }

    fn copies(&self) -> bool {
        self.any(|recipe| !recipe.publish.regions.is_empty())
    }

    /// Things of EC2; images and snapshots belong to no account in their ARNs.
    fn ec2(&self, kinds: &[&str]) -> Vec<String> {
        kinds
            .iter()
            .map(|kind| {
                let account = match *kind {
                    "image" | "snapshot" => "",
                    _ => "*",
                };
                self.arn("ec2", account, &format!("{kind}/*"))
            })
            .collect()
    }

    fn arn(&self, service: &str, account: &str, resource: &str) -> String {
        let region = match service {
            "iam" | "s3" => "",
            _ => "*",
        };
        format!(
            "arn:{}:{service}:{region}:{account}:{resource}",
            self.partition
        )
    }

    fn here(&self) -> Condition {
        Condition::default().equals("aws:RequestedRegion", &self.regions)
    }

    /// Only for what already carries the tag.
    fn ours(&self) -> Condition {
        self.here()
            .equals(resource_tag("aws:ResourceTag"), &self.images)
    }

    fn creates_image(&self) -> bool {
        self.any(|recipe| recipe.register.is_none())
    }

    fn registers(&self) -> bool {
        self.any(|recipe| recipe.register.is_some())
    }

    fn makes_snapshots(&self) -> bool {
        self.registers() || self.any(|recipe| recipe.builder.early_snapshots)
    }

    fn look(&self) -> Statement {
        let mut actions = vec![
            "ec2:DescribeImages",
            "ec2:DescribeInstanceTypeOfferings",
            "ec2:DescribeInstanceTypes",
            "ec2:DescribeInstances",
            // Also where no key is made: a sweep looks for those of any bake.
            "ec2:DescribeKeyPairs",
            "ec2:DescribeLaunchTemplateVersions",
            "ec2:DescribeLaunchTemplates",
            "ec2:DescribeSecurityGroups",
            "ec2:DescribeSnapshots",
            "ec2:DescribeSubnets",
            "ec2:DescribeTags",
            "ec2:DescribeVpcs",
        ];
        if self.copies() {
            actions.push("ec2:DescribeRegions");
        }
        if self.any(|recipe| recipe.publish.public) {
            actions.push("ec2:GetImageBlockPublicAccessState");
        }
        if self.any(|recipe| recipe.publish.public_snapshots) {
            actions.push("ec2:GetSnapshotBlockPublicAccessState");
        }
        Statement::new("Look", actions, self.here())
    }

    /// What makes something that is tagged from the first moment.
    fn makers(&self) -> Vec<&'static str> {
        let wanted = [
            ("ec2:RunInstances", true),
            ("ec2:CreateImage", self.creates_image()),
            ("ec2:RegisterImage", self.registers()),
            ("ec2:CreateSnapshot", self.makes_snapshots()),
            ("ec2:ImportKeyPair", self.has_key()),
            ("ec2:CreateSecurityGroup", self.makes_group()),
        ];
        let wanted = wanted.into_iter().filter(|(_, is_wanted)| *is_wanted);
        wanted.map(|(action, _)| action).collect()
    }

    /// What is made comes with its tags, or not at all.
    fn make(&self) -> Statement {
        let mut kinds = vec![
            "instance",
            "volume",
            "network-interface",
            "image",
            "snapshot",
        ];
        if self.has_key() {
            kinds.push("key-pair");
        }
        if self.makes_group() {
            kinds.push("security-group");
        }
        let tagged = self
            .here()
            .equals(resource_tag("aws:RequestTag"), &self.images);
        Statement::new("Make", self.makers(), tagged).on(self.ec2(&kinds))
    }

    /// What a machine is made of, and where it stands.
    fn make_from(&self) -> Statement {
        let mut kinds = vec!["image", "subnet", "security-group"];
        if self.has_key() {
            kinds.push("key-pair");
        }
        if self.any(|recipe| recipe.builder.market.contains(&Market::Spot)) {
            kinds.push("spot-instances-request");
        }
        let machine = |is: fn(&forno_recipe::MachineOptions) -> bool| {
            self.any(|recipe| is(&recipe.builder.machine))
        };
        if machine(|options| options.placement_group.is_some()) {
            kinds.push("placement-group");
        }
        if machine(|options| options.capacity_reservation.is_some()) {
            kinds.push("capacity-reservation");
        }
        if machine(|options| options.host_id.is_some()) {
            kinds.push("dedicated-host");
        }
        let restored = |recipe: &Recipe| {
            let mut volumes = recipe.builder.volumes.iter();
            volumes.any(|volume| volume.snapshot_id.is_some())
        };
        if self.any(restored) {
            kinds.push("snapshot");
        }
        let mut on = self.ec2(&kinds);
        on.extend(self.recipes.iter().flat_map(|recipe| {
            let machine = &recipe.builder.machine;
            machine.license_configuration_arns.iter().cloned()
        }));
        Statement::new("MakeFrom", vec!["ec2:RunInstances"], self.here()).on(on)
    }

    fn group_in_vpc(&self) -> Option<Statement> {
        let create = vec!["ec2:CreateSecurityGroup"];
        self.makes_group()
            .then(|| Statement::new("GroupInVpc", create, self.here()).on(self.ec2(&["vpc"])))
    }

    /// A copy is tagged as it is made, but EC2 asks about its source by the same action.
    fn copy(&self) -> Option<Statement> {
        let kinds = self.ec2(&["image", "snapshot"]);
        self.copies()
            .then(|| Statement::new("Copy", vec!["ec2:CopyImage"], self.here()).on(kinds))
    }

    /// Tags are only put on while something is made.
    fn tag(&self) -> Statement {
        let copy = self.copies().then_some("ec2:CopyImage");
        let makers = self.makers().into_iter().chain(copy);
        let makers: Vec<String> = makers
            .map(|action| action.trim_start_matches("ec2:").to_owned())
            .collect();
        let making = self.here().equals("ec2:CreateAction", &makers);
        Statement::new("TagWhatIsMade", vec!["ec2:CreateTags"], making)
            .on(vec![self.arn("ec2", "*", "*/*")])
    }

    fn own(&self) -> Statement {
        let mut actions = vec![
            "ec2:CreateTags",
            "ec2:DeleteSnapshot",
            "ec2:DeregisterImage",
            "ec2:GetConsoleOutput",
            "ec2:RebootInstances",
            "ec2:StopInstances",
            "ec2:TerminateInstances",
        ];
        let mut kinds = vec!["instance", "image", "snapshot"];
        if self.creates_image() {
            actions.push("ec2:CreateImage");
        }
        if self.registers() {
            actions.push("ec2:RegisterImage");
        }
        if self.makes_snapshots() {
            actions.push("ec2:CreateSnapshot");
            kinds.push("volume");
        }
        if self.has_key() {
            actions.push("ec2:DeleteKeyPair");
            kinds.push("key-pair");
        }
        if self.makes_group() {
            actions.push("ec2:DeleteSecurityGroup");
            if self.by(Connect::Ssh) {
                actions.push("ec2:AuthorizeSecurityGroupIngress");
            }
            kinds.push("security-group");
        }
        let changes_image =
            |recipe: &Recipe| recipe.publish.is_shared() || recipe.publish.imds_support.is_some();
        if self.any(changes_image) {
            actions.push("ec2:ModifyImageAttribute");
        }
        let shares =
            |recipe: &Recipe| recipe.publish.share_snapshots || recipe.publish.public_snapshots;
        if self.any(shares) {
            actions.push("ec2:ModifySnapshotAttribute");
        }
        if self.any(|recipe| recipe.publish.deprecate_in.is_some()) {
            actions.push("ec2:EnableImageDeprecation");
        }
        if self.any(|recipe| recipe.publish.deregistration_protection.is_some()) {
            actions.push("ec2:EnableImageDeregistrationProtection");
        }
        Statement::new("ChangeOwn", actions, self.ours()).on(self.ec2(&kinds))
    }

    /// An account's first Spot Instance makes a role.
    fn spot(&self) -> Option<Statement> {
        if !self.any(|recipe| recipe.builder.market.contains(&Market::Spot)) {
            return None;
        }
        let of =
            Condition::default().equals("iam:AWSServiceName", &["spot.amazonaws.com".to_owned()]);
        let role = "role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot";
        Some(
            Statement::new("SpotRole", vec!["iam:CreateServiceLinkedRole"], of)
                .on(vec![self.arn("iam", "*", role)]),
        )
    }

    /// The name of a profile says nothing about its role.
    fn profile(&self) -> Option<Statement> {
        if !self.any(|recipe| recipe.builder.instance_profile.is_some()) {
            return None;
        }
        let to =
            Condition::default().equals("iam:PassedToService", &["ec2.amazonaws.com".to_owned()]);
        Some(
            Statement::new("PassRoleOfProfile", vec!["iam:PassRole"], to)
                .on(vec![self.arn("iam", "*", "role/*")]),
        )
    }

    /// What is made for machines lies below a path of forno's own; a bake's policy can make
    /// roles there and nowhere else.
    fn temporary_profile(&self) -> Vec<Statement> {
        if !self.any(|recipe| recipe.builder.temporary_profile.is_some()) {
            return Vec::new();
        }
        let below = |kind: &str| {
            let resource = format!("{kind}{}{}*", names::IAM_PATH, names::BUCKETS);
            vec![self.arn("iam", "*", &resource)]
        };
        let all = Condition::default;
        // What gives rights: only within the boundaries that the recipes name, where each
        // names one.
        let boundaries: Option<BTreeSet<String>> = self
            .recipes
            .iter()
            .filter_map(|recipe| recipe.builder.temporary_profile.as_ref())
            .map(|profile| profile.permissions_boundary.clone())
            .collect();
        let boundaries: Vec<String> = boundaries.unwrap_or_default().into_iter().collect();
        let bounded = all().equals("iam:PermissionsBoundary", &boundaries);
        let grants = vec![
            "iam:AttachRolePolicy",
            "iam:CreateRole",
            "iam:PutRolePolicy",
        ];
        let roles = vec![
            "iam:DeleteRole",
            "iam:DeleteRolePolicy",
            "iam:DetachRolePolicy",
            "iam:GetRole",
            "iam:ListAttachedRolePolicies",
            "iam:ListRolePolicies",
            "iam:TagRole",
        ];
        let profiles = vec![
            "iam:AddRoleToInstanceProfile",
            "iam:CreateInstanceProfile",
            "iam:DeleteInstanceProfile",
            "iam:GetInstanceProfile",
            "iam:RemoveRoleFromInstanceProfile",
            "iam:TagInstanceProfile",
        ];
        let to =
            Condition::default().equals("iam:PassedToService", &["ec2.amazonaws.com".to_owned()]);
        let pass = vec!["iam:PassRole"];
        vec![
            Statement::new("GrantOwnRoles", grants, bounded).on(below("role")),
            Statement::new("OwnRoles", roles, all()).on(below("role")),
            Statement::new("OwnProfiles", profiles, all()).on(below("instance-profile")),
            Statement::new("PassOwnRoles", pass, to).on(below("role")),
            Statement::new(
                "LookForOwnRoles",
                vec!["iam:ListInstanceProfiles", "iam:ListRoles"],
                all(),
            ),
        ]
    }

    /// EC2 encrypts in the name of whoever launches; the account's own key for EBS lets
    /// everybody of the account.
    fn keys(&self) -> Vec<Statement> {
        let named: BTreeSet<&String> = self
            .recipes
            .iter()
            .flat_map(|recipe| {
                let builder = &recipe.builder;
                let volumes = builder.volumes.iter();
                let own = builder.disk.kms_key_id.iter();
                own.chain(volumes.filter_map(|volume| volume.kms_key_id.as_ref()))
                    .chain(recipe.publish.kms_key_ids.values())
            })
            .collect();
        let (aliases, keys): (Vec<&String>, Vec<&String>) = named
            .into_iter()
            .partition(|key| key.starts_with("alias/") || key.contains(":alias/"));
        let aliases: Vec<String> = aliases
            .into_iter()
            .map(|alias| alias[alias.find("alias/").unwrap_or(0)..].to_owned())
            .collect();
        let keys: Vec<String> = keys
            .into_iter()
            .map(|key| {
                if key.starts_with("arn:") {
                    key.clone()
                } else {
                    self.arn("kms", "*", &format!("key/{key}"))
                }
            })
            .collect();
        let mut statements = Vec::new();
        let mut add = |names: [&'static str; 2], on: Vec<String>, of: Condition| {
            let uses = vec![
                "kms:Decrypt",
                "kms:DescribeKey",
                "kms:GenerateDataKeyWithoutPlaintext",
                "kms:ReEncryptFrom",
                "kms:ReEncryptTo",
            ];
            statements.push(Statement::new(names[0], uses, of.clone()).on(on.clone()));
            let by_aws = of.holds("kms:GrantIsForAWSResource");
            statements.push(Statement::new(names[1], vec!["kms:CreateGrant"], by_aws).on(on));
        };
        if !keys.is_empty() {
            add(["Encrypt", "EncryptGrant"], keys, self.here());
        }
        if !aliases.is_empty() {
            let of = self.here().any_equals("kms:ResourceAliases", &aliases);
            add(
                ["EncryptByAlias", "EncryptByAliasGrant"],
                vec![self.arn("kms", "*", "key/*")],
                of,
            );
        }
        statements
    }

    fn parameters(&self) -> Option<Statement> {
        let named: BTreeSet<String> = self
            .recipes
            .iter()
            .filter_map(|recipe| match &recipe.source {
                Source::Ssm { parameter } => Some(self.arn(
                    "ssm",
                    "*",
                    &format!("parameter/{}", parameter.trim_start_matches('/')),
                )),
                _ => None,
            })
            .collect();
        let on: Vec<String> = named.into_iter().collect();
        (!on.is_empty()).then(|| {
            Statement::new("SourceParameter", vec!["ssm:GetParameter"], self.here()).on(on)
        })
    }

    fn systems_manager(&self) -> Vec<Statement> {
        let mut statements = Vec::new();
        if !self.by(Connect::Ssm) && !self.by(Connect::SshOverSsm) {
            return statements;
        }
        let mut looks = vec!["ssm:DescribeInstanceInformation"];
        // A machine is named by the tags that it has in EC2.
        let ours = self
            .here()
            .equals(resource_tag("ssm:resourceTag"), &self.images);
        let machines = || vec![self.arn("ec2", "*", "instance/*")];
        if self.by(Connect::Ssm) {
            looks.extend([
                "ssm:CancelCommand",
                "ssm:GetCommandInvocation",
                "ssm:ListCommandInvocations",
            ]);
            let document = self.arn("ssm", "", "document/AWS-RunShellScript");
            let run = vec!["ssm:SendCommand"];
            statements.push(Statement::new("RunOnOwn", run.clone(), ours.clone()).on(machines()));
            statements.push(Statement::new("RunShellScript", run, self.here()).on(vec![document]));
        }
        if self.by(Connect::SshOverSsm) {
            let document = self.arn("ssm", "*", "document/AWS-StartSSHSession");
            let start = vec!["ssm:StartSession"];
            statements.push(Statement::new("SessionOnOwn", start.clone(), ours).on(machines()));
            statements.push(Statement::new("SshSession", start, self.here()).on(vec![document]));
            let own = self.arn("ssm", "*", "session/${aws:userid}-*");
            let actions = vec![
                "ssm:ResumeSession",
                "ssm:TerminateSession",
                "ssmmessages:OpenDataChannel",
            ];
            statements.push(Statement::new("OwnSessions", actions, self.here()).on(vec![own]));
        }
        statements.push(Statement::new("LookAtAgents", looks, self.here()));
        let setting = "servicesetting/ssm/managed-instance/default-ec2-instance-management-role";
        let bare = |recipe: &Recipe| {
            let builder = &recipe.builder;
            builder.instance_profile.is_none() && builder.temporary_profile.is_none()
        };
        if self.any(bare) {
            statements.push(
                Statement::new("HostManagement", vec!["ssm:GetServiceSetting"], self.here())
                    .on(vec![self.arn("ssm", "*", setting)]),
            );
        }
        statements
    }

    fn buckets(&self) -> Vec<Statement> {
        let mut statements = Vec::new();
        if !self.by(Connect::Ssm) {
            return statements;
        }
        let objects = vec!["s3:DeleteObject", "s3:GetObject", "s3:PutObject"];
        if self.any(|recipe| recipe.builder.bucket == Bucket::Temporary) {
            let bucket = self.arn("s3", "", &format!("{}*", names::BUCKETS));
            let actions = vec![
                "s3:CreateBucket",
                "s3:DeleteBucket",
                "s3:GetBucketTagging",
                "s3:ListBucket",
                "s3:PutLifecycleConfiguration",
                "s3:TagResource",
            ];
            statements
                .push(Statement::new("Buckets", actions, self.here()).on(vec![bucket.clone()]));
            let all = vec!["s3:ListAllMyBuckets"];
            statements.push(Statement::new("FindBuckets", all, Condition::default()));
            statements.push(
                Statement::new("Objects", objects.clone(), self.here())
                    .on(vec![format!("{bucket}/*")]),
            );
        }
        let named: BTreeSet<String> = self
            .recipes
            .iter()
            .filter_map(|recipe| match &recipe.builder.bucket {
                Bucket::Named(name) => Some(self.arn("s3", "", name)),
                _ => None,
            })
            .collect();
        if !named.is_empty() {
            let below = named.iter().map(|bucket| format!("{bucket}/forno/*"));
            statements
                .push(Statement::new("NamedObjects", objects, self.here()).on(below.collect()));
            let list = vec!["s3:ListBucket"];
            let prefix = self.here().like("s3:prefix", &["forno/*".to_owned()]);
            statements
                .push(Statement::new("NamedBuckets", list, prefix).on(named.into_iter().collect()));
        }
        statements
    }
}

fn resource_tag(key: &str) -> String {
    format!("{key}/{}", names::IMAGE)
}
