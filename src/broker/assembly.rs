//! The parts of a broker, a sweep and a restore: the configured store, and a provider for each backend.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Backends, BrokerError, Providers,
    store::{
        Store,
        dynamodb::DynamoDb,
        lock::StoreLock,
        postgres::{self, Postgres},
        sqlite::Sqlite,
    },
};
use crate::{
    broker::config::{BrokerConfig, BrokerSettings, Offering, StoreUrl},
    osb::Object,
};

/// How long a broker that drains, as in a rolling restart, may keep the store locked.
const PREDECESSOR_ENDS: Duration = Duration::from_secs(30);

/// The parts that a broker and a sweep share.
pub(super) struct Parts {
    pub(super) store: Arc<dyn Store>,
    pub(super) providers: Providers,
}

impl Parts {
    /// Opens the parts of a broker; creates the store if needed.
    pub(super) async fn open(config: &BrokerConfig, backends: &Backends) -> Result<Self, BrokerError> {
        let store = open(&config.settings).await?;
        let proposed = config.settings.installation.clone().unwrap_or_else(|| Uuid::new_v4().to_string());
        let recorded = store.installation(&proposed).await?;
        Self::of(config, store, &recorded, backends)
    }

    /// Opens the parts of a sweep: the store must exist and is opened read-only.
    pub(super) async fn open_existing(
        config: &BrokerConfig,
        backends: &Backends,
        delete: bool,
    ) -> Result<Self, BrokerError> {
        let no_store = || BrokerError::NoStore { store: config.settings.store.to_string() };
        let store = open_existing(&config.settings, delete).await?.ok_or_else(no_store)?;
        let recorded = store.recorded_installation().await?.ok_or_else(no_store)?;
        Self::of(config, store, &recorded, backends)
    }

    fn of(
        config: &BrokerConfig,
        store: Arc<dyn Store>,
        recorded: &str,
        backends: &Backends,
    ) -> Result<Self, BrokerError> {
        match &config.settings.installation {
            Some(configured) if *configured != *recorded => {
                let (recorded, configured) = (recorded.to_owned(), configured.clone());
                return Err(BrokerError::OtherInstallation { recorded, configured });
            }
            _ => {}
        }
        Ok(Self { store, providers: backends.providers(recorded) })
    }
}

/// Locks a store that supports only one process.
pub(super) async fn lock(config: &BrokerConfig) -> Result<Option<StoreLock>, BrokerError> {
    match &config.settings.store {
        StoreUrl::Sqlite(path) => Ok(Some(StoreLock::take(path, PREDECESSOR_ENDS).await?)),
        StoreUrl::Postgres(_) | StoreUrl::DynamoDb(_) => Ok(None),
    }
}

/// Adds the providers' variables and schemas to offerings that configure none.
pub(super) fn described(mut offerings: Vec<Offering>, providers: &Providers) -> Vec<Offering> {
    for Offering { service, plans, .. } in &mut offerings {
        let variables = plans.iter().map(|(id, backing)| {
            providers.get(&backing.backend).map_or(&[][..], |provider| provider.variables(id))
        });
        if let Some(variables) = variables.into_iter().find(|variables| !variables.is_empty()) {
            publish(variables, service.metadata.get_or_insert_default());
        }
        for plan in service.plans.iter_mut().filter(|plan| plan.schemas.is_none()) {
            let provider = plans.get(&plan.id).and_then(|backing| providers.get(&backing.backend));
            plan.schemas = provider.and_then(|provider| provider.schemas(&plan.id));
        }
    }
    offerings
}

/// Publishes the environment variables of a service's bindings in its metadata, unless the metadata already names
/// some.
fn publish(variables: &[(&str, &str)], metadata: &mut Object) {
    let bindery = metadata.entry("bindery").or_insert_with(|| json!({}));
    if let Value::Object(bindery) = bindery
        && bindery.get("env").is_none_or(Value::is_null)
    {
        let names: Object = variables.iter().map(|&(name, key)| (name.to_owned(), key.into())).collect();
        bindery.insert("env".to_owned(), names.into());
    }
}

/// Opens the store; creates or upgrades it if needed.
async fn open(settings: &BrokerSettings) -> Result<Arc<dyn Store>, BrokerError> {
    Ok(match &settings.store {
        StoreUrl::Sqlite(path) => Arc::new(Sqlite::open(path)?),
        StoreUrl::Postgres(url) => {
            let address = postgres::Address::parse(url, settings.store_password.clone())?;
            Arc::new(Box::pin(Postgres::open(address)).await?)
        }
        StoreUrl::DynamoDb(table) => Arc::new(Box::pin(DynamoDb::open(table)).await?),
    })
}

/// Opens an existing store; creates and migrates nothing, and is read-only unless `writable`. `None` if the store does
/// not exist.
async fn open_existing(
    settings: &BrokerSettings,
    writable: bool,
) -> Result<Option<Arc<dyn Store>>, BrokerError> {
    Ok(match &settings.store {
        StoreUrl::Sqlite(path) if !path.exists() => None,
        StoreUrl::Sqlite(path) => Some(Arc::new(Sqlite::open_existing(path, writable)?)),
        StoreUrl::Postgres(url) => {
            let address = postgres::Address::parse(url, settings.store_password.clone())?;
            Some(Arc::new(Box::pin(Postgres::open_existing(address, writable)).await?))
        }
        // DynamoDB has no read-only mode; the callers write nothing but a freeze.
        StoreUrl::DynamoDb(table) => match Box::pin(DynamoDb::open_existing(table)).await? {
            Some(store) => Some(Arc::new(store)),
            None => None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{Registry, config::LoadedConfig};

    /// For each kind of service: a plan with every setting, a plan with none, and a plan with its own schema.
    const CONFIG: &str = r#"
backends:
  pg: {type: postgresql, host: h, port: 1, user: u, sslmode: require}
  my: {type: mysql, host: h, port: 2, user: u, sslmode: require}
services:
  - id: c
    name: cockroachdb
    type: cockroachdb
    description: d
    plans:
      - {name: plain, description: d, backend: pg}
      - {name: full, description: d, backend: pg, database: {encodings: [UTF8], validFor: {default: 1h, maximum: 30d}}}
      - name: own
        description: d
        backend: pg
        schemas:
          service_binding:
            create: {parameters: {$schema: "http://json-schema.org/draft-04/schema#", type: object}}
  - id: p
    name: postgresql
    type: postgresql
    description: d
    plans:
      - name: full
        description: d
        backend: pg
        database:
          access: {default: readonly, allowed: [readonly, readwrite]}
          reclaimPolicy: {default: retain}
          encodings: [UTF8, LATIN1]
          extensions: [hstore, pgcrypto]
          templates: {demo: demo_data}
          validFor: {default: 1h, maximum: 30d}
          credentials: password
  - id: m
    name: mysql
    type: mysql
    description: d
    plans:
      - {name: full, description: d, backend: my, database: {encodings: [utf8mb4], access: {default: owner}}}
"#;

    fn published() -> Vec<(String, Value)> {
        let config = LoadedConfig::from_yaml(CONFIG).unwrap().services;
        let backends = Registry::builtin().configure(&config).unwrap();
        let offerings = described(config.offerings, &backends.providers("i"));
        let plans = offerings.iter().flat_map(|offering| &offering.service.plans);
        let mut found = Vec::new();
        for plan in plans {
            let schemas =
                plan.schemas.as_ref().unwrap_or_else(|| panic!("plan {} has no schemas", plan.name));
            for (what, actions) in schemas.as_object().unwrap() {
                for (action, schema) in actions.as_object().unwrap() {
                    found.push((format!("{} {what}.{action}", plan.name), schema["parameters"].clone()));
                }
            }
        }
        found
    }

    /// The rules that Cloud Foundry's controller applies to each schema of a catalog (`catalog_schemas.rb`,
    /// `schema.rb`).
    #[test]
    fn every_published_schema_is_one_that_every_platform_takes() {
        let published = published();
        assert_eq!(published.len(), 4 * 3 + 1);
        for (name, schema) in published {
            assert_eq!(schema["$schema"], "http://json-schema.org/draft-04/schema#", "{name}");
            assert_eq!(schema["type"], "object", "{name}");
            assert!(schema.to_string().len() <= 65_536, "{name}");
            assert!(!schema.to_string().contains("$ref"), "{name}");
            jsonschema::draft4::meta::validate(&schema).unwrap_or_else(|error| panic!("{name}: {error}"));
            for property in schema["properties"].as_object().unwrap_or(&serde_json::Map::new()).values() {
                let values = property.get("enum").and_then(Value::as_array).cloned().unwrap_or_default();
                let distinct: std::collections::HashSet<_> = values.iter().map(Value::to_string).collect();
                assert_eq!(distinct.len(), values.len(), "{name}");
            }
            let validator = jsonschema::draft4::new(&schema).unwrap();
            assert!(validator.is_valid(&json!({})) && !validator.is_valid(&json!([])), "{name}");
        }
    }

    #[test]
    fn a_generated_schema_that_is_too_large_is_reported_when_the_configuration_is_read() {
        let many: Vec<_> = (0..9000).map(|number| format!("extension_{number}")).collect();
        let text =
            CONFIG.replace("extensions: [hstore, pgcrypto]", &format!("extensions: [{}]", many.join(", ")));
        let config = LoadedConfig::from_yaml(&text).unwrap().services;
        let error = Registry::builtin().configure(&config).err().unwrap().to_string();
        let told = "services[1].plans[0].database gives a schema that cannot be published";
        assert!(error.contains(told) && error.contains("65536"), "{error}");
    }

    #[rstest::rstest]
    #[case::nothing(json!({}), json!({"bindery": {"env": {"DATABASE_URL": "uri"}}}))]
    #[case::other_metadata(json!({"displayName": "d"}), json!({"displayName": "d", "bindery": {"env": {"DATABASE_URL": "uri"}}}))]
    #[case::null(json!({"bindery": {"env": null}}), json!({"bindery": {"env": {"DATABASE_URL": "uri"}}}))]
    #[case::names_of_the_operator(json!({"bindery": {"env": "DB=uri"}}), json!({"bindery": {"env": "DB=uri"}}))]
    #[case::no_names_by_will_of_the_operator(json!({"bindery": {"env": {}}}), json!({"bindery": {"env": {}}}))]
    #[case::another_meaning_of_the_word(json!({"bindery": "mine"}), json!({"bindery": "mine"}))]
    fn the_configuration_names_the_variables_before_the_provider(
        #[case] configured: Value,
        #[case] published: Value,
    ) {
        let mut metadata = configured.as_object().unwrap().clone();
        publish(&[("DATABASE_URL", "uri")], &mut metadata);
        assert_eq!(Value::from(metadata), published);
    }

    #[tokio::test]
    async fn each_type_of_service_publishes_its_variables() {
        let config = LoadedConfig::from_yaml(
            "backends:\n  pg: {type: postgresql, host: h, port: 1, user: u, sslmode: require}\n  my: {type: mysql, host: h, port: 1, user: u, sslmode: require}\n\
             services:\n\
             - {id: a, name: roaches, type: cockroachdb, description: d, plans: [{name: p, description: d, backend: pg}]}\n\
             - {id: b, name: orders-db, type: postgresql, description: d, plans: [{name: p, description: d, backend: pg}]}\n\
             - {id: c, name: cockroachdb, type: mysql, description: d, plans: [{name: p, description: d, backend: my}]}\n\
             - {id: d, name: own, type: mysql, description: d, metadata: {bindery: {env: {DB: host}}}, plans: [{name: p, description: d, backend: my}]}\n",
        )
        .unwrap();
        let providers = Registry::builtin().configure(&config.services).unwrap().providers("tests");
        let published = described(config.services.offerings, &providers);
        let names = published.iter().map(|offering| {
            let env = &offering.service.metadata.as_ref().unwrap()["bindery"]["env"];
            (offering.service.id.as_str().to_owned(), env.clone())
        });
        let url = json!({"DATABASE_URL": "uri"});
        let expected = [
            ("a", json!({"COCKROACH_URL": "uri"})),
            ("b", url.clone()),
            ("c", url),
            ("d", json!({"DB": "host"})),
        ];
        assert_eq!(names.collect::<Vec<_>>(), expected.map(|(id, env)| (id.to_owned(), env)));
    }
}
