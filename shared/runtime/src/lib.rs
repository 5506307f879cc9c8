//! Hosts, message sources, configuration and telemetry.
