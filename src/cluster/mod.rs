//! Kubernetes plumbing shared by the roles: client, leader election, certificates, identity Secrets.
