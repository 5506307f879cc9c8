//! Plans how recorded events are sent again: speed, duplicates, disorder, delays and corruption.
