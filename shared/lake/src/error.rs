//! Errors of the lake, by what the caller does.
