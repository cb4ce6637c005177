//! The program inside the TEE: proves itself, opens requests, meters, signs.
