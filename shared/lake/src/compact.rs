//! Small files to large ones, checkpoints, log clean-up and vacuum.
