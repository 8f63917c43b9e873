//! Warnings about probes whose answers were mostly reasoning.

use crate::app::budgets::money;
use crate::event::{Count, Failure, Outcome, Request};
use crate::plan::{Amount, Api, PairPlan, ReasoningEffort};

/// Returns a warning about the request of a probe if its answer was mostly or only reasoning.
pub(super) fn warning(pair: &PairPlan, currency: &str, request: &Request) -> Option<String> {
    let spent = spent(pair, currency, request)?;
    let advice = advice(pair);
    Some(format!("targets.{}: {spent}: {advice}", pair.pair.target))
}

/// Describes how much of the answer was reasoning, if it was more than half. Uses the server's counts, or the
/// characters if there are none.
fn spent(pair: &PairPlan, currency: &str, request: &Request) -> Option<String> {
    let tokens = &request.observed.tokens;
    if request.outcome == Outcome::Failed(Failure::Exhausted) {
        let limit = request.asked_output_tokens.map_or_else(String::new, |limit| format!("{limit} "));
        return Some(format!(
            "reasoning used up the limit of {limit}output tokens before any visible text; raise `output_tokens` or \
             lower the effort"
        ));
    }
    let seen = (request.observed.reasoning_chars, request.text_chars);
    match (tokens.reasoning, tokens.output, seen) {
        (Some(reasoning), Some(Count { n: output, .. }), _) if reasoning > output / 2 && output > 0 => {
            let cost = pair.target.price.zip(request.cost).map(|(price, all)| {
                let of_reasoning = money(Amount::Exact(price.cost(0, 0, reasoning)));
                format!(" ({of_reasoning} of the {} {currency} of this request)", money(Amount::Exact(all)))
            });
            Some(format!(
                "{reasoning} of {output} output tokens were reasoning, which is billed as output{}",
                cost.unwrap_or_default()
            ))
        }
        // An answer without text is a tool call. Its arguments are not counted here.
        (None, _, (reasoning, text)) if reasoning > text && text > 0 => Some(format!(
            "{reasoning} of {} characters of the answer were reasoning, which counts as output",
            reasoning + text
        )),
        _ => None,
    }
}

fn advice(pair: &PairPlan) -> String {
    let (profile, target) = (&pair.pair.profile, &pair.pair.target);
    let asked = pair.reasoning();
    match pair.least_reasoning() {
        Some(least) if asked == ReasoningEffort::Default || least < asked => {
            format!("`reasoning: {}` in targets.{target} or in profiles.{profile} reduces it", least.name())
        }
        _ if pair.target.api == Api::OpenAiChat => format!(
            "`reasoning: {}` has no effect on this server; it may have its own parameter, to be set in `params`, such as \
             `chat_template_kwargs: {{ enable_thinking: false }}`",
            asked.name()
        ),
        Some(_) => format!("`reasoning: {}` is the lowest effort that the dialect supports", asked.name()),
        None => format!(
            "`{}` has no reasoning parameter; if the server has one, set it in `params`",
            pair.target.api.name()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::CountSource;
    use crate::fact::{Fanout, Sink};
    use crate::plan::from_yaml;
    use crate::testing::play;
    use std::sync::Arc;

    fn told(target: &str, change: impl FnOnce(&mut Request)) -> Option<String> {
        let plan = from_yaml(&format!(
            "targets: {{ t: {{ base_url: 'http://127.0.0.1:1/v1', {target} }} }}\n\
             profiles: {{ p: {{ targets: [t], schedule: {{ manual: {{}} }}, workload: {{ prompts: [x], output_tokens: 5000 }} }} }}"
        ));
        let plan = plan.unwrap_or_else(|e| panic!("{e}"));
        let (pair, nobody): (_, Arc<dyn Sink>) = (&plan.pairs[0], Arc::new(Fanout::new(Vec::new())));
        let request = play(&nobody, &pair.places[0], Outcome::Ok, change);
        warning(pair, "usd", &request)
    }

    fn counts(output: u64, reasoning: Option<u64>) -> impl FnOnce(&mut Request) {
        move |request| {
            request.observed.tokens.output = Some(Count { n: output, source: CountSource::Usage });
            request.observed.tokens.reasoning = reasoning;
        }
    }

    #[test]
    fn most_of_the_output_has_figures_and_what_to_write() {
        let said = told("api: openai-chat", counts(977, Some(950))).unwrap();
        assert_eq!(
            said,
            "targets.t: 950 of 977 output tokens were reasoning, which is billed as output: `reasoning: off` in targets.t or \
             in profiles.p reduces it"
        );
        assert_eq!(told("api: openai-chat", counts(977, Some(400))), None);
        assert_eq!(told("api: openai-chat", counts(1, Some(0))), None);
        assert_eq!(told("api: openai-chat", counts(0, Some(0))), None);
        assert_eq!(told("api: openai-chat", counts(977, None)), None);
    }

    #[test]
    fn money_is_told_where_there_is_a_price() {
        let said = told("api: openai-chat, price: { input: 1, output: 10 }", |request| {
            counts(977, Some(950))(request);
            request.cost = Some(0.009_79);
        });
        assert!(said.unwrap().contains("(0.009500 of the 0.009790 usd of this request)"));
    }

    #[test]
    fn without_counts_what_was_seen_is_compared() {
        let chars = |reasoning, text| {
            told("api: ollama-chat", move |request| {
                request.observed.reasoning_chars = reasoning;
                request.text_chars = text;
            })
        };
        assert!(chars(900, 100).unwrap().contains("900 of 1000 characters of the answer were reasoning"));
        assert_eq!(chars(100, 900), None);
        assert_eq!(chars(900, 0), None, "a tool was called");
    }

    #[test]
    fn a_limit_that_reasoning_used_up_is_told() {
        let said = told("api: anthropic", |request| request.outcome = Outcome::Failed(Failure::Exhausted));
        let said = said.unwrap();
        assert!(
            said.contains("used up the limit of 128 output tokens") && said.contains("raise `output_tokens`"),
            "{said}"
        );
    }

    #[test]
    fn the_advice_is_what_the_dialect_takes() {
        let advice = |target: &str| told(target, counts(100, Some(90))).unwrap();
        assert!(advice("api: gemini, model: gemini-2.5-pro").contains("`reasoning: minimal` in targets.t"));
        assert!(
            advice("api: gemini, model: gemini-3-flash, reasoning: high").contains("`reasoning: minimal`")
        );
        assert!(advice("api: tgi").contains("`tgi` has no reasoning parameter"));
        assert!(advice("api: openai-chat, reasoning: off").contains("enable_thinking: false"));
        assert!(advice("api: anthropic, reasoning: off").contains("is the lowest effort"));
    }
}
