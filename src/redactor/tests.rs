use super::*;
use proptest::prelude::*;

#[test]
fn an_excerpt_has_no_secret_wherever_it_is_cut() {
    let redactor = redactor(&["sesame-opens"]);
    assert_eq!(redactor.excerpt("say sesame-opens,\n now"), "say ***, now");
    let long = "x".repeat(MAX_EXCERPT - 4) + "sesame-opens";
    assert!(redactor.excerpt(&long).ends_with("xx***"), "{}", redactor.excerpt(&long));
    let longer = "x".repeat(MAX_EXCERPT * 8 - 5) + "sesame-opens";
    assert_eq!(redactor.excerpt(&longer), "x".repeat(MAX_EXCERPT) + "...");
    // The cut must not fall inside a character.
    assert!(redactor.excerpt(&"\u{20ac}".repeat(MAX_EXCERPT * 8)).starts_with('\u{20ac}'));
}

fn redactor(secrets: &[&str]) -> Redactor {
    Redactor::new(secrets.iter().copied().map(Exposed::new).collect())
}

#[test]
fn secrets_in_every_form() {
    let redactor = redactor(&["p\u{e4}ss \"w/rd"]);
    for quoted in [
        "p\u{e4}ss \"w/rd",
        "p\u{e4}ss \\\"w/rd",
        "p%C3%A4ss%20%22w%2Frd",
        "p%C3%A4ss+%22w%2Frd",
        "cMOkc3MgIncvcmQ",
    ] {
        assert_eq!(redactor.clean(&format!("bad: <{quoted}>!")), "bad: <***>!", "{quoted}");
    }
    assert_eq!(redactor.clean("harmless"), "harmless");
    assert_eq!(redactor.clean("\u{1b}[31mred\u{202e}der\u{2028}line"), "[31mred der line");
}

#[test]
fn what_is_a_secret_within_a_header_is_masked_by_itself() {
    let of = |header: &str| {
        let mut redactor = Redactor::default();
        redactor.add_header(header);
        redactor
    };
    assert_eq!(of("Bearer sk-sesame").clean("the key sk-sesame is wrong"), "the key *** is wrong");
    let basic = of("Basic bWU6aHVudGVyMg==");
    assert_eq!(basic.clean("me:hunter2, hunter2, bWU6aHVudGVyMg=="), "***, ***, ***");
    assert_eq!(of("sid=hunter2; lang=english").clean("no session hunter2"), "no session ***");
    assert_eq!(of("Digest response=\"hunter2\", a=b").clean("hunter2 is wrong"), "*** is wrong");
    assert_eq!(of("a=sesame b").clean("sesame b"), "***");
}

#[test]
fn nothing_is_left_of_a_secret_that_holds_another() {
    assert_eq!(redactor(&["abcd", "xabcdx"]).clean("xabcdx abcd"), "*** ***");
}

#[test]
fn short_values_are_not_searched_for() {
    assert_eq!(redactor(&["abc", ""]).clean("abc"), "abc");
}

#[test]
fn the_beginning_of_a_secret_at_the_cut_end_of_a_body() {
    let redactor = redactor(&["s3cret-and-long"]);
    assert_eq!(redactor.clean("HTTP 500: s3cret-a"), "HTTP 500: ***");
    assert_eq!(redactor.clean("s3cret-a s3cr"), "s3cret-a ***");
    assert_eq!(redactor.clean("s3c"), "s3c");
    assert_eq!(redactor.clean("s3cret-b"), "s3cret-b");
}

#[test]
fn details_are_one_short_line() {
    assert_eq!(redactor(&[]).clean(" a\n\tb\u{7} c "), "a b c");
    let long = redactor(&[]).clean(&"\u{e4}".repeat(1000));
    assert_eq!((long.chars().count(), long.ends_with("...")), (MAX_DETAIL + 3, true));
}

#[test]
fn every_way_to_escape_a_secret_is_masked() {
    let redactor = redactor(&["sk-ab/cd+ef==gh/99zz", "p&ss<w>'rd/+é0rd", "two words"]);
    for quoted in [
        r"sk-ab\/cd+ef==gh\/99zz",
        r"sk-ab/cd\u002bef\u003D\u003dgh/99zz",
        "sk-ab%2fcd%2bef%3d%3dgh%2f99zz",
        "sk-ab/cd%2Bef==gh/99zz",
        "sk-ab&#47;cd&#43;ef&#x3D;&equals;gh&sol;99zz",
        "sk-ab%252Fcd%252Bef%253D%253Dgh%252F99zz",
        r"sk-ab\\/cd\\u002bef==gh\\\/99zz",
        r"p\u0026ss\u003cw\u003e\u0027rd/+\u00e90rd",
        "p&amp;ss&lt;w&gt;&#39;rd/+&eacute;0rd",
        "p%26ss%3Cw%3E%27rd/%2B%C3%A90rd",
        "p&ss%3Cw%3E'rd/+%c3%a90rd",
        "two+words",
        "two%20words",
    ] {
        assert_eq!(redactor.mask(&format!("<{quoted}> \\n")), "<***> \\n", "{quoted}");
    }
    // The base64 of a key has characters that are escaped, too.
    let basic = Exposed::new("me:~~~???>>>");
    assert_eq!(
        Redactor::new(vec![basic]).mask(r"(bWU6fn5+Pz8\/Pj4+) (bWU6fn5%2BPz8%2fPj4%2b)"),
        "(***) (***)"
    );
}

#[test]
fn an_escape_before_or_after_a_secret_is_none_of_its_characters() {
    let redactor = redactor(&["41secret\\", "nsecrets"]);
    assert_eq!(redactor.mask("%41secret\\\\, \\nsecrets\\n"), "%***, \\***\\n");
}

#[test]
fn the_beginning_of_a_secret_at_a_cut_within_an_escape() {
    let redactor = redactor(&["s3cret/é-and-long"]);
    for end in [
        "\\",
        "%",
        "%2",
        "\\u00",
        "&#4",
        "/%C3",
        "/%c3%",
        "\\/\\u00e",
        "%252",
        "%2F%25C",
        "/\u{fffd}",
        "\\/&eac",
    ] {
        assert_eq!(redactor.mask(&format!("HTTP 500: s3cret{end}")), "HTTP 500: ***", "{end}");
    }
    assert_eq!(redactor.mask("s3cret\\n, s3cret% of"), "s3cret\\n, s3cret% of");
}

#[test]
fn secrets_that_overlap_are_masked_together() {
    assert_eq!(redactor(&["abcdef", "efghij"]).mask("(abcdefghij)"), "(***)");
    assert_eq!(redactor(&["aaaa"]).mask("(aaaaaa)"), "(***)");
    assert_eq!(redactor(&["abcd"]).mask("abcdabcd"), "******");
}

#[test]
fn the_spaces_around_a_secret_are_not_sought() {
    let spaced = redactor(&["\u{feff}sesame-opens \t"]);
    assert_eq!(spaced.mask("Bearer sesame-opens; c2VzYW1lLW9wZW5z"), "Bearer ***; ***");
    assert_eq!(redactor(&["      "]).mask("a      b"), "a      b");
    let mut header = Redactor::default();
    header.add_header("Bearer  sesame-opens ");
    assert_eq!(header.mask("no sesame-opens here"), "no *** here");
}

#[test]
fn a_text_that_was_made_to_take_long_is_masked_from_there() {
    let secret = "\\".repeat(1 << 15);
    let text = format!("{}.", "\\".repeat(1 << 14));
    assert_eq!(redactor(&[&secret]).mask(&text), "***");
}

/// One of the ways to write a character, and to write that again.
fn spelled(c: char, way: u8) -> String {
    let mut units = [0; 2];
    let utf16 =
        |units: &[u16]| units.iter().map(|unit| format!("\\u{unit:04x}")).collect::<Vec<_>>().concat();
    let utf8 =
        |c: char| c.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
    let json = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    match way {
        0 => json(&c.to_string()),
        1 => utf16(c.encode_utf16(&mut units)),
        2 => utf16(c.encode_utf16(&mut units)).to_uppercase().replace("\\U", "\\u"),
        3 => utf8(c),
        4 => utf8(c).to_lowercase(),
        5 => format!("&#{};", u32::from(c)),
        6 => format!("&#x{:X};", u32::from(c)),
        7 if c == ' ' => "+".to_owned(),
        7 if c.is_ascii_punctuation() => format!("\\{c}"),
        8 => utf8(c).replace('%', "%25"),
        9 => json(&utf16(c.encode_utf16(&mut units))),
        10 => json(&json(&c.to_string())),
        11 => format!("&amp;#{};", u32::from(c)),
        12 => match c {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '\'' => "&apos;".to_owned(),
            'é' => "&eacute;".to_owned(),
            _ => c.to_string(),
        },
        _ => c.to_string(),
    }
}

proptest! {
    #[test]
    fn no_text_shows_a_secret(
        before in ".{0,20}",
        secret in "[a-zA-Z0-9\"\\\\ /+&<>'=%;#u\u{e9}\u{1f600}]{4,20}",
        ways in prop::collection::vec(0..24_u8, 20),
        after in "[0-9a-fu;#%\\\\&\"n+]{0,3}.{0,20}",
    ) {
        prop_assume!(secret.trim().len() >= MIN_SECRET);
        let redactor = redactor(&[&secret]);
        let quoted: String = secret.trim().chars().zip(&ways).map(|(c, way)| spelled(c, *way)).collect();
        // In a text of other characters, it is all that is masked.
        prop_assert_eq!(redactor.mask(&format!("|{quoted}|")), "|***|", "{}", &quoted);
        prop_assume!(!before.contains('*') && !after.contains('*'));
        let masked = redactor.mask(&format!("{before}{quoted}{after}"));
        prop_assert!(!masked.contains(&quoted), "{} in {}", quoted, masked);
        prop_assert!(masked.contains(MASK));
        for encoded in [STANDARD_NO_PAD.encode(&secret), URL_SAFE_NO_PAD.encode(&secret)] {
            let masked = redactor.mask(&format!("{before}{encoded}{after}"));
            prop_assert!(!masked.contains(&encoded), "{} in {}", encoded, masked);
        }
    }

    #[test]
    fn a_text_without_a_secret_is_left_as_it_is(
        text in "([ -~]|\\\\n|\\\\u00e9|%2F|&amp;|\u{e9}){0,60}",
        secret in "[a-zA-Z/+]{12,20}",
    ) {
        prop_assert_eq!(redactor(&[&secret]).mask(&text), text);
    }
}
