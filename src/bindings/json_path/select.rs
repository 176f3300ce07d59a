//! Selects the values to which a path leads.

use serde_json::Value;

use super::{Budget, Comparison, Path, PathError, Selector, Step};

/// The selected values, in the order of the document. Only a path that can lead to many values may select none.
pub(super) fn path<'a>(
    path: &Path,
    root: &'a Value,
    current: &'a Value,
    budget: &mut Budget,
) -> Result<Vec<&'a Value>, PathError> {
    let found = selected(path, root, current, budget)?;
    let may_be_empty = path.steps.iter().any(|step| match step {
        Step::Descend => false,
        Step::Select(selectors) => selectors
            .iter()
            .any(|selector| matches!(selector, Selector::All | Selector::Slice(..) | Selector::Filter(..))),
    });
    if found.is_empty() && !may_be_empty {
        return Err(PathError::Nothing(path.text.clone()));
    }
    Ok(found)
}

fn selected<'a>(
    path: &Path,
    root: &'a Value,
    current: &'a Value,
    budget: &mut Budget,
) -> Result<Vec<&'a Value>, PathError> {
    let mut values = vec![if path.from_root { root } else { current }];
    for step in &path.steps {
        let mut next = Vec::new();
        for value in values {
            match step {
                Step::Descend => descend(value, budget, &mut next)?,
                Step::Select(selectors) => {
                    for selector in selectors {
                        select(selector, root, value, budget, &mut next)?;
                    }
                }
            }
        }
        values = next;
    }
    Ok(values)
}

fn descend<'a>(value: &'a Value, budget: &mut Budget, found: &mut Vec<&'a Value>) -> Result<(), PathError> {
    let mut waiting = vec![value];
    while let Some(value) = waiting.pop() {
        budget.spend()?;
        found.push(value);
        waiting.extend(children(value).rev());
    }
    Ok(())
}

fn children(value: &Value) -> Box<dyn DoubleEndedIterator<Item = &Value> + '_> {
    match value {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(fields) => Box::new(fields.values()),
        _ => Box::new(std::iter::empty()),
    }
}

fn select<'a>(
    selector: &Selector,
    root: &'a Value,
    value: &'a Value,
    budget: &mut Budget,
    found: &mut Vec<&'a Value>,
) -> Result<(), PathError> {
    budget.spend()?;
    match selector {
        Selector::Field(name) => found.extend(value.get(name)),
        Selector::Index(index) => {
            found.extend(value.as_array().and_then(|items| items.get(position(*index, items.len())?)));
        }
        Selector::Slice(from, to, step) => {
            let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
            for item in slice(items, *from, *to, *step) {
                budget.spend()?;
                found.push(item);
            }
        }
        Selector::All => {
            for child in children(value) {
                budget.spend()?;
                found.push(child);
            }
        }
        Selector::Filter(inner, comparison) => {
            for child in children(value) {
                budget.spend()?;
                let results = selected(inner, root, child, budget)?;
                let is_met = match comparison {
                    None => !results.is_empty(),
                    Some((how, literal)) => results.iter().any(|result| compares(*how, result, literal)),
                };
                found.extend(is_met.then_some(child));
            }
        }
    }
    Ok(())
}

/// A negative index counts from the end.
fn position(index: i64, length: usize) -> Option<usize> {
    let length = i64::try_from(length).ok()?;
    usize::try_from(if index < 0 { length.checked_add(index)? } else { index }).ok()
}

fn slice(items: &[Value], from: Option<i64>, to: Option<i64>, step: i64) -> impl Iterator<Item = &Value> {
    let bound = |index: i64| position(index, items.len()).unwrap_or(0).min(items.len());
    let (from, to) = (from.map_or(0, bound), to.map_or(items.len(), bound));
    let step = usize::try_from(step).unwrap_or(1).max(1);
    items.get(from..to).unwrap_or_default().iter().step_by(step)
}

fn compares(how: Comparison, value: &Value, literal: &Value) -> bool {
    let order = match (value, literal) {
        (Value::Number(value), Value::Number(literal)) => {
            value.as_f64().zip(literal.as_f64()).and_then(|(value, literal)| value.partial_cmp(&literal))
        }
        (Value::String(value), Value::String(literal)) => Some(value.cmp(literal)),
        (Value::Bool(value), Value::Bool(literal)) => Some(value.cmp(literal)),
        (Value::Null, Value::Null) => Some(std::cmp::Ordering::Equal),
        _ => None,
    };
    match (how, order) {
        (Comparison::NotEqual, order) => order.is_none_or(std::cmp::Ordering::is_ne),
        (_, None) => false,
        (Comparison::Equal, Some(order)) => order.is_eq(),
        (Comparison::Less, Some(order)) => order.is_lt(),
        (Comparison::AtMost, Some(order)) => order.is_le(),
        (Comparison::Greater, Some(order)) => order.is_gt(),
        (Comparison::AtLeast, Some(order)) => order.is_ge(),
    }
}
