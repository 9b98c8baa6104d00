//! What kind of place a launch asks for: how it is bought, on which hardware, out of which
//! reservation. Nothing of it changes a machine here; it is kept and told, and what EC2 would
//! refuse is refused.

use crate::api::error::ApiError;
use crate::api::params::Level;
use crate::state::types::InstanceType;
use crate::state::world::Hardware;

/// Whether a Spot Instance is asked for. There is always capacity, and every price is
/// enough; a fault plan says otherwise.
pub(super) fn is_spot(params: &Level<'_>) -> Result<bool, ApiError> {
    let Some(market) = params.group("InstanceMarketOptions") else {
        return Ok(false);
    };
    match market.get("MarketType") {
        Some("spot") => {}
        Some("capacity-block") => return Err(ApiError::unsupported("capacity blocks")),
        other => {
            return Err(ApiError::invalid(format!(
                "Value ({}) for parameter marketType is invalid.",
                other.unwrap_or_default()
            )));
        }
    }
    let Some(options) = market.group("SpotOptions") else {
        return Ok(true);
    };
    if options.choice("SpotInstanceType", &["one-time", "persistent"])? == Some("persistent") {
        return Err(ApiError::unsupported("persistent Spot requests"));
    }
    let behaviour = options.choice(
        "InstanceInterruptionBehavior",
        &["terminate", "stop", "hibernate"],
    )?;
    if behaviour.is_some_and(|behaviour| behaviour != "terminate") {
        return Err(ApiError::combination(
            "The instance interruption behavior of a one-time Spot Instance request must be terminate",
        ));
    }
    if let Some(price) = options.get("MaxPrice") {
        let fine = price.parse::<f64>().is_ok_and(|price| price > 0.0);
        if !fine {
            return Err(ApiError::invalid(format!(
                "Invalid value '{price}' for parameter maxPrice"
            )));
        }
    }
    Ok(true)
}

pub(super) fn read(params: &Level<'_>, kind: &InstanceType) -> Result<Hardware, ApiError> {
    let mut hardware = Hardware::default();
    if let Some(placement) = params.group("Placement") {
        match placement.choice("Tenancy", &["default", "dedicated", "host"])? {
            Some("host") => return Err(ApiError::unsupported("Dedicated Hosts")),
            tenancy => hardware.dedicated = tenancy == Some("dedicated"),
        }
        if placement.get("HostId").is_some() || placement.get("HostResourceGroupArn").is_some() {
            return Err(ApiError::unsupported("Dedicated Hosts"));
        }
        if let Some(name) = placement.given("GroupName") {
            return Err(ApiError::new(
                "InvalidPlacementGroup.Unknown",
                format!("The Placement Group '{name}' is unknown."),
            ));
        }
    }
    if let Some(enclave) = params.group("EnclaveOptions") {
        hardware.enclaves = enclave.flag("Enabled")?.unwrap_or(false);
        if hardware.enclaves && !kind.nitro {
            return Err(ApiError::combination(format!(
                "The instance type '{}' does not support Nitro Enclaves",
                kind.name
            )));
        }
    }
    if let Some(reservation) = params.group("CapacityReservationSpecification") {
        let preference = reservation.choice("CapacityReservationPreference", &["open", "none"])?;
        hardware.no_reservation = preference == Some("none");
        if let Some(target) = reservation.group("CapacityReservationTarget") {
            if target.get("CapacityReservationResourceGroupArn").is_some() {
                return Err(ApiError::unsupported(
                    "resource groups of capacity reservations",
                ));
            }
            let id = target.require("CapacityReservationId")?;
            return Err(ApiError::new(
                "InvalidCapacityReservationId.NotFound",
                format!("The capacity reservation '{id}' does not exist"),
            ));
        }
    }
    Ok(hardware)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::params::Form;

    fn spot(form: &str) -> Result<bool, String> {
        let form = Form::decode("", form.as_bytes()).unwrap();
        is_spot(&form.root()).map_err(|error| error.code().to_owned())
    }

    #[test]
    fn a_spot_instance_is_asked_for_once() {
        const SPOT: &str = "InstanceMarketOptions.MarketType=spot";
        assert_eq!(spot("ImageId=ami-1"), Ok(false));
        assert_eq!(spot(SPOT), Ok(true));
        let with = |option: &str| {
            spot(&format!(
                "{SPOT}&InstanceMarketOptions.SpotOptions.{option}"
            ))
        };
        assert_eq!(with("SpotInstanceType=one-time"), Ok(true));
        assert_eq!(with("MaxPrice=0.05"), Ok(true));
        for (option, code) in [
            ("MaxPrice=cheap", "InvalidParameterValue"),
            ("SpotInstanceType=persistent", "Unsupported"),
            (
                "InstanceInterruptionBehavior=stop",
                "InvalidParameterCombination",
            ),
        ] {
            assert_eq!(with(option), Err(code.to_owned()), "{option}");
        }
    }
}
