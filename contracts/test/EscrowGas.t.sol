// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Authorization, CompactSignature, LockRow, Permit} from "../src/interfaces/IEscrow.sol";
import {TokenSignatures} from "./TokenSignatures.sol";
import {vm} from "./Vm.sol";

/// Gas of the largest batches and of the deposits and withdrawals by signature. What a figure is,
/// and why each test is a transaction of its own: `Gas.t.sol`, whose snapshot these join.
/// forge-config: default.isolate = true
/// forge-config: nightly.isolate = true
contract EscrowGasTest is TokenSignatures {
    /// Gas limit of a transaction (EIP-7825).
    uint256 private constant TRANSACTION_MAX = 1 << 24;
    uint256 private constant ROW = 91;

    function setUp() public {
        deploy();
    }

    /// Linear: what 400 more rows cost, each, and no step in between.
    function test_settle() public {
        uint256 hundred = settleBatch(100);
        uint256 three = settleBatch(300);
        uint256 five = record("settle_500", OPERATOR, settleData(500));
        vm.assertLe(five, TRANSACTION_MAX, "one transaction");
        uint256 slope = (five - hundred) / 400;
        vm.assertLe(slope, 10_600, "slope");
        vm.assertLe((five - three) / 200, slope + slope / 100, "no steeper at the end");
        vm.snapshotValue("gas", "settle_slope", slope);
    }

    /// 400 rows are what fits below the limit of a transaction with some to spare.
    function test_lock() public {
        uint256 hundred = lockBatch(100);
        uint256 two = lockBatch(200);
        uint256 four = record("lock_400", OPERATOR, lockData(400));
        vm.assertLe(four, TRANSACTION_MAX, "one transaction");
        uint256 slope = (four - hundred) / 300;
        vm.assertLe(slope, 34_000, "slope");
        vm.assertLe((four - two) / 200, slope + slope / 100, "no steeper at the end");
        vm.snapshotValue("gas", "lock_slope", slope);
    }

    /// What rows cost whoever sends them although nothing is left to lock: their users have locked
    /// it for another pod in the meantime.
    function test_lock_ofSkippedRows() public {
        LockRow[] memory rows = new LockRow[](100);
        for (uint256 i; i < rows.length; ++i) {
            string memory label = labelOf("skipped", rows.length, i);
            fund(label, UNIT / 2);
            rows[i] = lockRow(label, UNIT, 0);
        }
        uint256 used =
            record("lock_skipped_100", OPERATOR, abi.encodeCall(escrow.lock, (podId, rows)));
        vm.assertLe(used, 100 * 15_000, "less than half of what a lock costs");
    }

    function test_depositWithPermit() public {
        fund("user", UNIT);
        address payer = addressOf("payer");
        token.mint(payer, UNIT);
        Permit memory permit = permitBy("payer", UNIT);
        record("depositWithPermit", payer, abi.encodeCall(escrow.depositWithPermit, (USER, permit)));
    }

    function test_depositWithAuthorization() public {
        fund("user", UNIT);
        token.mint(addressOf("payer"), UNIT);
        Authorization memory authorization = authorizationBy("payer", USER, UNIT, "salt");
        record(
            "depositWithAuthorization",
            OPERATOR,
            abi.encodeCall(escrow.depositWithAuthorization, (USER, authorization))
        );
    }

    function test_openAndDepositWithAuthorization() public {
        token.mint(addressOf("payer"), UNIT);
        record(
            "openAndDepositWithAuthorization",
            OPERATOR,
            abi.encodeCall(
                escrow.openAndDepositWithAuthorization,
                (
                    USER,
                    OWNER,
                    openSignature("user", OWNER),
                    authorizationBy("payer", USER, UNIT, "salt")
                )
            )
        );
    }

    function test_withdrawFor() public {
        fund("user", 3 * UNIT);
        withdrawOnce("withdrawFor_first", 0);
        withdrawOnce("withdrawFor_again", 1);
    }

    function test_relayedEnds() public {
        fundAndLock("user", UNIT);
        record(
            "startExitFor",
            OPERATOR,
            abi.encodeCall(escrow.startExitFor, (podId, 0, exitSignature("user", 0)))
        );
        CompactSignature memory identity = closeSignature("identity", USER, 0, UNIT / 2);
        CompactSignature memory user = closeSignature("user", USER, 0, UNIT / 2);
        record(
            "closeFor",
            OPERATOR,
            abi.encodeCall(escrow.closeFor, (USER, podId, 0, UNIT / 2, identity, user))
        );
    }

    function withdrawOnce(string memory name, uint64 nonce) private {
        CompactSignature memory signature = withdrawSignature("user", USER, UNIT, nonce, START);
        record(
            name,
            OPERATOR,
            abi.encodeCall(escrow.withdrawFor, (USER, UNIT, nonce, START, signature))
        );
    }

    function settleBatch(uint256 count) private returns (uint256) {
        return send(OPERATOR, settleData(count));
    }

    function lockBatch(uint256 count) private returns (uint256) {
        return send(OPERATOR, lockData(count));
    }

    function lockData(uint256 count) private returns (bytes memory) {
        LockRow[] memory rows = new LockRow[](count);
        for (uint256 i; i < count; ++i) {
            string memory label = labelOf("lock", count, i);
            fund(label, 2 * UNIT);
            rows[i] = lockRow(label, UNIT, 0);
        }
        return abi.encodeCall(escrow.lock, (podId, rows));
    }

    /// For a pod of its own with no credit, over channels that have been paid once.
    function settleData(uint256 count) private returns (bytes memory) {
        podId = registerPod(vm.toString(count));
        bytes memory first = new bytes(ROW * count);
        bytes memory second = new bytes(ROW * count);
        for (uint256 i; i < count; ++i) {
            string memory label = labelOf("settle", count, i);
            fundAndLock(label, 10 * UNIT);
            put(first, i, settleRow(label, UNIT, 345_678, 0));
            put(second, i, settleRow(label, 2 * UNIT, 1_234_567, 0));
        }
        settleOne(first);
        escrow.collect(podId);
        return
            abi.encodeCall(
                escrow.settle, (podId, second, batchSignature("identity", podId, second))
            );
    }

    /// In place: joining 500 rows one by one would copy megabytes.
    function put(bytes memory rows, uint256 i, bytes memory row) private pure {
        assembly ("memory-safe") {
            mcopy(add(add(rows, 0x20), mul(i, mload(row))), add(row, 0x20), mload(row))
        }
    }

    function record(string memory name, address sender, bytes memory data)
        private
        returns (uint256 billed)
    {
        billed = send(sender, data);
        vm.snapshotValue("gas", name, billed);
    }

    /// Sends the call as a transaction: what it is billed.
    function send(address sender, bytes memory data) private returns (uint256 billed) {
        vm.prank(sender);
        (bool good,) = address(escrow).call(data);
        billed = vm.lastCallGas().gasTotalUsed;
        vm.assertTrue(good, "reverted");
        vm.assertGe(billed, 21_000 + 4 * data.length, "the whole transaction is counted");
    }

    function labelOf(string memory name, uint256 count, uint256 i)
        private
        pure
        returns (string memory)
    {
        return string.concat(name, vm.toString(count), "/", vm.toString(i));
    }
}
