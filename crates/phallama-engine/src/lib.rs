//! One interface to inference: supervises llama-server over a UNIX socket and checks weights.
