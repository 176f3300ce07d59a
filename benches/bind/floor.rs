//! What a database does at most: the statements that the broker sends, without the broker.

mod mariadb;
mod postgres;

pub(crate) use self::{
    mariadb::OnMariaDb,
    postgres::{OnPostgres, url},
};
