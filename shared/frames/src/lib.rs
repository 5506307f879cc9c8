//! Holistic aggregates on Polars: Arrow record batches in and out.
