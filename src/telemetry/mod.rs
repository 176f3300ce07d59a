//! What operators see: logs, metrics, traces and health.

pub mod logs;
pub mod metrics;
pub mod ops;
pub mod traces;

pub use metrics::Metrics;
