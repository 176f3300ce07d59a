//! How much a binding may do with a resource of a cloud.

use serde::Deserialize;

use crate::broker::config::Kinds;

/// A binding's access to an instance's resources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::broker::backends) enum Access {
    /// Read data.
    Read,
    /// Read and change data.
    #[default]
    ReadWrite,
    /// Also change what belongs to the application, such as a topic's subscriptions.
    Owner,
}

impl Kinds for Access {
    const ALL: &'static [Self] = &[Self::ReadWrite, Self::Read, Self::Owner];

    fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::ReadWrite => "readwrite",
            Self::Owner => "owner",
        }
    }
}
