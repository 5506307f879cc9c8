//! What tests are built from: object stores that fail on demand, at any of their operations by number or by name.

pub mod fault_store;
pub mod points;
