//! Binds statements into one checked, ordered pipeline.
