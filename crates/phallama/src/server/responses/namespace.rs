//! Functions in namespaces. To the model each is one function with a name of its own; to the app it
//! is a name and the namespace that it came in.

use serde_json::Value;

/// Between a namespace and a name.
const SEPARATOR: &str = "__";

/// What the model calls the function that an item names.
pub(super) fn joined(namespace: &Value, name: &Value) -> Value {
    match (namespace.as_str(), name.as_str()) {
        (Some(namespace), Some(name)) => format!("{namespace}{SEPARATOR}{name}").into(),
        _ => name.clone(),
    }
}

/// The namespace, if any, and the name of a function that the model called, by the tools that the
/// app offered.
pub(super) fn parted<'a>(tools: &'a Value, called: &'a str) -> (Option<&'a str>, &'a str) {
    let tools = tools.as_array().map_or(&[][..], Vec::as_slice);
    let named = |tool: &'a Value| tool["name"].as_str();
    for tool in tools.iter().filter(|tool| tool["type"] == "namespace") {
        let Some(namespace) = named(tool) else { continue };
        let inside = called.strip_prefix(namespace).and_then(|rest| rest.strip_prefix(SEPARATOR));
        let mut functions = tool["tools"].as_array().into_iter().flatten().filter_map(named);
        if inside.is_some_and(|inside| functions.any(|name| name == inside)) {
            return (Some(namespace), inside.unwrap_or(called));
        }
    }
    (None, called)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_joined_is_parted_again_and_nothing_else() {
        let function = |name: &str| json!({"type": "function", "name": name});
        let tools = json!([
            function("a__b"),
            {"type": "namespace", "name": "a", "tools": [function("c"), function("d__e")]},
            {"type": "namespace", "name": "a__d", "tools": [function("f")]},
        ]);
        for (namespace, name) in [("a", "c"), ("a", "d__e"), ("a__d", "f")] {
            let called = joined(&namespace.into(), &name.into());
            assert_eq!(parted(&tools, called.as_str().unwrap()), (Some(namespace), name));
        }
        for plain in ["a__b", "c", "a__", "a__x", "a"] {
            assert_eq!(joined(&Value::Null, &plain.into()), plain);
            assert_eq!(parted(&tools, plain), (None, plain));
        }
        assert_eq!(parted(&Value::Null, "a"), (None, "a"));
    }
}
