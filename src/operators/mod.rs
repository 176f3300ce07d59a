//! Controllers that turn objects of a group of their own into resources of a cloud.

pub mod aws;
