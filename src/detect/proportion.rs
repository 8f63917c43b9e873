//! Bounds of a share that was counted.

/// The lower bound of a share of which `hits` of `all` were seen, after Wilson (1927): `z` standard deviations below the
/// truth, one would rarely see as many. In `0..=1`; 0 if nothing was seen.
pub fn wilson_lower(hits: u64, all: u64, z: f64) -> f64 {
    bounds(hits, all, z).map_or(0.0, |(lower, _)| lower)
}

/// The upper bound of a share; see [`wilson_lower`]. 1 if nothing was seen.
pub fn wilson_upper(hits: u64, all: u64, z: f64) -> f64 {
    bounds(hits, all, z).map_or(1.0, |(_, upper)| upper)
}

fn bounds(hits: u64, all: u64, z: f64) -> Option<(f64, f64)> {
    if all == 0 {
        return None;
    }
    let (n, share) = (all as f64, hits.min(all) as f64 / all as f64);
    let scale = 1.0 + z * z / n;
    let middle = share + z * z / (2.0 * n);
    let reach = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    Some((((middle - reach) / scale).max(0.0), ((middle + reach) / scale).min(1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 5e-4
    }

    #[test]
    fn bounds_are_those_of_the_literature() {
        // Newcombe (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
        for (hits, all, lower, upper) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let z = 1.959_964;
            assert!(close(wilson_lower(hits, all, z), lower), "{hits} of {all}");
            assert!(close(wilson_upper(hits, all, z), upper), "{hits} of {all}");
        }
    }

    #[test]
    fn of_nothing_nothing_is_known() {
        assert_eq!((wilson_lower(0, 0, 2.0), wilson_upper(0, 0, 2.0)), (0.0, 1.0));
        assert!(wilson_upper(7, 7, 2.0) > 0.999 && wilson_lower(7, 7, 4.0) < 0.5);
    }
}
