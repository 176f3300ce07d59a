//! Compares the tables of `docs/service-catalog.md` with the fields of the custom resource definitions.

use std::collections::BTreeSet;

use bindery::catalog::crds;

use crate::pages::read;

/// The kinds that each section describes.
const SECTIONS: [(&str, &[&str]); 5] = [
    ("## Brokers", &["ClusterServiceBroker", "ServiceBroker"]),
    ("## Classes", &["ClusterServiceClass", "ServiceClass"]),
    ("## Plans", &["ClusterServicePlan", "ServicePlan"]),
    ("## Instances", &["ServiceInstance"]),
    ("## Bindings", &["ServiceBinding"]),
];

#[test]
fn every_field_of_the_service_catalog_api_is_described() {
    let text = read("docs/service-catalog.md");
    for (heading, kinds) in SECTIONS {
        let section = text.split("\n## ").find(|section| heading.ends_with(section.lines().next().unwrap()));
        assert_eq!(described(section.unwrap()), fields(kinds), "{heading}");
    }
}

/// The fields that the first columns of a section's tables name.
fn described(section: &str) -> BTreeSet<String> {
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    let names = cells.flat_map(|cell| cell.split("`, `").map(|name| name.trim_end_matches('`').to_owned()));
    names.filter(|name| name.starts_with("spec.") || name.starts_with("status.")).collect()
}

/// The fields of `spec` and `status` of these kinds.
fn fields(kinds: &[&str]) -> BTreeSet<String> {
    let mut fields = BTreeSet::new();
    for crd in crds().iter().filter(|crd| kinds.contains(&crd.spec.names.kind.as_str())) {
        let schema = crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
        for part in ["spec", "status"] {
            let properties = schema.properties.as_ref().unwrap()[part].properties.as_ref().unwrap();
            fields.extend(properties.keys().map(|name| format!("{part}.{name}")));
        }
    }
    fields
}
