//! What the broker does without a script: it keeps instances and bindings as the specification demands.

use serde_json::{Value, json};

use super::{Held, Record, Verb, operations::Operation};

/// A status, a body, and the header `Retry-After`.
pub(super) struct Outcome(pub(super) u16, pub(super) Value, pub(super) Option<String>);

impl Outcome {
    fn new(status: u16, body: Value) -> Self {
        Self(status, body, None)
    }

    fn error(status: u16, description: &str) -> Self {
        Self::new(status, json!({"description": description}))
    }
}

impl Held {
    /// Carries out a request.
    pub(super) fn act(&mut self, record: &Record) -> Outcome {
        let Some(verb) = record.verb else { return Outcome::error(404, "no such path") };
        let (instance, binding) = (record.instance.as_str(), record.binding.as_str());
        if let Some(accepted) = self.operations.running(verb, instance, binding) {
            return Outcome::new(202, accepted);
        }
        match verb {
            Verb::Catalog => Outcome::new(200, self.served_catalog()),
            Verb::Provision => self.provision(record),
            Verb::FetchInstance => self.fetch_instance(instance),
            Verb::Update => self.update(record),
            Verb::Deprovision => self.deprovision(record),
            Verb::LastOperation | Verb::BindingLastOperation => self.last_operation(record),
            Verb::Bind => self.bind(record),
            Verb::FetchBinding => self.fetch_binding(record),
            Verb::Unbind => self.unbind(record),
        }
    }

    fn served_catalog(&self) -> Value {
        let mut catalog = self.catalog.clone();
        if let Some(services) = catalog["services"].as_array_mut() {
            if let Some(first) = services.first_mut()
                && self.is_retrievable
            {
                first["bindings_retrievable"] = json!(true);
            }
            services.extend(self.services.iter().cloned());
        }
        catalog
    }

    /// The answer 202 if the verb is asynchronous.
    fn start(&mut self, record: &Record, verb: Verb) -> Option<Outcome> {
        if !self.operations.is_asynchronous(verb) {
            return None;
        }
        Some(Outcome::new(
            202,
            self.operations.start(verb, &record.instance, &record.binding, record.body.clone()),
        ))
    }

    fn refuses_synchronous(&self, record: &Record, verb: Verb) -> Option<Outcome> {
        let body = json!({"error": "AsyncRequired", "description": "send accepts_incomplete=true"});
        (self.operations.is_asynchronous(verb) && !record.accepts_incomplete())
            .then(|| Outcome::new(422, body))
    }

    fn provision(&mut self, record: &Record) -> Outcome {
        let known = self.instances.get(&record.instance);
        let differs =
            |known: &Value| ["space_guid", "plan_id"].iter().any(|key| known[key] != record.body[key]);
        if known.is_some_and(differs) {
            return Outcome::error(409, "the id is taken");
        }
        let body = json!({"dashboard_url": "https://dashboard"});
        if known.is_some() {
            return Outcome::new(200, body);
        }
        if let Some(refused) = self.refuses_synchronous(record, Verb::Provision) {
            return refused;
        }
        self.instances.insert(record.instance.clone(), record.body.clone());
        self.start(record, Verb::Provision).unwrap_or_else(|| Outcome::new(201, body))
    }

    fn fetch_instance(&self, instance: &str) -> Outcome {
        match self.instances.get(instance) {
            Some(known) => Outcome::new(200, known.clone()),
            None => Outcome::error(404, "no such instance"),
        }
    }

    fn update(&mut self, record: &Record) -> Outcome {
        if !self.instances.contains_key(&record.instance) {
            return Outcome::error(404, "no such instance");
        }
        if let Some(refused) = self.refuses_synchronous(record, Verb::Update) {
            return refused;
        }
        if let Some(accepted) = self.start(record, Verb::Update) {
            return accepted;
        }
        self.change(&record.instance, &record.body);
        Outcome::new(200, json!({}))
    }

    /// Applies the plan and the parameters of an update.
    fn change(&mut self, instance: &str, body: &Value) {
        let Some(known) = self.instances.get_mut(instance) else { return };
        if body["plan_id"].is_string() {
            known["plan_id"] = body["plan_id"].clone();
        }
        for (name, value) in body["parameters"].as_object().into_iter().flatten() {
            known["parameters"][name] = value.clone();
        }
    }

    fn deprovision(&mut self, record: &Record) -> Outcome {
        let Some(known) = self.instances.get(&record.instance) else { return Outcome::new(410, json!({})) };
        if known["plan_id"].as_str() != record.query.get("plan_id").map(String::as_str) {
            return Outcome::error(400, "it has another plan");
        }
        if self.bindings.values().any(|instance| *instance == record.instance) {
            return Outcome::error(400, "it has bindings");
        }
        if let Some(refused) = self.refuses_synchronous(record, Verb::Deprovision) {
            return refused;
        }
        if let Some(accepted) = self.start(record, Verb::Deprovision) {
            return accepted;
        }
        self.instances.remove(&record.instance);
        self.operations.forget(&record.instance, "");
        Outcome::new(200, json!({}))
    }

    fn last_operation(&mut self, record: &Record) -> Outcome {
        let name = record.query.get("operation").map(String::as_str);
        let Some(polled) = self.operations.poll(name, &record.instance, &record.binding) else {
            let is_known = if record.binding.is_empty() {
                self.instances.contains_key(&record.instance)
            } else {
                self.bindings.contains_key(&record.binding)
            };
            return Outcome::error(if is_known { 404 } else { 410 }, "no such operation");
        };
        if let Some(operation) = polled.succeeded {
            self.complete(&operation);
        }
        Outcome(polled.status, polled.body, polled.retry_after)
    }

    /// What an asynchronous operation has done at its end. Creations are known from their start.
    fn complete(&mut self, operation: &Operation) {
        match operation.verb {
            Verb::Update => self.change(&operation.instance, &operation.body),
            Verb::Deprovision => {
                self.instances.remove(&operation.instance);
            }
            Verb::Unbind => {
                self.bindings.remove(&operation.binding);
            }
            _ => {}
        }
    }

    fn bind(&mut self, record: &Record) -> Outcome {
        if !self.instances.contains_key(&record.instance) {
            return Outcome::error(404, "no such instance");
        }
        if self.bindings.contains_key(&record.binding) {
            let body = if self.tells_once { json!({}) } else { self.bound(&record.binding) };
            return Outcome::new(200, body);
        }
        if let Err(problem) = self.succeed(record) {
            return Outcome::error(400, problem);
        }
        if let Some(refused) = self.refuses_synchronous(record, Verb::Bind) {
            return refused;
        }
        self.bindings.insert(record.binding.clone(), record.instance.clone());
        self.start(record, Verb::Bind).unwrap_or_else(|| Outcome::new(201, self.bound(&record.binding)))
    }

    /// Notes which binding a new one replaces, if it replaces one.
    fn succeed(&mut self, record: &Record) -> Result<(), &'static str> {
        let Some(predecessor) = record.body["predecessor_binding_id"].as_str() else { return Ok(()) };
        if self.catalog["services"][0]["plans"][0]["binding_rotatable"] != true {
            return Err("the plan is not rotatable");
        }
        if self.bindings.get(predecessor) != Some(&record.instance) {
            return Err("no such predecessor");
        }
        if record.body.as_object().is_some_and(|members| members.len() > 1) {
            return Err("a rotation names its predecessor only");
        }
        self.successors.push((record.binding.clone(), predecessor.to_owned()));
        Ok(())
    }

    fn bound(&self, binding: &str) -> Value {
        let mut body = json!({"credentials": self.credentials});
        if let Some(index) = self.successors.iter().position(|(successor, _)| successor == binding) {
            body["credentials"]["username"] = json!(format!("u{}", index + 2));
        }
        if let Some(end) = &self.expires_at {
            body["metadata"]["expires_at"] = json!(end);
        }
        if let Some(end) = &self.renew_before {
            body["metadata"]["renew_before"] = json!(end);
        }
        body
    }

    fn fetch_binding(&self, record: &Record) -> Outcome {
        let is_running = self.operations.running(Verb::Bind, &record.instance, &record.binding).is_some();
        if !self.is_retrievable || is_running || !self.bindings.contains_key(&record.binding) {
            return Outcome::error(404, "no such binding");
        }
        Outcome::new(200, self.bound(&record.binding))
    }

    fn unbind(&mut self, record: &Record) -> Outcome {
        if !self.bindings.contains_key(&record.binding) {
            return Outcome::new(410, json!({}));
        }
        if let Some(refused) = self.refuses_synchronous(record, Verb::Unbind) {
            return refused;
        }
        if let Some(accepted) = self.start(record, Verb::Unbind) {
            return accepted;
        }
        self.bindings.remove(&record.binding);
        self.operations.forget(&record.instance, &record.binding);
        Outcome::new(200, json!({}))
    }
}
