//! What an operation asks of the broker, as statuses record it. Pure.

use crate::{
    apis::servicecatalog::{UserInfo, instance::InstanceProperties},
    catalog::{parameters::Parameters, reconcile::resolve::Offer},
};

/// The plan of the offer, the parameters, and the user who wishes them.
pub(super) fn properties(
    offer: &Offer,
    parameters: &Parameters,
    user: Option<&UserInfo>,
) -> InstanceProperties {
    let plan = offer.plan.common();
    let (name, id) = (plan.external_name.clone(), plan.external_id.clone());
    let common = InstanceProperties {
        parameters: parameters.shown(),
        parameter_checksum: parameters.checksum(),
        user_info: user.cloned(),
        ..InstanceProperties::default()
    };
    if offer.plan.broker().namespace.is_none() {
        InstanceProperties {
            cluster_service_plan_external_name: name,
            cluster_service_plan_external_id: id,
            ..common
        }
    } else {
        InstanceProperties { service_plan_external_name: name, service_plan_external_id: id, ..common }
    }
}

/// The id of the plan, which is a plan of the cluster or of the namespace.
pub(super) fn plan_id(properties: &InstanceProperties) -> &str {
    if properties.cluster_service_plan_external_id.is_empty() {
        &properties.service_plan_external_id
    } else {
        &properties.cluster_service_plan_external_id
    }
}

/// Whether the broker is asked for the same in both cases. Names of plans may change, and so may the user.
pub(super) fn is_same_request(one: &InstanceProperties, other: &InstanceProperties) -> bool {
    plan_id(one) == plan_id(other) && one.parameter_checksum == other.parameter_checksum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plan_and_parameters_decide_whether_a_request_is_the_same() {
        let one = InstanceProperties {
            cluster_service_plan_external_name: "small".to_owned(),
            cluster_service_plan_external_id: "s".to_owned(),
            parameter_checksum: Some("1".to_owned()),
            ..InstanceProperties::default()
        };
        let renamed = InstanceProperties {
            cluster_service_plan_external_name: "tiny".to_owned(),
            user_info: Some(UserInfo::default()),
            ..one.clone()
        };
        assert!(is_same_request(&one, &renamed));
        let other_plan =
            InstanceProperties { cluster_service_plan_external_id: "l".to_owned(), ..one.clone() };
        assert!(!is_same_request(&one, &other_plan));
        assert!(!is_same_request(&one, &InstanceProperties { parameter_checksum: None, ..one.clone() }));
        let of_namespace =
            InstanceProperties { service_plan_external_id: "n".to_owned(), ..InstanceProperties::default() };
        assert_eq!(plan_id(&of_namespace), "n");
    }
}
