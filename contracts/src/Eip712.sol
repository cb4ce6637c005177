// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {CompactSignature} from "./interfaces/IEscrow.sol";
import {PodId} from "./interfaces/IPodRegistry.sol";

/// @title The signed types of `spec/billing.md` and who signed them
/// @dev Amounts, epochs and times arrive as their exact types, so `abi.encode` is the EIP-712 encoding.
library Eip712 {
    bytes32 internal constant DOMAIN_TYPE = keccak256(
        "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    );
    bytes32 internal constant OPEN_ACCOUNT_TYPE =
        keccak256("OpenAccount(address user,address owner)");
    bytes32 internal constant ALLOCATION_TYPE = keccak256(
        "Allocation(bytes32 podId,uint96 total,bytes32 termsHash,uint24 epoch,uint40 deadline)"
    );
    bytes32 internal constant VOUCHER_TYPE =
        keccak256("Voucher(bytes32 podId,uint24 epoch,uint96 cap)");
    bytes32 internal constant START_EXIT_TYPE = keccak256("StartExit(bytes32 podId,uint24 epoch)");
    bytes32 internal constant SETTLEMENT_TYPE = keccak256(
        "Settlement(bytes32 channel,uint24 epoch,uint64 seq,uint96 cumulative,bytes32 receiptHash)"
    );
    bytes32 internal constant BATCH_TYPE = keccak256("Batch(bytes32 podId,bytes32 rowsHash)");
    bytes32 internal constant CLOSE_TYPE =
        keccak256("Close(bytes32 channel,uint24 epoch,uint96 cumulative)");

    bytes32 private constant NAME_HASH = keccak256("Phallama Escrow");
    bytes32 private constant VERSION_HASH = keccak256("1");
    /// Half the order of secp256k1, rounded down: the largest `s` that is accepted.
    uint256 private constant HALF_ORDER =
        0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0;

    /// @notice Domain separator of the escrow at `escrow` on this chain.
    function domain(address escrow) internal view returns (bytes32) {
        return keccak256(abi.encode(DOMAIN_TYPE, NAME_HASH, VERSION_HASH, block.chainid, escrow));
    }

    /// @notice `keccak256(0x1901 ‖ separator ‖ structHash)`.
    function digest(bytes32 separator, bytes32 structHash) internal pure returns (bytes32 result) {
        // The scratch space and the (then restored) free-memory pointer hold the 66 bytes: no allocation.
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(0x00, hex"1901")
            mstore(0x02, separator)
            mstore(0x22, structHash)
            result := keccak256(0x00, 0x42)
            mstore(0x40, free)
        }
    }

    /// @notice The signer, or zero when the signature is malformed or its `s` is above half the order.
    function recover(bytes32 digest_, bytes32 r, bytes32 vs) internal pure returns (address) {
        uint256 s = uint256(vs) & (type(uint256).max >> 1);
        if (s > HALF_ORDER) return address(0);
        return ecrecover(digest_, uint8(27 + (uint256(vs) >> 255)), r, bytes32(s));
    }

    /// @notice The signer, or zero when the signature is malformed or its `s` is above half the order.
    function recover(bytes32 digest_, CompactSignature calldata signature)
        internal
        pure
        returns (address)
    {
        return recover(digest_, signature.r, signature.vs);
    }

    /// @notice Hash of `Voucher`, written over the same 128 bytes of memory for each row of a batch.
    /// @param template From `voucherTemplate`.
    function voucherHash(uint256 template, uint256 epoch, uint256 cap)
        internal
        pure
        returns (bytes32 result)
    {
        // `abi.encode` would take new memory and write type and pod again for each row.
        assembly ("memory-safe") {
            mstore(add(template, 0x40), epoch)
            mstore(add(template, 0x60), cap)
            result := keccak256(template, 0x80)
        }
    }

    /// @notice Memory for `voucherHash`: the type hash and the pod, with room for epoch and cap.
    function voucherTemplate(PodId podId) internal pure returns (uint256 template) {
        bytes memory encoded = abi.encode(VOUCHER_TYPE, podId, uint256(0), uint256(0));
        assembly ("memory-safe") {
            template := add(encoded, 0x20)
        }
    }
}
