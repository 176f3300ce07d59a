//! Who is told of what a watch has seen: each controller by a queue of its own.

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use kube::{Resource, runtime::reflector::ObjectRef};

/// Those who are told which objects of a kind changed. Their state is in the store: controllers are level-triggered.
pub(super) struct Listeners<K: Resource<DynamicType = ()> + 'static>(Vec<UnboundedSender<ObjectRef<K>>>);

impl<K: Resource<DynamicType = ()> + 'static> Default for Listeners<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Resource<DynamicType = ()> + 'static> Listeners<K> {
    /// A queue of all objects that change from now on.
    pub(super) fn listen(&mut self) -> UnboundedReceiver<ObjectRef<K>> {
        let (sender, receiver) = unbounded();
        self.0.push(sender);
        receiver
    }

    pub(super) fn tell(&self, object: &ObjectRef<K>) {
        for listener in &self.0 {
            // A closed queue means that everything ends.
            let _ = listener.unbounded_send(object.clone());
        }
    }
}
