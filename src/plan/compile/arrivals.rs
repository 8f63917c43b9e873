//! Compiles arrival processes.

use super::Findings;
use crate::config::{ArrivalProcess, ArrivalsText, ArrivalsWord, KeyPath, WeightedClients};
use crate::limits;
use crate::plan::{Arrivals, ClientGroup};
use std::num::NonZeroU32;

/// Compiles an arrival process; `None` if it is invalid.
pub(super) fn compile(written: &ArrivalsText, path: &KeyPath, findings: &mut Findings) -> Option<Arrivals> {
    let process = match written {
        ArrivalsText::Word(ArrivalsWord::Constant) => return Some(Arrivals::Constant),
        ArrivalsText::Word(ArrivalsWord::Poisson) => return Some(Arrivals::Poisson),
        ArrivalsText::Process(process) => process,
    };
    let ArrivalProcess { gamma, weibull, clients } = process;
    let kinds = [("gamma", gamma.is_some()), ("weibull", weibull.is_some()), ("clients", clients.is_some())];
    findings.only_one(path, &kinds)?;
    if let Some(clients) = clients {
        return composed(clients, &path.key("clients"), findings);
    }
    let weibull = weibull.map(|weibull| Arrivals::Weibull { cv: weibull.cv });
    weibull.or_else(|| gamma.map(|gamma| Arrivals::Gamma { cv: gamma.cv }))
}

fn composed(written: &[WeightedClients], path: &KeyPath, findings: &mut Findings) -> Option<Arrivals> {
    let weights: f64 = written.iter().map(|group| group.weight).sum();
    let count = |group: &WeightedClients| group.count.map_or(1, NonZeroU32::get);
    let clients: u64 = written.iter().map(|group| u64::from(count(group))).sum();
    if clients > limits::CLIENTS {
        findings.error(path, format!("are {clients} clients; there may be {}", limits::CLIENTS));
        return None;
    }
    let mut groups = Vec::new();
    for (index, group) in written.iter().enumerate() {
        let at = path.index(index).key("arrivals");
        let arrivals = match &group.arrivals {
            None => Some(Arrivals::Poisson),
            Some(ArrivalsText::Process(ArrivalProcess { clients: Some(_), .. })) => {
                findings.error(&at, "must not be clients again");
                None
            }
            Some(arrivals) => compile(arrivals, &at, findings),
        };
        if group.popularity.is_some() && count(group) == 1 {
            findings.error(&path.index(index).key("popularity"), "goes with a `count` over 1");
        }
        groups.extend(arrivals.map(|arrivals| ClientGroup {
            share: group.weight / weights,
            count: count(group),
            zipf: group.popularity.map_or(0.0, |popularity| popularity.zipf),
            arrivals,
        }));
    }
    (groups.len() == written.len()).then(|| Arrivals::Clients(groups.into()))
}
