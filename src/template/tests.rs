use super::*;
use proptest::prelude::*;
use serde_json::json;

const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Templates>();
    shared::<Template>();
    shared::<Vars>();
    shared::<Counters>();
};

fn vars(values: Value) -> Vars {
    match values {
        Value::Object(map) => map.into(),
        other => panic!("{other}"),
    }
}

fn scope<'a>(layers: &'a [&'a Vars], counters: &'a Counters) -> RenderScope<'a> {
    let now = "2024-07-11T01:14:00.123456Z".parse().unwrap();
    RenderScope { layers, seed: 7, user: 2, now, counters }
}

fn try_value(source: &str, values: Value) -> Result<Value, RenderError> {
    let mut templates = Templates::default();
    let template = templates.add(source).unwrap();
    templates.value(&template, &scope(&[&vars(values)], &Counters::default()))
}

fn value(source: &str, values: Value) -> Value {
    try_value(source, values).unwrap()
}

fn text(source: &str, values: Value) -> String {
    let mut templates = Templates::default();
    let template = templates.add(source).unwrap();
    templates.text(&template, &scope(&[&vars(values)], &Counters::default())).unwrap()
}

fn invalid(source: &str) -> String {
    Templates::default().add(source).unwrap_err().to_string()
}

fn names(source: &str) -> Vec<String> {
    Templates::default().add(source).unwrap().names.into_iter().collect()
}

#[test]
fn text_is_neither_escaped_nor_trimmed() {
    assert_eq!(text("<{{ a }}>\n", json!({ "a": "\"&<" })), "<\"&<>\n");
    assert_eq!(text("{{ a.b[0] }}{{ n + 1 }}", json!({ "a": { "b": ["x"] }, "n": 1 })), "x2");
    assert_eq!(text("{% for x in xs %}{{ x }},{% endfor %}", json!({ "xs": [1, 2] })), "1,2,");
    assert_eq!(
        text("{{ a|tojson }} {{ b|urlencode }}", json!({ "a": ["x"], "b": "a b&c" })),
        "[\"x\"] a%20b%26c"
    );
}

#[test]
fn one_expression_keeps_its_type_and_anything_more_is_text() {
    let values = json!({ "n": 5, "f": 0.5, "b": true, "none": null, "list": [1, { "a": "x" }], "text": "t" });
    for (source, expected) in [
        ("{{ n }}", json!(5)),
        ("{{n}}", json!(5)),
        ("{{- n -}}", json!(5)),
        ("{{ -n }}", json!(-5)),
        ("{{ f }}", json!(0.5)),
        ("{{ b }}", json!(true)),
        ("{{ none }}", json!(null)),
        ("{{ list }}", json!([1, { "a": "x" }])),
        ("{{ list[1] }}", json!({ "a": "x" })),
        ("{{ text }}", json!("t")),
        ("{{ {'a': {'b': n}} }}", json!({ "a": { "b": 5 } })),
        ("{{ n if b else text }}", json!(5)),
        ("{{ '}}' }}", json!("}}")),
        ("{{ '%}' }}", json!("%}")),
        ("{{ range(3)|map('string')|list }}", json!(["0", "1", "2"])),
        ("{{ {1: n, 2: b} }}", json!({ "1": 5, "2": true })),
        ("{{ dict(x=n) }}", json!({ "x": 5 })),
        ("{{ list|map(attribute='a')|first is undefined }}", json!(true)),
        ("{{ 18446744073709551615 }}", json!(u64::MAX)),
        (" {{ n }}", json!(" 5")),
        ("{{ n }}{{ n }}", json!("55")),
        ("{{ n }} and {{ n }}", json!("5 and 5")),
        ("{{ '}}' }}{{ '{{' }}", json!("}}{{")),
        ("{{ n }}{# why #}", json!("5")),
        ("plain", json!("plain")),
        ("", json!("")),
    ] {
        assert_eq!(value(source, values.clone()), expected, "{source}");
    }
}

#[test]
fn what_is_not_there_is_an_error() {
    for source in
        ["{{ a.missing }}", "{{ gone }}", "{{ gone.deep }}", "x{{ gone }}", "{% if gone %}{% endif %}"]
    {
        let error = try_value(source, json!({ "a": {} })).unwrap_err().to_string();
        assert!(error.contains("undefined value"), "{source}: {error}");
        assert!(error.contains(source), "{error}");
    }
    for source in ["{{ [a.missing] }}", "{{ {'x': [gone]} }}"] {
        let error = try_value(source, json!({ "a": {} })).unwrap_err().to_string();
        assert!(error.contains("undefined value"), "{source}: {error}");
    }
    assert_eq!(value("{{ gone|default('x') }}", json!({})), "x");
    assert_eq!(value("{{ 'x' if gone is undefined }}", json!({})), "x");
}

#[test]
fn names_are_those_that_come_from_outside() {
    assert_eq!(names("{{ pick(queries) }} {{ secret.password }} {{ uuid() }}"), ["queries", "secret"]);
    assert_eq!(
        names("{% set a = b %}{% for c in d %}{{ a }}{{ c }}{{ loop.index }}{% endfor %}"),
        ["b", "d"]
    );
    assert_eq!(names("{{ a|default(b) }} {{ range(n) }}"), ["a", "b", "n"]);
    assert_eq!(names("{% raw %}{{ a }}{% endraw %}"), Vec::<String>::new());
}

#[test]
fn errors_of_syntax_tell_the_line() {
    let message = invalid("a\n{{ b");
    assert!(message.starts_with("syntax error: unexpected end of input"), "{message}");
    assert!(message.ends_with("(line 2)"), "{message}");
    assert!(invalid("{% if a %}").contains("line 1"));
    assert!(invalid("{{ a b }}").starts_with("syntax error"));
    for statement in
        ["include 'x'", "-extends 'x'", "import 'x' as y", "from 'x' import y", "block x %}{% endblock"]
    {
        let message = invalid(&format!("a\n{{%{statement} %}}"));
        assert!(message.starts_with("unknown statement `") && message.ends_with("(line 2)"), "{message}");
    }
}

#[test]
fn unknown_names_of_code_are_found_when_it_is_compiled() {
    assert_eq!(invalid("{{ a|uper }}"), "unknown filter `uper` (line 1)");
    assert_eq!(invalid("\n{% if a %}{{ b | f2(c) }}{% endif %}"), "unknown filter `f2` (line 2)");
    assert_eq!(invalid("{% filter uper %}x{% endfilter %}"), "unknown filter `uper` (line 1)");
    assert_eq!(invalid("{%- filter uper -%}x{% endfilter %}"), "unknown filter `uper` (line 1)");
    assert_eq!(invalid("{{ a is odds }}"), "unknown test `odds` (line 1)");
    assert_eq!(invalid("{{ a is not odds }}"), "unknown test `odds` (line 1)");
    assert_eq!(invalid("{{ uid() }}"), "unknown function `uid` (line 1)");
    assert_eq!(invalid("{{ [uid ()] }}"), "unknown function `uid` (line 1)");
    // Derived debug output would print every variable, including secrets.
    assert_eq!(invalid("{{ debug() }}"), "unknown function `debug` (line 1)");
}

#[test]
fn code_that_is_fine_is_not_found_wrong() {
    for source in [
        "{{ 'a|nofilter' }} {{ \"it's \\\" | no\" }}",
        "{# {{ a|nofilter }} #} text |nofilter is notest nofunction()",
        "{% raw %}{{ a|nofilter }}{% endraw %}{{ a|upper }}",
        "{%- raw -%}{{ a|nofilter }}{%- endraw -%}",
        "{% macro greet(name) %}{{ name }}{% endmacro %}{{ greet(a) }}",
        "{{ a.items() }} {{ a.is.b }} {{ a if (b) else (c) }} {{ (a) and (b) or not (c) }}",
        "{{ a is divisibleby(3) }} {{ a is not none }} {{ a is in([1]) }} {{ 5 is odd }}",
        "{{ {'a': {'b': 1}} }}{{ a | upper | replace('x', '|') }}",
        "{% for x in (a) %}{{ loop.index }}{{ x(1) if false }}{% endfor %}",
        "{ {{ a }} } {% if not (a) %}{% endif %} {",
    ] {
        if let Err(error) = Templates::default().add(source) {
            panic!("{source}: {error}");
        }
    }
}

#[test]
fn later_layers_win() {
    let (below, above) = (vars(json!({ "a": 1, "b": 1 })), vars(json!({ "b": 2 })));
    let mut templates = Templates::default();
    let template = templates.add("{{ a }}{{ b }}").unwrap();
    let counters = Counters::default();
    assert_eq!(templates.text(&template, &scope(&[&below, &above], &counters)).unwrap(), "12");
}

#[test]
fn draws_follow_the_seed_and_their_number() {
    let mut templates = Templates::default();
    let (counters, values) = (Counters::default(), vars(json!({ "xs": (0..1000).collect::<Vec<_>>() })));
    let template =
        templates.add("{{ pick(xs) }} {{ pick(xs) }} {{ uuid() }} {{ random(1, 1000000) }}").unwrap();
    let layers = [&values];
    let render = |seed| {
        let scope = RenderScope { seed, ..scope(&layers, &counters) };
        templates.text(&template, &scope).unwrap()
    };
    assert_eq!(render(1), render(1));
    assert_ne!(render(1), render(2));
    let drawn = render(1);
    let (first, rest) = drawn.split_once(' ').unwrap();
    assert_ne!(first, rest.split_once(' ').unwrap().0, "each draw is one of its own");
    // The second draw is the same whatever the first one was.
    let other = templates.add("{{ uuid() }} {{ pick(xs) }}").unwrap();
    let second = templates.text(&other, &RenderScope { seed: 1, ..scope(&layers, &counters) }).unwrap();
    assert_eq!(second.split_once(' ').unwrap().1, rest.split_once(' ').unwrap().0);
    // Changing these values changes every replay.
    assert_eq!(first, "331");
}

#[test]
fn cycle_goes_by_the_user() {
    let mut templates = Templates::default();
    let template = templates.add("{{ cycle(xs) }}").unwrap();
    let (counters, values) = (Counters::default(), vars(json!({ "xs": ["a", "b", "c"] })));
    let layers = [&values];
    let drawn = [0, 1, 2, 3, u32::MAX]
        .map(|user| templates.text(&template, &RenderScope { user, ..scope(&layers, &counters) }).unwrap());
    assert_eq!(drawn, ["a", "b", "c", "a", "a"]);
}

#[test]
fn time_has_three_forms() {
    assert_eq!(value("{{ now() }}", json!({})), "2024-07-11T01:14:00.123Z");
    assert_eq!(value("{{ now('unix') }}", json!({})), 1_720_660_440);
    assert_eq!(value("{{ now('unix_ms') }}", json!({})), 1_720_660_440_123_i64);
    assert!(try_value("{{ now('iso') }}", json!({})).is_err());
}

#[test]
fn counters_count_by_name_and_are_bounded() {
    let mut templates = Templates::default();
    let template = templates.add("{{ counter('a') }}{{ counter('a') }}{{ counter('b') }}").unwrap();
    let counters = Counters::default();
    let scope = scope(&[], &counters);
    assert_eq!(templates.text(&template, &scope).unwrap(), "121");
    assert_eq!(templates.text(&template, &scope).unwrap(), "342");
    let many = templates.add("{% for i in range(65) %}{{ counter('n' ~ i) }}{% endfor %}").unwrap();
    let error = templates.text(&many, &scope).unwrap_err().to_string();
    assert!(error.contains("more than 64 counters"), "{error}");
    let long = templates.add("{{ counter('n' * 65) }}").unwrap();
    assert!(templates.text(&long, &scope).unwrap_err().to_string().contains("longer than 64 bytes"));
}

#[test]
fn functions_refuse_what_they_cannot_do() {
    for source in [
        "{{ pick([]) }}",
        "{{ cycle([]) }}",
        "{{ pick('text') }}",
        "{{ pick({}) }}",
        "{{ pick(3) }}",
        "{{ pick() }}",
        "{{ random(2, 1) }}",
        "{{ random(1.5, 2) }}",
        "{{ uuid(1) }}",
        "{{ counter() }}",
    ] {
        assert!(try_value(source, json!({})).is_err(), "{source}");
    }
    assert_eq!(value("{{ random(3, 3) }}", json!({})), 3);
}

#[test]
fn no_template_runs_or_grows_without_end() {
    let nested = "{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}";
    for source in [
        nested,
        "{{ 'x' * 99999999 }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ range(100000)|map('string')|map('upper')|map('lower')|join }}",
    ] {
        assert!(try_value(source, json!({})).is_err(), "{source}");
    }
    let blown = "{{ [[[['x' * 1000] * 1000] * 1000] * 1000] * 1000 }}";
    let error = try_value(blown, json!({})).unwrap_err().to_string();
    assert!(error.contains("longer than 16777216 bytes"), "{error}");
    // Real prompts are far below the limit.
    let long = "word ".repeat(1_000_000);
    assert_eq!(text("{{ a }}{{ a }}", json!({ "a": long })).len(), 10_000_000);
}

#[test]
fn values_are_not_shown_by_debug() {
    let values = vars(json!({ "token": "hunter2" }));
    let counters = Counters::default();
    let shown = format!("{values:?} {:?}", scope(&[&values], &counters));
    assert!(shown.contains("token") && !shown.contains("hunter2"), "{shown}");
    assert!(values.contains("token") && !values.contains("hunter2"));
}

#[test]
fn what_stands_outside_of_code_is_sent_as_it_is() {
    let literal = Template::literal_text;
    assert_eq!(literal("/a/{{ b }}?c={% if x %}#{# d #}{e}"), "/a/?c=#{e}");
    assert_eq!(literal("{{ unclosed"), "");
    assert_eq!(literal("plain {"), "plain {");
    assert_eq!(literal("a{{ '}}#' }}b"), "ab");
    assert_eq!(literal("a{% raw %}{{ #{% x {%- endraw %}b"), "a{{ #{% x b");
}

#[test]
fn attributes_are_named_as_far_as_they_are_written_out() {
    let attributes =
        |source: &str| Templates::default().add(source).unwrap().attributes.into_iter().collect::<Vec<_>>();
    assert_eq!(attributes("{{ secret.a ~ secret.b.c }}"), ["secret.a", "secret.b.c"]);
    assert_eq!(attributes("{{ secret[x] }}"), ["secret", "x"]);
    assert_eq!(attributes("{{ 'secret.a' }}{# secret.b #}{{ y.secret.c }}"), ["y.secret.c"]);
    assert_eq!(attributes("{% set secret = y %}{{ secret.a }}"), ["y"]);
}

proptest! {
    #[test]
    fn a_value_comes_back_as_it_went_in(text in ".*", n in any::<i64>(), u in any::<u64>(), f in -1e300..1e300_f64) {
        let whole = json!({ "text": text, "list": [n, u, f, null, true], "map": { "a b": [] } });
        prop_assert_eq!(value("{{ x }}", json!({ "x": whole.clone() })), whole);
    }

    #[test]
    fn text_without_code_is_itself(source in "[^{]*") {
        prop_assert_eq!(text(&source, json!({})), source);
    }

    #[test]
    fn text_without_code_is_literal(source in "[^{]*") {
        prop_assert_eq!(Template::literal_text(&source), source);
    }

    #[test]
    fn no_source_breaks_the_scanner(source in "[{}%#|.()'\"a-c \n\\\\-]{0,40}") {
        let found = scan::scan(&source);
        prop_assert!(found.uses.iter().all(|used| source.contains(used.name)));
        let _ = Templates::default().add(&source);
    }

    #[test]
    fn uuids_have_version_and_variant(seed in any::<u64>()) {
        let mut templates = Templates::default();
        let template = templates.add("{{ uuid() }}").unwrap();
        let counters = Counters::default();
        let uuid = templates.text(&template, &RenderScope { seed, ..scope(&[], &counters) }).unwrap();
        let pattern = regex::Regex::new("^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$");
        prop_assert!(pattern.unwrap().is_match(&uuid), "{}", uuid);
    }

    #[test]
    fn picks_and_random_numbers_stay_inside(seed in any::<u64>(), len in 1_usize..50, a in -9_i64..9, more in 0_i64..9) {
        let mut templates = Templates::default();
        let template = templates.add("{{ [pick(xs), random(a, b)] }}").unwrap();
        let values = vars(json!({ "xs": (0..len).collect::<Vec<_>>(), "a": a, "b": a + more }));
        let counters = Counters::default();
        let drawn = templates.value(&template, &RenderScope { seed, ..scope(&[&values], &counters) }).unwrap();
        let drawn: (usize, i64) = serde_json::from_value(drawn).unwrap();
        prop_assert!(drawn.0 < len && (a..=a + more).contains(&drawn.1));
    }
}

#[test]
fn what_is_put_into_a_url_stays_one_part_of_it() {
    let values =
        json!({ "x": "a/../b?c&d=é ~-_.", "q": { "a/b": "c&d", "n": 1, "none": null }, "none": null });
    assert_eq!(text("{{ x|urlencode }}", values.clone()), "a%2F..%2Fb%3Fc%26d%3D%C3%A9%20~-_.");
    assert_eq!(text("{{ q|urlencode }}", values.clone()), "a%2Fb=c%26d&n=1");
    assert_eq!(text("{{ none|urlencode }}{{ 7|urlencode }}", values), "7");
}

#[test]
fn names_are_seen_wherever_they_are_read() {
    for (source, expected) in [
        ("{% filter replace('x', secret.pw) %}x{% endfilter %}", "secret"),
        ("{%- filter upper | replace('x', a, b=c) -%}x{% endfilter %}", "a c"),
        ("{% set x | replace('x', a) %}x{% endset %}{{ x }}", "a"),
        ("{{ a[:9] }}{{ b.c[1:d] }}", "a b d"),
        ("{% set a = a | upper %}{{ a }}", "a"),
        ("{% with a = a, b = a %}{{ b }}{% endwith %}", "a"),
        ("{% autoescape a %}{% endautoescape %}", "a"),
        ("{% for x in xs %}{% filter replace(x, loop.index) %}{{ y }}{% endfilter %}{% endfor %}", "xs y"),
        ("{% macro m(a, b=c) %}{{ a[:1] ~ b[:1] }}{% endmacro %}{{ m(1, b=d) }}", "c d"),
        ("{% macro m() %}{{ caller('x') }}{% endmacro %}{% call(v) m() %}{{ v[:1] }}{% endcall %}", ""),
        ("{% set ns = namespace(n=1) %}{% set ns.n = ns.n + k %}{{ ns.n }}", "k"),
        ("{% set a, b = [c, d] %}{{ a == b or a is defined and a is divisibleby b }}", "c d"),
        (
            "{% for a, (b, c) in xs if a != b recursive %}{{ loop(c) }}{% else %}{{ d[:1] }}{% endfor %}",
            "d xs",
        ),
        ("{{ {'a': b, c: d}.a[:1] if true else none }}", "b c d"),
        ("{{ 'a[:1]' }}{# {{ a[:1] }} #}{% raw %}{{ a[:1] }}{% endraw %}", ""),
    ] {
        assert_eq!(names(source).join(" "), expected, "{source}");
    }
    let template =
        Templates::default().add("{% filter replace('x', secret.pw) %}{{ secret.key[:3] }}{% endfilter %}");
    let attributes = template.unwrap().attributes;
    assert!(["secret.pw", "secret.key"].iter().all(|name| attributes.contains(*name)), "{attributes:?}");
    assert_eq!(
        invalid("{% filter replace('x', nothing()[:1]) %}{% endfilter %}"),
        "unknown function `nothing` (line 1)"
    );
}
