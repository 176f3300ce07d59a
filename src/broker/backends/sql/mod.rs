//! Databases by SQL: what PostgreSQL and MySQL share.

pub(crate) mod idle;
pub(crate) mod mysql;
pub(crate) mod naming;
pub(crate) mod obstacle;
pub(crate) mod parameters;
pub(crate) mod password;
pub(crate) mod postgresql;
