// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {CompactSignature, LockRow, ReceiptRow} from "../src/interfaces/IEscrow.sol";
import {Fixture} from "./Fixture.sol";
import {vm} from "./Vm.sol";

/// Gas of whole transactions, written to `snapshots/gas.json`.
///
/// A figure is what a sender is billed for one transaction. With `isolate` forge runs each call of
/// a test as a transaction of its own: 21,000 + calldata (4 per zero byte, 16 per other byte) +
/// execution with every account and slot cold and its original value that of the transaction before
/// − refund (at most a fifth), and never less than the floor of EIP-7623. `record` checks that the
/// figure holds at least what can be computed by hand: 21,000 + calldata. Every user, channel and
/// signature of a batch is distinct, each channel of a settlement has been paid before (its slot is
/// not empty after a lock either), and the pod's credit is zero. Without `isolate` forge leaves out
/// the first two terms and counts warm storage.
/// forge-config: default.isolate = true
/// forge-config: nightly.isolate = true
contract GasTest is Fixture {
    function setUp() public {
        deploy();
    }

    function test_register() public {
        bytes memory data = abi.encodeCall(
            registry.register, (keccak256("another"), "https://pod.example:8443", PAYOUT, offers())
        );
        record("register_1_offer", address(registry), OPERATOR, data);
    }

    function test_open() public {
        bytes memory data = abi.encodeCall(escrow.open, (USER, OWNER, openSignature("user", OWNER)));
        record("open", address(escrow), OWNER, data);
    }

    function test_deposit() public {
        escrow.open(USER, OWNER, openSignature("user", OWNER));
        token.mint(address(escrow), UNIT);
        allow(OWNER);
        record(
            "deposit_first", address(escrow), OWNER, abi.encodeCall(escrow.deposit, (USER, UNIT))
        );
        record(
            "deposit_again", address(escrow), OWNER, abi.encodeCall(escrow.deposit, (USER, UNIT))
        );
    }

    function test_openAndDeposit() public {
        allow(OWNER);
        bytes memory data = abi.encodeCall(
            escrow.openAndDeposit, (USER, OWNER, openSignature("user", OWNER), UNIT)
        );
        record("openAndDeposit", address(escrow), OWNER, data);
    }

    function test_withdraw() public {
        fund("user", 3 * UNIT);
        bytes memory data = abi.encodeCall(escrow.withdraw, (USER, UNIT));
        record("withdraw", address(escrow), OWNER, data);
    }

    function test_lock() public {
        lockBatch(1);
        lockBatch(10);
        uint256 used = lockBatch(100);
        vm.assertLe(used, 100 * 34_000, "lock per row at 100");
    }

    function test_settle() public {
        settleBatch(1);
        settleBatch(10);
        uint256 used = settleBatch(100);
        vm.assertLe(used, 100 * 10_800, "settle per row at 100");
    }

    function test_settleReceipts() public {
        receiptBatch(1);
        receiptBatch(10);
        receiptBatch(100);
        receiptBatch(500);
    }

    function test_exit() public {
        fundAndLock("user", UNIT);
        record("startExit", address(escrow), OWNER, abi.encodeCall(escrow.startExit, (USER, podId)));
        vm.warp(block.timestamp + 48 hours);
        record(
            "finishExit", address(escrow), OWNER, abi.encodeCall(escrow.finishExit, (USER, podId))
        );
    }

    function test_close() public {
        fundAndLock("user", UNIT);
        CompactSignature memory signature = closeSignature("identity", USER, 0, UNIT / 2);
        bytes memory data = abi.encodeCall(escrow.close, (USER, podId, UNIT / 2, signature));
        record("close", address(escrow), OWNER, data);
    }

    function test_collect() public {
        fundAndLock("user", UNIT);
        settleOne(settleRow("user", UNIT, UNIT / 2, 0));
        record("collect", address(escrow), OPERATOR, abi.encodeCall(escrow.collect, (podId)));
    }

    function allow(address payer) private {
        token.mint(payer, 10 * UNIT);
        vm.prank(payer);
        token.approve(address(escrow), type(uint256).max);
    }

    function lockBatch(uint256 count) private returns (uint256) {
        LockRow[] memory rows = new LockRow[](count);
        for (uint256 i; i < count; ++i) {
            string memory label = string.concat("lock", vm.toString(count), "/", vm.toString(i));
            fund(label, 2 * UNIT);
            rows[i] = lockRow(label, UNIT, 0);
        }
        bytes memory data = abi.encodeCall(escrow.lock, (podId, rows));
        return record(string.concat("lock_", vm.toString(count)), address(escrow), OPERATOR, data);
    }

    function settleBatch(uint256 count) private returns (uint256) {
        string memory name = string.concat("settle_", vm.toString(count));
        podId = registerPod(name);
        bytes memory first;
        bytes memory second;
        for (uint256 i; i < count; ++i) {
            string memory label = string.concat(name, "/", vm.toString(i));
            fundAndLock(label, 10 * UNIT);
            first = bytes.concat(first, settleRow(label, UNIT, 345_678, 0));
            second = bytes.concat(second, settleRow(label, 2 * UNIT, 1_234_567, 0));
        }
        settleOne(first);
        escrow.collect(podId);
        bytes memory data = abi.encodeCall(
            escrow.settle, (podId, second, batchSignature("identity", podId, second))
        );
        return record(name, address(escrow), OPERATOR, data);
    }

    function receiptBatch(uint256 count) private {
        string memory name = string.concat("settleReceipts_", vm.toString(count));
        podId = registerPod(name);
        ReceiptRow[] memory rows = new ReceiptRow[](count);
        for (uint256 i; i < count; ++i) {
            string memory label = string.concat(name, "/", vm.toString(i));
            fundAndLock(label, 10 * UNIT);
            settleOne(settleRow(label, UNIT, 345_678, 0));
            rows[i] = receiptRow(label, "identity", 2 * UNIT, 1_234_567, 0);
        }
        escrow.collect(podId);
        bytes memory data = abi.encodeCall(escrow.settleReceipts, (podId, rows));
        record(name, address(escrow), OPERATOR, data);
    }

    /// Sends the call as a transaction, and writes down what it is billed.
    function record(string memory name, address target, address sender, bytes memory data)
        private
        returns (uint256 billed)
    {
        vm.prank(sender);
        (bool good,) = target.call(data);
        billed = vm.lastCallGas().gasTotalUsed;
        vm.assertTrue(good, name);
        vm.assertGe(billed, intrinsicGas(data), "the whole transaction is counted");
        vm.snapshotValue("gas", name, billed);
    }

    function intrinsicGas(bytes memory data) private pure returns (uint256 cost) {
        cost = 21_000;
        for (uint256 i; i < data.length; ++i) {
            cost += data[i] == 0 ? 4 : 16;
        }
    }
}
