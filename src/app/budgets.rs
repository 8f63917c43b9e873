//! Describes budgets for `check`: how long each one lasts with this config.

use crate::config::Located;
use crate::event::BudgetUnit;
use crate::plan::{Amount, LoadedPlan, Outlook, Period};
use jiff::Timestamp;

/// An amount of money with the meaningful number of digits.
pub(super) fn money(amount: Amount) -> String {
    if amount.value().is_some_and(|value| value >= 1.0) {
        format!("{amount:.2}")
    } else {
        format!("{amount:.6}")
    }
}

/// Describes one limit in a sentence.
pub(super) fn sentence(outlook: &Outlook, currency: &str) -> String {
    let what = match outlook.unit {
        BudgetUnit::Cost => currency,
        unit => unit.label(),
    };
    let limit = number(outlook.unit, outlook.limit);
    let period = outlook.period.name();
    let zone = outlook.timezone.iana_name().unwrap_or("UTC");
    format!("{limit} {what} per {period} ({zone}); {}", meaning(outlook))
}

fn meaning(outlook: &Outlook) -> String {
    let unit = outlook.unit;
    let verb = match unit {
        BudgetUnit::Cost => "spend",
        BudgetUnit::Requests => "send",
        BudgetUnit::Tokens => "use",
    };
    let period = outlook.period.name();
    let article = if outlook.period == Period::Hour { "an" } else { "a" };
    let most = outlook.most.value().map_or_else(
        || "an amount that depends on how fast the targets answer".to_owned(),
        |most| format!("up to {}", number(unit, most)),
    );
    let Some(expected) = outlook.expected.value() else {
        return format!("this config would {verb} {most}: how long it lasts is not known");
    };
    let (bound, least) =
        if matches!(outlook.expected, Amount::AtMost(_)) { ("at most ", "at least ") } else { ("", "") };
    let expected = number(unit, expected);
    let would = format!("this config would {verb} {most} {article} {period}, expected {bound}{expected}");
    if let Some(blocked) = &outlook.blocked {
        return format!("{would}: no run of `{}` can begin", blocked.profile);
    }
    match (outlook.spent_at, outlook.most.value()) {
        (Some(at), _) => format!("{would}: it lasts {least}until about {}", moment(outlook, at)),
        (None, Some(most)) if most > outlook.limit => {
            format!("{would}: it lasts, but not if the most is taken")
        }
        (None, _) => format!("{would}: it lasts"),
    }
}

/// A limit or its usage. Money has two decimals, or as many as a small amount needs.
fn number(unit: BudgetUnit, value: f64) -> String {
    match unit {
        BudgetUnit::Requests | BudgetUnit::Tokens => format!("{value:.0}"),
        BudgetUnit::Cost if value >= 0.1 || value == 0.0 => format!("{value:.2}"),
        BudgetUnit::Cost => {
            let text = format!("{value:.6}");
            let short = text.trim_end_matches('0');
            // At least two decimals: 0.50, not 0.5.
            let least = text.find('.').map_or(0, |point| point + 3);
            text.get(..short.len().max(least)).unwrap_or(&text).to_owned()
        }
    }
}

/// An instant in a period, for a sentence.
fn moment(outlook: &Outlook, at: Timestamp) -> String {
    let local = at.to_zoned_datetime(outlook.timezone.clone());
    match outlook.period {
        Period::Hour => {
            let minutes = outlook.begins_of_period(at).duration_until(at).as_secs_f64() / 60.0;
            format!("minute {minutes:.0} of the fullest hour")
        }
        Period::Day => local.strftime("%H:%M").to_string(),
        Period::Week => local.strftime("%A %H:%M").to_string(),
        Period::Month => local.strftime("%-d %B, %H:%M").to_string(),
    }
}

/// Warnings about budgets that are not expected to last, and about profiles that they prevent from running.
pub(super) fn warnings(loaded: &LoadedPlan, outlooks: &[Outlook]) -> Vec<Located> {
    let mut warnings = Vec::new();
    for outlook in outlooks {
        let mut warn = |message| warnings.push(loaded.warn_of_budget(&outlook.scope, outlook.unit, message));
        if let Some(blocked) = &outlook.blocked {
            warn(format!(
                "no run of `{}` can begin: {} have to be free for it",
                blocked.profile,
                with_unit(outlook, blocked.needs, &loaded.plan.agent.currency)
            ));
        } else if outlook.spent_at.is_some() && !matches!(outlook.expected, Amount::AtMost(_)) {
            warn(format!("is less than what is expected to be taken: {}", meaning(outlook)));
        }
    }
    warnings
}

fn with_unit(outlook: &Outlook, value: f64, currency: &str) -> String {
    let what = if outlook.unit == BudgetUnit::Cost { currency } else { outlook.unit.label() };
    format!("{} {what}", number(outlook.unit, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::BudgetScope;
    use jiff::tz::TimeZone;

    fn outlook(period: Period, unit: BudgetUnit) -> Outlook {
        Outlook {
            scope: BudgetScope::Agent,
            period,
            timezone: TimeZone::get("Europe/Berlin").unwrap(),
            unit,
            limit: 0.5,
            most: Amount::AtMost(14.99),
            expected: Amount::About(1.1),
            spent_at: Some("2026-11-28T07:10:00Z".parse().unwrap()),
            blocked: None,
        }
    }

    #[test]
    fn a_budget_says_how_long_it_lasts() {
        let day = outlook(Period::Day, BudgetUnit::Cost);
        assert_eq!(
            sentence(&day, "eur"),
            "0.50 eur per day (Europe/Berlin); this config would spend up to 14.99 a day, expected 1.10: it lasts until \
             about 08:10"
        );
        let of = |change: fn(&mut Outlook)| {
            let mut outlook = outlook(Period::Month, BudgetUnit::Tokens);
            (outlook.limit, outlook.most, outlook.expected) = (5e3, Amount::AtMost(9e3), Amount::About(6e3));
            change(&mut outlook);
            sentence(&outlook, "eur")
        };
        let month = "5000 tokens per month (Europe/Berlin); this config would use ";
        assert_eq!(
            of(|_| ()),
            format!("{month}up to 9000 a month, expected 6000: it lasts until about 28 November, 08:10")
        );
        let lasts = |outlook: &mut Outlook| (outlook.expected, outlook.spent_at) = (Amount::About(4e3), None);
        assert_eq!(
            of(lasts),
            format!("{month}up to 9000 a month, expected 4000: it lasts, but not if the most is taken")
        );
        assert_eq!(
            of(|outlook| (outlook.most, outlook.expected, outlook.spent_at) =
                (Amount::AtMost(5e3), Amount::About(4e3), None)),
            format!("{month}up to 5000 a month, expected 4000: it lasts")
        );
        assert_eq!(
            of(|outlook| (outlook.most, outlook.expected, outlook.spent_at) =
                (Amount::Unknown, Amount::Unknown, None)),
            format!(
                "{month}an amount that depends on how fast the targets answer: how long it lasts is not known"
            )
        );
        let closed = |outlook: &mut Outlook| outlook.expected = Amount::AtMost(6e3);
        assert_eq!(
            of(closed),
            format!(
                "{month}up to 9000 a month, expected at most 6000: it lasts at least until about 28 November, 08:10"
            )
        );
        let week = sentence(&outlook(Period::Week, BudgetUnit::Cost), "eur");
        assert!(week.ends_with("a week, expected 1.10: it lasts until about Saturday 08:10"), "{week}");
        let hour = sentence(&outlook(Period::Hour, BudgetUnit::Cost), "eur");
        assert!(
            hour.ends_with("an hour, expected 1.10: it lasts until about minute 10 of the fullest hour"),
            "{hour}"
        );
    }

    #[test]
    fn small_money_keeps_its_digits() {
        let money = |value| number(BudgetUnit::Cost, value);
        assert_eq!(
            [0.0, 0.05, 0.0123, 0.000_001, 20.0, 0.1].map(money),
            ["0.00", "0.05", "0.0123", "0.000001", "20.00", "0.10"]
        );
    }
}
