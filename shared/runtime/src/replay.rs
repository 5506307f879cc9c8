//! Sends recorded events to a source.
