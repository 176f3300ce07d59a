//! SQL databases: what PostgreSQL and MySQL share.

mod admin_login;
mod configure;
mod connection_limit;
mod drift;
mod error;
pub(super) mod hosted;
mod idle;
pub(super) mod mysql;
mod naming;
mod obstacle;
mod parameters;
mod plan;
mod plan_methods;
pub(super) mod postgresql;
mod resource_kind;
mod service_kind;
mod settings;
