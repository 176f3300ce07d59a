//! The installed product in a real cluster. Each scenario has its own namespace; all share one cluster and one
//! PostgreSQL. `tests/run cluster` builds the images first and runs this suite. The tests use the users' tools:
//! `kubectl`, `helm` and `psql`. They watch with their own client, so that no wait is longer than necessary.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod admission;
mod aws;
mod aws_operator;
mod branches;
mod crash;
mod faults;
mod gates;
mod installation;
mod kubelet;
mod many;
mod native;
mod operations;
mod pipelines;
mod plain;
mod pods;
mod policies;
mod queues;
mod refused;
mod restore;
mod rolling;
mod scenario;
mod sharing;
mod story;
mod turns;
mod uninstall;

use bindery_test_support::postgres;
