//! Ids from the platform and the catalog: opaque strings of arbitrary characters.

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The id as it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<String> for $name {
            fn from(id: String) -> Self {
                Self(id)
            }
        }

        impl From<&str> for $name {
            fn from(id: &str) -> Self {
                Self(id.to_owned())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// A service offering's id, unique among all brokers of a platform.
    ServiceId
);
id!(
    /// A plan's id, unique among all brokers of a platform.
    PlanId
);
id!(
    /// A service instance's id, chosen by the platform.
    InstanceId
);
id!(
    /// A service binding's id, chosen by the platform.
    BindingId
);
id!(
    /// The broker's name of an asynchronous operation; at most 10,000 characters.
    Operation
);
