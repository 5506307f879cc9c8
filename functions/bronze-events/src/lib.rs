//! The bronze-events function.
