//! The table: created if it does not exist, and rejected if its schema is unknown. The one item that belongs to no
//! instance holds the schema's version, the installation's id and the freeze.

use std::time::Duration;

use aws_sdk_dynamodb::{
    error::BuildError,
    operation::{
        create_table::{CreateTableError, builders::CreateTableFluentBuilder},
        describe_table::DescribeTableError,
    },
    types::{
        AttributeDefinition, BillingMode, GlobalSecondaryIndex, GlobalSecondaryIndexDescription, IndexStatus,
        KeySchemaElement, KeyType, Projection, ProjectionType, ReturnValue, ScalarAttributeType,
        TableDescription, TableStatus,
    },
};
use tokio::time::{Instant, sleep};

use super::{
    DynamoDb, error,
    items::{ENDED_AT, OUTSTANDING, PK, Place, SK, count, number, string, text},
};
use crate::broker::store::StoreError;

/// The version of the items' schema. A bindery that changes the schema upgrades an older table when it opens the
/// table, version by version, with a conditional write of each number.
const SCHEMA: u64 = 2;
/// The schema before the first release. Its index projects another attribute, and an index cannot be changed.
const BEFORE_RELEASE: u64 = 1;
const PROJECTED_BEFORE_RELEASE: &str = "buried_at";
const SCHEMA_VERSION: &str = "schema_version";
pub(super) const INSTALLATION: &str = "installation";

/// AWS usually creates a table within seconds.
const READY_WITHIN: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(500);

impl DynamoDb {
    /// Creates the table if it does not exist, and checks its schema.
    pub(super) async fn prepare(&self) -> Result<(), StoreError> {
        let mut table = self.describe().await?;
        if table.is_none() {
            self.create().await?;
        }
        let deadline = Instant::now() + READY_WITHIN;
        let table = loop {
            match table {
                Some(table) if is_ready(&table) => break table,
                _ if Instant::now() > deadline => {
                    return Err(self.failed("the table is not ready; see its status in the AWS console"));
                }
                // AWS may not list a table that was just created.
                _ => sleep(POLL).await,
            }
            table = self.describe().await?;
        };
        self.check(&table)?;
        self.mark().await?;
        Ok(())
    }

    /// Whether a broker has prepared the table; checks the schema if so.
    pub(super) async fn is_prepared(&self) -> Result<bool, StoreError> {
        let Some(table) = self.describe().await? else { return Ok(false) };
        self.check(&table)?;
        let Some(meta) = self.get(&Place::meta()).await? else { return Ok(false) };
        self.check_version(count(&meta, SCHEMA_VERSION))?;
        Ok(true)
    }

    pub(super) async fn describe(&self) -> Result<Option<TableDescription>, StoreError> {
        match self.client.describe_table().table_name(&*self.table).send().await {
            Ok(described) => Ok(described.table),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(DescribeTableError::is_resource_not_found_exception) =>
            {
                Ok(None)
            }
            Err(error) => Err(self.refused(&error)),
        }
    }

    async fn create(&self) -> Result<(), StoreError> {
        let create = self.client.create_table().table_name(&*self.table);
        let create = define(create, ENDED_AT).map_err(|error| self.failed(error.to_string()))?;
        match create.send().await {
            Ok(_) => Ok(()),
            // Another broker created the table first.
            Err(error)
                if error.as_service_error().is_some_and(CreateTableError::is_resource_in_use_exception) =>
            {
                Ok(())
            }
            Err(error) => Err(self.refused(&error)),
        }
    }

    fn check(&self, table: &TableDescription) -> Result<(), StoreError> {
        let types = table.attribute_definitions();
        let is_string = |name: &str| {
            types.iter().any(|definition| {
                definition.attribute_name() == name && *definition.attribute_type() == ScalarAttributeType::S
            })
        };
        let keyed = are_keys(table.key_schema(), &[(PK, &KeyType::Hash), (SK, &KeyType::Range)]);
        let indexes = table.global_secondary_indexes();
        let is_current = |index: &_| is_outstanding(index, ENDED_AT);
        if !indexes.iter().any(is_current)
            && indexes.iter().any(|index| is_outstanding(index, PROJECTED_BEFORE_RELEASE))
        {
            return Err(self.other_version(BEFORE_RELEASE));
        }
        let indexed = indexes.iter().any(is_current);
        if keyed && indexed && [PK, SK, OUTSTANDING].into_iter().all(is_string) {
            return Ok(());
        }
        Err(self.failed(format!(
            "the table was not made by bindery: it needs the string keys `{PK}` (partition) and `{SK}` (sort), and the global \
             secondary index `{OUTSTANDING}` (partition key `{OUTSTANDING}`, a string; projecting `{ENDED_AT}`); name another \
             table, or make it as docs/stores-dynamodb.md says"
        )))
    }

    /// Writes the schema's version into a new table; reads the version of an existing one.
    async fn mark(&self) -> Result<(), StoreError> {
        if let Some(meta) = self.get(&Place::meta()).await? {
            return self.check_version(count(&meta, SCHEMA_VERSION));
        }
        let put = self.client.put_item().table_name(&*self.table).set_item(Some(Place::meta().key()));
        let put = put
            .item(SCHEMA_VERSION, number(SCHEMA))
            .condition_expression(format!("attribute_not_exists({PK})"));
        let put = error::conditional(|| put.clone().send()).await;
        if put.map_err(|error| self.refused(&error))?.is_some() {
            return Ok(());
        }
        // Another broker was first, or the answer to an earlier attempt was lost.
        let meta = self.get(&Place::meta()).await?;
        self.check_version(meta.and_then(|meta| count(&meta, SCHEMA_VERSION)))
    }

    fn check_version(&self, found: Option<u64>) -> Result<(), StoreError> {
        match found {
            Some(SCHEMA) => Ok(()),
            Some(found) => Err(self.other_version(found)),
            None => Err(self.failed(format!(
                "the item `meta` has no number `{SCHEMA_VERSION}`; restore the table, see docs/restore.md"
            ))),
        }
    }

    fn other_version(&self, found: u64) -> StoreError {
        let remedy = if found == BEFORE_RELEASE {
            "it cannot be taken over: delete its instances with the bindery that wrote it, then name another table"
        } else {
            "run the newer bindery that wrote it, or name another table"
        };
        StoreError::OtherVersion {
            store: self.name.to_string(),
            found: i64::try_from(found).unwrap_or(i64::MAX),
            known: SCHEMA.cast_signed(),
            remedy,
        }
    }

    pub(super) async fn record_installation(&self, proposed: &str) -> Result<String, StoreError> {
        let update = self.client.update_item().table_name(&*self.table).set_key(Some(Place::meta().key()));
        let updated = update
            .update_expression(format!("SET {INSTALLATION} = if_not_exists({INSTALLATION}, :proposed)"))
            .condition_expression(format!("attribute_exists({PK})"))
            .expression_attribute_values(":proposed", string(proposed))
            .return_values(ReturnValue::AllNew)
            .send()
            .await
            .map_err(|error| self.refused(&error))?;
        let id = updated.attributes().and_then(|meta| text(meta, INSTALLATION));
        id.map(ToOwned::to_owned).ok_or_else(|| {
            self.failed(format!(
                "the item `meta` has no text `{INSTALLATION}`; restore the table, see docs/restore.md"
            ))
        })
    }
}

/// The definition of the table; docs/stores-dynamodb.md repeats it.
pub(super) fn define(
    create: CreateTableFluentBuilder,
    projected: &str,
) -> Result<CreateTableFluentBuilder, BuildError> {
    let mut create = create.billing_mode(BillingMode::PayPerRequest);
    for name in [PK, SK, OUTSTANDING] {
        let definition = AttributeDefinition::builder().attribute_name(name);
        create = create.attribute_definitions(definition.attribute_type(ScalarAttributeType::S).build()?);
    }
    let key = |name: &str, of: KeyType| KeySchemaElement::builder().attribute_name(name).key_type(of).build();
    let projection =
        Projection::builder().projection_type(ProjectionType::Include).non_key_attributes(projected).build();
    let index = GlobalSecondaryIndex::builder()
        .index_name(OUTSTANDING)
        .key_schema(key(OUTSTANDING, KeyType::Hash)?)
        .projection(projection)
        .build()?;
    Ok(create
        .key_schema(key(PK, KeyType::Hash)?)
        .key_schema(key(SK, KeyType::Range)?)
        .global_secondary_indexes(index))
}

fn is_ready(table: &TableDescription) -> bool {
    let indexed = table
        .global_secondary_indexes()
        .iter()
        .all(|index| matches!(index.index_status(), Some(IndexStatus::Active | IndexStatus::Updating)));
    matches!(table.table_status(), Some(TableStatus::Active | TableStatus::Updating)) && indexed
}

/// Whether the index holds outstanding items and projects this attribute.
fn is_outstanding(index: &GlobalSecondaryIndexDescription, attribute: &str) -> bool {
    let projected = index.projection().is_some_and(|projection| {
        projection.projection_type() == Some(&ProjectionType::All)
            || projection.non_key_attributes().iter().any(|name| name == attribute)
    });
    index.index_name() == Some(OUTSTANDING)
        && are_keys(index.key_schema(), &[(OUTSTANDING, &KeyType::Hash)])
        && projected
}

fn are_keys(schema: &[KeySchemaElement], expected: &[(&str, &KeyType)]) -> bool {
    schema.iter().map(|key| (key.attribute_name(), key.key_type())).eq(expected.iter().copied())
}
