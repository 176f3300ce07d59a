//! The methods of `Provider` that the plans of a database server answer without a connection.

/// Implements these methods for a type with a field `plans`. PostgreSQL and MySQL use it inside their implementation
/// of `Provider`, because a trait's methods cannot be implemented in two blocks.
macro_rules! plan_methods {
    () => {
        fn schemas(&self, plan: &$crate::osb::PlanId) -> Option<::serde_json::Value> {
            self.plans.schemas(plan)
        }

        fn variables(&self, plan: &$crate::osb::PlanId) -> $crate::contract::Variables {
            self.plans.variables(plan)
        }

        fn check_instance(
            &self,
            wanted: &$crate::broker::backends::InstanceSpec,
        ) -> Result<(), $crate::broker::backends::Unacceptable> {
            self.plans.check_instance(wanted)
        }

        fn check_update(
            &self,
            from: &$crate::broker::backends::InstanceSpec,
            to: &$crate::broker::backends::InstanceSpec,
        ) -> Result<(), $crate::broker::backends::Unacceptable> {
            self.plans.check_update(from, to)
        }

        fn settled(
            &self,
            past: $crate::broker::backends::Past<'_>,
            wanted: &$crate::broker::backends::InstanceSpec,
        ) -> $crate::osb::Object {
            self.plans.settled(past, wanted)
        }

        fn check_binding(
            &self,
            on: &$crate::broker::backends::InstanceSpec,
            wanted: &$crate::broker::backends::BindingSpec,
        ) -> Result<(), $crate::broker::backends::Unacceptable> {
            self.plans.check_binding(on, wanted)
        }
    };
}

pub(super) use plan_methods;
