// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Account, Channel} from "./interfaces/IEscrow.sol";

/// @title Accounts and channels as the single storage word that each of them is
/// @dev The batches read and write a slot once per row; the compiler would read it again for each
/// member and once more to write one of them, at 100 gas each. Layout: the first member is in the
/// lowest bits.
library Slots {
    uint256 private constant U96_MAX = 0xffffffffffffffffffffffff;
    uint256 private constant FREE_SHIFT = 160;
    uint256 private constant CLAIMED_SHIFT = 96;
    uint256 private constant EXIT_SHIFT = 192;
    uint256 private constant EPOCH_SHIFT = 232;

    /// @notice `owner 160 | free 96`, lowest bits first.
    function load(Account storage entry) internal view returns (uint256 word) {
        assembly ("memory-safe") {
            word := sload(entry.slot)
        }
    }

    /// @notice `locked 96 | claimed 96 | exitAt 40 | epoch 24`, lowest bits first.
    function load(Channel storage entry) internal view returns (uint256 word) {
        assembly ("memory-safe") {
            word := sload(entry.slot)
        }
    }

    /// @notice Takes `amount ≤ freeOf(word)` off the free part.
    function storeLessFree(Account storage entry, uint256 word, uint256 amount) internal {
        assembly ("memory-safe") {
            sstore(entry.slot, sub(word, shl(FREE_SHIFT, amount)))
        }
    }

    /// @notice Adds `amount` to `locked`; the sum must be below 2^96.
    function storeMoreLocked(Channel storage entry, uint256 word, uint256 amount) internal {
        assembly ("memory-safe") {
            sstore(entry.slot, add(word, amount))
        }
    }

    /// @notice `entries[user]`, without masking the address and with fewer moves about the stack.
    function channelOf(mapping(address => Channel) storage entries, address user)
        internal
        pure
        returns (Channel storage entry)
    {
        assembly ("memory-safe") {
            mstore(0x00, user)
            mstore(0x20, entries.slot)
            entry.slot := keccak256(0x00, 0x40)
        }
    }

    /// @notice Moves `claimed` up to `min(claimed, cap, locked)` of a claim, if its epoch is the
    /// channel's.
    /// @param head First word of a settle row: `cap 12 | claimed 12 | epoch 3 | 5 bytes that do not
    /// matter`.
    /// @return amount By how much; zero when nothing was written.
    function claim(Channel storage entry, uint256 head) internal returns (uint256 amount) {
        // In assembly because it runs once per settled row; the same in Solidity costs 100 gas
        // more.
        assembly ("memory-safe") {
            let word := sload(entry.slot)
            let most := shr(160, head)
            let limit := and(shr(64, head), U96_MAX)
            if lt(limit, most) { most := limit }
            limit := and(word, U96_MAX)
            if lt(limit, most) { most := limit }
            let already := and(shr(CLAIMED_SHIFT, word), U96_MAX)
            let sameEpoch := eq(and(shr(40, head), 0xffffff), shr(EPOCH_SHIFT, word))
            if and(gt(most, already), sameEpoch) {
                amount := sub(most, already)
                // The sum is `most`, at most `locked`: nothing carries into the next member.
                sstore(entry.slot, add(word, shl(CLAIMED_SHIFT, amount)))
            }
        }
    }

    /// @notice Free part of an account's word.
    function freeOf(uint256 account) internal pure returns (uint256) {
        return account >> FREE_SHIFT;
    }

    /// @notice `locked` of a channel's word.
    function lockedOf(uint256 channel) internal pure returns (uint256) {
        return channel & type(uint96).max;
    }

    /// @notice `exitAt` of a channel's word.
    function exitAtOf(uint256 channel) internal pure returns (uint256) {
        return (channel >> EXIT_SHIFT) & type(uint40).max;
    }

    /// @notice `epoch` of a channel's word.
    function epochOf(uint256 channel) internal pure returns (uint256) {
        return channel >> EPOCH_SHIFT;
    }
}
