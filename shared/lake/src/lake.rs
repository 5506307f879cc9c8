//! The lake of one pipeline.
