//! Every byte that crosses a trust boundary: messages, sealing, receipts, vouchers, digests (pure).
