//! Services of AWS as a platform sees them, on ministack, which enforces policies. The broker and the deploy role have
//! exactly the rights in examples/aws/prerequisites.yaml. curl plays the application.

#![expect(clippy::unwrap_used, reason = "what fails in a test's set-up fails the test")]

mod cloud;
mod conformance;
mod databases;
mod faults;
mod kills;
mod leftovers;
mod message_brokers;
mod pods;
mod prerequisites;
mod queues;
mod services;
mod templates;
