//! The regions of an account.

use crate::error::Error;
use crate::gateway::Gateway;

impl Gateway {
    /// Those that are enabled for the account, by name.
    pub async fn regions(&self) -> Result<Vec<String>, Error> {
        let call = self.call("DescribeRegions");
        let reply = self
            .clients()
            .ec2
            .describe_regions()
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        let mut regions: Vec<String> = reply
            .regions
            .into_iter()
            .flatten()
            .filter_map(|region| region.region_name)
            .collect();
        regions.sort();
        Ok(regions)
    }
}
