use super::*;
use crate::client::testing::{ask, body, target};
use serde_json::json;

#[test]
fn a_request_has_the_texts_as_its_input() {
    let call = Tgi.encode(&target("http://h"), &ask(true, Some(7), json!({ "parameters": { "seed": 1 } })));
    assert_eq!((call.path.as_str(), call.stream, call.output_tokens), ("/generate_stream", true, Some(7)));
    let expected = json!({
        "inputs": "Be brief.\n\nh\u{e9}llo \"x\"\n",
        "parameters": { "max_new_tokens": 7, "details": true, "seed": 1 },
    });
    assert_eq!(body(&call), expected);
    assert_eq!(Tgi.prompt_texts(&call.body), ["Be brief.\n\nh\u{e9}llo \"x\"\n"]);
    let whole = Tgi.encode(&target("http://h"), &ask(false, None, json!({})));
    assert_eq!((whole.path.as_str(), whole.stream, whole.output_tokens), ("/generate", false, None));
    assert_eq!(body(&whole)["parameters"], json!({ "details": true, "decoder_input_details": true }));
}

#[test]
fn an_error_answer_is_told_in_its_words() {
    let error = br#"{"error":"Model is overloaded","error_type":"overloaded"}"#;
    assert_eq!(Tgi.decode_error(error).as_deref(), Some("Model is overloaded"));
}
