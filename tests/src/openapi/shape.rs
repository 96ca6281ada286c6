//! Whether a value is what a schema says. Only as much of JSON Schema is known here as the documents
//! use; what is not known is a difference. Stricter than JSON Schema in one thing: nothing may be in
//! an answer that the document does not name.

use serde_json::Value;

use super::{Document, members};

/// Words of a schema that no value contradicts.
const SILENT: [&str; 4] = ["default", "description", "format", "required"];

/// Every difference, with its place, which begins with `at`.
pub(super) fn differences(
    document: &Document,
    schema: &Value,
    value: &Value,
    at: &str,
) -> Vec<String> {
    let one = |message: String| vec![format!("{at}: {message}")];
    let of_word = |(word, says): (&str, &Value)| match word {
        "$ref" => match says.as_str().and_then(|reference| document.resolve(reference)) {
            Some(target) => differences(document, target, value, at),
            None => one(format!("{says} leads nowhere")),
        },
        "oneOf" => match fitting(document, says, value) {
            (1, _) => Vec::new(),
            (fitting, all) => one(format!("{value} fits {fitting} of {all}")),
        },
        "type" if !is_of(says, value) => one(format!("{value} is not {says}")),
        "enum" if !list(says).any(|known| known == value) => {
            one(format!("{value} is none of {says}"))
        }
        "minimum" if value.is_number() && value.as_f64() < says.as_f64() => {
            one(format!("{value} is below {says}"))
        }
        "type" | "enum" | "minimum" => Vec::new(),
        "items" => of_items(document, says, value, at),
        "properties" => of_properties(document, schema, value, at),
        word if SILENT.contains(&word) => Vec::new(),
        word => one(format!("nothing is known of {word}")),
    };
    members(schema).flat_map(of_word).collect()
}

/// How many of the schemas the value fits, and how many there are.
fn fitting(document: &Document, schemas: &Value, value: &Value) -> (usize, usize) {
    let fits = |schema: &&Value| differences(document, schema, value, "").is_empty();
    (list(schemas).filter(fits).count(), list(schemas).count())
}

fn of_items(document: &Document, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let of_item = |(index, item)| differences(document, schema, item, &format!("{at}[{index}]"));
    list(value).enumerate().flat_map(of_item).collect()
}

/// What is required has to be there, and what is there has to be named.
fn of_properties(document: &Document, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let required = list(&schema["required"]).filter_map(Value::as_str);
    let missing = required.filter(|name| value.get(name).is_none());
    let missing = missing.map(|name| format!("{at}: {name} is missing"));
    let of_member = |(name, value): (&str, &Value)| match schema["properties"].get(name) {
        Some(schema) => differences(document, schema, value, &format!("{at}.{name}")),
        None => vec![format!("{at}: {name} is not in the document")],
    };
    missing.chain(members(value).flat_map(of_member)).collect()
}

/// Whether the value is of the type, or of one of the types.
fn is_of(types: &Value, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str() {
        Some("null") => value.is_null(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_u64() || value.is_i64(),
        Some("number") => value.is_number(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => false,
    };
    is(types) || list(types).any(is)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
