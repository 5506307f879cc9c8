//! What tests are built from: an object store that fails on demand.

pub mod fault_store;
