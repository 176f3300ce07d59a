//! The installed product in a real cluster: each scenario in a namespace of its own, all on one cluster and one
//! PostgreSQL. Run by `tests/run cluster`, which builds the images first. The tests use what users use: `kubectl`, `helm` and
//! `psql`; they watch with a client of their own, so that nothing waits longer than it must.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod admission;
mod branches;
mod crash;
mod faults;
mod gates;
mod installation;
mod kubelet;
mod many;
mod operations;
mod pipelines;
mod plain;
mod pods;
mod refused;
mod restore;
mod rolling;
mod scenario;
mod sharing;
mod story;
mod turns;
mod uninstall;

use bindery_test_support::postgres;
