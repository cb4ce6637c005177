// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Fixture} from "./Fixture.sol";
import {AllowanceSettlement, AuthorizationBatch} from "./PeerSettlement.sol";
import {vm} from "./Vm.sol";

/// Gas of the usual ways to settle many payments at once, under the conditions of `Gas.t.sol`:
/// whole transactions, cold, distinct users who have paid before, a payee that has nothing.
/// forge-config: default.isolate = true
/// forge-config: nightly.isolate = true
contract PeersGasTest is Fixture {
    bytes32 private constant TRANSFER_TYPE = keccak256(
        "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,"
        "uint256 validBefore,bytes32 nonce)"
    );

    function setUp() public {
        deploy();
    }

    function test_allowances() public {
        allowances(1);
        allowances(10);
        uint256 theirs = allowances(100);
        vm.assertGe(theirs, 2 * 100 * 10_800, "twice what the escrow takes");
    }

    function test_authorizations() public {
        authorizations(1);
        authorizations(10);
        uint256 theirs = authorizations(100);
        vm.assertGe(theirs, 3 * 100 * 10_800, "three times what the escrow takes");
    }

    function allowances(uint256 count) private returns (uint256) {
        AllowanceSettlement peer = new AllowanceSettlement(token);
        AllowanceSettlement.Row[] memory first = new AllowanceSettlement.Row[](count);
        AllowanceSettlement.Row[] memory second = new AllowanceSettlement.Row[](count);
        for (uint256 i; i < count; ++i) {
            string memory label = labelOf("allowance", count, i);
            address user = payer(label);
            vm.prank(user);
            token.approve(address(peer), type(uint256).max);
            first[i] = claim(peer, label, 345_678);
            second[i] = claim(peer, label, 1_234_567);
        }
        peer.settle(PAYOUT, first);
        emptyPayee();
        bytes memory data = abi.encodeCall(peer.settle, (PAYOUT, second));
        return record("peer_allowances_", count, address(peer), data);
    }

    function claim(AllowanceSettlement peer, string memory label, uint256 cumulative)
        private
        view
        returns (AllowanceSettlement.Row memory)
    {
        (bytes32 r, bytes32 vs) = vm.signCompact(secret(label), peer.digest(PAYOUT, cumulative));
        return AllowanceSettlement.Row(addressOf(label), cumulative, r, vs);
    }

    function authorizations(uint256 count) private returns (uint256) {
        AuthorizationBatch peer = new AuthorizationBatch(token);
        AuthorizationBatch.Row[] memory first = new AuthorizationBatch.Row[](count);
        AuthorizationBatch.Row[] memory second = new AuthorizationBatch.Row[](count);
        for (uint256 i; i < count; ++i) {
            string memory label = labelOf("authorization", count, i);
            payer(label);
            first[i] = authorization(label, 345_678);
            second[i] = authorization(label, 888_889);
        }
        peer.settle(PAYOUT, first);
        emptyPayee();
        bytes memory data = abi.encodeCall(peer.settle, (PAYOUT, second));
        return record("peer_authorizations_", count, address(peer), data);
    }

    function authorization(string memory label, uint256 value)
        private
        view
        returns (AuthorizationBatch.Row memory)
    {
        address from = addressOf(label);
        bytes32 nonce = keccak256(abi.encode(from, value));
        bytes32 structHash =
            keccak256(abi.encode(TRANSFER_TYPE, from, PAYOUT, value, 0, type(uint256).max, nonce));
        bytes32 digest =
            keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), structHash));
        (bytes32 r, bytes32 vs) = vm.signCompact(secret(label), digest);
        return AuthorizationBatch.Row(from, value, nonce, r, vs);
    }

    function payer(string memory label) private returns (address user) {
        user = addressOf(label);
        token.mint(user, 10 * UNIT);
    }

    /// As a pod's credit is zero before each measured settlement.
    function emptyPayee() private {
        uint256 balance = token.balanceOf(PAYOUT);
        vm.prank(PAYOUT);
        token.transfer(OWNER, balance);
    }

    function record(string memory name, uint256 count, address target, bytes memory data)
        private
        returns (uint256 billed)
    {
        vm.prank(OPERATOR);
        (bool good,) = target.call(data);
        billed = vm.lastCallGas().gasTotalUsed;
        vm.assertTrue(good, name);
        vm.snapshotValue("gas", string.concat(name, vm.toString(count)), billed);
    }

    function labelOf(string memory name, uint256 count, uint256 i)
        private
        pure
        returns (string memory)
    {
        return string.concat(name, vm.toString(count), "/", vm.toString(i));
    }
}
