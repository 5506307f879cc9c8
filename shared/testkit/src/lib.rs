//! Test builders and a fault-injecting object store.
