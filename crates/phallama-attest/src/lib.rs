//! Evidence, collateral, policy and time in; verified claims, or why not, out (pure).
