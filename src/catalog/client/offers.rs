//! Parses a broker's catalog service by service and plan by plan. Unusable entries are skipped and reported with the
//! wrong field; the others are served. Pure.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::osb::{Catalog, Object, Plan, Service};

/// How many characters of a name or problem are repeated.
const LONGEST: usize = 200;

/// A catalog and its unusable entries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Offers {
    /// The usable entries.
    pub catalog: Catalog,
    /// The unusable entries.
    pub left_out: Vec<LeftOut>,
}

/// An unusable service or plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The entry, the field, and what is wrong.
    pub problem: String,
    /// The ids of the entry and of its plans, as far as they can be read. Existing objects with these ids are not
    /// withdrawn.
    pub ids: Vec<String>,
}

/// Parses a catalog.
///
/// # Errors
/// When the body is not a list of services.
pub(super) fn read(body: Value) -> Result<Offers, String> {
    let Value::Object(mut body) = body else { return Err("the body is no object".to_owned()) };
    let services = match body.remove("services") {
        None => return Err("the field `services` is missing".to_owned()),
        Some(Value::Null) => Vec::new(),
        Some(Value::Array(services)) => services,
        Some(_) => return Err("the field `services` is no list".to_owned()),
    };
    let mut offers = Offers::default();
    for (index, service) in services.into_iter().enumerate() {
        offers.read_service(&format!("services[{index}]"), service);
    }
    Ok(offers)
}

impl Offers {
    fn read_service(&mut self, at: &str, value: Value) {
        let ids = ids(&value);
        let named = named("service", at, &value);
        let read = object(value).and_then(|mut members| {
            let plans = members.remove("plans");
            let plans = match plans {
                None | Some(Value::Null) => Vec::new(),
                Some(Value::Array(plans)) => plans,
                Some(_) => return Err(format!("{at}.plans is no list")),
            };
            let service: Service = entry(at, members)?;
            required(at, service.id.as_str(), &service.name)?;
            Ok((service, plans))
        });
        let (mut service, plans) = match read {
            Ok(read) => read,
            Err(problem) => return self.leave_out(&named, &problem, ids),
        };
        let is_without = plans.is_empty();
        for (index, plan) in plans.into_iter().enumerate() {
            service.plans.extend(self.read_plan(&service.name, &format!("{at}.plans[{index}]"), plan));
        }
        // A service without any usable plan is useless.
        if is_without || !service.plans.is_empty() {
            self.catalog.services.push(service);
        } else {
            self.leave_out(&named, "none of its plans can be used", ids);
        }
    }

    fn read_plan(&mut self, service: &str, at: &str, value: Value) -> Option<Plan> {
        let (ids, named) = (ids(&value), named("plan", at, &value));
        let read = object(value).and_then(|members| {
            let plan: Plan = entry(at, members)?;
            required(at, plan.id.as_str(), &plan.name)?;
            Ok(plan)
        });
        read.map_err(|problem| {
            self.leave_out(&format!("service {:?}, {named}", clipped(service)), &problem, ids);
        })
        .ok()
    }

    fn leave_out(&mut self, named: &str, problem: &str, ids: Vec<String>) {
        self.left_out.push(LeftOut { problem: format!("{named}: {problem}"), ids });
    }
}

fn object(value: Value) -> Result<Object, String> {
    match value {
        Value::Object(members) => Ok(members),
        _ => Err("it is no object".to_owned()),
    }
}

fn entry<T: DeserializeOwned>(at: &str, members: Object) -> Result<T, String> {
    serde_path_to_error::deserialize(Value::Object(members)).map_err(|error| {
        let (path, problem) = (error.path().to_string(), clipped(&error.inner().to_string()));
        if path == "." { format!("{at}: {problem}") } else { format!("{at}.{path}: {problem}") }
    })
}

fn required(at: &str, id: &str, name: &str) -> Result<(), String> {
    match [("id", id), ("name", name)].into_iter().find(|(_, value)| value.is_empty()) {
        None => Ok(()),
        Some((field, _)) => Err(format!("{at}.{field} is empty")),
    }
}

fn named(what: &str, at: &str, value: &Value) -> String {
    match value.get("name").and_then(Value::as_str) {
        Some(name) => format!("{what} {:?}", clipped(name)),
        None => format!("{what} {at}"),
    }
}

fn ids(value: &Value) -> Vec<String> {
    let plans = value.get("plans").and_then(Value::as_array);
    let all = [value].into_iter().chain(plans.into_iter().flatten());
    all.filter_map(|entry| entry.get("id")?.as_str()).map(ToOwned::to_owned).collect()
}

fn clipped(text: &str) -> String {
    let line: String = text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(services: &Value) -> (Vec<String>, Vec<String>) {
        let offers = read(json!({"services": services})).unwrap();
        let services = offers.catalog.services.iter();
        let served = services
            .flat_map(|service| service.plans.iter().map(|plan| format!("{}/{}", service.name, plan.name)));
        (served.collect(), offers.left_out.into_iter().map(|left_out| left_out.problem).collect())
    }

    #[test]
    fn unusable_entries_are_named_and_the_others_served() {
        let (served, left_out) = told(&json!([
            {"id": "a", "name": "one", "tags": null, "plans": [
                {"id": "p", "name": "good", "free": null},
                {"id": "q", "name": "bad", "free": "yes"},
                {"id": null, "name": "without"},
                7,
            ]},
            {"id": "b", "name": "two", "bindable": "yes", "plans": [{"id": "r", "name": "r"}]},
            {"name": "three", "plans": []},
            {"id": "d", "name": "four", "plans": {}},
            {"id": "e", "name": "five", "plans": [{"id": "", "name": "nameless"}]},
            "six",
        ]));
        assert_eq!(served, ["one/good"]);
        let expected = [
            ["service \"one\", plan \"bad\"", "services[0].plans[1].free", "expected a boolean"],
            ["service \"one\", plan \"without\"", "services[0].plans[2].id", "null"],
            ["service \"one\"", "plan services[0].plans[3]", "no object"],
            ["service \"two\"", "services[1].bindable", "expected a boolean"],
            ["service \"three\"", "services[2]", "missing field `id`"],
            ["service \"four\"", "services[3].plans", "no list"],
            ["service \"five\", plan \"nameless\"", "services[4].plans[0].id", "empty"],
            ["service \"five\"", "none of its plans", ""],
            ["service services[5]", "no object", ""],
        ];
        assert_eq!(left_out.len(), expected.len(), "{left_out:?}");
        for (problem, words) in left_out.iter().zip(expected) {
            assert!(words.iter().all(|word| problem.contains(word)), "{problem}");
        }
    }

    #[test]
    fn the_ids_of_unusable_entries_are_known() {
        let body = json!({"services": [{"id": "a", "name": 1, "plans": [{"id": "p"}, {"id": 2}]}]});
        assert_eq!(read(body).unwrap().left_out[0].ids, ["a", "p"]);
    }

    #[test]
    fn a_body_without_a_list_of_services_is_an_error() {
        assert_eq!(read(json!({"services": null})).unwrap(), Offers::default());
        for (body, word) in
            [(json!({}), "missing"), (json!({"services": {}}), "no list"), (json!([]), "no object")]
        {
            assert!(read(body).unwrap_err().contains(word));
        }
    }

    #[test]
    fn long_names_are_cut() {
        let (_, left_out) = told(&json!([{"name": "n".repeat(5000), "id": 1}]));
        assert!(left_out[0].len() < 1000);
    }
}
