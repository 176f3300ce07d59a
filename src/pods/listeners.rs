//! The queues through which a watch notifies each controller of changed objects.

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use kube::{Resource, runtime::reflector::ObjectRef};

/// The queues of the controllers that react to a kind. They carry only references; the state is in the store.
pub(super) struct Listeners<K: Resource<DynamicType = ()> + 'static>(Vec<UnboundedSender<ObjectRef<K>>>);

impl<K: Resource<DynamicType = ()> + 'static> Default for Listeners<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Resource<DynamicType = ()> + 'static> Listeners<K> {
    /// Adds a queue, which receives all objects that change from now on.
    pub(super) fn listen(&mut self) -> UnboundedReceiver<ObjectRef<K>> {
        let (sender, receiver) = unbounded();
        self.0.push(sender);
        receiver
    }

    pub(super) fn notify(&self, object: &ObjectRef<K>) {
        for listener in &self.0 {
            // A queue is closed only during shutdown.
            let _ = listener.unbounded_send(object.clone());
        }
    }
}
