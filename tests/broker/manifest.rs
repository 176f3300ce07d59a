//! `examples/cockroachdb/servicebroker.yaml`: the broker of its Deployment, started with its arguments and variables.
//! Only the addresses and the paths differ.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::postgres::Postgres;

/// Where the manifest mounts the certificates and the records.
const MOUNTS: [&str; 2] = ["/cockroach-certs", "/var/lib/bindery"];

fn container() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/cockroachdb/servicebroker.yaml");
    // The lists end where their key begins, which kubectl's parser accepts and YAML does not.
    let text = std::fs::read_to_string(path).unwrap().replace("\n            ]'", "\n              ]'");
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let deployment = documents.iter().find(|document| document["kind"] == "Deployment").unwrap();
    let pod = &deployment["spec"]["template"]["spec"];
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    assert!(mounts.iter().all(|mount| MOUNTS.contains(&mount["mountPath"].as_str().unwrap())), "{mounts:?}");
    pod["containers"][0].clone()
}

/// A process that ends with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn ask(address: &str, method: reqwest::Method, path: &str, body: &Value) -> (u16, Value) {
    let request = reqwest::Client::new().request(method, format!("http://{address}/v2/{path}"));
    let request = request.basic_auth("user", Some("pass")).header("X-Broker-API-Version", "2.13");
    match request.json(body).send().await {
        Ok(answer) => (answer.status().as_u16(), answer.json().await.unwrap()),
        Err(error) => (0, Value::String(error.to_string())),
    }
}

#[tokio::test]
async fn the_deployment_of_the_manifest_provisions_and_binds() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = Postgres::start("127.0.0.1", &["localhost"]);
    server.psql("CREATE ROLE root LOGIN CREATEDB CREATEROLE");
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let ca = server.want_certificates_of_all();
    Postgres::client_certificate(&ca, "root", &at("client.root.crt"), &at("client.root.key"));
    std::fs::copy(server.ca_file(), at("ca.crt")).unwrap();

    let container = container();
    let here = |text: &Value| {
        let text = MOUNTS.iter().fold(text.as_str().unwrap().to_owned(), |text, mount| {
            text.replace(mount, folder.path().to_str().unwrap())
        });
        let host = text.replace("cockroachdb-public.default.svc.cluster.local", "localhost");
        host.replace("26257", &server.port().to_string())
    };
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bindery"));
    command.args(container["args"].as_array().unwrap().iter().map(here));
    command.args(["--listen", &address, "--listen-ops", "127.0.0.1:0"]);
    for variable in container["env"].as_array().unwrap() {
        command.env(variable["name"].as_str().unwrap(), here(&variable["value"]));
    }
    let mut running = Running(command.spawn().unwrap());
    let deadline = Instant::now() + Duration::from_mins(1);
    let catalog = loop {
        let (status, catalog) = ask(&address, reqwest::Method::GET, "catalog", &Value::Null).await;
        if status == 200 {
            break catalog;
        }
        assert!(running.0.try_wait().unwrap().is_none() && Instant::now() < deadline, "{catalog}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let (service, plan) = (&catalog["services"][0], &catalog["services"][0]["plans"][0]);
    assert_eq!((&service["name"], &plan["name"]), (&json!("cockroachdb"), &json!("default")));
    let ids = json!({"service_id": service["id"], "plan_id": plan["id"], "organization_guid": "o", "space_guid": "s"});
    let put = async |path: &str| ask(&address, reqwest::Method::PUT, path, &ids).await;
    let (status, body) = put("service_instances/mydb01").await;
    assert_eq!(status, 201, "{body}");
    let (status, body) = put("service_instances/mydb01/service_bindings/mydb01-binding").await;
    assert_eq!(status, 201, "{body}");
    assert!(
        body["credentials"]["uri"].as_str().unwrap().starts_with("postgres"),
        "the credentials have a URL"
    );
}
