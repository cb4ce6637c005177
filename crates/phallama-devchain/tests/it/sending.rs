//! `eth_sendRawTransaction`: what is taken, and the words with which the rest is refused.

use alloy::consensus::{TxEip1559, TxEip2930, TxLegacy};
use alloy::eips::eip2930::{AccessList, AccessListItem};
use alloy::primitives::{Address, Bytes, TxKind, U256};
use phallama_devchain::{ChainOptions, DevChain, RpcError, dev_account};
use serde_json::{Value, json};

use crate::support::*;

/// Sends what must be refused, and checks that nothing happened.
fn refused(chain: &DevChain, raw: &Bytes) -> RpcError {
    let before = (head(chain), nonce(chain, 0));
    let error = send(chain, raw).unwrap_err();
    assert_eq!((head(chain), nonce(chain, 0)), before);
    error
}

#[test]
fn legacy_access_list_and_fee_market_transactions_are_mined() {
    let chain = chain();
    let to = dev_account(1).0;
    let listed = TxEip2930 {
        chain_id: CHAIN_ID,
        nonce: 1,
        gas_price: 20 * GWEI,
        gas_limit: 100_000,
        to: to.into(),
        value: U256::from(1),
        access_list: AccessList(vec![AccessListItem { address: to, storage_keys: vec![] }]),
        input: Bytes::new(),
    };
    let raws = [sign(0, legacy(0, to, [])), sign(0, listed), sign(0, tx(2, to, []))];
    for (kind, raw) in raws.iter().enumerate() {
        let receipt = mined(&chain, raw);
        assert_eq!(receipt["status"], "0x1");
        assert_eq!(receipt["type"], format!("{kind:#x}"));
        // An address on the access list costs 2,400.
        assert_eq!(number(&receipt["gasUsed"]), if kind == 1 { 23_400 } else { 21_000 });
    }
}

#[test]
fn a_legacy_transaction_without_chain_id_is_mined() {
    let unprotected = TxLegacy { chain_id: None, ..legacy(0, dev_account(1).0, []) };
    assert_eq!(mined(&chain(), &sign(0, unprotected))["status"], "0x1");
}

#[test]
fn value_and_fees_leave_the_sender() {
    let chain = chain();
    let balance = |index| -> U256 {
        let balance = get(&chain, "eth_getBalance", json!([dev_account(index).0, "latest"]));
        serde_json::from_value(balance).unwrap()
    };
    let (rich, other) = (balance(0), balance(1));
    let value = U256::from(123);
    let transfer = TxEip1559 { value, ..tx(0, dev_account(1).0, []) };
    let receipt = mined(&chain, &sign(0, transfer));
    let price = number(&receipt["effectiveGasPrice"]);
    assert_eq!(price, 2_000_000_000, "base fee 1 gwei plus tip 1 gwei");
    assert_eq!(balance(0), rich - value - U256::from(21_000) * U256::from(price));
    assert_eq!(balance(1), other + value);
}

#[test]
fn a_reverting_transaction_is_mined_with_status_0_and_no_logs() {
    let chain = chain();
    let reverter = deploy(&chain, REVERTER);
    let receipt = mined(&chain, &sign(0, tx(1, reverter, [1, 2, 3])));
    assert_eq!(receipt["status"], "0x0");
    assert_eq!(receipt["logs"], json!([]));
    assert_eq!(nonce(&chain, 0), 2);
}

#[test]
fn a_failed_creation_has_no_contract_address() {
    let receipt = mined(&chain(), &sign(0, tx(0, TxKind::Create, [0xfe])));
    assert_eq!(receipt["status"], "0x0");
    assert_eq!(receipt["contractAddress"], Value::Null);
    assert_eq!(receipt["gasUsed"], receipt["cumulativeGasUsed"]);
    assert_eq!(number(&receipt["gasUsed"]), 1_000_000);
}

#[test]
fn a_contract_that_destroys_itself_while_it_is_made_leaves_nothing() {
    let chain = chain();
    let receipt = mined(&chain, &sign(0, tx(0, TxKind::Create, [0x5f, 0xff])));
    assert_eq!(receipt["status"], "0x1");
    let code = get(&chain, "eth_getCode", json!([receipt["contractAddress"], "latest"]));
    assert_eq!(code, "0x");
}

#[test]
fn refuses_a_used_nonce() {
    let chain = chain();
    mined(&chain, &sign(0, tx(0, dev_account(1).0, [])));
    let error = refused(&chain, &sign(0, tx(0, dev_account(2).0, [])));
    assert_eq!(error, RpcError::NonceTooLow { address: dev_account(0).0, got: 0, expected: 1 });
    assert!(error.to_string().starts_with("nonce too low"), "{error}");
}

#[test]
fn refuses_a_nonce_far_above_the_next() {
    let error = refused(&chain(), &sign(0, tx(65, dev_account(1).0, [])));
    assert_eq!(error, RpcError::NonceTooHigh { address: dev_account(0).0, got: 65, expected: 0 });
    assert!(error.to_string().starts_with("nonce too high"), "{error}");
}

#[test]
fn a_gap_is_waited_for_and_closed_by_one_transaction() {
    let chain = chain();
    let ahead =
        [2, 1].map(|nonce| send(&chain, &sign(0, tx(nonce, dev_account(1).0, []))).unwrap());
    assert_eq!((head(&chain), nonce(&chain, 0)), (0, 0));
    let first = mined(&chain, &sign(0, tx(0, dev_account(1).0, [])));
    assert_eq!(first["blockNumber"], "0x1");
    assert_eq!(block(&chain, "0x2")["transactions"], json!([ahead[1], ahead[0]]));
    assert_eq!((head(&chain), nonce(&chain, 0)), (2, 3));
}

#[test]
fn refuses_a_sender_who_cannot_pay() {
    let poor = 99;
    let error = refused(&chain(), &sign(poor, tx(0, dev_account(1).0, [])));
    let want = U256::from(1_000_000_u64) * U256::from(20 * GWEI);
    let address = dev_account(poor).0;
    assert_eq!(error, RpcError::InsufficientFunds { address, have: U256::ZERO, want });
    assert!(error.to_string().starts_with("insufficient funds for gas * price + value"), "{error}");
    assert_eq!(error.code(), -32003);
}

#[test]
fn refuses_a_transaction_for_another_chain() {
    let foreign = TxEip1559 { chain_id: 1, ..tx(0, dev_account(1).0, []) };
    let error = refused(&chain(), &sign(0, foreign));
    assert_eq!(error, RpcError::WrongChainId { got: 1, expected: CHAIN_ID });
    assert!(error.to_string().starts_with("invalid chain id"), "{error}");
}

#[test]
fn refuses_a_fee_cap_below_the_base_fee() {
    let cheap = TxEip1559 {
        max_fee_per_gas: GWEI - 1,
        max_priority_fee_per_gas: 0,
        ..tx(0, dev_account(1).0, [])
    };
    let error = refused(&chain(), &sign(0, cheap));
    let address = dev_account(0).0;
    assert_eq!(error, RpcError::FeeBelowBase { address, got: GWEI - 1, base_fee: 1_000_000_000 });
    assert!(error.to_string().starts_with("max fee per gas less than block base fee"), "{error}");
}

#[test]
fn refuses_a_tip_above_the_fee_cap() {
    let odd = TxEip1559 { max_priority_fee_per_gas: 21 * GWEI, ..tx(0, dev_account(1).0, []) };
    let error = refused(&chain(), &sign(0, odd));
    assert_eq!(error, RpcError::TipAboveCap { tip: 21 * GWEI, cap: 20 * GWEI });
}

#[test]
fn refuses_a_gas_limit_that_does_not_pay_for_the_bytes() {
    let thin = TxEip1559 { gas_limit: 21_015, ..tx(0, dev_account(1).0, [1]) };
    let error = refused(&chain(), &sign(0, thin));
    assert_eq!(error, RpcError::IntrinsicGasTooLow { got: 21_015, needed: 21_016 });
    assert!(error.to_string().starts_with("intrinsic gas too low"), "{error}");
}

#[test]
fn refuses_a_gas_limit_below_the_calldata_floor() {
    let thin = TxEip1559 { gas_limit: 21_039, ..tx(0, dev_account(1).0, [1]) };
    let error = refused(&chain(), &sign(0, thin));
    assert_eq!(error, RpcError::IntrinsicGasTooLow { got: 21_039, needed: 21_040 });
}

#[test]
fn refuses_a_gas_limit_above_the_cap_of_osaka_unless_it_is_lifted() {
    let thick = sign(0, TxEip1559 { gas_limit: 16_777_217, ..tx(0, dev_account(1).0, []) });
    let error = refused(&chain(), &thick);
    assert_eq!(error, RpcError::ExceedsGasCap { got: 16_777_217, cap: 16_777_216 });
    let options = ChainOptions { tx_gas_limit_cap: u64::MAX, ..ChainOptions::default() };
    assert_eq!(mined(&DevChain::new(options), &thick)["status"], "0x1");
}

#[test]
fn refuses_a_gas_limit_above_a_block() {
    let thick = TxEip1559 { gas_limit: 30_000_001, ..tx(0, dev_account(1).0, []) };
    let error = refused(&chain(), &sign(0, thick));
    assert_eq!(error, RpcError::ExceedsBlockGasLimit { got: 30_000_001, limit: 30_000_000 });
    assert!(error.to_string().starts_with("exceeds block gas limit"), "{error}");
}

#[test]
fn refuses_blob_and_set_code_transactions_by_name() {
    for kind in [3, 4] {
        let error = refused(&chain(), &Bytes::from(vec![kind, 0xc0]));
        assert_eq!(error, RpcError::UnsupportedType(kind));
        assert!(error.to_string().starts_with("transaction type not supported"), "{error}");
    }
}

#[test]
fn refuses_bytes_that_are_no_transaction() {
    for raw in [vec![], vec![0x02], vec![0x02, 0xc0], vec![0xff; 40]] {
        let error = refused(&chain(), &raw.clone().into());
        assert!(matches!(error, RpcError::Undecodable(_)), "{raw:?}: {error:?}");
    }
}

#[test]
fn refuses_bytes_after_the_transaction() {
    let mut raw = sign(0, tx(0, dev_account(1).0, [])).to_vec();
    raw.push(0);
    let error = refused(&chain(), &raw.into());
    assert!(matches!(error, RpcError::Undecodable(_)), "{error:?}");
}

#[test]
fn refuses_the_same_transaction_twice() {
    let chain = chain();
    let raw = sign(0, tx(0, dev_account(1).0, []));
    mined(&chain, &raw);
    let error = refused(&chain, &raw);
    assert_eq!(error, RpcError::AlreadyKnown);
    assert_eq!(error.to_string(), "already known");
}

#[test]
fn refuses_a_signature_of_nobody() {
    let envelope = {
        use alloy::consensus::{SignableTransaction, TxEnvelope};
        use alloy::eips::Encodable2718;
        use alloy::signers::Signature;
        let zero = Signature::new(U256::ZERO, U256::ZERO, false);
        TxEnvelope::from(tx(0, dev_account(1).0, []).into_signed(zero)).encoded_2718()
    };
    let error = refused(&chain(), &envelope.into());
    assert!(matches!(error, RpcError::BadSignature(_)), "{error:?}");
}

#[test]
fn the_p256_precompile_costs_6900_gas_and_3450_at_the_op_stack_price() {
    let precompile = Address::left_padding_from(&[1, 0]);
    let used = |options| {
        let call = tx(0, precompile, vec![0; 160]);
        number(&mined(&DevChain::new(options), &sign(0, call))["gasUsed"])
    };
    // 160 zero bytes of calldata cost 640.
    assert_eq!(used(ChainOptions::default()), 21_000 + 640 + 6_900);
    let p256_price = phallama_devchain::P256Price::OpStack;
    assert_eq!(used(ChainOptions { p256_price, ..ChainOptions::default() }), 21_000 + 640 + 3_450);
}
