//! SSM parameters: how the newest image of a distribution is named without its id.

use crate::error::{Error, Kind, Outcome};
use crate::gateway::Gateway;
use crate::ids::ImageId;

impl Gateway {
    /// The value of a parameter that is no secret.
    pub async fn parameter(&self, name: &str) -> Result<String, Error> {
        let call = self.call("GetParameter").on(name);
        let reply = self
            .clients()
            .ssm
            .get_parameter()
            .name(name)
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        reply
            .parameter
            .and_then(|parameter| parameter.value)
            .ok_or_else(|| call.malformed("no value in it"))
    }

    /// The image that a parameter names.
    pub async fn image_parameter(&self, name: &str) -> Result<ImageId, Error> {
        let value = self.parameter(name).await?;
        ImageId::new(value.trim()).map_err(|error| {
            Error::new(crate::error::Inner {
                kind: Kind::InvalidInput,
                outcome: Outcome::DidNotHappen,
                operation: "GetParameter",
                region: self.region().to_owned(),
                resource: Some(name.to_owned()),
                code: None,
                message: format!("its value names no image: {error}"),
                request_id: None,
                attempts: 0,
            })
        })
    }
}
