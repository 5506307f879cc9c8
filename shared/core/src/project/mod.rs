//! The project file: from YAML to validated settings.
