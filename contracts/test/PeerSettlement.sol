// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {TestToken} from "../src/TestToken.sol";

/// What a payee does who knows no better: users approve the contract, sign a cumulative amount, and
/// each row of a settlement moves its difference from the user to the payee. Only to compare gas.
contract AllowanceSettlement {
    struct Row {
        address user;
        uint256 cumulative;
        bytes32 r;
        bytes32 vs;
    }

    TestToken private immutable _TOKEN;
    mapping(address user => mapping(address payee => uint256)) private _claimed;

    event Claimed(address indexed user, address indexed payee, uint256 amount);

    constructor(TestToken token) {
        _TOKEN = token;
    }

    function settle(address payee, Row[] calldata rows) external {
        for (uint256 i; i < rows.length; ++i) {
            Row calldata row = rows[i];
            bytes32 voucher = digest(payee, row.cumulative);
            require(signerOf(voucher, row.r, row.vs) == row.user, "signature");
            uint256 amount = row.cumulative - _claimed[row.user][payee];
            _claimed[row.user][payee] = row.cumulative;
            _TOKEN.transferFrom(row.user, payee, amount);
            emit Claimed(row.user, payee, amount);
        }
    }

    function digest(address payee, uint256 cumulative) public view returns (bytes32) {
        return keccak256(abi.encode(address(this), payee, cumulative));
    }
}

/// Many EIP-3009 authorizations in one transaction: one per payment, each with a nonce of its own.
/// Only to compare gas.
contract AuthorizationBatch {
    struct Row {
        address from;
        uint256 value;
        bytes32 nonce;
        bytes32 r;
        bytes32 vs;
    }

    TestToken private immutable _TOKEN;

    constructor(TestToken token) {
        _TOKEN = token;
    }

    function settle(address payee, Row[] calldata rows) external {
        for (uint256 i; i < rows.length; ++i) {
            Row calldata row = rows[i];
            (uint8 v, bytes32 s) = expand(row.vs);
            _TOKEN.transferWithAuthorization(
                row.from, payee, row.value, 0, type(uint256).max, row.nonce, v, row.r, s
            );
        }
    }
}

function signerOf(bytes32 digest, bytes32 r, bytes32 vs) pure returns (address) {
    (uint8 v, bytes32 s) = expand(vs);
    return ecrecover(digest, v, r, s);
}

function expand(bytes32 vs) pure returns (uint8 v, bytes32 s) {
    v = uint8(uint256(vs) >> 255) + 27;
    s = vs & bytes32(type(uint256).max >> 1);
}
