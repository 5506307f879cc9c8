//! The bronze-files function.
