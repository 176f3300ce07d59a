//! The stores on which the suite runs, and the cloud behind some of its brokers. Each test gets its own.

use std::{any::Any, path::Path, sync::Arc};

mod alibaba;
mod dynamodb;
mod postgres;
pub(crate) use self::{
    alibaba::{Cloud, alibaba},
    dynamodb::dynamodb,
    postgres::postgres,
};

/// Makes a place for the records of one broker; the folder is the broker's.
pub(crate) type Store = fn(&Path) -> Place;

/// Where one broker keeps its records.
pub(crate) struct Place {
    /// Its address, as the configuration has it.
    pub(crate) url: String,
    /// The server, which lives as long as this.
    pub(crate) _server: Option<Arc<dyn Any + Send + Sync>>,
    /// What the broker offers instead of the service in memory.
    pub(crate) cloud: Option<Cloud>,
}

/// A file.
pub(crate) fn sqlite(folder: &Path) -> Place {
    Place { url: format!("sqlite:{}", folder.join("broker.db").display()), _server: None, cloud: None }
}
