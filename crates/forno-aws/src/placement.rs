//! What kind of place EC2 gives a machine: hardware, reservations, licences.

use aws_sdk_ec2::operation::run_instances::builders::RunInstancesFluentBuilder;
use aws_sdk_ec2::types::{
    CapacityReservationPreference, CapacityReservationSpecification, CapacityReservationTarget,
    CreditSpecificationRequest, EnclaveOptionsRequest, LicenseConfigurationRequest,
    Placement as SdkPlacement, Tenancy as SdkTenancy,
};

/// What is `None`, `false` or empty is as EC2 has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    pub ebs_optimized: Option<bool>,
    /// `standard` or `unlimited`; only of burstable types.
    pub cpu_credits: Option<&'static str>,
    pub nitro_enclaves: bool,
    /// `default`, `dedicated` or `host`.
    pub tenancy: Option<&'static str>,
    pub host_id: Option<String>,
    pub host_resource_group_arn: Option<String>,
    pub placement_group: Option<String>,
    pub capacity_reservation: Option<CapacityReservation>,
    pub license_configuration_arns: Vec<String>,
}

/// Which reserved capacity a machine may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CapacityReservation {
    /// Any open one that fits.
    Open,
    None,
    Id(String),
    ResourceGroup(String),
}

impl CapacityReservation {
    fn to_sdk(&self) -> CapacityReservationSpecification {
        let request = CapacityReservationSpecification::builder();
        let target = CapacityReservationTarget::builder();
        match self {
            Self::Open => {
                request.capacity_reservation_preference(CapacityReservationPreference::Open)
            }
            Self::None => {
                request.capacity_reservation_preference(CapacityReservationPreference::None)
            }
            Self::Id(id) => {
                request.capacity_reservation_target(target.capacity_reservation_id(id).build())
            }
            Self::ResourceGroup(arn) => request.capacity_reservation_target(
                target.capacity_reservation_resource_group_arn(arn).build(),
            ),
        }
        .build()
    }
}

impl Placement {
    /// The launch with what is said here; what is not said is not in it.
    pub(crate) fn asked(&self, launch: RunInstancesFluentBuilder) -> RunInstancesFluentBuilder {
        let licences: Vec<_> = self
            .license_configuration_arns
            .iter()
            .map(|arn| {
                LicenseConfigurationRequest::builder()
                    .license_configuration_arn(arn)
                    .build()
            })
            .collect();
        launch
            .set_ebs_optimized(self.ebs_optimized)
            .set_credit_specification(self.cpu_credits.map(|credits| {
                CreditSpecificationRequest::builder()
                    .cpu_credits(credits)
                    .build()
            }))
            .set_enclave_options(
                self.nitro_enclaves
                    .then(|| EnclaveOptionsRequest::builder().enabled(true).build()),
            )
            .set_placement(self.placement())
            .set_capacity_reservation_specification(
                self.capacity_reservation
                    .as_ref()
                    .map(CapacityReservation::to_sdk),
            )
            .set_license_specifications((!licences.is_empty()).then_some(licences))
    }

    fn placement(&self) -> Option<SdkPlacement> {
        let said = self.tenancy.is_some()
            || self.host_id.is_some()
            || self.host_resource_group_arn.is_some()
            || self.placement_group.is_some();
        said.then(|| {
            SdkPlacement::builder()
                .set_tenancy(self.tenancy.map(SdkTenancy::from))
                .set_host_id(self.host_id.clone())
                .set_host_resource_group_arn(self.host_resource_group_arn.clone())
                .set_group_name(self.placement_group.clone())
                .build()
        })
    }
}
