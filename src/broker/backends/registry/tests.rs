//! A backend type that only this file defines: configured from YAML, listed in the catalog, provisioned, bound and
//! swept.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use super::*;
use crate::{
    broker::{
        Broker, Timing,
        backends::fake::Fake,
        config::{LoadedConfig, Login, PartialSettings, PasswordSource, StoreKey},
        sweep_with,
    },
    osb::Service,
    telemetry::Metrics,
};

const CONFIG: &str = "
backends: {cloud: {type: cloud, region: north, limits: {concurrency: 2}}}
services:
  - {id: s, name: queue, type: queue, description: d, plans: [{id: p, name: small, description: d, backend: cloud, size: 1}]}
";

/// The settings of the backend.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    region: String,
}

/// The settings of a plan.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanFields {
    size: u32,
}

struct Cloud {
    fake: Fake,
    services: Vec<Service>,
}

#[async_trait]
impl Backend for Cloud {
    async fn services(&self) -> Result<Vec<Service>, ConfigError> {
        Ok(self.services.clone())
    }

    fn provider(&self, _installation: &str) -> Arc<dyn Provider> {
        Arc::new(self.fake.clone())
    }
}

/// A registry with the type `cloud`, which discovers `services` itself.
fn registry(fake: &Fake, services: &[Service]) -> Registry {
    let (fake, services) = (fake.clone(), services.to_vec());
    Registry::default().with("cloud", move |backend, plans| {
        let Fields { region } = backend.settings.parse()?;
        if region != "north" {
            return Err(ConfigError::invalid(backend.settings.at("region"), "is unknown; take north"));
        }
        for plan in plans {
            let PlanFields { size } = plan.settings.parse()?;
            assert_eq!((plan.service_type.as_str(), size), ("queue", 1));
        }
        Ok(Box::new(Cloud { fake: fake.clone(), services: services.clone() }))
    })
}

fn services(text: &str) -> ServiceSettings {
    LoadedConfig::from_yaml(text).unwrap().services
}

fn found(id: &str, name: &str) -> Service {
    let service = json!({"id": id, "name": name, "description": "d", "bindable": true,
        "plans": [{"id": format!("{id}-plan"), "name": "default", "description": "d"}]});
    serde_json::from_value(service).unwrap()
}

#[rstest::rstest]
#[case::of_the_backend("region: north", "region: 1", "backends.cloud.region")]
#[case::that_it_refuses("region: north", "region: west", "backends.cloud.region is unknown; take north")]
#[case::unknown("region: north", "regoin: north", "expected one of `region`, `type`, `limits`")]
#[case::of_a_plan("size: 1", "size: big", "services[0].plans[0].size")]
#[case::of_no_type(
    "type: cloud",
    "type: moon",
    "backends.cloud.type is \"moon\", which is unknown; take cloud"
)]
fn a_mistake_is_named_with_its_path(#[case] right: &str, #[case] wrong: &str, #[case] told: &str) {
    let services = services(&CONFIG.replace(right, wrong));
    let error = registry(&Fake::default(), &[]).configure(&services).err().unwrap().to_string();
    assert!(error.contains(told), "{error}");
}

#[tokio::test]
async fn a_backends_own_services_are_checked_like_the_configured_ones() {
    let services = services(CONFIG);
    let offered = async |found: Service| {
        let backends = registry(&Fake::default(), &[found]).configure(&services).unwrap();
        let offerings = backends.offerings(&services).await.map_err(|error| error.to_string())?;
        Ok::<_, String>(offerings.into_iter().map(|offering| offering.service.name).collect::<Vec<_>>())
    };
    assert_eq!(offered(found("t", "topic")).await.unwrap(), ["queue", "topic"]);
    let told = offered(found("t", "queue")).await.unwrap_err();
    assert!(told.contains("service name") && told.contains("twice"), "{told}");
    let told = offered(found("s", "topic")).await.unwrap_err();
    assert!(told.contains("service id") && told.contains("twice"), "{told}");
}

#[tokio::test]
async fn a_registered_type_is_catalogued_provisioned_and_swept() {
    let (folder, fake) = (tempfile::tempdir().unwrap(), Fake::default());
    let registry = registry(&fake, &[found("t", "topic")]);
    let open = async || {
        let caller = PartialSettings {
            auth: vec![Login::Basic {
                username: "u".to_owned(),
                password: PasswordSource::Given("p".into()),
            }],
            store: Some(format!("sqlite:{}", folder.path().join("db").display()).parse().unwrap()),
            store_key: Some(StoreKey::FileOrNew(folder.path().join("key"))),
            ..PartialSettings::default()
        };
        let config = LoadedConfig::from_yaml(CONFIG).unwrap().complete(caller).unwrap();
        let metrics = Arc::new(Metrics::new());
        let broker = Broker::open_with(config.clone(), metrics, Timing::default(), &registry).await.unwrap();
        (config, broker)
    };
    let (config, broker) = open().await;
    let catalog = ask(&broker, "GET", "/v2/catalog").await.1;
    let names: Vec<_> =
        catalog["services"].as_array().unwrap().iter().map(|service| &service["name"]).collect();
    assert_eq!(names, ["queue", "topic"]);
    assert_eq!(ask(&broker, "PUT", "/v2/service_instances/i").await.0, 201);
    let (status, bound) = ask(&broker, "PUT", "/v2/service_instances/i/service_bindings/b").await;
    assert_eq!(status, 201, "{bound}");
    let limits = registry.configure(&config.services).unwrap().limits();
    assert_eq!(limits[&"cloud".into()].concurrency.map(usize::from), Some(2));
    broker.drain().await;
    drop(broker);

    // Simulates the loss of all records.
    std::fs::remove_file(folder.path().join("db")).unwrap();
    let (config, broker) = open().await;
    broker.drain().await;
    drop(broker);
    let report = sweep_with(&config, &registry, &[], true).await.unwrap();
    let kinds: Vec<_> = report.leftover.iter().map(|(_, resource)| resource.kind.as_str()).collect();
    assert_eq!(kinds, ["database", "login", "owner role"], "in the backend's order");
    assert!(fake.resources().await.unwrap().is_empty());
}

/// Sends a request as the platform.
async fn ask(broker: &Broker, method: &str, path: &str) -> (u16, serde_json::Value) {
    use axum::{
        body::{Body, to_bytes},
        http::Request,
    };
    use tower::ServiceExt;

    let body = json!({"service_id": "s", "plan_id": "p", "organization_guid": "o", "space_guid": "s"});
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("X-Broker-API-Version", "2.17")
        .header("Authorization", "Basic dTpw")
        .header("Content-Type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap();
    let response = broker.router().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&to_bytes(response.into_body(), 1 << 20).await.unwrap()).unwrap())
}
