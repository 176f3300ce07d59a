//! The load: workers create instances and bindings, use them, and delete some. The test records what the brokers said
//! exists, and what they said is gone.

use std::time::Instant;

use futures::future::join_all;
use rand::RngExt;
use serde_json::Value;
use uuid::Uuid;

use crate::platform::{Made, Platform};

/// An instance that a worker created.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) path: String,
    /// Whether it should still exist.
    pub(crate) is_kept: bool,
    pub(crate) bindings: Vec<Binding>,
}

impl Instance {
    fn keeps_something(&self) -> bool {
        self.is_kept && self.bindings.iter().any(|binding| binding.is_kept)
    }
}

/// A binding that a worker created.
#[derive(Debug)]
pub(crate) struct Binding {
    pub(crate) path: String,
    /// The broker's answer, if the binding was created.
    pub(crate) credentials: Value,
    /// Whether it should still exist.
    pub(crate) is_kept: bool,
}

/// See the module.
pub(crate) struct Load<'a> {
    end: Instant,
    platform: &'a Platform,
}

impl<'a> Load<'a> {
    pub(crate) fn until(end: Instant, platform: &'a Platform) -> Self {
        Self { end, platform }
    }

    /// Runs one worker until its time is over, and returns its instances.
    pub(crate) async fn work(&self) -> Vec<Instance> {
        let mut dealt_with = Vec::new();
        while Instant::now() < self.end {
            // At least one object must be kept for the check.
            let is_first = !dealt_with.iter().any(Instance::keeps_something);
            dealt_with.push(self.instance(is_first).await);
        }
        dealt_with
    }

    async fn instance(&self, is_first: bool) -> Instance {
        let path = Uuid::new_v4().to_string();
        if self.made(&path).await.is_none() {
            return Instance { path, is_kept: false, bindings: Vec::new() };
        }
        let count = rand::rng().random_range(1..4);
        let mut bindings = join_all((0..count).map(|_| self.binding(&path, is_first))).await;
        let is_kept = is_first || chance(0.3);
        if !is_kept {
            // Together with its remaining bindings.
            self.platform.delete(&path).await;
            for binding in &mut bindings {
                binding.is_kept = false;
            }
        }
        Instance { path, is_kept, bindings }
    }

    /// Creates an object, and sometimes repeats the request, like a platform that forgot the first one.
    async fn made(&self, path: &str) -> Option<Value> {
        let Made::Yes(first) = self.platform.make(path).await else { return None };
        if chance(0.7) {
            return Some(first);
        }
        let Made::Yes(again) = self.platform.make(path).await else { return None };
        assert_eq!(first, again, "{path} was made twice");
        Some(again)
    }

    async fn binding(&self, instance: &str, is_first: bool) -> Binding {
        let path = format!("{instance}/service_bindings/{}", Uuid::new_v4());
        let Some(made) = self.made(&path).await else {
            return Binding { path, credentials: Value::Null, is_kept: false };
        };
        let credentials = made["credentials"].clone();
        let (status, found) = self.platform.fetch(&path).await;
        assert_eq!((status, &found["credentials"]), (200, &credentials), "{path}");
        let is_kept = is_first || chance(0.6);
        if !is_kept {
            self.platform.delete(&path).await;
        }
        Binding { path, credentials, is_kept }
    }
}

fn chance(of: f64) -> bool {
    rand::rng().random_bool(of)
}
