//! What tests are built from: object stores that fail on demand, at any of their operations by number or by name.

mod dice;
pub mod fault_store;
pub mod points;
pub mod weather;
