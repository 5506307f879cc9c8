//! The pipeline language: from text to statements.
