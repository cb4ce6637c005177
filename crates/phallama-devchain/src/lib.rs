//! An in-process development chain on revm, also served over JSON-RPC (demo and tests only).
