//! Parameters that are passed through into the body of a model call. The same rule applies everywhere, JSON merge patch
//! (RFC 7396): the parameters of the profile (or step) are merged over the target's, and the result over what the
//! dialect writes. Independent of dialects.

use serde_json::{Map, Value};

/// Parameters that limit the answer instead of `output_tokens`, by their paths, in any dialect. The first one present
/// counts.
pub(super) const OUTPUT_CAPS: [&[&str]; 10] = [
    &["max_completion_tokens"],
    &["max_tokens"],
    &["max_output_tokens"],
    &["generationConfig", "maxOutputTokens"],
    // Google's APIs accept the names of both JSON and Protocol Buffers.
    &["generationConfig", "max_output_tokens"],
    &["generation_config", "maxOutputTokens"],
    &["generation_config", "max_output_tokens"],
    &["inferenceConfig", "maxTokens"],
    &["options", "num_predict"],
    &["parameters", "max_new_tokens"],
];

/// Parameters with which a server gives or generates several answers to one request, by their paths, in any dialect:
/// of chat and completions (OpenAI, vLLM), Gemini, Text Generation Inference and models of Bedrock.
pub(super) const ANSWER_COUNTS: [&[&str]; 16] = [
    &["n"],
    &["best_of"],
    &["num_return_sequences"],
    &["num_generations"],
    &["generationConfig", "candidateCount"],
    &["generationConfig", "candidate_count"],
    &["generation_config", "candidateCount"],
    &["generation_config", "candidate_count"],
    &["parameters", "best_of"],
    &["parameters", "n"],
    &["parameters", "num_return_sequences"],
    &["additionalModelRequestFields", "n"],
    &["additionalModelRequestFields", "best_of"],
    &["additionalModelRequestFields", "num_return_sequences"],
    &["additionalModelRequestFields", "num_generations"],
    &["additionalModelRequestFields", "numResults"],
];

/// How a null in a patch is handled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nulls {
    /// It removes the key.
    Remove,
    /// It stays, so that the result removes the key from whatever it is applied to.
    Keep,
}

/// Applies a merge patch: objects are merged key by key, null removes a key, everything else replaces the present
/// value.
pub fn apply_patch(into: &mut Map<String, Value>, patch: &Map<String, Value>) {
    merge(into, patch, Nulls::Remove);
}

/// Composes two patches into one that has the effect of `lower` followed by `upper`. Nulls are kept, because they also
/// remove what the dialect would write (`stream_options: null`, for a server that does not know it).
///
/// A merge patch cannot replace an object as a whole. If `lower` replaces an object by another type and `upper` sets an
/// object there, the keys that `lower` would have dropped are merged with those of `upper`.
pub fn compose_patches(lower: &Map<String, Value>, upper: &Map<String, Value>) -> Map<String, Value> {
    let mut composed = lower.clone();
    merge(&mut composed, upper, Nulls::Keep);
    composed
}

fn merge(into: &mut Map<String, Value>, patch: &Map<String, Value>, nulls: Nulls) {
    for (key, value) in patch {
        match value {
            Value::Null if nulls == Nulls::Remove => {
                into.shift_remove(key);
            }
            Value::Object(patch) => {
                let present = into.entry(key.as_str()).or_insert(Value::Null);
                if !present.is_object() {
                    *present = Value::Object(Map::new());
                }
                if let Value::Object(present) = present {
                    merge(present, patch, nulls);
                }
            }
            value => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}

/// The parameter at a path.
pub(super) fn param<'a>(params: &'a Map<String, Value>, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(params.get(*first)?, |value, key| value.get(*key))
}

/// Whether the parameters limit the answer, so that `output_tokens` is not sent.
pub fn has_output_cap(params: &Map<String, Value>) -> bool {
    OUTPUT_CAPS.iter().any(|path| param(params, path).is_some())
}

/// Maximum number of output tokens: by the merged parameters, or else `output_tokens`.
pub(super) fn output_cap(params: &Map<String, Value>, output_tokens: Option<u64>) -> Option<u64> {
    if !has_output_cap(params) {
        return output_tokens;
    }
    OUTPUT_CAPS.iter().find_map(|path| param(params, path).and_then(Value::as_u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        let Value::Object(map) = value else { panic!("{value}") };
        map
    }

    fn applied(document: Value, patch: Value) -> Value {
        let mut document = map(document);
        apply_patch(&mut document, &map(patch));
        Value::Object(document)
    }

    /// The test cases of RFC 7396, appendix A, that are about objects.
    #[test]
    fn it_is_the_merge_patch_of_the_rfc() {
        let cases = [
            (json!({ "a": "b" }), json!({ "a": "c" }), json!({ "a": "c" })),
            (json!({ "a": "b" }), json!({ "b": "c" }), json!({ "a": "b", "b": "c" })),
            (json!({ "a": "b" }), json!({ "a": null }), json!({})),
            (json!({ "a": "b", "b": "c" }), json!({ "a": null }), json!({ "b": "c" })),
            (json!({ "a": ["b"] }), json!({ "a": "c" }), json!({ "a": "c" })),
            (json!({ "a": "c" }), json!({ "a": ["b"] }), json!({ "a": ["b"] })),
            (
                json!({ "a": { "b": "c" } }),
                json!({ "a": { "b": "d", "c": null } }),
                json!({ "a": { "b": "d" } }),
            ),
            (json!({ "a": [{ "b": "c" }] }), json!({ "a": [1] }), json!({ "a": [1] })),
            (json!({ "e": null }), json!({ "a": 1 }), json!({ "e": null, "a": 1 })),
            (json!({ "a": "foo" }), json!({ "a": { "b": 1 } }), json!({ "a": { "b": 1 } })),
            (json!({}), json!({ "a": { "bb": { "ccc": null } } }), json!({ "a": { "bb": {} } })),
        ];
        for (document, patch, result) in cases {
            assert_eq!(applied(document, patch.clone()), result, "{patch}");
        }
    }

    #[test]
    fn patches_are_merged_deeply_and_their_nulls_stay() {
        let lower = map(json!({ "temperature": 1, "format": { "schema": 1, "type": "x" }, "top_p": 0.5 }));
        let upper =
            map(json!({ "format": { "type": "json", "schema": null }, "top_p": null, "new": { "a": null } }));
        let composed = json!({
            "temperature": 1, "format": { "schema": null, "type": "json" }, "top_p": null, "new": { "a": null },
        });
        assert_eq!(Value::Object(compose_patches(&lower, &upper)), composed);
    }

    #[test]
    fn a_cap_in_the_parameters_takes_the_place_of_output_tokens() {
        let cap = |params: Value| output_cap(&map(params), Some(7));
        assert_eq!(cap(json!({ "temperature": 1 })), Some(7));
        assert_eq!(cap(json!({ "max_tokens": 5 })), Some(5));
        assert_eq!(cap(json!({ "max_tokens": 5, "max_completion_tokens": 9 })), Some(9));
        assert_eq!(cap(json!({ "max_tokens": null })), None);
        assert_eq!(cap(json!({ "generation_config": { "max_output_tokens": 5 } })), Some(5));
    }

    #[test]
    fn keys_stay_in_the_order_in_which_they_were_written() {
        let written = r#"{"z":1,"schema":{"reasoning":1,"answer":2},"b":3,"a":4}"#;
        let mut document = map(serde_json::from_str(written).unwrap());
        apply_patch(&mut document, &map(json!({ "z": null, "schema": { "score": 3 }, "b": 5 })));
        let merged = r#"{"schema":{"reasoning":1,"answer":2,"score":3},"b":5,"a":4}"#;
        assert_eq!(Value::Object(document).to_string(), merged);
    }

    /// Keys `a` and `b` always contain objects, `c` and `d` never.
    fn params() -> impl Strategy<Value = Map<String, Value>> {
        let leaf =
            prop_oneof![Just(json!(null)), Just(json!(1)), Just(json!("x")), Just(json!([{ "a": 1 }]))];
        let leaves = prop::collection::btree_map("[cd]", leaf, 0..3)
            .prop_map(|fields| Value::Object(fields.into_iter().collect()));
        let nested = leaves.prop_recursive(3, 24, 4, |inner| {
            let leaf = prop_oneof![Just(json!(null)), Just(json!(2)), Just(json!([1]))];
            let objects = prop::collection::btree_map("[ab]", inner, 0..3);
            (objects, prop::collection::btree_map("[cd]", leaf, 0..3))
                .prop_map(|(objects, leaves)| Value::Object(objects.into_iter().chain(leaves).collect()))
        });
        nested.prop_map(map)
    }

    proptest! {
        #[test]
        fn a_composed_patch_does_what_both_do(document in params(), lower in params(), upper in params()) {
            let mut one_by_one = document.clone();
            apply_patch(&mut one_by_one, &lower);
            apply_patch(&mut one_by_one, &upper);
            let mut at_once = document;
            apply_patch(&mut at_once, &compose_patches(&lower, &upper));
            prop_assert_eq!(at_once, one_by_one);
        }
    }
}
