//! What seed 001 shows, with its manifest and its commands.

use serde_json::{Value, json};

use crate::ground::{Place, SERVER, example};

#[tokio::test]
async fn a_table_is_created_and_its_outputs_appear_as_in_the_seed() {
    let place = Place::alone().await;
    SERVER.set(&json!({"delay": 3}));
    place.kubectl(&["apply", "-f", "-"], &example("dynamodb.yaml")).unwrap();
    let created = place.is("dynamodb", "dynamo-table", "CREATE_IN_PROGRESS").await;
    assert_eq!(created["additionalResources"], json!({"configMaps": null}));
    assert_eq!(created["output"], json!({"tableARN": "", "tableName": ""}));
    let spec = &created["spec"];
    assert_eq!(spec["cloudFormationTemplateName"], "");
    assert_eq!((&spec["rollbackCount"], &spec["readCapacityUnits"]), (&json!(0), &json!(5)));
    let complete = place.is("dynamodb", "dynamo-table", "CREATE_COMPLETE").await;
    SERVER.reset();
    assert_eq!(complete["output"]["tableName"], "dynamo-table");
    assert_eq!(complete["additionalResources"]["configMaps"], json!(["dynamo-table"]));
    let id = complete["status"]["stackID"].as_str().unwrap();
    assert!(id.contains(&format!(":stack/{}/", place.stack_name("dynamodb", "dynamo-table"))), "{id}");
    let data = place.get("configmap", "dynamo-table").unwrap()["data"].clone();
    assert_eq!(data["tableARN"], complete["output"]["tableARN"]);
    assert_eq!((&data["tableName"], &data["region"]), (&json!("dynamo-table"), &json!("us-east-1")));
    let columns = place.kubectl(&["get", "ddb"], "").unwrap();
    assert!(columns.contains("STATUS") && columns.contains("CREATE_COMPLETE"), "{columns}");
    let events = place.kubectl(&["get", "events", "-o", "json"], "").unwrap();
    let events: Value = serde_json::from_str(&events).unwrap();
    let reasons: Vec<_> = events["items"].as_array().unwrap().iter().map(|event| &event["reason"]).collect();
    assert!(reasons.contains(&&json!("CREATE_COMPLETE")), "{reasons:?}");
    place.delete("dynamodb", "dynamo-table");
    place.gone("dynamodb", "dynamo-table").await;
    assert_eq!(place.stack("dynamodb", "dynamo-table").await, None);
}
