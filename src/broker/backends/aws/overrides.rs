//! Overrides of parameters by the administrator, as the AWS Service Broker takes them from its environment (pure):
//! `PARAM_OVERRIDE_<broker>_<cluster|all>_<namespace|all>_<service|all>_<parameter>=<value>`. The most specific one
//! counts: one for a namespace before one for a cluster, and one for a service before one for all of them.

use serde_json::Value;

use crate::broker::backends::InstanceSpec;

const PREFIX: &str = "PARAM_OVERRIDE_";
const ALL: &str = "all";

/// The overrides of a broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Overrides(Vec<Override>);

/// A value for a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Override {
    /// The variable, for errors.
    pub(super) variable: String,
    pub(super) parameter: String,
    pub(super) value: String,
    cluster: Option<String>,
    namespace: Option<String>,
    service: Option<String>,
}

/// Where an instance belongs: ids and names of its cluster and of its namespace, or organization and space.
#[derive(Clone, Debug, Default)]
pub(super) struct Place<'a> {
    cluster: Vec<&'a str>,
    namespace: Vec<&'a str>,
}

impl<'a> Place<'a> {
    pub(super) fn of(instance: &'a InstanceSpec) -> Self {
        let context = |name: &str| instance.context.get(name).and_then(Value::as_str);
        let named = |id: &'a str, name: Option<&'a str>| {
            [Some(id), name].into_iter().flatten().filter(|text| !text.is_empty()).collect()
        };
        Self {
            cluster: named(&instance.organization_guid, context("clusterid")),
            namespace: named(&instance.space_guid, context("namespace")),
        }
    }
}

impl Override {
    /// The override in a variable of the broker's environment. An empty value is none, as in the chart of the AWS Service
    /// Broker.
    fn parse(broker: &str, variable: &str, value: &str) -> Option<Self> {
        let rest = variable.strip_prefix(PREFIX)?.strip_prefix(broker)?.strip_prefix('_')?;
        let parts: Vec<_> = rest.splitn(4, '_').collect();
        let [cluster, namespace, service, parameter] = parts[..] else { return None };
        let one = |part: &str| (part != ALL).then(|| part.to_owned());
        let is_whole = [cluster, namespace, service, parameter, value].iter().all(|part| !part.is_empty());
        is_whole.then(|| Self {
            variable: variable.to_owned(),
            parameter: parameter.to_owned(),
            value: value.to_owned(),
            cluster: one(cluster),
            namespace: one(namespace),
            service: one(service),
        })
    }

    /// Whether the override is for this service, wherever its instances are.
    pub(super) fn is_for_service(&self, service: &str) -> bool {
        self.service.as_deref().is_none_or(|named| named == service)
    }

    /// Whether the override is for all clusters and namespaces.
    pub(super) fn is_global(&self) -> bool {
        self.cluster.is_none() && self.namespace.is_none()
    }

    fn is_for(&self, place: &Place<'_>, service: &str) -> bool {
        let has = |named: Option<&str>, those: &[&str]| named.is_none_or(|named| those.contains(&named));
        self.is_for_service(service)
            && has(self.cluster.as_deref(), &place.cluster)
            && has(self.namespace.as_deref(), &place.namespace)
    }

    /// The levels of the AWS Service Broker: everywhere, service, cluster, cluster and service, namespace, namespace and
    /// service, cluster and namespace, all three.
    fn level(&self) -> u8 {
        4 * u8::from(self.namespace.is_some())
            + 2 * u8::from(self.cluster.is_some())
            + u8::from(self.service.is_some())
    }
}

impl Overrides {
    /// The overrides of this broker among the variables of an environment.
    pub(super) fn read(broker: &str, environment: impl IntoIterator<Item = (String, String)>) -> Self {
        let parse = |(variable, value): (String, String)| Override::parse(broker, &variable, &value);
        Self(environment.into_iter().filter_map(parse).collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Override> {
        self.0.iter()
    }

    /// The value of a parameter for instances of a service at a place.
    pub(super) fn value(&self, place: &Place<'_>, service: &str, parameter: &str) -> Option<&str> {
        let fitting = self.0.iter().filter(|one| one.parameter == parameter && one.is_for(place, service));
        fitting.max_by_key(|one| one.level()).map(|one| one.value.as_str())
    }

    /// Whether all instances of a service have the same override of a parameter.
    pub(super) fn is_prescribed(&self, service: &str, parameter: &str) -> bool {
        let mut of_parameter = self.0.iter().filter(|one| one.parameter == parameter);
        of_parameter.any(|one| one.is_global() && one.is_for_service(service))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Levels from the least to the most specific: cluster, namespace and service of the variable.
    const LEVELS: [[&str; 3]; 8] = [
        [ALL, ALL, ALL],
        [ALL, ALL, "sqs"],
        ["c1", ALL, ALL],
        ["c1", ALL, "sqs"],
        [ALL, "shop", ALL],
        [ALL, "shop", "sqs"],
        ["c1", "shop", ALL],
        ["c1", "shop", "sqs"],
    ];

    fn at<'a>(cluster: &'a str, namespace: &'a str) -> Place<'a> {
        Place { cluster: vec![cluster], namespace: vec!["uid-of-it", namespace] }
    }

    fn overrides(levels: &[[&str; 3]]) -> Overrides {
        let variable = |[cluster, namespace, service]: &[&str; 3]| {
            let name = format!("PARAM_OVERRIDE_awssb_{cluster}_{namespace}_{service}_VpcId");
            (name, format!("{cluster}/{namespace}/{service}"))
        };
        Overrides::read("awssb", levels.iter().map(variable))
    }

    #[test]
    fn of_two_levels_the_more_specific_one_counts_in_any_order() {
        for (more, specific) in LEVELS.iter().enumerate() {
            for less in &LEVELS[..more] {
                for levels in [[*less, *specific], [*specific, *less]] {
                    let found = overrides(&levels);
                    assert_eq!(
                        found.value(&at("c1", "shop"), "sqs", "VpcId"),
                        Some(specific.join("/").as_str()),
                        "{less:?}"
                    );
                }
            }
        }
    }

    #[rstest::rstest]
    #[case("c1", "shop", "sqs", "c1/shop/sqs")]
    #[case("c1", "shop", "sns", "c1/shop/all")]
    #[case("c2", "shop", "sqs", "all/shop/sqs")]
    #[case("c2", "shop", "sns", "all/shop/all")]
    #[case("c1", "other", "sqs", "c1/all/sqs")]
    #[case("c1", "other", "sns", "c1/all/all")]
    #[case("c2", "other", "sqs", "all/all/sqs")]
    #[case("c2", "other", "sns", "all/all/all")]
    fn an_override_is_for_the_places_and_services_that_it_names(
        #[case] cluster: &str,
        #[case] namespace: &str,
        #[case] service: &str,
        #[case] expected: &str,
    ) {
        let found = overrides(&LEVELS);
        assert_eq!(found.value(&at(cluster, namespace), service, "VpcId"), Some(expected));
        assert_eq!(found.value(&at(cluster, namespace), service, "Other"), None);
    }

    #[rstest::rstest]
    #[case("PARAM_OVERRIDE_awssb_all_all_all_target_role_name", "r", Some("target_role_name"))]
    #[case("PARAM_OVERRIDE_another_all_all_all_VpcId", "v", None)]
    #[case("PARAM_OVERRIDE_awssb_all_all_VpcId", "v", None)]
    #[case("PARAM_OVERRIDE_awssb_all_all_all_VpcId", "", None)]
    #[case("PATH", "/bin", None)]
    fn variables_of_other_brokers_and_empty_values_are_no_overrides(
        #[case] variable: &str,
        #[case] value: &str,
        #[case] parameter: Option<&str>,
    ) {
        let found = Overrides::read("awssb", [(variable.to_owned(), value.to_owned())]);
        assert_eq!(found.iter().map(|one| one.parameter.as_str()).next(), parameter);
    }

    #[test]
    fn only_what_is_for_all_places_is_prescribed() {
        let is_prescribed = |level| overrides(&[level]).is_prescribed("sqs", "VpcId");
        let prescribed: Vec<_> = LEVELS.into_iter().filter(|level| is_prescribed(*level)).collect();
        assert_eq!(prescribed, [[ALL, ALL, ALL], [ALL, ALL, "sqs"]]);
    }
}
