//! Launch templates, as far as images are concerned: an image that one of them names
//! is in use, though no machine runs from it. Auto Scaling groups and fleets launch by
//! them.

use aws_sdk_ec2::types::{Filter, LaunchTemplate as SdkTemplate, LaunchTemplateVersion};
use tokio::task::JoinSet;

use crate::error::{Error, Kind};
use crate::gateway::Gateway;
use crate::ids::ImageId;
use crate::tag::{MOST_PER_FILTER, filter};

/// How many templates are looked into at once.
const AT_ONCE: usize = 8;

/// A version of a launch template that names an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedByTemplate {
    pub image: ImageId,
    /// The id of the template.
    pub template: String,
    pub name: String,
    pub version: i64,
}

impl Gateway {
    /// Which versions of which templates name these images by their ids. One that
    /// names an SSM parameter which holds such an id is not found.
    pub async fn images_in_launch_templates(
        &self,
        images: &[ImageId],
    ) -> Result<Vec<NamedByTemplate>, Error> {
        if images.is_empty() {
            return Ok(Vec::new());
        }
        let by_image: Vec<Filter> = images
            .chunks(MOST_PER_FILTER)
            .map(|images| filter("image-id", images.iter().map(ImageId::as_str)))
            .collect();
        // Of all templates at once EC2 tells the newest version and the default one;
        // what else a template has must be asked for template by template.
        let (mut named, templates) =
            tokio::try_join!(self.versions(None, &by_image), self.launch_templates())?;
        let mut further = templates.into_iter().filter(has_further_versions);
        let mut looking = JoinSet::new();
        loop {
            while looking.len() < AT_ONCE
                && let Some(template) = further.next()
            {
                let (gateway, by_image) = (self.clone(), by_image.clone());
                looking.spawn(async move {
                    gateway
                        .versions(template.launch_template_id, &by_image)
                        .await
                });
            }
            match looking.join_next().await {
                None => break,
                Some(Ok(found)) => named.extend(found?),
                Some(Err(broken)) => {
                    let call = self.call("DescribeLaunchTemplateVersions");
                    return Err(call.malformed(broken));
                }
            }
        }
        named.sort();
        named.dedup();
        Ok(named)
    }

    async fn launch_templates(&self) -> Result<Vec<SdkTemplate>, Error> {
        let call = self.call("DescribeLaunchTemplates");
        self.clients()
            .ec2
            .describe_launch_templates()
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await
            .map_err(|error| call.failed(&error))
    }

    async fn versions(
        &self,
        template: Option<String>,
        by_image: &[Filter],
    ) -> Result<Vec<NamedByTemplate>, Error> {
        let call = self.call("DescribeLaunchTemplateVersions");
        let mut named = Vec::new();
        for filter in by_image {
            let request = self
                .clients()
                .ec2
                .describe_launch_template_versions()
                .filters(filter.clone());
            let request = match &template {
                Some(id) => request.launch_template_id(id),
                None => request.versions("$Latest").versions("$Default"),
            };
            let versions = request.into_paginator().items().send();
            let versions = versions.collect::<Result<Vec<LaunchTemplateVersion>, _>>();
            match versions.await.map_err(|error| call.failed(&error)) {
                Ok(versions) => named.extend(versions.into_iter().filter_map(of_version)),
                // It has been deleted since it was listed.
                Err(error) if template.is_some() && error.kind() == Kind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(named)
    }
}

fn has_further_versions(template: &SdkTemplate) -> bool {
    let (latest, default) = (
        template.latest_version_number.unwrap_or(i64::MAX),
        template.default_version_number.unwrap_or(1),
    );
    latest > if latest == default { 1 } else { 2 }
}

fn of_version(version: LaunchTemplateVersion) -> Option<NamedByTemplate> {
    Some(NamedByTemplate {
        image: ImageId::new(version.launch_template_data?.image_id?).ok()?,
        template: version.launch_template_id?,
        name: version.launch_template_name.unwrap_or_default(),
        version: version.version_number?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_templates_with_more_than_newest_and_default_are_looked_into() {
        for (latest, default, further) in [
            (1, 1, false),
            (2, 1, false),
            (2, 2, true),
            (3, 1, true),
            (3, 3, true),
        ] {
            let template = SdkTemplate::builder()
                .latest_version_number(latest)
                .default_version_number(default)
                .build();
            assert_eq!(
                has_further_versions(&template),
                further,
                "{latest} {default}"
            );
        }
        assert!(has_further_versions(&SdkTemplate::builder().build()));
    }
}
