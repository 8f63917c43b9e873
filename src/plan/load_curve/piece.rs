//! One piece of a curve: its value, its integral, and their inverses. Times are seconds from the start of the piece.

use serde::Serialize;
use std::f64::consts::PI;
use std::time::Duration;

/// Number of halvings of an interval in which a time is searched: the result is exact to the precision of a float.
const HALVINGS: u32 = 60;

/// A piece of a curve, over which the value only rises, only falls, or stays.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CurvePiece {
    /// Its length; it may be the longest duration for a value that stays.
    pub length: Duration,
    /// The value at its start.
    pub from: f64,
    /// The value at its end.
    pub to: f64,
    /// How it gets there.
    pub form: CurveForm,
}

/// How a value changes from the start of a piece to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum CurveForm {
    /// By the same difference in equal times.
    Linear,
    /// By the same factor in equal times. Both ends are positive.
    Exponential,
    /// As half a period of a cosine, which is flat at both ends.
    HalfCosine,
}

impl CurvePiece {
    /// A value that stays.
    pub const fn constant(length: Duration, value: f64) -> Self {
        Self { length, from: value, to: value, form: CurveForm::Linear }
    }

    fn seconds(&self) -> f64 {
        self.length.as_secs_f64()
    }

    #[expect(clippy::float_cmp, reason = "a value that stays has two equal ends")]
    fn is_constant(&self) -> bool {
        self.from == self.to || self.length.is_zero()
    }

    /// `ln(to / from)` per second.
    fn growth(&self) -> f64 {
        (self.to / self.from).ln() / self.seconds()
    }

    /// The middle between the two ends, and half their difference.
    const fn middle(&self) -> (f64, f64) {
        (f64::midpoint(self.from, self.to), (self.to - self.from) / 2.0)
    }

    /// The integral over the whole piece.
    pub fn area(&self) -> f64 {
        self.area_until(self.seconds())
    }

    /// The value at a time.
    pub fn value(&self, t: f64) -> f64 {
        if self.is_constant() {
            return self.from;
        }
        match self.form {
            CurveForm::Linear => self.from + (self.to - self.from) * t / self.seconds(),
            CurveForm::Exponential => self.from * (self.growth() * t).exp(),
            CurveForm::HalfCosine => {
                let (middle, half) = self.middle();
                middle - half * (PI * t / self.seconds()).cos()
            }
        }
    }

    /// The integral from the start to a time.
    pub fn area_until(&self, t: f64) -> f64 {
        if self.is_constant() {
            return self.from * t;
        }
        match self.form {
            CurveForm::Linear => self.from * t + self.slope() * t * t / 2.0,
            CurveForm::Exponential => self.from * (self.growth() * t).exp_m1() / self.growth(),
            CurveForm::HalfCosine => {
                let (middle, half) = self.middle();
                let turn = PI / self.seconds();
                middle * t - half * (turn * t).sin() / turn
            }
        }
    }

    /// The time until which the integral is `area`, which must not be more than that of the piece.
    pub fn time_of_area(&self, area: f64) -> f64 {
        if area <= 0.0 {
            return 0.0;
        }
        if self.is_constant() {
            return area / self.from;
        }
        match self.form {
            // The root in a form that avoids cancellation for small and for falling slopes.
            CurveForm::Linear => {
                let root = (self.from * self.from + 2.0 * self.slope() * area).max(0.0).sqrt();
                2.0 * area / (self.from + root)
            }
            CurveForm::Exponential => {
                let growth = self.growth();
                (growth * area / self.from).max(-1.0).ln_1p() / growth
            }
            CurveForm::HalfCosine => self.search(area),
        }
    }

    /// The time at which the value is `level`, which lies between the two ends.
    pub fn time_of_value(&self, level: f64) -> f64 {
        if self.is_constant() {
            return 0.0;
        }
        let time = match self.form {
            CurveForm::Linear => (level - self.from) / self.slope(),
            CurveForm::Exponential => (level / self.from).ln() / self.growth(),
            CurveForm::HalfCosine => {
                let (middle, half) = self.middle();
                ((middle - level) / half).clamp(-1.0, 1.0).acos() * self.seconds() / PI
            }
        };
        time.clamp(0.0, self.seconds())
    }

    /// The change per second of a linear piece.
    fn slope(&self) -> f64 {
        (self.to - self.from) / self.seconds()
    }

    fn search(&self, area: f64) -> f64 {
        let (mut low, mut high) = (0.0, self.seconds());
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(low, high);
            *if self.area_until(middle) < area { &mut low } else { &mut high } = middle;
        }
        high
    }
}
