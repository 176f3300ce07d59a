//! Alibaba Cloud. An [`Account`] calls RDS, RAM, STS and OSS in one region. [`db_instances`], [`db_accounts`] and
//! [`databases`] have the operations of RDS, [`users`] and [`roles`] those of RAM, [`sessions`] those of STS, [`buckets`]
//! and [`objects`] those of OSS, [`policy`] the documents (pure). `acs3` and `oss4` sign requests, `rpc` and `oss` send
//! them. The client is bindery's own, because no crate signs what RDS, RAM and STS demand.

mod account;
mod acs3;
pub mod buckets;
mod credentials;
pub mod databases;
pub mod db_accounts;
pub mod db_instances;
pub mod db_tls;
mod endpoints;
mod environment;
mod error;
mod http;
mod key;
mod metadata;
pub mod objects;
mod oss;
mod oss4;
mod percent;
pub mod policy;
pub mod roles;
mod rpc;
pub mod sessions;
mod sha256;
#[cfg(test)]
mod tests;
pub mod users;

pub use self::{
    account::{Account, AccountSettings},
    endpoints::Endpoints,
    environment::Environment,
    error::AlibabaError,
    key::{AccessKey, Session},
};
pub use super::{AssumedRole, Call, Credentials, ErrorKind, KeyId, digest};
