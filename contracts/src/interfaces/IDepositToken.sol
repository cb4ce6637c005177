// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title What the escrow asks of its token beyond plain ERC-20
/// @notice Both extensions are optional: without one, the deposits that need it fail and `deposit`
/// works.
interface IDepositToken {
    /// @notice EIP-2612: `owner` lets `spender` take `value`, by signature.
    function permit(
        address owner,
        address spender,
        uint256 value,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice EIP-3009: moves `value` from `from`, who signed it, to `to`, who must be the caller.
    /// @param nonce Any 32 bytes; each is taken once per `from`.
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice What `spender` may still take from `owner`.
    function allowance(address owner, address spender) external view returns (uint256);
}
