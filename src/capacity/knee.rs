//! Finds the knee of a curve: the load at which throughput stops growing in proportion.
//!
//! The rule is that of Kneedle (Satopaa, Albrecht, Irwin, Raghavan: Finding a "Kneedle" in a Haystack, ICDCS Workshops
//! 2011) for a concave curve without smoothing, because its points are few and already averages: both axes are scaled to
//! 1, and the knee is the point farthest above the diagonal. The origin is a point of the curve: no load has no
//! throughput.

use crate::event::{LoadMeasurement, LoadPoint, LoadVerdict};

/// How far above the diagonal a knee is at least; less is noise.
const LEAST_DISTANCE: f64 = 0.1;

/// The knee; `None` if throughput grows in proportion as far as the curve goes.
pub(super) fn knee(curve: &[LoadMeasurement]) -> Option<LoadPoint> {
    let points = || curve.iter().filter(|point| point.verdict != LoadVerdict::Unjudged);
    let most = |of: fn(&LoadMeasurement) -> f64| points().map(of).fold(0.0, f64::max);
    let (load, throughput) = (most(|point| point.load), most(|point| point.requests_per_second));
    if load <= 0.0 || throughput <= 0.0 {
        return None;
    }
    let distance = |point: &LoadMeasurement| point.requests_per_second / throughput - point.load / load;
    let knee = points().max_by(|a, b| distance(a).total_cmp(&distance(b)))?;
    (distance(knee) >= LEAST_DISTANCE)
        .then_some(LoadPoint { load: knee.load, requests_per_second: knee.requests_per_second })
}

#[cfg(test)]
mod tests {
    use super::super::tests::point;
    use super::*;

    fn knee_of(loads: &[f64], throughput: impl Fn(f64) -> f64) -> Option<f64> {
        let curve: Vec<LoadMeasurement> = loads
            .iter()
            .map(|load| LoadMeasurement { load: *load, requests_per_second: throughput(*load), ..point() })
            .collect();
        knee(&curve).map(|knee| knee.load)
    }

    #[test]
    fn a_curve_that_saturates_has_its_knee_there() {
        let loads = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 24.0, 20.0];
        assert_eq!(knee_of(&loads, |load| load.min(16.0) * 3.0), Some(16.0));
        // Also where more load makes it worse.
        assert_eq!(knee_of(&loads, |load| if load <= 20.0 { load } else { 40.0 - load }), Some(20.0));
        // Where it bends slowly, the farthest point is the knee.
        assert_eq!(knee_of(&[1.0, 2.0, 4.0, 8.0, 16.0, 32.0], |load| load / (load + 4.0)), Some(8.0));
    }

    #[test]
    fn a_straight_line_has_none() {
        let loads = [1.0, 2.0, 4.0, 8.0, 16.0];
        assert_eq!(knee_of(&loads, |load| load * 2.0), None);
        assert_eq!(
            knee_of(&loads, |load| load * if load < 5.0 { 2.1 } else { 2.0 }),
            None,
            "noise is no knee"
        );
        assert_eq!(knee_of(&loads, |_| 0.0), None);
        assert_eq!(knee_of(&[], |load| load), None);
        // A single load is a straight line.
        assert_eq!(knee_of(&[4.0], |load| load), None);
    }
}
