//! Plans which data files to rewrite together.
