//! One series while it is read: its labels and its value, borrowed from the store. It must not know how it is rendered.

use crate::catalogue::Key;
use crate::telemetry::native::Native;
use crate::telemetry::value::HistogramSnapshot;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

/// What labels are rendered to.
#[derive(Clone, Copy, Debug)]
pub enum LabelForm {
    /// Text, with escapes.
    Text,
    /// Protobuf.
    Protobuf,
}

/// The labels of a subject, and what they were rendered to: they are on hundreds of series, and do not change.
#[derive(Debug)]
pub struct SubjectLabels {
    labels: Box<[(Key, Arc<str>)]>,
    text: OnceLock<Box<[u8]>>,
    protobuf: OnceLock<Box<[u8]>>,
}

impl SubjectLabels {
    pub(super) fn new(labels: impl Iterator<Item = (Key, Arc<str>)>) -> Self {
        Self { labels: labels.collect(), text: OnceLock::new(), protobuf: OnceLock::new() }
    }

    /// The labels in this form, rendered by the first caller.
    pub fn rendered(&self, form: LabelForm, render: impl FnOnce(&[(Key, Arc<str>)], &mut Vec<u8>)) -> &[u8] {
        let held = match form {
            LabelForm::Text => &self.text,
            LabelForm::Protobuf => &self.protobuf,
        };
        held.get_or_init(|| {
            let mut bytes = Vec::new();
            render(&self.labels, &mut bytes);
            bytes.into_boxed_slice()
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &str)> {
        self.labels.iter().map(|(key, value)| (*key, &**value))
    }
}

/// The value of a label.
#[derive(Clone, Debug)]
pub(super) enum LabelValue {
    /// A value of a closed enum.
    Fixed(&'static str),
    /// A name, or other text.
    Shared(Arc<str>),
}

impl LabelValue {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Fixed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

/// One series.
#[derive(Clone, Copy, Debug)]
pub struct SeriesSample<'a> {
    /// The labels of its subject.
    pub subject: &'a Arc<SubjectLabels>,
    pub(super) keys: &'static [Key],
    /// The values of `keys`.
    pub(super) beyond: &'a [LabelValue],
    /// Its value.
    pub value: SampleValue<'a>,
    /// The start time of its values, by the wall clock.
    pub created: SystemTime,
}

/// The value of a series.
#[derive(Clone, Copy, Debug)]
pub enum SampleValue<'a> {
    /// The value of a counter or a gauge.
    Number(f64),
    /// The values of a histogram, and its base-2 buckets if they are recorded; both contain the same values.
    Histogram(&'a HistogramSnapshot, Option<&'a Native>),
}

impl SeriesSample<'_> {
    /// Its labels beyond those of its subject and of the agent.
    pub fn beyond(&self) -> impl Iterator<Item = (Key, &str)> {
        self.keys.iter().zip(self.beyond).map(|(key, value)| (*key, value.as_str()))
    }
}
