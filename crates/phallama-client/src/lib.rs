//! Choose a pod, verify it, seal to it, open its answer, pay it (no listening socket, no printing).
