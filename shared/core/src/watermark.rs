//! The bound on event time.
