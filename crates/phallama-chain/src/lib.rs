//! The only code that talks to an EVM node.
