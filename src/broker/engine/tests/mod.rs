//! The engine on a service in memory: killed at every step, asked by many at once, on stores that fail and are shared.

mod asynchronous;
mod beliefs;
mod bench;
mod crash;
mod fragile;
mod holds;
mod memory;
mod model;
mod stop;
mod storage;
mod update;
mod watched;
