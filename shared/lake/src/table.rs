//! A warm handle of one Delta table.
