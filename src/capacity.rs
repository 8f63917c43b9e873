//! Decides what a capacity search does: which load comes next, and what the answer is. Pure: it is fed what was observed
//! under each load, reads no clock and sends nothing.

mod judge;
mod knee;

use crate::event::{LoadMeasurement, LoadPoint, LoadUnit, LoadVerdict, SearchEnd, SearchReport};
use crate::plan::{CapacitySearch, Objective};
pub use judge::JudgedObjective;
use judge::Judgement;

/// A difference between two loads below this share of the lower one is not resolved any further, and a load that falls
/// short by more than this share is another load.
const RESOLUTION: f64 = 0.05;

/// So many requests are looked at before lateness ends a search, however few `samples` are: as many as before a target
/// counts as failed.
const MIN_LATENESS: u64 = 10;

/// Why a load could not be played to its end, or says nothing about the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SearchInterruption {
    /// The target failed.
    TargetFailed(String),
    /// The prober was late.
    Late {
        /// How late it was.
        why: String,
        /// Number of requests that were looked at.
        of: u64,
    },
    /// The prober left requests out, because too many others were in flight.
    LeftOut(String),
    /// A budget was exhausted.
    Budget,
    /// The run was stopped, or its time was up.
    Stopped,
}

/// What was observed under a load, in all rounds of it together.
#[derive(Clone, Debug)]
pub struct LoadObservation {
    /// The objectives, and how the requests were judged by them.
    pub judged: Vec<JudgedObjective>,
    /// Number of requests that were due while it was measured.
    pub offered: u64,
    /// Why the load ended early or says nothing, if so.
    pub interruption: Option<SearchInterruption>,
    /// The point of the curve; load, verdict, samples and missed objectives are filled in.
    pub measured: LoadMeasurement,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum NextLoad {
    /// Hold the same load again and observe both rounds together.
    Again,
    /// Play this load.
    Play(f64),
    /// The search is over.
    Done(Box<SearchReport>),
}

/// The state of a search.
#[derive(Clone, Debug)]
pub struct CapacitySearcher {
    search: CapacitySearch,
    unit: LoadUnit,
    /// The loads on the way up that have not been tried, highest first.
    rising: Vec<f64>,
    load: f64,
    /// Number of rounds of this load.
    rounds: u32,
    refinements: u32,
    /// The highest load that met the objectives.
    met: Option<f64>,
    /// The lowest load that missed them.
    missed: Option<f64>,
    /// Whether that may be chance.
    may_be_chance: bool,
    /// Rounds in which a miss between two loads may be looked at longer: those that [`CapacitySearch::most`] counts for
    /// loads which are at least as high, and that were not needed.
    spare: u32,
    /// The load before this one on the way up, if it missed them and that may still be chance after all its rounds.
    doubted: Option<f64>,
    curve: Vec<LoadMeasurement>,
}

impl CapacitySearcher {
    /// Begins a search. What arrives at a rate may play `journeys`.
    pub fn new(search: &CapacitySearch, journeys: bool) -> Self {
        let mut rising = search.loads();
        rising.reverse();
        let load = rising.pop().unwrap_or(search.from);
        Self {
            search: search.clone(),
            unit: search.unit(journeys),
            rising,
            load,
            rounds: 0,
            refinements: 0,
            met: None,
            missed: None,
            may_be_chance: false,
            spare: 0,
            doubted: None,
            curve: Vec::new(),
        }
    }

    /// The load to play now.
    pub const fn load(&self) -> f64 {
        self.load
    }

    /// The objectives by which loads are judged.
    pub fn objectives<'a>(&'a self, slos: &'a [Objective]) -> impl Iterator<Item = &'a Objective> {
        slos.iter().filter(|slo| self.search.until.contains(&slo.name))
    }

    /// Takes what was observed under the present load, and decides what to do next.
    pub fn step(&mut self, observed: LoadObservation) -> NextLoad {
        self.rounds += 1;
        let Judgement { samples, missed, is_chance } = judge::judge(&observed.judged);
        let mut point = LoadMeasurement { load: self.load, samples, ..observed.measured };
        point.missed = missed;
        let is_missed = !point.missed.is_empty();
        let is_clear = is_missed && !is_chance;
        // What was left out would have made the load higher: a target that misses without it misses with it.
        let tells_nothing =
            |it: &SearchInterruption| !(is_clear && matches!(it, SearchInterruption::LeftOut(_)));
        if let Some(interruption) = observed.interruption.filter(tells_nothing) {
            if self.is_late_by_chance(&interruption) && self.rounds < CapacitySearch::MAX_ROUNDS {
                return NextLoad::Again;
            }
            point.verdict = LoadVerdict::Unjudged;
            self.curve.push(point);
            return self.interrupted(interruption);
        }
        let is_few = samples < self.search.samples;
        // A clear miss needs no more samples, nor more load.
        let is_open = if is_missed { is_chance } else { is_few || self.is_lull(observed.offered) };
        let more = if is_missed { self.rounds_beyond() } else { 0 };
        if is_open && self.rounds < CapacitySearch::MAX_ROUNDS + more {
            return NextLoad::Again;
        }
        point.verdict = match (is_missed, is_few) {
            (true, true) if is_chance => LoadVerdict::Unjudged,
            (true, _) => LoadVerdict::Missed,
            (false, true) => LoadVerdict::MetByFew,
            (false, false) => LoadVerdict::Met,
        };
        let verdict = point.verdict;
        self.curve.push(point);
        if self.missed.is_some() {
            self.spare = self.spare.saturating_add(CapacitySearch::MAX_ROUNDS).saturating_sub(self.rounds);
        }
        match verdict {
            LoadVerdict::Unjudged => return self.done(SearchEnd::TooFewSamples, None),
            // On the way up, the next load tells a miss from chance: a target that misses at one load misses at a higher one.
            LoadVerdict::Missed if is_chance && self.doubted.is_none() && self.may_go_up() => {
                self.doubted = Some(self.load);
            }
            LoadVerdict::Missed => {
                if self.missed.is_none() {
                    // The loads above this one are tried no more.
                    let above = u32::try_from(self.rising.len()).unwrap_or(u32::MAX);
                    self.spare = above.saturating_mul(CapacitySearch::MAX_ROUNDS);
                }
                (self.missed, self.may_be_chance) = (self.doubted.take().or(Some(self.load)), is_chance);
            }
            LoadVerdict::Met | LoadVerdict::MetByFew => (self.met, self.doubted) = (Some(self.load), None),
        }
        self.next()
    }

    /// Whether so few requests were looked at that a short pause of the prober's machine makes most of them late.
    fn is_late_by_chance(&self, interruption: &SearchInterruption) -> bool {
        let least = self.search.samples.max(MIN_LATENESS);
        matches!(interruption, SearchInterruption::Late { of, .. } if *of < least)
    }

    /// Whether so few requests were due that it was not this load: arrivals at random may have a lull. Where they play
    /// journeys, the number of requests does not tell.
    fn is_lull(&self, offered: u64) -> bool {
        let due = self.load * self.search.hold.as_secs_f64() * f64::from(self.rounds);
        // Even arrivals are less than one short in a round.
        let offered = offered.saturating_add(self.rounds.into()) as f64;
        self.unit == LoadUnit::RequestsPerSecond && offered < due * (1.0 - RESOLUTION)
    }

    /// In how many more rounds a miss of this load that may be chance is looked at, where no higher load will tell: as many
    /// again, as far as the search does not become longer than [`CapacitySearch::most`].
    fn rounds_beyond(&self) -> u32 {
        let left = if self.missed.is_some() {
            self.spare
        } else if self.rising.is_empty() && self.met.is_none() && self.search.refine {
            // Whether this load is met or missed, there is nothing to refine.
            CapacitySearch::MAX_ROUNDS * CapacitySearch::MAX_REFINEMENTS
        } else {
            0
        };
        left.min(CapacitySearch::MAX_ROUNDS)
    }

    /// Whether it is still on the way up, and this is not the last load of it.
    fn may_go_up(&self) -> bool {
        self.missed.is_none() && !self.rising.is_empty()
    }

    fn next(&mut self) -> NextLoad {
        let next = match self.missed {
            None => self.rising.pop(),
            Some(missed) => self.between(missed),
        };
        let Some(next) = next else { return self.answer() };
        (self.load, self.rounds) = (next, 0);
        NextLoad::Play(next)
    }

    /// The next load between the highest that met the objectives and the lowest that missed them; `None` if they are
    /// close enough.
    fn between(&mut self, missed: f64) -> Option<f64> {
        let met = self.met.filter(|_| self.search.refine)?;
        let is_close = missed - met <= (met * RESOLUTION).max(self.search.least_step() * (1.0 + 1e-9));
        if is_close || self.refinements >= CapacitySearch::MAX_REFINEMENTS {
            return None;
        }
        self.refinements += 1;
        let middle = self.search.between(met, missed);
        // The middle of two that are next to each other is one of them.
        (middle > met && middle < missed).then_some(middle)
    }

    fn answer(&mut self) -> NextLoad {
        let end = match (self.met, self.missed) {
            (None, Some(_)) if self.may_be_chance => SearchEnd::TooFewSamples,
            (None, _) => SearchEnd::BelowRange,
            // The load that decides was judged by too few.
            (Some(_), _) if self.best().map(|best| best.load) != self.met => SearchEnd::TooFewSamples,
            (Some(_), Some(_)) => SearchEnd::Found,
            (Some(_), None) => SearchEnd::AtLeast,
        };
        self.done(end, None)
    }

    fn interrupted(&mut self, interruption: SearchInterruption) -> NextLoad {
        match interruption {
            SearchInterruption::TargetFailed(why) => {
                self.missed = Some(self.load);
                self.done(SearchEnd::TargetFailed, Some(&why))
            }
            SearchInterruption::Late { why, .. } | SearchInterruption::LeftOut(why) => {
                self.done(SearchEnd::ProberLimited, Some(&why))
            }
            SearchInterruption::Budget => self.done(SearchEnd::Budget, None),
            SearchInterruption::Stopped => self.done(SearchEnd::Stopped, None),
        }
    }

    /// The highest load that met the objectives with enough samples.
    fn best(&self) -> Option<LoadPoint> {
        let met = self.curve.iter().filter(|point| point.verdict == LoadVerdict::Met);
        let best = met.max_by(|a, b| a.load.total_cmp(&b.load))?;
        Some(LoadPoint { load: best.load, requests_per_second: best.requests_per_second })
    }

    fn done(&mut self, end: SearchEnd, why: Option<&str>) -> NextLoad {
        let summary = self.summary(end, why);
        let curve = std::mem::take(&mut self.curve);
        let report = SearchReport {
            unit: self.unit,
            end,
            summary,
            knee: knee::knee(&curve),
            capacity: None,
            missed_at: self.missed,
            curve: Vec::new(),
        };
        self.curve = curve;
        let capacity = self.best();
        NextLoad::Done(Box::new(SearchReport { capacity, curve: self.curve.clone(), ..report }))
    }

    fn summary(&self, end: SearchEnd, why: Option<&str>) -> String {
        let show = |load: f64| self.show(load);
        let best = self.best().map(|best| show(best.load));
        let so_far = match &best {
            Some(best) => format!("up to {best} met the objectives"),
            None => "no load met the objectives with enough samples".to_owned(),
        };
        let last = self.curve.last();
        let missed = |load: f64| {
            let point = self.curve.iter().rfind(|point| (point.load - load).abs() < f64::EPSILON);
            point.map(|point| point.missed.join(", ")).unwrap_or_default()
        };
        let chance = if self.may_be_chance { ", which may be chance" } else { "" };
        match (end, self.missed) {
            (SearchEnd::Found, Some(at)) => format!("{so_far}; {} missed {}{chance}", show(at), missed(at)),
            (SearchEnd::TooFewSamples, Some(at)) if self.met.is_none() && self.may_be_chance => {
                format!("too few requests were judged to tell: {} missed {}{chance}", show(at), missed(at))
            }
            (SearchEnd::BelowRange, Some(at)) => {
                format!("even {} missed {}: the capacity is less", show(at), missed(at))
            }
            (SearchEnd::AtLeast, _) => {
                format!(
                    "the capacity is at least {}: {so_far}, and no more was tried",
                    best.unwrap_or_default()
                )
            }
            (SearchEnd::TargetFailed, _) => {
                let at = show(self.load);
                format!("{so_far}; at {at} the target failed: {}", why.unwrap_or_default())
            }
            (SearchEnd::ProberLimited, _) => {
                let at = show(self.load);
                format!(
                    "the prober was the limit at {at}, and not the target: {}; {so_far}",
                    why.unwrap_or_default()
                )
            }
            (SearchEnd::Budget, _) => format!("a budget was exhausted at {}; {so_far}", show(self.load)),
            (SearchEnd::Stopped, _) => format!("it was stopped at {}; {so_far}", show(self.load)),
            (SearchEnd::TooFewSamples | SearchEnd::Found | SearchEnd::BelowRange, _) => {
                let (at, few) = last.map_or((self.load, 0), |last| (last.load, last.samples));
                let few = if few < self.search.samples {
                    format!(": {few} at {}, and {} are needed", show(at), self.search.samples)
                } else {
                    String::new()
                };
                format!("too few requests were judged to tell{few}; {so_far}")
            }
        }
    }

    fn show(&self, load: f64) -> String {
        let unit = self.unit.words();
        match self.unit {
            LoadUnit::Users if load <= 1.0 => "1 user".to_owned(),
            LoadUnit::Users => format!("{load:.0} {unit}"),
            LoadUnit::RequestsPerSecond | LoadUnit::JourneysPerSecond => format!("{} {unit}", digits(load)),
        }
    }
}

/// Three significant digits.
fn digits(load: f64) -> String {
    match load {
        load if load >= 100.0 => format!("{load:.0}"),
        load if load >= 10.0 => format!("{load:.1}"),
        load => format!("{load:.2}"),
    }
}

#[cfg(test)]
mod tests;
