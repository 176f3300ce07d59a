//! The engine on a service in memory: killed at every step, asked by many at once, on stores that fail and are shared.

mod asynchronous;
mod crash;
mod faulty_store;
mod fixture;
mod leases;
mod limits;
mod memory_store;
mod model;
mod model_outcomes;
mod recording_provider;
mod stop;
mod storage;
mod update;
