//! Cuts what is waiting into batches.
