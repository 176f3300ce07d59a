//! Code that the suites, benchmarks, fuzz targets and the library's own tests share: real servers in temporary folders,
//! stand-ins for unavailable servers, and a broker to send requests to. The backend in memory is
//! `bindery::broker::fake`, in the library behind the feature `fake-backend`: the library's unit tests have types of
//! their own, which a backend in this crate could not implement.

#![allow(clippy::missing_panics_doc, clippy::must_use_candidate, reason = "what fails here fails the test")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "what fails here fails the test")]
#![allow(missing_docs, reason = "names of columns and fields say it")]

pub mod alibaba;
mod certificates;
pub mod clock;
pub mod cluster;
pub mod cockroach;
pub mod command;
pub mod fuzz;
pub mod jdbc;
pub mod keeper;
pub mod mariadb;
pub mod ministack;
pub mod moto;
pub mod platform;
pub mod postgres;
mod process;
mod python_server;
pub mod rabbitmq;
pub mod strict;
mod target_folder;

pub use bindery::broker::fake;
