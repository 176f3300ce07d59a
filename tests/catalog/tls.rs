//! Brokers whose TLS is wrong: the condition says what is wrong and what mends it, and the mended broker is read.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::{
    broker::{Authority, Broker, Tls},
    harness::Place,
};

/// A broker with wrong TLS.
struct Case {
    broker: Broker,
    /// What the registration has beside the URL.
    spec: Value,
    /// What the message contains.
    says: [&'static str; 2],
    /// What mends the registration.
    mend: Value,
}

impl Case {
    fn new(tls: Tls, spec: Value, says: [&'static str; 2], mend: Value) -> Self {
        Self { broker: Broker::start_with(tls), spec, says, mend }
    }

    /// Registers the broker, reads the condition, mends the registration, and waits until the catalog is read.
    async fn play(self, place: &mut Place) {
        place.broker = self.broker;
        place.register(self.spec).await;
        let message = place.broker_is("ErrorFetchingCatalog").await;
        for words in self.says {
            assert!(message.contains(words), "{words:?} is not in: {message}");
        }
        let mend = Patch::Merge(json!({"spec": self.mend}));
        place.brokers().patch(&place.broker.name(), &PatchParams::default(), &mend).await.unwrap();
        place.broker_is("FetchedCatalog").await;
    }
}

#[tokio::test]
async fn each_error_of_tls_is_named_and_can_be_mended() {
    let mut place = Place::new().await;
    let [authority, other, former] = ["authority", "other", "authority"].map(Authority::new);
    let (self_signed, own) = Tls::self_signed();
    let trusted = json!({"caBundle": authority.bundle});
    let skipped = json!({"insecureSkipTLSVerify": true, "caBundle": null});
    let unknown = ["UnknownIssuer", "into spec.caBundle"];
    let cases = [
        Case::new(self_signed.clone(), json!({}), unknown, json!({"caBundle": own})),
        Case::new(self_signed, json!({}), unknown, skipped.clone()),
        Case::new(authority.issue("localhost"), json!({"caBundle": other.bundle}), unknown, trusted.clone()),
        Case::new(
            authority.issue("localhost"),
            json!({"caBundle": former.bundle}),
            ["BadSignature", "into spec.caBundle"],
            trusted.clone(),
        ),
        Case::new(
            authority.issue("elsewhere.example"),
            trusted.clone(),
            ["elsewhere.example", "a name that the certificate has"],
            skipped.clone(),
        ),
        Case::new(authority.expired(), trusted.clone(), ["expired", "renew"], skipped.clone()),
        Case::new(
            authority.issue("localhost"),
            json!({"caBundle": "bm90aGluZw=="}),
            ["spec.caBundle", "no certificate"],
            trusted,
        ),
    ];
    for case in cases {
        case.play(&mut place).await;
    }
}

#[tokio::test]
async fn the_wrong_scheme_is_named_and_can_be_mended() {
    let mut place = Place::new().await;
    let plain = Broker::start();
    let (http, https) = (plain.url(), plain.url().replace("http://", "https://"));
    let says = ["does not speak TLS", "http://"];
    Case { broker: plain, spec: json!({"url": https}), says, mend: json!({"url": http}) }
        .play(&mut place)
        .await;

    let (tls, own) = Tls::self_signed();
    let secured = Broker::start_with(tls);
    let (https, http) = (secured.url(), secured.url().replace("https://", "http://"));
    let mend = json!({"url": https, "caBundle": own});
    Case {
        broker: secured,
        spec: json!({"url": http}),
        says: ["the answer is not HTTP", "with https://"],
        mend,
    }
    .play(&mut place)
    .await;
}

/// A renewed certificate needs no change of the registration.
#[tokio::test]
async fn a_renewed_certificate_is_accepted_without_a_change() {
    let mut place = Place::new().await;
    let authority = Authority::new("authority");
    place.broker = Broker::start_with(authority.expired());
    place.register(json!({"caBundle": authority.bundle})).await;
    place.broker_is("ErrorFetchingCatalog").await;
    place.broker.stop().await;
    place.broker.renew(authority.issue("localhost"));
    place.broker_is("FetchedCatalog").await;
}
