//! A pocket EC2 in a process of its own, asked over its API what it holds.

use std::collections::BTreeMap;

use forno_aws::{
    Access, Gateway, Image, ImageId, ImageState, Imds, Instance, InstanceId, InstanceState, Launch,
    StaticCredentials, TagMatch, Tags, Volumes,
};
use rustix::process::Signal;
use tokio::runtime::Runtime;

use super::{Running, Sandbox};

#[derive(Debug)]
pub(crate) struct Endpoint {
    process: Option<Running>,
    runtime: Runtime,
    gateway: Gateway,
    variables: BTreeMap<String, String>,
}

impl Endpoint {
    pub(super) fn start(sandbox: &Sandbox, arguments: &[&str]) -> Self {
        let process = sandbox.start(&[&["local", "serve"], arguments].concat());
        let printed = process.until_stdout("AWS_REGION=");
        let variables: BTreeMap<&str, &str> = printed
            .lines()
            .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
            .collect();
        let runtime = Runtime::new().expect("a runtime");
        let gateway = runtime
            .block_on(Gateway::connect(Access {
                region: Some(variables["AWS_REGION"].to_owned()),
                endpoint_url: Some(variables["AWS_ENDPOINT_URL"].to_owned()),
                credentials: Some(StaticCredentials {
                    access_key_id: variables["AWS_ACCESS_KEY_ID"].to_owned(),
                    secret_access_key: variables["AWS_SECRET_ACCESS_KEY"].to_owned().into(),
                    session_token: None,
                }),
                ..Access::default()
            }))
            .expect("the endpoint answers");
        Self {
            process: Some(process),
            runtime,
            gateway,
            variables: variables
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        }
    }

    pub(crate) fn url(&self) -> &str {
        self.gateway.endpoint_url().expect("it was given")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            process.signal(signal);
        }
    }

    /// What it prints for other clients' environments.
    pub(crate) fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    /// Every instance with this tag, in whatever state.
    pub(crate) fn instances(&self, tag: &str) -> Vec<Instance> {
        self.runtime
            .block_on(self.gateway.instances_tagged(&[TagMatch::has(tag)]))
            .unwrap()
    }

    /// Every image with this tag.
    pub(crate) fn images(&self, tag: &str) -> Vec<Image> {
        self.runtime
            .block_on(self.gateway.images_tagged(&[TagMatch::has(tag)]))
            .unwrap()
    }

    /// A machine as anybody would start one, with nothing of forno about it but
    /// the image. Its user data is a script.
    pub(crate) fn launch(&self, image: &str, script: &str) -> InstanceId {
        let launch = Launch {
            client_token: format!("by-hand-{image}"),
            image: ImageId::new(image).unwrap(),
            instance_type: "t3.small".to_owned(),
            subnet: None,
            security_groups: Vec::new(),
            public_address: None,
            key_name: None,
            user_data: Some(script.to_owned()),
            volumes: Volumes::default(),
            instance_profile: None,
            spot: None,
            placement: forno_aws::Placement::default(),
            imds: Imds {
                tokens_required: true,
                hop_limit: None,
            },
            tags: Tags::new().with("by-hand", "yes"),
        };
        let launched = self.runtime.block_on(self.gateway.run_instance(&launch));
        launched.unwrap().id
    }

    pub(crate) fn console(&self, id: &InstanceId) -> String {
        let text = self.runtime.block_on(self.gateway.console_output(id));
        text.unwrap().unwrap_or_default()
    }

    /// Everything that carries forno's tag and is not gone, as `kind id`, sorted.
    /// Terminated instances show for a while, on EC2 as here.
    pub(crate) fn holds(&self) -> Vec<String> {
        self.runtime.block_on(async {
            let mine = [TagMatch::has("forno:bake")];
            let tagged = self.gateway.tagged_resources(&mine[0]).await.unwrap();
            let instances = self.gateway.instances_tagged(&mine).await.unwrap();
            let gone = |id: &str| {
                instances.iter().any(|instance| {
                    instance.id.as_str() == id && instance.state == InstanceState::Terminated
                })
            };
            // What the calls of each kind say must be what the tags say.
            let mut holds: Vec<String> = tagged
                .into_iter()
                .filter(|resource| !gone(&resource.id))
                .map(|resource| format!("{} {}", resource.kind, resource.id))
                .collect();
            for key in self.gateway.key_pairs_tagged(&mine).await.unwrap() {
                holds.push(format!("key-pair {}", key.id.expect("an id")));
            }
            for group in self.gateway.security_groups_tagged(&mine).await.unwrap() {
                holds.push(format!("security-group {}", group.id));
            }
            for image in self.gateway.images_tagged(&mine).await.unwrap() {
                assert_eq!(image.state, ImageState::Available, "{}", image.id);
                holds.push(format!("image {}", image.id));
            }
            for snapshot in self.gateway.snapshots_tagged(&mine).await.unwrap() {
                holds.push(format!("snapshot {}", snapshot.id));
            }
            for instance in instances {
                if instance.state != InstanceState::Terminated {
                    holds.push(format!("instance {}", instance.id));
                }
            }
            for bucket in self.gateway.buckets_named("forno-").await.unwrap() {
                holds.push(format!("bucket {}", bucket.name));
            }
            holds.sort();
            holds.dedup();
            holds
        })
    }

    /// How often an action was called, dry runs aside.
    pub(crate) fn asked(&self, action: &str) -> usize {
        let of = |name: &str| self.variables[name].as_str();
        let output = std::process::Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--aws-sigv4"])
            .arg(format!("aws:amz:{}:forno", of("AWS_REGION")))
            .arg("--user")
            .arg([of("AWS_ACCESS_KEY_ID"), of("AWS_SECRET_ACCESS_KEY")].join(":"))
            .arg(format!("{}/_forno/calls", self.url()))
            .output()
            .expect("curl can be started");
        assert!(output.status.success(), "{output:?}");
        let calls: serde_json::Value =
            serde_json::from_slice(&output.stdout).expect("a list of calls");
        let calls = calls["calls"].as_array().expect("a list of calls");
        let such = calls.iter().filter(|call| call["action"] == action);
        such.filter(|call| call["code"] != "DryRunOperation")
            .count()
    }

    /// How many of each kind it holds.
    pub(crate) fn census(&self) -> BTreeMap<String, usize> {
        let mut census = BTreeMap::new();
        for entry in self.holds() {
            let kind = entry.split(' ').next().unwrap_or_default().to_owned();
            *census.entry(kind).or_insert(0) += 1;
        }
        census
    }

    #[track_caller]
    pub(crate) fn holds_nothing(&self) {
        assert_eq!(self.holds(), Vec::<String>::new());
    }

    /// Only so many images, each on its snapshot.
    #[track_caller]
    pub(crate) fn holds_only_images(&self, images: usize) {
        self.holds_only_images_on(images, images);
    }

    /// The same where some have volumes besides the root.
    pub(crate) fn holds_only_images_on(&self, images: usize, snapshots: usize) {
        let expected: BTreeMap<String, usize> = [
            ("image".to_owned(), images),
            ("snapshot".to_owned(), snapshots),
        ]
        .into();
        assert_eq!(self.census(), expected, "{:?}", self.holds());
    }
}

impl Drop for Endpoint {
    /// Ends it as a person would: its machines go with it.
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            process.signal(Signal::TERM);
            let finished = process.finish();
            if !std::thread::panicking() {
                finished.code(0);
            }
        }
    }
}
