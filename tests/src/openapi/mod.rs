//! An OpenAPI document as its readers take it: what it says, what is wrong with it, and (in `shape`)
//! whether an answer is what it says.

mod shape;

use std::collections::BTreeSet;

use serde_json::Value;

/// A document, as a server gave it.
pub struct Document(pub Value);

/// Something that the server does.
pub struct Operation<'a> {
    /// In lower case.
    pub method: &'a str,
    /// With `{name}` for what its callers put in.
    pub path: &'a str,
    /// All that the document says of it.
    pub details: &'a Value,
}

impl Document {
    /// All that the server does.
    pub fn operations(&self) -> impl Iterator<Item = Operation<'_>> {
        members(&self.0["paths"]).flat_map(|(path, item)| {
            members(item).map(move |(method, details)| Operation { method, path, details })
        })
    }

    /// What is wrong with the document, whatever the server does.
    pub fn defects(&self) -> Vec<String> {
        let mut defects: Vec<_> = self.operations().flat_map(|found| found.defects()).collect();
        let ids = self.operations().filter_map(|found| found.details["operationId"].as_str());
        if ids.collect::<BTreeSet<_>>().len() != self.operations().count() {
            defects.push("an operation has no id of its own".to_owned());
        }
        let dead = references(&self.0).into_iter().filter(|found| self.resolve(found).is_none());
        defects.extend(dead.map(|reference| format!("{reference} leads nowhere")));
        defects
    }

    /// Where a value is not what a schema says: one line for each place.
    pub fn differences(&self, schema: &Value, value: &Value) -> Vec<String> {
        shape::differences(self, schema, value, "answer")
    }

    /// The component of that name.
    pub fn schema(&self, name: &str) -> &Value {
        &self.0["components"]["schemas"][name]
    }

    fn resolve(&self, reference: &str) -> Option<&Value> {
        self.0.pointer(reference.strip_prefix('#')?)
    }
}

impl Operation<'_> {
    /// The schema of the answer of this status, where it is JSON.
    pub fn answer(&self, status: &str) -> Option<&Value> {
        self.details["responses"][status].pointer("/content/application~1json/schema")
    }

    /// Names of the parameters that callers have to give in the `path` or the `query`.
    pub fn required(&self, place: &str) -> BTreeSet<&str> {
        let wanted = |found: &&Value| found["in"] == place && found["required"] == true;
        let parameters = self.details["parameters"].as_array().into_iter().flatten();
        parameters.filter(wanted).filter_map(|found| found["name"].as_str()).collect()
    }

    fn defects(&self) -> Vec<String> {
        let holes = self.path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
        let summary = self.details["summary"].as_str().unwrap_or_default();
        let responses = &self.details["responses"];
        let untold = |found: &Value| found["description"].as_str().is_none_or(str::is_empty);
        let defects = [
            (holes.collect::<BTreeSet<_>>() != self.required("path"), "other parameters"),
            (summary.is_empty() || summary.contains('\n'), "no summary of one line"),
            (responses["200"].is_null(), "nothing of success"),
            (responses["403"].is_null(), "nothing of refusals"),
            (members(responses).any(|(_, found)| untold(found)), "an answer without words"),
        ];
        let defects = defects.iter().filter(|(is_there, _)| *is_there);
        defects.map(|(_, defect)| format!("{} {}: {defect}", self.method, self.path)).collect()
    }
}

/// The members of an object; none of anything else.
fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

/// Every `$ref` in it.
fn references(value: &Value) -> Vec<&str> {
    let own = value["$ref"].as_str();
    let inner =
        members(value).map(|(_, inner)| inner).chain(value.as_array().into_iter().flatten());
    own.into_iter().chain(inner.flat_map(references)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Document {
        Document(json!({
            "paths": {"/v1/volumes/{name}": {"get": {
                "operationId": "show", "summary": "One volume.",
                "parameters": [{"name": "name", "in": "path", "required": true}],
                "responses": {
                    "200": {"description": "It", "content": {"application/json": {
                        "schema": {"type": "array", "items": {"$ref": "#/components/schemas/Volume"}}
                    }}},
                    "403": {"description": "Not you"}
                }
            }}},
            "components": {"schemas": {
                "Volume": {
                    "type": "object", "required": ["name", "size"],
                    "properties": {
                        "name": {"type": "string"},
                        "size": {"type": "integer", "minimum": 0},
                        "role": {"$ref": "#/components/schemas/Role", "description": "What it is"},
                        "peer": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Role"}]}
                    }
                },
                "Role": {"type": ["string", "null"], "enum": ["owner"]}
            }}
        }))
    }

    fn differences(document: &Document, answer: &Value) -> Vec<String> {
        let operation = document.operations().next().expect("an operation");
        document.differences(operation.answer("200").expect("a schema"), answer)
    }

    #[test]
    fn a_sound_document_and_an_answer_as_it_says_have_no_defects() {
        let document = document();
        assert_eq!(document.defects(), [""; 0]);
        let volume = json!({"name": "vol", "size": 1, "role": "owner", "peer": null});
        assert_eq!(differences(&document, &json!([volume, {"name": "", "size": 0}])), [""; 0]);
    }

    #[test]
    fn a_document_that_lacks_something_is_found_out() {
        for (place, defect) in [
            ("/components/schemas/Role", "leads nowhere"),
            ("/paths/~1v1~1volumes~1{name}/get/operationId", "no id"),
            ("/paths/~1v1~1volumes~1{name}/get/summary", "no summary"),
            ("/paths/~1v1~1volumes~1{name}/get/parameters", "other parameters"),
            ("/paths/~1v1~1volumes~1{name}/get/responses/200", "nothing of success"),
            ("/paths/~1v1~1volumes~1{name}/get/responses/403", "nothing of refusals"),
            ("/paths/~1v1~1volumes~1{name}/get/responses/200/description", "without words"),
        ] {
            let mut document = document();
            remove(&mut document.0, place);
            let defects = document.defects();
            assert!(defects.iter().any(|found| found.contains(defect)), "{place}: {defects:?}");
        }
    }

    #[test]
    fn a_property_that_the_document_does_not_name_is_found_out() {
        let mut document = document();
        remove(&mut document.0, "/components/schemas/Volume/properties/role");
        let answer = json!([{"name": "vol", "size": 1, "role": "owner"}]);
        assert_eq!(differences(&document, &answer), ["answer[0]: role is not in the document"]);
    }

    #[test]
    fn an_answer_that_is_not_as_the_document_says_is_found_out() {
        for (answer, difference) in [
            (json!({}), "answer: {} is not \"array\""),
            (json!([{"name": "vol"}]), "answer[0]: size is missing"),
            (json!([{"name": 1, "size": 1}]), "answer[0].name: 1 is not \"string\""),
            (json!([{"name": "", "size": -1}]), "answer[0].size: -1 is below 0"),
            (json!([{"name": "", "size": 0.5}]), "answer[0].size: 0.5 is not \"integer\""),
            (json!([{"name": "", "size": 1, "role": "no"}]), "answer[0].role: \"no\" is none of"),
            (json!([{"name": "", "size": 1, "peer": "no"}]), "answer[0].peer: \"no\" fits 0 of 2"),
        ] {
            let found = differences(&document(), &answer);
            assert!(found.iter().any(|found| found.contains(difference)), "{answer}: {found:?}");
        }
    }

    #[test]
    fn a_schema_that_is_not_understood_approves_of_nothing() {
        let mut document = document();
        document.0["components"]["schemas"]["Role"] = json!({"pattern": "^o"});
        let answer = json!([{"name": "vol", "size": 1, "role": "owner"}]);
        assert_eq!(
            differences(&document, &answer),
            ["answer[0].role: nothing is known of pattern"]
        );
    }

    fn remove(document: &mut Value, place: &str) {
        let (parent, name) = place.rsplit_once('/').expect("a place");
        let parent = document.pointer_mut(parent).and_then(Value::as_object_mut);
        parent.expect("a parent").remove(name).expect("it was there");
    }
}
