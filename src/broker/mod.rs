//! The Open Service Broker server: routes, engine, store and services. Knows nothing of Kubernetes.
