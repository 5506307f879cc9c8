//! The one place that commits.
