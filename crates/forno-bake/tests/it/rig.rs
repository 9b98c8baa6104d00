//! A pocket EC2, a project and an engine, all of a test's own.

use std::path::Path;
use std::time::Duration;

use forno_aws::{Access, Gateway, InstanceState, Limits, StaticCredentials, TagMatch};
use forno_bake::{
    BakeFolder, BakeReport, Bakes, Engine, Ladder, RunOptions, RunReport, RunResult, Settings,
    Subscription,
};
use forno_events::{Envelope, Event};
use forno_local::{Config, MachineChoice, PocketEc2};
use forno_recipe::{Diagnostics, Inputs, Project, Recipe, load};
use tempfile::TempDir;

/// Far beyond what anything here takes: what is not done by then hangs.
const DEADLINE: Duration = Duration::from_mins(5);

pub(crate) struct Rig {
    folder: TempDir,
    endpoint: PocketEc2,
    pub(crate) gateway: Gateway,
    pub(crate) settings: Settings,
    pub(crate) ladder: Ladder,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new(folder.path().join("local"), folder.path().join("cache"));
        config.machine = MachineChoice::Stub;
        let endpoint = PocketEc2::start(config, &|_| {}).await.unwrap();
        let gateway = Gateway::connect(access(&endpoint)).await.unwrap();
        let mut settings = Settings::new(folder.path().join("home"));
        settings.poll = Duration::from_millis(20);
        settings.undo.interval = Duration::from_millis(20);
        settings.undo.settle = Duration::from_millis(100);
        fs_err::create_dir(folder.path().join("images")).unwrap();
        Self {
            folder,
            endpoint,
            gateway,
            settings,
            ladder: Ladder::new(),
        }
    }

    /// A recipe `images/NAME.toml` of Debian's image, or of the one that `text`
    /// says; `text` follows `[image]`.
    pub(crate) fn recipe(&self, name: &str, text: &str) -> Recipe {
        self.recipe_with(name, text, &[])
    }

    pub(crate) fn recipe_with(&self, name: &str, text: &str, vars: &[(&str, &str)]) -> Recipe {
        self.load(name, text, vars)
            .unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    /// One that may be wrong; then what a person would be told.
    pub(crate) fn try_recipe(&self, name: &str, text: &str) -> Result<Recipe, String> {
        self.load(name, text, &[])
            .map_err(|problems| problems.to_string())
    }

    fn load(&self, name: &str, text: &str, vars: &[(&str, &str)]) -> Result<Recipe, Diagnostics> {
        let source = if text.starts_with("from = ") {
            ""
        } else {
            "[source]\nssm = \"/aws/service/debian/release/12/latest/amd64\"\n"
        };
        let (image, rest) = text
            .split_once("\n[")
            .map_or((text, String::new()), |(a, b)| (a, format!("[{b}")));
        let whole = format!("schema = 1\n[image]\nname = \"{name}\"\n{image}\n{source}{rest}\n");
        fs_err::write(self.path().join(format!("images/{name}.toml")), whole).unwrap();
        let project = Project::find(self.path()).unwrap();
        let inputs = Inputs {
            vars: vars
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..Inputs::default()
        };
        load(&project, name, &inputs)
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The endpoint, to make it misbehave and to ask what it was asked.
    pub(crate) fn endpoint(&self) -> &PocketEc2 {
        &self.endpoint
    }

    /// For a gateway in another runtime: its connections live and die there.
    pub(crate) fn access(&self) -> Access {
        access(&self.endpoint)
    }

    pub(crate) fn engine(&self) -> Engine {
        Engine::new(
            self.gateway.clone(),
            self.settings.clone(),
            self.ladder.clone(),
        )
    }

    /// Work of an engine in a process of its own, which is gone once such an event was
    /// told and, where it shall wait for that, the endpoint holds a call back: from then
    /// on nothing in it is done any more, not even an answer taken in.
    pub(crate) async fn until_killed<W, F>(
        &self,
        held: bool,
        at: impl Fn(&Event) -> bool + Send + 'static,
        work: W,
    ) -> BakeFolder
    where
        W: FnOnce(Engine) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let (access, settings) = (self.access(), self.settings.clone());
        let (die, death) = tokio::sync::oneshot::channel();
        let process = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let bake = runtime.block_on(async {
                let gateway = Gateway::connect(access).await.unwrap();
                let engine = Engine::new(gateway, settings, Ladder::new());
                let mut events = engine.subscribe();
                tokio::spawn(work(engine));
                let bake = until(&mut events, at).await.bake;
                in_time(death).await.unwrap();
                bake
            });
            runtime.shutdown_background();
            bake
        });
        if held {
            in_time(self.endpoint.fault_struck(1, 1)).await;
        }
        die.send(()).unwrap();
        let bake = process.await.unwrap();
        let folder = Bakes::under(&self.settings.home).folder(&bake);
        in_time(async {
            while folder.is_alive().unwrap() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        folder
    }

    /// Bakes one, with its events.
    pub(crate) async fn bake(&self, recipe: Recipe) -> (BakeReport, Vec<Envelope>) {
        let (run, events) = self.run(vec![recipe], RunOptions::default()).await;
        (only(run), events)
    }

    pub(crate) async fn run(
        &self,
        recipes: Vec<Recipe>,
        options: RunOptions,
    ) -> (RunReport, Vec<Envelope>) {
        let engine = self.engine();
        let events = engine.subscribe();
        let report = in_time(engine.bake(recipes, options)).await.unwrap();
        engine.close();
        (report, rest(events).await)
    }

    pub(crate) fn folder_of(&self, report: &BakeReport) -> BakeFolder {
        Bakes::under(&self.settings.home).folder(&report.bake)
    }

    /// Everything of any bake that the endpoint still holds: `kind id`, where
    /// finished images and their snapshots are named so.
    pub(crate) async fn left(&self) -> Vec<String> {
        let tagged = self
            .gateway
            .tagged_resources(&TagMatch::has("forno:bake"))
            .await
            .unwrap();
        let ended: Vec<String> = self
            .gateway
            .instances_tagged(&[TagMatch::has("forno:bake")])
            .await
            .unwrap()
            .into_iter()
            .filter(|instance| instance.state == InstanceState::Terminated)
            .map(|instance| instance.id.to_string())
            .collect();
        let finished = self
            .gateway
            .images_tagged(&[TagMatch::has("forno:finished")])
            .await
            .unwrap();
        let of_finished: Vec<String> = finished
            .iter()
            .flat_map(|image| {
                image
                    .snapshots()
                    .map(ToString::to_string)
                    .chain([image.id.to_string()])
                    .collect::<Vec<_>>()
            })
            .collect();
        let mut left: Vec<String> = tagged
            .into_iter()
            .filter(|resource| !ended.contains(&resource.id))
            .map(|resource| {
                if of_finished.contains(&resource.id) {
                    format!("finished {}", resource.kind)
                } else {
                    format!("{} {}", resource.kind, resource.id)
                }
            })
            .collect();
        for bucket in self.gateway.buckets_named("forno-").await.unwrap() {
            left.push(format!("bucket {}", bucket.name));
        }
        for role in self.gateway.roles_under("/").await.unwrap() {
            left.push(format!("role {role}"));
        }
        for profile in self.gateway.instance_profiles_under("/").await.unwrap() {
            left.push(format!("instance-profile {profile}"));
        }
        left.sort();
        left
    }

    /// The subnet of the zone that this matches.
    pub(crate) fn subnet(&self, zone: &str) -> String {
        let told = self.call(&[
            ("Action", "DescribeSubnets"),
            ("Filter.1.Name", "availability-zone"),
            ("Filter.1.Value.1", zone),
        ]);
        let (_, rest) = told.split_once("<subnetId>").unwrap();
        rest.split_once('<').unwrap().0.to_owned()
    }

    /// A call that forno itself never makes, by a client that is not forno's.
    pub(crate) fn call(&self, parameters: &[(&str, &str)]) -> String {
        self.call_in(self.endpoint.region(), parameters)
    }

    /// The same in another region.
    pub(crate) fn call_in(&self, region: &str, parameters: &[(&str, &str)]) -> String {
        let credentials = self.endpoint.credentials();
        let mut curl = std::process::Command::new("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--fail-with-body",
            "--aws-sigv4",
        ])
        .arg(format!("aws:amz:{region}:ec2"))
        .arg("--user")
        .arg(format!(
            "{}:{}",
            credentials.access_key_id, credentials.secret_access_key
        ))
        .args(["--data-urlencode", "Version=2016-11-15"]);
        for (name, value) in parameters {
            curl.arg("--data-urlencode").arg(format!("{name}={value}"));
        }
        let output = curl.arg(self.endpoint.endpoint_url()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}");
        said
    }

    pub(crate) async fn end(self) {
        self.endpoint.shutdown().await.unwrap();
    }
}

fn access(endpoint: &PocketEc2) -> Access {
    let credentials = endpoint.credentials();
    Access {
        region: Some(endpoint.region().to_owned()),
        endpoint_url: Some(endpoint.endpoint_url().to_owned()),
        machine_endpoint_url: Some(endpoint.machine_endpoint().to_owned()),
        credentials: Some(StaticCredentials {
            access_key_id: credentials.access_key_id.clone(),
            secret_access_key: credentials.secret_access_key.as_str().into(),
            session_token: None,
        }),
        limits: Limits {
            poll_spacing: Duration::from_millis(20),
            ..Limits::default()
        },
        ..Access::default()
    }
}

pub(crate) fn only(report: RunReport) -> BakeReport {
    let mut results = report.results;
    assert_eq!(results.len(), 1);
    match results.remove(0) {
        RunResult::Baked(report) => *report,
        other => panic!("not baked: {other:?}"),
    }
}

/// The result of work that does not hang.
pub(crate) async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work)
        .await
        .expect("it hangs")
}

/// Waits for an event.
pub(crate) async fn until(events: &mut Subscription, wanted: impl Fn(&Event) -> bool) -> Envelope {
    in_time(async {
        loop {
            let envelope = events.recv().await.expect("the bake ended before");
            if wanted(&envelope.body) {
                return envelope;
            }
        }
    })
    .await
}

pub(crate) async fn rest(mut events: Subscription) -> Vec<Envelope> {
    let mut all = Vec::new();
    while let Some(envelope) = in_time(events.recv()).await {
        all.push(envelope);
    }
    all
}

/// The lifecycle of a bake as text, without what differs from run to run.
pub(crate) fn story(events: &[Envelope]) -> String {
    let mut lines = Vec::new();
    for envelope in events {
        lines.push(match &envelope.body {
            Event::BakeStarted { image, steps, .. } => {
                format!("bake of {image} starts, {} steps", steps.len())
            }
            Event::StepStarted { step, attempt } => format!("{step} starts ({attempt})"),
            Event::StepRetry { step, error, .. } => format!("{step} again: {error}"),
            Event::StepFinished { step, outcome, .. } => format!("{step} ends: {outcome:?}"),
            Event::ResourceCreated(resource) => format!("+ {}", resource.kind),
            Event::ResourceReleased(resource) => format!("- {}", resource.kind),
            Event::ResourceStuck { resource, .. } => format!("! {}", resource.kind),
            Event::Output { step, line, .. } => format!("{step} | {line}"),
            Event::CancelRequested { reason } => format!("cancel: {reason}"),
            Event::Note { message, .. } => format!("note: {message}"),
            Event::BakeFinished {
                outcome,
                exit_code,
                leaks,
                ..
            } => format!("bake ends: {outcome:?}, {exit_code}, {leaks} left"),
            Event::Waiting { .. } | Event::Progress { .. } | Event::Task { .. } => continue,
            Event::Unknown => "unknown".to_owned(),
        });
    }
    lines.join("\n")
}
