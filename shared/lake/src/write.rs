//! Record batches to Parquet data files with statistics.
