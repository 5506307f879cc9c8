//! The gold function.
