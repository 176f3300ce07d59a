//! A binding's credentials: the well-known keys of the Service Binding specification, `virtual-host` as Spring Cloud Bindings
//! names it, and a URI (<https://www.rabbitmq.com/docs/uri-spec>).

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::osb::{Credentials, Object};

/// The credentials of a user at this address. Clients need the CA only if the system does not know it.
pub(super) fn credentials(
    amqp: &Url,
    virtual_host: &str,
    user: &str,
    password: &SecretString,
    ca: Option<&str>,
) -> Credentials {
    let password = password.expose_secret();
    let host = amqp.host_str().unwrap_or_default();
    let port = amqp.port().map_or_else(String::new, |port| port.to_string());
    let path = utf8_percent_encode(virtual_host, NON_ALPHANUMERIC);
    let keys = [
        ("type", "rabbitmq".to_owned()),
        ("provider", "bindery".to_owned()),
        ("host", host.trim_start_matches('[').trim_end_matches(']').to_owned()),
        ("port", port.clone()),
        ("virtual-host", virtual_host.to_owned()),
        ("username", user.to_owned()),
        ("password", password.to_owned()),
        ("uri", format!("amqps://{user}:{password}@{host}:{port}/{path}")),
    ];
    let ca = ca.map(|ca| ("ca.crt", ca.to_owned()));
    keys.into_iter().chain(ca).map(|(key, value)| (key.to_owned(), value.into())).collect::<Object>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_those_of_the_binding_specification_and_a_uri() {
        let amqp = Url::parse("amqps://b-1.mq.eu-west-1.amazonaws.com:5671").unwrap();
        let shown = credentials(&amqp, "/", "u", &"pw".into(), None);
        assert_eq!(
            serde_json::to_value(shown).unwrap(),
            serde_json::json!({
                "type": "rabbitmq", "provider": "bindery", "host": "b-1.mq.eu-west-1.amazonaws.com", "port": "5671",
                "virtual-host": "/", "username": "u", "password": "pw",
                "uri": "amqps://u:pw@b-1.mq.eu-west-1.amazonaws.com:5671/%2F",
            })
        );
        let amqp = Url::parse("amqps://[::1]:5671").unwrap();
        let shown = credentials(&amqp, "/", "u", &"pw".into(), Some("PEM"));
        assert_eq!(shown.expose()["host"], "::1");
        assert_eq!(shown.expose()["uri"], "amqps://u:pw@[::1]:5671/%2F");
        assert_eq!(shown.expose()["ca.crt"], "PEM");
    }
}
