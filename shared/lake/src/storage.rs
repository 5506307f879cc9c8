//! The lake's root: one URL, one object store.
