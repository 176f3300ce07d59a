//! The maximum speed of a database: the broker's statements without the broker.

mod mariadb;
mod postgres;

pub(crate) use self::{
    mariadb::OnMariaDb,
    postgres::{OnPostgres, url},
};
