//! Databases and buckets of Alibaba Cloud as a platform sees them, on a stand-in that verifies signatures, demands the
//! documented parameters and enforces policies. The broker has exactly the rights of the chart's ram-policy.json. Behind
//! the stand-in's RDS for MySQL is a real MariaDB.

#![expect(clippy::unwrap_used, reason = "what fails in a test's set-up fails the test")]

mod actions;
mod buckets;
mod cloud;
mod conformance;
mod credentials;
mod databases;
mod faults;
mod kills;
mod leftovers;
mod servers;
mod tls;
