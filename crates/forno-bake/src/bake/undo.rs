//! How each kind of effect is looked for and removed.
//!
//! Everything is found twice: by its id or unique name, and by the tags that it
//! was made with. "Not found" by one way alone is never believed, because EC2
//! shows what it made only after a while, and not everywhere at once.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use forno_aws::{
    Error, Gateway, ImageState, InstanceId, InstanceState, Kind, SecurityGroupId, SnapshotId, Tags,
    VolumeId,
};
use forno_events::BakeId;
use forno_saga::{Attempt, Effect, Failure, Undo};
use serde::de::DeserializeOwned;

use super::bucket::BucketPlace;
use super::effects::{
    self, BUCKET, COPY, CopyIntent, IMAGE, INSTANCE, InstanceIntent, KEY_PAIR, NamedIntent,
    OBJECTS, PROFILE, ROLE, SECURITY_GROUP, SNAPSHOT, SnapshotIntent,
};
use crate::names;

/// Undoes the effects of one bake in one region.
#[derive(Debug)]
pub(crate) struct CloudUndo {
    gateway: Gateway,
    bake: BakeId,
}

impl CloudUndo {
    pub(crate) fn new(gateway: Gateway, bake: BakeId) -> Self {
        Self { gateway, bake }
    }
}

#[async_trait]
impl Undo for CloudUndo {
    async fn attempt(&self, effect: &Effect) -> Attempt {
        let attempt = match effect.kind.as_str() {
            KEY_PAIR => self.key_pair(effect).await,
            SECURITY_GROUP => self.security_group(effect).await,
            INSTANCE => self.instance(effect).await,
            IMAGE => self.image(effect).await,
            COPY => self.copy(effect).await,
            SNAPSHOT => self.snapshot(effect).await,
            ROLE => self.role(effect).await,
            PROFILE => self.profile(effect).await,
            BUCKET => self.bucket(effect).await,
            OBJECTS => self.objects(effect).await,
            other => Err(Trouble::Refused(Failure::new(
                "unknown-kind",
                format!("this version of forno knows no effect of kind `{other}`"),
            ))),
        };
        match attempt {
            Ok(attempt) => attempt,
            Err(Trouble::Call(error)) => failed(&error),
            Err(Trouble::Refused(failure)) => Attempt::Refused(failure),
        }
    }

    fn command(&self, effect: &Effect) -> String {
        command(&self.gateway, effect, self.bake.as_str())
    }
}

/// The command with which a person removes or at least finds an effect.
pub(crate) fn command(gateway: &Gateway, effect: &Effect, bake: &str) -> String {
    let id = effects::id(effect);
    let name = effects::read::<NamedIntent>(&effect.intent)
        .ok()
        .map(|intent| intent.name);
    let tag = format!("Name=tag:{},Values={}", names::BAKE, bake);
    let url = name.as_deref().map(|name| format!("s3://{name}"));
    let words: Vec<&str> = match (effect.kind.as_str(), id.as_deref(), name.as_deref()) {
        (KEY_PAIR, _, Some(name)) => vec!["delete-key-pair", "--key-name", name],
        (SECURITY_GROUP, Some(id), _) => vec!["delete-security-group", "--group-id", id],
        (INSTANCE, Some(id), _) => vec!["terminate-instances", "--instance-ids", id],
        (IMAGE | COPY, Some(id), _) => vec![
            "deregister-image",
            "--image-id",
            id,
            "--delete-associated-snapshots",
        ],
        (SNAPSHOT, Some(id), _) => vec!["delete-snapshot", "--snapshot-id", id],
        // Without an id the first thing to do is to look.
        (SECURITY_GROUP, None, _) => vec!["describe-security-groups", "--filters", &tag],
        (INSTANCE, None, _) => vec!["describe-instances", "--filters", &tag],
        (IMAGE | COPY, None, _) => vec!["describe-images", "--owners", "self", "--filters", &tag],
        (SNAPSHOT, None, _) => {
            vec![
                "describe-snapshots",
                "--owner-ids",
                "self",
                "--filters",
                &tag,
            ]
        }
        _ => vec!["describe-tags", "--filters", &tag],
    };
    let other: Option<(&str, Vec<&str>)> = match (effect.kind.as_str(), url.as_deref()) {
        (BUCKET, Some(url)) => Some(("s3", vec!["rb", url, "--force"])),
        (OBJECTS, Some(url)) => Some(("s3", vec!["rm", url, "--recursive"])),
        (ROLE, _) => name
            .as_deref()
            .map(|name| ("iam", vec!["delete-role", "--role-name", name])),
        (PROFILE, _) => name.as_deref().map(|name| {
            let words = vec!["delete-instance-profile", "--instance-profile-name", name];
            ("iam", words)
        }),
        _ => None,
    };
    let mut command = vec!["aws"];
    match other {
        Some((service, words)) => command.extend([service].into_iter().chain(words)),
        None => command.extend(["ec2"].into_iter().chain(words)),
    }
    let region = effects::region(effect);
    let region = region.as_deref().unwrap_or(gateway.region());
    command.extend(["--region", region]);
    if let Some(url) = gateway.endpoint_url() {
        command.extend(["--endpoint-url", url]);
    }
    shell_words::join(command)
}

/// Why an attempt came to no finding.
enum Trouble {
    Call(Error),
    Refused(Failure),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

fn failed(error: &Error) -> Attempt {
    let failure = Failure::new(error.code().unwrap_or("no-answer"), error.to_string());
    match error.kind() {
        // Nothing that waiting could mend.
        Kind::Settings | Kind::InvalidInput => Attempt::Refused(failure),
        _ => Attempt::Failed(failure),
    }
}

fn intent<T: DeserializeOwned>(effect: &Effect) -> Result<T, Trouble> {
    effects::read(&effect.intent).map_err(|error| {
        Trouble::Refused(Failure::new(
            "unreadable-intent",
            format!("the intent of `{}` cannot be read: {error}", effect.id),
        ))
    })
}

impl CloudUndo {
    async fn key_pair(&self, effect: &Effect) -> Result<Attempt, Trouble> {
        let intent: NamedIntent = intent(effect)?;
        let look = || async {
            let by = names::found_by(&self.bake, &intent.step);
            let (named, tagged) = tokio::try_join!(
                self.gateway.key_pair_named(&intent.name),
                self.gateway.key_pairs_tagged(&by),
            )?;
            let mut found: BTreeSet<String> = tagged.into_iter().map(|key| key.name).collect();
            // The name is unique, but only the tag proves whose it is.
            found.extend(
                named
                    .filter(|key| key.tags.get(names::BAKE) == Some(self.bake.as_str()))
                    .map(|key| key.name),
            );
            Ok::<_, Error>(found)
        };
        let delete = |name: String| async move { self.gateway.delete_key_pair(&name).await };
        remove(look, delete, "in use").await
    }

    async fn security_group(&self, effect: &Effect) -> Result<Attempt, Trouble> {
        let intent: NamedIntent = intent(effect)?;
        let look = || async {
            let by = names::found_by(&self.bake, &intent.step);
            let (named, tagged) = tokio::try_join!(
                self.gateway.security_groups_named(&intent.name),
                self.gateway.security_groups_tagged(&by),
            )?;
            Ok::<_, Error>(
                named
                    .into_iter()
                    .chain(tagged)
                    .filter(|group| group.tags.get(names::BAKE) == Some(self.bake.as_str()))
                    .map(|group| group.id)
                    .collect::<BTreeSet<SecurityGroupId>>(),
            )
        };
        let delete = |id| async move { self.gateway.delete_security_group(&id).await };
        remove(look, delete, "in use by a machine that is ending").await
    }

    /// S3 knows its buckets by name at once, and no one else has this name.
    async fn bucket(&self, effect: &Effect) -> Result<Attempt, Trouble> {
        let intent: NamedIntent = intent(effect)?;
        match self.gateway.bucket_tags(&intent.name).await? {
            None => return Ok(Attempt::Absent),
            Some(tags) => self.is_ours(&tags, "bucket", &intent.name)?,
        }
        match self.gateway.delete_bucket(&intent.name).await {
            // Something was put into it meanwhile.
            Err(error) if error.kind() == Kind::DependencyViolation => Ok(going("not empty")),
            deleted => deleted.map(|()| Attempt::Gone).map_err(Trouble::from),
        }
    }

    async fn objects(&self, effect: &Effect) -> Result<Attempt, Trouble> {
        let intent: NamedIntent = intent(effect)?;
        let Some(place) = BucketPlace::parse(&intent.name) else {
            return Err(Trouble::Refused(Failure::new(
                "unreadable-intent",
                format!("`{}` is no place of a bake in a bucket", intent.name),
            )));
        };
        let emptied = self
            .gateway
            .empty_bucket(&place.bucket, &place.prefix)
            .await;
        match emptied {
            Err(error) if error.kind() == Kind::NotFound => Ok(Attempt::Absent),
            emptied => emptied.map(|()| Attempt::Gone).map_err(Trouble::from),
        }
    }

    async fn instance(&self, effect: &Effect) -> Result<Attempt, Trouble> {
        let intent: InstanceIntent = intent(effect)?;
        let known = effects::id(effect).and_then(|id| InstanceId::new(id).ok());
        let by = names::found_by(&self.bake, &intent.step);
        let known_ids: Vec<InstanceId> = known.iter().cloned().collect();
        let of_token = async {
            match self.gateway.instances_of_token(&intent.client_token).await {
                // Not every endpoint can look so; tags tell the same.
                Err(error) if error.kind() == Kind::Unsupported => Ok(Vec::new()),
                found => found,
            }
        };
        let (by_id, by_token, by_tags) = tokio::try_join!(
            self.gateway.instances(&known_ids),
            of_token,
            self.gateway.instances_tagged(&by),
        )?;
        let found = || by_id.iter().chain(&by_token);
        // Other launches of the same step have effects of their own; they only
        // matter here when this one's result is not known.
        let ids: BTreeMap<InstanceId, InstanceState> = found()
            .chain(by_tags.iter().filter(|instance| {
                match &known {
                    Some(known) => instance.id == *known,
                    None => instance
                        .client_token
                        .as_deref()
                        .is_none_or(|token| token == intent.client_token),
                }
            }))
            .map(|instance| (instance.id.clone(), instance.state.clone()))
            .collect();
        if ids.is_empty() {
            return Ok(Attempt::Absent);
        }
        let mut state = None;
        for (id, now) in &ids {
            match now {
                InstanceState::Terminated => {}
                InstanceState::ShuttingDown => state = Some(now.to_string()),
                _ => {
                    match self.gateway.terminate_instance(id, true).await {
                        // Not visible there yet, or the option is not known.
                        Err(error) if error.kind() == Kind::NotFound => {}
                        Err(error)
                            if matches!(error.kind(), Kind::Unsupported | Kind::InvalidInput) =>
                        {
                            self.gateway.terminate_instance(id, false).await?;
                        }
                        other => other?,
                    }
                    state = Some("being terminated".to_owned());
                }
            }
        }
        Ok(state.map_or(Attempt::Gone, |state| Attempt::Going { state }))
    }

    /// Of no search and no id: the name is this bake's, and the tag says so.
    async fn role(&self, effect: &Effect) -> Result<Attempt, Trouble> {
        let intent: NamedIntent = intent(effect)?;
        match self.gateway.role_tags(&intent.name).await? {
            None => return Ok(Attempt::Absent),
            Some(tags) => self.is_ours(&tags, "role", &intent.name)?,
        }
        match self.gateway.delete_role(&intent.name).await {
            Err(error) if error.kind() == Kind::DependencyViolation => {
                Ok(going("in an instance profile"))
            }
            deleted => deleted.map(|()| Attempt::Gone).map_err(Trouble::from),
        }
    }

    async fn profile(&self, effect: &Effect) -> Result<Attempt, Trouble> {
        let intent: NamedIntent = intent(effect)?;
        let Some(profile) = self.gateway.instance_profile(&intent.name).await? else {
            return Ok(Attempt::Absent);
        };
        self.is_ours(&profile.tags, "instance profile", &intent.name)?;
        match self.gateway.delete_instance_profile(&profile).await {
            // Its role was put in meanwhile.
            Err(error) if error.kind() == Kind::DependencyViolation => Ok(going("not empty")),
            deleted => deleted.map(|()| Attempt::Gone).map_err(Trouble::from),
        }
    }

    fn is_ours(&self, tags: &Tags, what: &str, name: &str) -> Result<(), Trouble> {
        if tags.get(names::BAKE) == Some(self.bake.as_str()) {
            return Ok(());
        }
        Err(Trouble::Refused(Failure::new(
            "not-ours",
            format!("the {what} {name} does not have the tags of this bake"),
        )))
    }

    async fn snapshot(&self, effect: &Effect) -> Result<Attempt, Trouble> {
        let intent: SnapshotIntent = intent(effect)?;
        let known = effects::id(effect).and_then(|id| SnapshotId::new(id).ok());
        let known_ids: Vec<SnapshotId> = known.iter().cloned().collect();
        let by = names::found_by(&self.bake, &intent.step);
        let look = || async {
            let (by_id, tagged) = tokio::try_join!(
                self.gateway.snapshots(&known_ids),
                self.gateway.snapshots_tagged(&by),
            )?;
            let tagged = tagged.into_iter().filter(|snapshot| match &known {
                Some(known) => snapshot.id == *known,
                None => snapshot.volume.as_ref().map(VolumeId::as_str) == Some(&intent.volume),
            });
            let found = by_id.into_iter().chain(tagged);
            Ok::<_, Error>(found.map(|snapshot| snapshot.id).collect::<BTreeSet<_>>())
        };
        let delete = |id| async move { self.gateway.delete_snapshot(&id).await };
        remove(look, delete, "in use by an image that is going").await
    }

    async fn copy(&self, effect: &Effect) -> Result<Attempt, Trouble> {
        let intent: CopyIntent = intent(effect)?;
        let there = Self::new(self.gateway.in_region(&intent.region), self.bake.clone());
        there.image(effect).await
    }

    async fn image(&self, effect: &Effect) -> Result<Attempt, Trouble> {
        let intent: NamedIntent = intent(effect)?;
        let by = names::found_by(&self.bake, &intent.step);
        let look = async || {
            let (named, tagged, snapshots) = tokio::try_join!(
                self.gateway.images_named(&intent.name),
                self.gateway.images_tagged(&by),
                self.gateway.snapshots_tagged(&by),
            )?;
            let images: Vec<_> = named
                .into_iter()
                .chain(tagged)
                .filter(|image| {
                    image.tags.get(names::BAKE) == Some(self.bake.as_str())
                        && image.state != ImageState::Deregistered
                })
                .collect();
            Ok::<_, Error>((images, snapshots))
        };
        let (images, snapshots) = look().await?;
        if images.is_empty() && snapshots.is_empty() {
            return Ok(Attempt::Absent);
        }
        if let Some(image) = images
            .iter()
            .find(|image| image.tags.get(names::FINISHED).is_some())
        {
            return Err(Trouble::Refused(Failure::new(
                "finished",
                format!("{} is marked as finished, so it is not removed", image.id),
            )));
        }
        // One that was still in the making may get snapshots that nobody has
        // seen yet.
        let settled = images
            .iter()
            .all(|image| image.state == ImageState::Available);
        let mut done = BTreeSet::new();
        for image in &images {
            if done.insert(image.id.clone()) {
                self.gateway.deregister_image(&image.id).await?;
            }
        }
        let (images, snapshots) = if images.is_empty() {
            (images, snapshots)
        } else {
            look().await?
        };
        for snapshot in &snapshots {
            match self.gateway.delete_snapshot(&snapshot.id).await {
                Err(error) if error.kind() == Kind::DependencyViolation => {
                    return Ok(going("its snapshots are still in use"));
                }
                Err(error) if error.kind() == Kind::NotFound => {}
                other => other?,
            }
        }
        Ok(if images.is_empty() && snapshots.is_empty() && settled {
            Attempt::Gone
        } else {
            going("being deregistered")
        })
    }
}

/// Removes what is there, and looks again.
async fn remove<T, L, D>(
    look: impl Fn() -> L,
    delete: impl Fn(T) -> D,
    in_use: &str,
) -> Result<Attempt, Trouble>
where
    T: Ord,
    L: Future<Output = Result<BTreeSet<T>, Error>>,
    D: Future<Output = Result<(), Error>>,
{
    let there = look().await?;
    if there.is_empty() {
        return Ok(Attempt::Absent);
    }
    for one in there {
        match delete(one).await {
            Err(error) if error.kind() == Kind::DependencyViolation => return Ok(going(in_use)),
            Err(error) if error.kind() == Kind::NotFound => {}
            other => other?,
        }
    }
    Ok(if look().await?.is_empty() {
        Attempt::Gone
    } else {
        going("being deleted")
    })
}

fn going(state: &str) -> Attempt {
    Attempt::Going {
        state: state.to_owned(),
    }
}
