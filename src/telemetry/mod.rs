//! What operators see: logs, metrics, health. Nothing here decides anything.

pub mod logs;
pub mod metrics;
pub mod ops;

pub use metrics::Metrics;
