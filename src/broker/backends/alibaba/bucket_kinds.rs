//! Kinds of buckets: who may use them without credentials, and their storage classes.

use serde::Deserialize;

use crate::broker::config::Kinds;

/// Who may use a bucket without credentials. The aliases are the former broker's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) enum Acl {
    /// Nobody.
    #[default]
    #[serde(rename = "private", alias = "Private")]
    Private,
    /// Everybody may read.
    #[serde(rename = "public-read", alias = "Public Read")]
    PublicRead,
    /// Everybody may read and write.
    #[serde(rename = "public-read-write", alias = "Public Read/Write")]
    PublicReadWrite,
}

impl Kinds for Acl {
    const ALL: &'static [Self] = &[Self::Private, Self::PublicRead, Self::PublicReadWrite];
    // A bucket that everybody reads or fills is the operator's decision.
    const ALLOWED: &'static [Self] = &[Self::Private];

    fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::PublicRead => "public-read",
            Self::PublicReadWrite => "public-read-write",
        }
    }
}

/// A storage class. The aliases are the former broker's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) enum StorageClass {
    #[default]
    #[serde(alias = "Standard Storage")]
    Standard,
    #[serde(rename = "IA", alias = "Infrequent Access Storage")]
    InfrequentAccess,
    #[serde(alias = "Archive Storage")]
    Archive,
    ColdArchive,
}

impl Kinds for StorageClass {
    const ALL: &'static [Self] = &[Self::Standard, Self::InfrequentAccess, Self::Archive, Self::ColdArchive];
    const ALLOWED: &'static [Self] = &[Self::Standard];

    fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "Standard",
            Self::InfrequentAccess => "IA",
            Self::Archive => "Archive",
            Self::ColdArchive => "ColdArchive",
        }
    }
}
