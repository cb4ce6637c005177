// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice The root's list, lowest bits first: `record 160 | next update 40 | places 16 | revoked
/// CAs 16 | revoked signers 16 | root revoked 1`. A CA or signer with index i has bit i of its 16.
/// Zero: no list yet.
type RootWord is uint256;

/// @notice A CA, lowest bits first: `record 160 | end 40 | places 16 | index 8`. `end` is the
/// earlier of the CA's last second and the next update of its list; zero without a list. Zero: not
/// admitted.
type CaWord is uint256;

/// @notice Stored TCB information or QE identity, lowest bits first: `record 160 | end 40 |
/// evaluation number 32 | PCE id 16 | signer's index 8`. `end` is the earlier of its next update
/// and its signer's last second. Zero: none stored.
type CollateralWord is uint256;

// One bit, to be shifted.
uint256 constant BIT = 1;

using RootWords for RootWord global;
using CaWords for CaWord global;
using CollateralWords for CollateralWord global;

/// @title Members of a `RootWord`
library RootWords {
    function pack(
        address record_,
        uint256 nextUpdate_,
        uint256 places_,
        uint256 cas,
        uint256 signers,
        bool itself
    ) internal pure returns (RootWord) {
        uint256 revoked = cas | signers << 16 | (itself ? 1 << 32 : 0);
        return
            RootWord.wrap(uint160(record_) | nextUpdate_ << 160 | places_ << 200 | revoked << 216);
    }

    function record(RootWord word) internal pure returns (address) {
        return address(uint160(RootWord.unwrap(word)));
    }

    function nextUpdate(RootWord word) internal pure returns (uint40) {
        return uint40(RootWord.unwrap(word) >> 160);
    }

    function places(RootWord word) internal pure returns (uint16) {
        return uint16(RootWord.unwrap(word) >> 200);
    }

    function isCaRevoked(RootWord word, uint256 index) internal pure returns (bool) {
        return RootWord.unwrap(word) >> (216 + index) & 1 != 0;
    }

    function isSignerRevoked(RootWord word, uint256 index) internal pure returns (bool) {
        return RootWord.unwrap(word) >> (232 + index) & 1 != 0;
    }

    function isRootRevoked(RootWord word) internal pure returns (bool) {
        return RootWord.unwrap(word) >> 248 != 0;
    }

    /// The same with the CA `index` not revoked.
    function withGoodCa(RootWord word, uint256 index) internal pure returns (RootWord) {
        return RootWord.wrap(RootWord.unwrap(word) & ~(BIT << (216 + index)));
    }

    /// The same with the signer `index` not revoked.
    function withGoodSigner(RootWord word, uint256 index) internal pure returns (RootWord) {
        return RootWord.wrap(RootWord.unwrap(word) & ~(BIT << (232 + index)));
    }
}

/// @title Members of a `CaWord`
library CaWords {
    function pack(address record_, uint256 end_, uint256 places_, uint256 index_)
        internal
        pure
        returns (CaWord)
    {
        return CaWord.wrap(uint160(record_) | end_ << 160 | places_ << 200 | index_ << 216);
    }

    function exists(CaWord word) internal pure returns (bool) {
        return CaWord.unwrap(word) != 0;
    }

    function record(CaWord word) internal pure returns (address) {
        return address(uint160(CaWord.unwrap(word)));
    }

    function end(CaWord word) internal pure returns (uint40) {
        return uint40(CaWord.unwrap(word) >> 160);
    }

    function places(CaWord word) internal pure returns (uint16) {
        return uint16(CaWord.unwrap(word) >> 200);
    }

    function index(CaWord word) internal pure returns (uint256) {
        return CaWord.unwrap(word) >> 216;
    }
}

/// @title Members of a `CollateralWord`
library CollateralWords {
    function pack(
        address record_,
        uint256 end_,
        uint32 evaluationNumber_,
        bytes2 pceId_,
        uint256 signer
    ) internal pure returns (CollateralWord) {
        uint256 upper =
            evaluationNumber_ | uint256(uint16(pceId_)) << 32 | signer << 48;
        return CollateralWord.wrap(uint160(record_) | end_ << 160 | upper << 200);
    }

    function exists(CollateralWord word) internal pure returns (bool) {
        return CollateralWord.unwrap(word) != 0;
    }

    function record(CollateralWord word) internal pure returns (address) {
        return address(uint160(CollateralWord.unwrap(word)));
    }

    function end(CollateralWord word) internal pure returns (uint40) {
        return uint40(CollateralWord.unwrap(word) >> 160);
    }

    function evaluationNumber(CollateralWord word) internal pure returns (uint32) {
        return uint32(CollateralWord.unwrap(word) >> 200);
    }

    function pceId(CollateralWord word) internal pure returns (bytes2) {
        return bytes2(uint16(CollateralWord.unwrap(word) >> 232));
    }

    function signerIndex(CollateralWord word) internal pure returns (uint256) {
        return CollateralWord.unwrap(word) >> 248;
    }
}
