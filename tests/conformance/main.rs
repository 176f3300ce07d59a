//! The demands of the Open Service Broker API on a broker, with one named test for each demand of
//! `docs/conformance.md`, over real HTTP and on each store. The service behind the broker is in memory, since most tests
//! hold it, count its calls or let it fail; the others run over Alibaba Cloud, too. `tests/broker` covers real databases.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what fails in a test fails the test")]

/// Makes of each test one for each store, in a module of the store's name.
macro_rules! on_each_store {
    ($($test:ident),* $(,)?) => {
        on_store!(sqlite: $($test)*);
        on_store!(postgres: $($test)*);
        on_store!(dynamodb: $($test)*);
    };
}

/// Makes of each test one more, over services of Alibaba Cloud.
macro_rules! over_alibaba {
    ($($test:ident),* $(,)?) => {
        on_store!(alibaba: $($test)*);
    };
}

macro_rules! on_store {
    ($store:ident: $($test:ident)*) => {
        mod $store {
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test(crate::stores::$store).await;
                }
            )*
        }
    };
}

mod asynchronous;
mod binding;
mod catalog;
mod client;
mod concurrent;
mod demands;
mod deprovision;
mod errors;
mod fetch;
mod halted;
mod headers;
mod maintenance;
mod mitigation;
mod order;
mod platform;
mod profile;
mod provision;
mod rotation;
mod stores;
mod unbind;
mod update;
mod versions;

use bindery_test_support::fake;
