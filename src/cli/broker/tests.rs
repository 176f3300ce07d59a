//! The files that the command line names, and the errors at start when they cannot be used.

use clap::Parser;

use super::*;

#[derive(Debug, clap::Parser)]
struct Command {
    #[command(flatten)]
    args: BrokerArgs,
}

fn parse(options: &[&str]) -> Result<BrokerArgs, clap::Error> {
    Command::try_parse_from(["broker"].iter().chain(options)).map(|command| command.args)
}

#[test]
fn certificate_and_key_belong_together() {
    for half in [["--tls-cert", "c"], ["--tls-key", "k"], ["--tls-client-ca", "a"]] {
        assert!(parse(&half).is_err(), "{half:?}");
    }
    assert!(parse(&[]).unwrap().tls.files().is_none());
    let all = parse(&["--tls-cert", "c", "--tls-key", "k", "--tls-client-ca", "a"]).unwrap();
    let files = TlsFiles { certificate: "c".into(), key: "k".into(), client_ca: Some("a".into()) };
    assert_eq!(all.tls.files(), Some(files));
}

#[test]
fn the_password_of_a_store_is_not_shown() {
    let args = parse(&["--store", "postgres://u:s3cret@h/d"]).unwrap();
    assert!(!format!("{args:?}").contains("s3cret"), "{args:?}");
}

#[tokio::test]
async fn unusable_files_are_named_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let at = |file: &str| folder.path().join(file);
    let open = async |client_ca: Option<PathBuf>| {
        let files = TlsFiles { certificate: at("c.pem"), key: at("k.pem"), client_ca };
        Tls::open(files, Arc::new(Metrics::new()), Readiness::default())
            .await
            .err()
            .map_or_else(String::new, |error| format!("{error:#}"))
    };
    assert!(open(None).await.contains("c.pem"));
    assert!(open(Some(at("a.pem"))).await.contains("a.pem"));
    let made =
        crate::server::pki::ServingCertificate::generate(&["h".to_owned()], jiff::Timestamp::now()).unwrap();
    std::fs::write(at("c.pem"), &made.leaf.certificate).unwrap();
    assert!(open(None).await.contains("k.pem"));
    std::fs::write(at("k.pem"), secrecy::ExposeSecret::expose_secret(&made.leaf.key)).unwrap();
    assert_eq!(open(None).await, "");
}
