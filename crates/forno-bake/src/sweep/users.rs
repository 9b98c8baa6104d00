//! What else uses an image: machines that are not forno's, and launch templates.
//!
//! Auto Scaling groups and fleets launch by templates, and their machines are
//! machines: both are seen. Not seen is what EC2 itself does not know by the image's
//! id: see docs/EXECUTION-FLOW.md.

use std::collections::BTreeMap;

use forno_aws::{ImageId, InstanceState, Kind, NamedByTemplate};

use super::Sweep;
use crate::{Error, ErrorKind, names};

/// Images that are not to be touched, with the reason.
pub(super) type Users = BTreeMap<ImageId, String>;

impl Sweep<'_> {
    /// Asked for all images at once.
    pub(super) async fn users_of(&self, images: &[ImageId]) -> Result<Users, Error> {
        let mut users = Users::new();
        if images.is_empty() {
            return Ok(users);
        }
        let (machines, templates) = tokio::join!(
            self.gateway.instances_of_images(images),
            self.gateway.images_in_launch_templates(images),
        );
        match templates {
            Ok(named) => users.extend(named.into_iter().map(|by| (by.image.clone(), told(&by)))),
            // Not knowing is not the same as being unused.
            Err(error) if matches!(error.kind(), Kind::Unauthorized | Kind::Unsupported) => {
                let why = format!("whether a launch template names it cannot be told: {error}");
                users.extend(images.iter().map(|image| (image.clone(), why.clone())));
            }
            Err(error) => return Err(Error::new(ErrorKind::Planning(error))),
        }
        for machine in machines.map_err(ErrorKind::Planning)? {
            let is_theirs = machine.state != InstanceState::Terminated
                && machine.tags.get(names::BAKE).is_none();
            if let Some(image) = machine.image.filter(|_| is_theirs) {
                users.insert(image, format!("{} runs from it", machine.id));
            }
        }
        Ok(users)
    }
}

fn told(by: &NamedByTemplate) -> String {
    format!(
        "version {} of the launch template {} ({}) names it",
        by.version, by.name, by.template
    )
}
