//! Runs one batch of one flow.
