//! Tests of the engine with an in-memory service: kills at every step, concurrent requests, and stores that fail or
//! are shared.

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
