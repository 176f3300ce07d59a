//! The platform side: the servicecatalog.k8s.io API, its reconcilers, an Open Service Broker client and the ledger of claims.
