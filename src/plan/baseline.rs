//! Which changes against a saved result matter.

use crate::vocabulary::Quantity;
use enum_map::EnumMap;

/// How large a change between two results must be to matter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BaselineThresholds(EnumMap<Quantity, f64>);

impl BaselineThresholds {
    /// Thresholds by quantity, each in (0, 1).
    pub fn new(of: impl FnMut(Quantity) -> f64) -> Self {
        Self(EnumMap::from_fn(of))
    }

    /// The relative change of a median, or the change of the share of failures, that matters.
    pub fn of(&self, quantity: Quantity) -> f64 {
        self.0[quantity]
    }
}
