//! The untrusted half of a pod: public HTTP, chain watcher, locks, settlement.
