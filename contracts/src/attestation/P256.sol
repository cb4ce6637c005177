// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title ECDSA over P-256 by the precompile at 0x100
/// @notice EIP-7951 (Ethereum since Osaka) and RIP-7212 (OP stack since Fjord) give it the same
/// input and output. There is no substitute in Solidity: it costs about 300,000 gas a signature.
library P256 {
    uint256 private constant PRECOMPILE = 0x100;

    /// @notice Whether `(r, s)` signs the digest `hash` under the key `(x, y)`. High `s` is good.
    /// @dev The precompile checks the ranges of `r` and `s` and that the key is on the curve. It
    /// answers 1, or nothing at all; a chain without it answers nothing either, see `probe`.
    function verify(bytes32 hash, bytes32 r, bytes32 s, bytes32 x, bytes32 y)
        internal
        view
        returns (bool good)
    {
        assembly ("memory-safe") {
            let input := mload(0x40)
            mstore(input, hash)
            mstore(add(input, 0x20), r)
            mstore(add(input, 0x40), s)
            mstore(add(input, 0x60), x)
            mstore(add(input, 0x80), y)
            mstore(0x00, 0)
            let ran := staticcall(gas(), PRECOMPILE, input, 0xa0, 0x00, 0x20)
            good := and(ran, and(eq(returndatasize(), 0x20), eq(mload(0x00), 1)))
        }
    }

    /// @notice Whether the precompile is there: it accepts a signature and refuses another.
    /// @dev The first signature of EIP-7951's test vectors (Wycheproof), and the same with another
    /// digest.
    function probe() internal view returns (bool) {
        return _isSignatureOf(0xbb5a52f42f9c9261ed4361f59422a1e30036e7c32b270c8807a419feca605023)
            && !_isSignatureOf(0xbb5a52f42f9c9261ed4361f59422a1e30036e7c32b270c8807a419feca605024);
    }

    function _isSignatureOf(bytes32 hash) private view returns (bool) {
        return verify(
            hash,
            0x2ba3a8be6b94d5ec80a6d9d1190a436effe50d85a1eee859b8cc6af9bd5c2e18,
            0x4cd60b855d442f5b3c7b11eb6c4e0ae7525fe710fab9aa7c77a67f79e6fadd76,
            0x2927b10512bae3eddcfe467828128bad2903269919f7086069c8c4df6c732838,
            0xc7787964eaac00e5921fb1498a60f4606766b3d9685001558d1a974e7341513e
        );
    }
}
