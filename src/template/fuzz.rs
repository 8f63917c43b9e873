//! Hostile templates: they are compiled or refused, and rendered or refused, within their fuel.

use super::{Counters, RenderScope, Templates, Vars};
use crate::testing::fuzz::Fuzz;
use serde_json::json;

const TOKENS: &[&str] = &[
    "{{ ",
    " }}",
    "{% if a %}",
    "{% elif a %}",
    "{% else %}",
    "{% endif %}",
    "{% for a in b %}",
    "{% endfor %}",
    "{% set a = ",
    " %}",
    "{# ",
    " #}",
    "{% raw %}",
    "{% endraw %}",
    "{% macro m(a) %}",
    "{% endmacro %}",
    "pick(b)",
    "cycle(b)",
    "counter('x')",
    "uuid()",
    "random(1, 9)",
    "range(100)",
    " | tojson",
    " | join(',')",
    " ~ ",
    " + ",
    " * ",
    " ** ",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ".x",
    "'x'",
    " is odd",
    "not ",
    "-",
    "1",
    "999999999",
    "namespace(a='x')",
    "loop.index",
    "m(1)",
    "{%- ",
    " -%}",
    "\"",
    "\n",
];

#[test]
fn templates() {
    let seeds = [
        "Hello {{ a.x }}, {{ pick(b) | tojson }}{% if a %}!{% endif %}",
        "{% for i in b %}{{ i ~ loop.index }}{% endfor %}",
        "{{ uuid() }}",
        "{% set ns = namespace(a='x') %}{% for i in range(60) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}{{ ns.a }}",
        "{% macro m(a) %}{{ m(a) }}{% endmacro %}{{ m(1) }}",
        "{{ 'x' * 1000000000 }}{{ [1] * 1000000000 }}{{ [1]|batch(1000000000, 0) }}{{ 'a\nb'|indent(1000000000) }}",
        "{{ 10 ** 10 ** 10 }}{{ range(1000000000) }}{{ '%999999999d'|format(1) }}",
    ];
    let seeds = seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    Fuzz { name: "template", seeds, tokens: TOKENS, inputs: 200 }.run(|input| {
        let Ok(source) = std::str::from_utf8(input) else { return };
        let mut templates = Templates::default();
        let Ok(template) = templates.add(source) else { return };
        let vars: Vars = [("a", json!({ "x": 1 })), ("b", json!(["one", 2, null]))].into_iter().collect();
        let counters = Counters::default();
        let scope = RenderScope {
            layers: &[&vars],
            seed: 7,
            user: 0,
            now: jiff::Timestamp::UNIX_EPOCH,
            counters: &counters,
        };
        let text = templates.text(&template, &scope).unwrap_or_default();
        assert!(text.len() <= source.len() + (32 << 20));
        let _ = templates.value(&template, &scope);
    });
}
