//! The silver function.
