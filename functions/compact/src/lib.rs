//! The compact function.
