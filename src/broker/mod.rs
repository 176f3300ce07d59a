//! The Open Service Broker: `routes` (HTTP) → `engine` (durable operations) → `store` (records) and `services` (backends).

mod services;
mod store;
