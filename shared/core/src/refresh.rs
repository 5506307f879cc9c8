//! Plans how a materialized view is refreshed.
