//! Message brokers of Amazon MQ: the emulator makes the stack, and a real RabbitMQ stands in for the one that AWS would
//! start.

use bindery_test_support::rabbitmq::RabbitMq;
use serde_json::{Value, json};

use crate::cloud::{Cloud, text};

const DEV: (&str, &str) = ("mq", "dev");

async fn with_server(server: &RabbitMq) -> Cloud {
    let cloud = Cloud::with(&format!("mqCaFile: {}", server.ca_file().display())).await;
    cloud.server.set(&json!({"message_broker": server.as_message_broker()}));
    cloud
}

fn access(level: &str) -> Value {
    json!({"access": level})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_is_a_user_of_the_message_broker() {
    let server = RabbitMq::start();
    let cloud = with_server(&server).await;
    cloud.provisioned(DEV, "shop", json!({"AccessCidr": "10.0.0.0/16"})).await;
    let bind = async |binding: &str, parameters: Value| {
        cloud.bound(DEV, "shop", binding, parameters).await["credentials"].clone()
    };
    let owner = bind("owner", json!({})).await;
    let (writer, reader) = (bind("writer", access("readwrite")).await, bind("reader", access("read")).await);
    assert_eq!(text(&owner, "AMQP_ENDPOINTS"), text(&server.as_message_broker(), "amqp"));
    assert_eq!(owner["ca.crt"], std::fs::read_to_string(server.ca_file()).unwrap());

    server.act(&owner, &["declare", "orders"]).unwrap();
    server.act(&writer, &["send", "orders", "7"]).unwrap();
    assert_eq!(server.act(&reader, &["receive", "orders"]).unwrap(), "7");
    for (credentials, action) in [
        (&reader, vec!["send", "orders", "8"]),
        (&reader, vec!["declare", "more"]),
        (&writer, vec!["declare", "more"]),
    ] {
        let error = server.act(credentials, &action).unwrap_err();
        assert!(error.contains("ACCESS_REFUSED"), "{action:?}: {error}");
    }
    // The users of bindings have no part in the management of the server.
    let users = server.ask("GET", "/api/users", None).1;
    let master = users.as_array().unwrap().iter().find(|user| user["name"] == "master").unwrap();
    assert_eq!(master["tags"], json!(["administrator"]));
    let is_of_binding = |user: &&Value| text(user, "name").starts_with("bindery-");
    let of_bindings: Vec<_> = users.as_array().unwrap().iter().filter(is_of_binding).collect();
    assert_eq!(of_bindings.len(), 3, "{users}");
    for user in of_bindings {
        let tags: Vec<_> = user["tags"].as_array().unwrap().iter().map(|tag| tag.as_str().unwrap()).collect();
        assert!(tags.len() == 1 && tags[0].starts_with("bindery-"), "{user}");
    }

    let held = server.hold(&writer);
    assert_eq!(cloud.unbind(DEV, "shop", "writer").await.0, 200);
    let reason = held.closed();
    assert!(reason.contains("is deleted"), "{reason}");
    let error = server.act(&writer, &["send", "orders", "9"]).unwrap_err();
    assert!(error.contains("Login was refused"), "not after unbind: {error}");
    server.act(&owner, &["send", "orders", "9"]).unwrap();

    assert_eq!(cloud.update(DEV, "shop", json!({"InstanceType": "mq.m7g.large"})).await.0, 202);
    assert_eq!(cloud.ended("shop").await.0, "succeeded");
    cloud.deprovisioned(DEV, "shop").await;
    assert_eq!(cloud.leftovers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_bound_is_told_and_leaves_the_users_of_others_alone() {
    let server = RabbitMq::start();
    let cloud = with_server(&server).await;
    cloud.provisioned(DEV, "shop", json!({"AccessCidr": "10.0.0.0/16"})).await;
    let first = cloud.bound(DEV, "shop", "b", json!({})).await["credentials"].clone();
    assert_eq!(cloud.unbind(DEV, "shop", "b").await.0, 200);
    // The user is gone, or somebody else has one of this name.
    assert_eq!(cloud.unbind(DEV, "shop", "b").await.0, 410);
    let path = format!("/api/users/{}", text(&first, "username"));
    let foreign = json!({"password": "of-somebody-else", "tags": "monitoring"});
    assert_eq!(server.ask("PUT", &path, Some(&foreign)).0, 201);
    let (status, body) = cloud.bind(DEV, "shop", "b", json!({})).await;
    assert_eq!(status, 500, "{body}");
    assert!(text(&body, "description").contains("does not carry this installation's mark"), "{body}");
    assert_eq!(server.ask("GET", &path, None).1["tags"], json!(["monitoring"]));

    let wrong = json!({"password": "changed-by-hand", "tags": "administrator"});
    assert_eq!(server.ask("PUT", "/api/users/master", Some(&wrong)).0, 204);
    let (status, body) = cloud.bind(DEV, "shop", "refused", json!({})).await;
    assert_eq!(status, 500, "{body}");
    assert!(text(&body, "description").contains("not set up"), "{body}");
    server.stop();
    let (status, body) = cloud.bind(DEV, "shop", "away", json!({})).await;
    assert_eq!(status, 500, "{body}");
    assert!(text(&body, "description").contains("message broker cannot be used at present"), "{body}");

    for (parameters, named) in [
        (json!({"AccessCidr": "10.0.0.0/16", "EngineVersion": "5.15.9"}), "EngineVersion"),
        (json!({"AccessCidr": "10.0.0.0/16", "Password": "mine"}), "Secrets Manager"),
        (json!({"AccessCidr": "10.0.0.0/16", "AuditLog": "true"}), "audit log"),
    ] {
        let (status, body) = cloud.provision(DEV, "refused", parameters).await;
        assert_eq!(status, 400, "{body}");
        assert!(text(&body, "description").contains(named), "{body}");
    }
}
