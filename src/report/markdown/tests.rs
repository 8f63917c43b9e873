//! What a pull request shows.

use super::*;
use crate::event::{Failure, Outcome};
use crate::fact::Sink;
use crate::report::Summary;
use crate::report::testing::{environment, found, played, worse_baseline, worse_comparison};
use crate::testing::{play, small_plan};
use std::sync::Arc;

fn saved() -> SavedResult {
    SavedResult::of(&played(30), environment())
}

fn line<'a>(text: &'a str, of: &str) -> &'a str {
    text.lines().find(|line| line.contains(of)).unwrap_or_else(|| panic!("{of} in {text}"))
}

#[test]
fn the_verdict_comes_first_and_the_rest_is_folded() {
    let mut result = saved();
    let text = result.to_markdown();
    assert!(text.starts_with("## tokenbeat: ✅ passed\n\n| "), "{text}");
    let row = line(&text, "| chat | llama |");
    assert_eq!(row, "| ✅ | chat | llama | 300 ms | - | - | 21.6 | 30 | 0 | 7.7500 usd |");
    assert!(!text.contains("**Diagnosis**") && !text.contains("since the baseline"), "{text}");
    assert_eq!(text.matches("<details>").count(), text.matches("</details>").count());
    assert!(line(&text, "run run-1").contains("seed 1"));
    let of_stage: Vec<&str> =
        text.lines().filter(|line| line.contains("| chat on llama | steady |")).collect();
    let [times, failures] = of_stage[..] else { panic!("{text}") };
    assert!(times.starts_with("| chat on llama | steady | 300 ms | 300 ms | - | - |"), "{times}");
    assert_eq!(failures, "| chat on llama | steady | 0.00% | 0.00% | 0 | 0 | 0 | 0 |");
    assert!(line(&text, "| chat on llama | ttft |").contains("| 0 | 0 | - | 99% | - |"), "{text}");

    result.pairs[0].reasons = vec!["objective ttft (below 0.8 s) missed: 4 of 30 are bad".into()];
    result.baseline = Some(worse_baseline());
    assert_eq!(
        worse_baseline().diff.changes[0].reason(),
        "steady: time to first token worse: +20.0% (+10.0% to +30.0%; 5% matter), from 250 ms of 30 to 300 ms of 30"
    );
    result.comparisons = vec![worse_comparison()];
    result.diagnosis = vec![found()];
    result.replay = vec!["tokenbeat run chat --config.file 'a <b>.yaml'".into()];
    let text = result.to_markdown();
    assert!(text.starts_with("## tokenbeat: ❌ failed\n"), "{text}");
    assert!(line(&text, "| chat | llama |").ends_with("| time to first token +20.0% worse |"), "{text}");
    assert!(line(&text, "- chat on llama: objective ttft").ends_with("4 of 30 are bad"));
    assert!(line(&text, "- chat on llama: decode bound").contains("time to first token 12.3 ms"), "{text}");
    assert!(
        line(&text, "canary: new against old").contains("worse: time\\_to\\_first\\_token +23.1%"),
        "{text}"
    );
    assert!(text.contains("<pre>tokenbeat run chat --config.file 'a &lt;b&gt;.yaml'</pre>"), "{text}");
    let headings = [
        "**What failed**",
        "**Comparisons**",
        "**Diagnosis**",
        "Changes since before.json",
        "Stages",
        "How it was",
    ];
    let at: Vec<usize> = headings.iter().map(|heading| text.find(heading).unwrap()).collect();
    assert!(at.is_sorted(), "{text}");
}

#[test]
fn what_does_not_judge_the_target_is_in_no_rate() {
    let place = &small_plan().pairs[0].places[1];
    let summary = played(24);
    let sink: Arc<dyn Sink> = Arc::<Summary>::clone(&summary);
    let plays = |failure, times| {
        for _ in 0..times {
            play(&sink, place, Outcome::Failed(failure), |_| {});
        }
    };
    plays(Failure::Http5xx, 4);
    plays(Failure::TotalTimeout, 4);
    for own in [Failure::Exhausted, Failure::Internal, Failure::Credentials, Failure::Cancelled] {
        plays(own, 2);
    }
    let text = SavedResult::of(&summary, environment()).to_markdown();
    let row = line(&text, "| chat | llama |");
    assert!(row.contains("| 40 | 8 (25.00%) |"), "{row}");
    let failures = text.lines().rfind(|line| line.contains("| chat on llama | steady |")).unwrap();
    assert_eq!(failures, "| chat on llama | steady | 25.00% | 12.50% | 0 | 4 | 0 | 0 |");
}

#[test]
fn nothing_in_it_is_markup_of_others() {
    let mut result = saved();
    let hostile = "a|b</details><script>*x*`y`@me [z](http://127.0.0.1) #1\n\n# big";
    result.pairs[0].profile = hostile.into();
    result.pairs[0].reasons = vec![hostile.into()];
    result.environment.agent = hostile.into();
    result.replay = vec![hostile.into()];
    let text = result.to_markdown();
    let row = line(&text, "| ❌ |");
    assert_eq!(row.replace("\\|", "").matches('|').count(), 11, "{row}");
    assert!(!text.contains("<script>") && !text.contains("@me") && !text.contains("\n# big"), "{text}");
    assert_eq!(text.matches("</details>").count(), 2, "{text}");
    assert!(row.contains("\\*x\\*\\`y\\`&#64;me \\[z\\]"), "{row}");
}
