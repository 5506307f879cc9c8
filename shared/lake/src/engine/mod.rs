//! The sandboxed SQL engine: a session that sees only what a flow declared.
