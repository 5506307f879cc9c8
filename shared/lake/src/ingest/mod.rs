//! Bytes of messages and files to record batches, and what can't be decoded to quarantine.
