//! Decides each step of the commit protocol.
