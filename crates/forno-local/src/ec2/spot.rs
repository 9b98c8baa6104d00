//! Spot requests: each made by a launch, for one machine, and closed with it.

use super::call::{Call, iso};
use super::tags::write_tags;
use crate::api::error::ApiError;
use crate::api::filters::Filters;
use crate::api::page::Page;
use crate::api::xml::Xml;
use crate::state::ids::Resource;
use crate::state::world::{Instance, InstanceState};

const FILTERS: &[&str] = &[
    "instance-id",
    "launch.image-id",
    "launch.instance-type",
    "launched-availability-zone",
    "spot-instance-request-id",
    "state",
    "status-code",
    "type",
];

pub(super) fn describe_spot_instance_requests(
    call: &mut Call<'_>,
    xml: &mut Xml,
) -> Result<(), ApiError> {
    let filters = Filters::read(&call.params, FILTERS, true)?;
    let page = Page::read(call.form, &call.params, 5..=1000)?;
    let ids = call.params.list("SpotInstanceRequestId");
    let state = call.state();
    let mut requests: Vec<(&String, &Instance)> = state
        .instances
        .values()
        .filter_map(|instance| Some((instance.spot_request.as_ref()?, instance)))
        .collect();
    for id in &ids {
        Resource::SpotRequest.check(id)?;
        if !requests.iter().any(|(request, _)| request == id) {
            return Err(Resource::SpotRequest.not_found(id));
        }
    }
    requests.retain(|(request, instance)| {
        (ids.is_empty() || ids.contains(&request.as_str()))
            && filters.select(state.tags_of(request), |filter| {
                vec![match filter {
                    "instance-id" => instance.id.clone(),
                    "launch.image-id" => instance.image.clone(),
                    "launch.instance-type" => instance.kind.clone(),
                    "launched-availability-zone" => instance.zone.clone(),
                    "spot-instance-request-id" => (*request).clone(),
                    "state" => request_state(instance).to_owned(),
                    "status-code" => status(instance).to_owned(),
                    _ => "one-time".to_owned(),
                }]
            })
    });
    let (requests, next) = page.cut(requests, |(request, _)| (*request).clone());
    xml.list(
        "spotInstanceRequestSet",
        requests,
        |xml, (request, instance)| {
            xml.text("spotInstanceRequestId", request)
                .text("type", "one-time")
                .text("state", request_state(instance))
                .group("status", |xml| {
                    xml.text("code", status(instance)).text(
                        "updateTime",
                        iso(instance.ended.unwrap_or(instance.launched)),
                    );
                })
                .text("instanceId", &instance.id)
                .text("createTime", iso(instance.launched))
                .text("productDescription", "Linux/UNIX")
                .text("launchedAvailabilityZone", &instance.zone)
                .text("instanceInterruptionBehavior", "terminate");
            write_tags(xml, state.tags_of(request));
        },
    );
    xml.maybe("nextToken", next);
    Ok(())
}

fn request_state(instance: &Instance) -> &'static str {
    match instance.state {
        InstanceState::Terminated | InstanceState::ShuttingDown => "closed",
        _ => "active",
    }
}

fn status(instance: &Instance) -> &'static str {
    match (request_state(instance), &instance.reason) {
        ("active", _) => "fulfilled",
        (_, Some(reason)) if reason.code.starts_with("Server.Spot") => {
            "instance-terminated-no-capacity"
        }
        _ => "instance-terminated-by-user",
    }
}
