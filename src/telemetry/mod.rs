//! What operators see: logs, metrics, traces, health. Nothing here decides anything.

pub mod logs;
pub mod metrics;
pub mod ops;
pub mod traces;

pub use metrics::Metrics;
