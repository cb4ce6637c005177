// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {CompactSignature, LockRow, ReceiptRow} from "../src/interfaces/IEscrow.sol";
import {Fixture} from "./Fixture.sol";
import {bound, vm} from "./Vm.sol";

/// Batches as sets: neither their order nor sending them again matters, and what is wrong with one
/// row changes no other.
contract EscrowBatchesTest is Fixture {
    uint256 private constant USERS = 4;
    uint256 private constant ROWS = 6;
    uint256 private constant STEPS = 12;

    /// Calls to the escrow, each with one or more rows.
    bytes[] private calls;

    function setUp() public {
        deploy();
        for (uint256 i; i < USERS; ++i) {
            fund(label(i), 10 * UNIT);
        }
    }

    /// Locks and claims in any order, with any of them sent twice: once all of them have been sent
    /// after the last lock, nothing that was sent before makes a difference.
    function testFuzz_batches_inAnyOrderAndAgainEndInTheSameState(uint256 seed) public {
        makeCalls(seed);
        uint256 fresh = vm.snapshotState();
        for (uint256 i; i < STEPS; ++i) {
            send(calls[i]);
        }
        bytes32 inOrder = state();
        vm.revertToState(fresh);
        for (uint256 i; i < STEPS; ++i) {
            send(calls[random(seed, i) % STEPS]);
        }
        for (uint256 i; i < STEPS; ++i) {
            send(calls[i]);
        }
        vm.assertEq(state(), inOrder, "after disorder and replays");
        sendShuffled(seed);
        vm.assertEq(state(), inOrder, "after one more round in any order");
    }

    /// Of a permutation of claims, with the locks made, the end is the same.
    function testFuzz_settlements_inAnyOrderEndInTheSameState(uint256 seed) public {
        lockAll();
        for (uint256 i; i < STEPS; ++i) {
            uint256 one = random(seed, i);
            calls.push(i % 2 == 0 ? settleCall(one) : receiptCall(one));
        }
        uint256 fresh = vm.snapshotState();
        for (uint256 i; i < STEPS; ++i) {
            send(calls[i]);
        }
        bytes32 inOrder = state();
        vm.revertToState(fresh);
        sendShuffled(seed);
        vm.assertEq(state(), inOrder, "another order");
    }

    /// Of a permutation of the rows of one lock, the end is the same.
    function testFuzz_locks_inAnyOrderEndInTheSameState(uint256 seed) public {
        LockRow[] memory rows = new LockRow[](ROWS);
        for (uint256 i; i < ROWS; ++i) {
            rows[i] = lockRow(label(random(seed, i) % USERS), amount(seed, i), 0);
        }
        uint256 fresh = vm.snapshotState();
        escrow.lock(podId, rows);
        bytes32 inOrder = state();
        vm.revertToState(fresh);
        for (uint256 i = ROWS; i > 1; --i) {
            uint256 j = random(seed, 100 + i) % i;
            (rows[i - 1], rows[j]) = (rows[j], rows[i - 1]);
        }
        escrow.lock(podId, rows);
        vm.assertEq(state(), inOrder, "another order");
    }

    /// One batch of all rows, or each row by itself.
    function testFuzz_settle_rowsAreIndependentOfTheirBatch(uint256 seed) public {
        lockAll();
        bytes[] memory rows = new bytes[](ROWS);
        bytes memory all;
        for (uint256 i; i < ROWS; ++i) {
            rows[i] = randomRow(seed, i);
            all = bytes.concat(all, rows[i]);
        }
        uint256 fresh = vm.snapshotState();
        settleOne(all);
        bytes32 together = state();
        vm.revertToState(fresh);
        for (uint256 i; i < ROWS; ++i) {
            settleOne(rows[i]);
        }
        vm.assertEq(state(), together, "one by one");
    }

    /// A row of any kind of wrongness, anywhere: the others are paid as without it, and it alone is
    /// marked.
    function testFuzz_settle_aBadRowChangesNoOther(uint256 seed, uint256 place, uint256 kind)
        public
    {
        lockAll();
        place = place % (USERS + 1);
        bytes memory good;
        bytes memory mixed;
        for (uint256 i; i <= USERS; ++i) {
            if (i == place) mixed = bytes.concat(mixed, badRow(kind % 7));
            if (i == USERS) break;
            uint96 claim = uint96(bound(random(seed, i), 1, 5 * UNIT));
            bytes memory row = settleRow(label(i), claim, claim, 0);
            good = bytes.concat(good, row);
            mixed = bytes.concat(mixed, row);
        }
        uint256 fresh = vm.snapshotState();
        uint256 expected = settleOne(good);
        bytes32 without = state();
        vm.revertToState(fresh);
        (uint256 paid, bytes memory skipped) =
            escrow.settle(podId, mixed, batchSignature("identity", podId, mixed));
        vm.assertEq(paid, expected, "paid");
        vm.assertEq(state(), without, "state");
        vm.assertEq(skipped, abi.encodePacked(uint8(1 << place)), "only the bad row");
    }

    function testFuzz_lock_aBadRowChangesNoOther(uint256 seed, uint256 place, uint256 kind) public {
        place = place % (USERS + 1);
        LockRow[] memory good = new LockRow[](USERS);
        LockRow[] memory mixed = new LockRow[](USERS + 1);
        mixed[place] = badLock(kind % 6);
        for (uint256 i; i < USERS; ++i) {
            good[i] = lockRow(label(i), uint96(bound(random(seed, i), 1, 10 * UNIT)), 0);
            mixed[i < place ? i : i + 1] = good[i];
        }
        uint256 fresh = vm.snapshotState();
        (uint256 expected,) = escrow.lock(podId, good);
        bytes32 without = state();
        vm.revertToState(fresh);
        (uint256 moved, bytes memory skipped) = escrow.lock(podId, mixed);
        vm.assertEq(moved, expected, "moved");
        vm.assertEq(state(), without, "state");
        vm.assertEq(skipped, abi.encodePacked(uint8(1 << place)), "only the bad row");
    }

    function testFuzz_settleReceipts_aBadRowChangesNoOther(
        uint256 seed,
        uint256 place,
        uint256 kind
    ) public {
        lockAll();
        place = place % (USERS + 1);
        ReceiptRow[] memory good = new ReceiptRow[](USERS);
        ReceiptRow[] memory mixed = new ReceiptRow[](USERS + 1);
        mixed[place] = badReceipt(kind % 7);
        for (uint256 i; i < USERS; ++i) {
            uint96 claim = uint96(bound(random(seed, i), 1, 5 * UNIT));
            good[i] = receiptRow(label(i), "identity", claim, claim, 0);
            mixed[i < place ? i : i + 1] = good[i];
        }
        uint256 fresh = vm.snapshotState();
        (uint256 expected,) = escrow.settleReceipts(podId, good);
        bytes32 without = state();
        vm.revertToState(fresh);
        (uint256 paid, bytes memory skipped) = escrow.settleReceipts(podId, mixed);
        vm.assertEq(paid, expected, "paid");
        vm.assertEq(state(), without, "state");
        vm.assertEq(skipped, abi.encodePacked(uint8(1 << place)), "only the bad row");
    }

    /// A signature that recovers to nobody is not taken for that of the row before, whose user is
    /// still in memory.
    function test_batches_aMalformedRowIsNotTheRowBefores() public {
        CompactSignature memory bad = CompactSignature(0, bytes32(uint256(1)));
        LockRow[] memory locks = new LockRow[](2);
        locks[0] = lockRow(label(0), 8 * UNIT, 0);
        locks[1] = lockRow(label(0), 9 * UNIT, 0);
        locks[1].signature = bad;
        (uint256 moved, bytes memory skipped) = escrow.lock(podId, locks);
        vm.assertEq(moved, 8 * UNIT, "locked");
        vm.assertEq(skipped, hex"02", "the second lock");

        bytes memory rows = bytes.concat(
            settleRow(label(0), UNIT, UNIT, 0),
            abi.encodePacked(5 * UNIT, 5 * UNIT, uint24(0), bad.r, bad.vs)
        );
        uint256 paid;
        (paid, skipped) = escrow.settle(podId, rows, batchSignature("identity", podId, rows));
        vm.assertEq(paid, UNIT, "settled");
        vm.assertEq(skipped, hex"02", "the second row");

        ReceiptRow[] memory receipts = new ReceiptRow[](2);
        receipts[0] = receiptRow(label(0), "identity", 2 * UNIT, 2 * UNIT, 0);
        receipts[1] = receiptRow(label(0), "identity", 5 * UNIT, 5 * UNIT, 0);
        receipts[1].voucher = bad;
        (paid, skipped) = escrow.settleReceipts(podId, receipts);
        vm.assertEq(paid, UNIT, "settled by receipt");
        vm.assertEq(skipped, hex"02", "the second receipt");
    }

    /// Locks that fit into what each user has, and claims; by their last round every claim is met.
    function makeCalls(uint256 seed) private {
        for (uint256 i; i < STEPS / 3; ++i) {
            LockRow[] memory rows = new LockRow[](2);
            rows[0] = lockRow(label(random(seed, i) % USERS), amount(seed, i), 0);
            rows[1] = lockRow(label(random(seed, i + 50) % USERS), amount(seed, i + 50), 0);
            calls.push(abi.encodeCall(escrow.lock, (podId, rows)));
        }
        for (uint256 i; i < STEPS / 3; ++i) {
            calls.push(settleCall(random(seed, i)));
            calls.push(receiptCall(random(seed, i + 70)));
        }
    }

    function settleCall(uint256 seed) private view returns (bytes memory) {
        bytes memory rows = bytes.concat(randomRow(seed, 0), randomRow(seed, 1));
        return abi.encodeCall(escrow.settle, (podId, rows, batchSignature("identity", podId, rows)));
    }

    function receiptCall(uint256 seed) private view returns (bytes memory) {
        ReceiptRow[] memory rows = new ReceiptRow[](1);
        string memory user = label(random(seed, 2) % USERS);
        rows[0] = receiptRow(user, "identity", amount(seed, 3), amount(seed, 4), 0);
        return abi.encodeCall(escrow.settleReceipts, (podId, rows));
    }

    function randomRow(uint256 seed, uint256 i) private view returns (bytes memory) {
        string memory user = label(random(seed, i + 10) % USERS);
        return settleRow(user, amount(seed, i + 20), amount(seed, i + 30), 0);
    }

    /// Nothing locked, another epoch, no signature, a high s, nothing claimed, nothing capped,
    /// somebody else's voucher.
    function badRow(uint256 kind) private view returns (bytes memory) {
        bytes32 one = bytes32(uint256(1));
        bytes32 highS = bytes32(type(uint256).max >> 1);
        if (kind == 0) return settleRow("stranger", UNIT, UNIT, 0);
        if (kind == 1) return settleRow(label(0), 9 * UNIT, 9 * UNIT, 1);
        if (kind == 2) return abi.encodePacked(UNIT, UNIT, uint24(0), bytes32(0), one);
        if (kind == 3) return abi.encodePacked(UNIT, UNIT, uint24(0), one, highS);
        if (kind == 4) return settleRow(label(0), 9 * UNIT, 0, 0);
        if (kind == 5) return settleRow(label(0), "another", 9 * UNIT, 9 * UNIT, 0);
        return settleRow(label(0), 0, 9 * UNIT, 0);
    }

    function badLock(uint256 kind) private view returns (LockRow memory row) {
        if (kind == 0) return lockRow("stranger", UNIT, 0);
        if (kind == 1) return lockRow(label(0), UNIT, 1);
        row = lockRow(label(0), kind == 2 ? 10 * UNIT + 1 : kind == 3 ? 0 : UNIT, 0);
        if (kind == 4) row.deadline = uint40(block.timestamp - 1);
        if (kind == 5) row.signature = CompactSignature(0, bytes32(uint256(1)));
    }

    function badReceipt(uint256 kind) private view returns (ReceiptRow memory row) {
        if (kind == 0) return receiptRow("stranger", "identity", UNIT, UNIT, 0);
        if (kind == 1) return receiptRow(label(0), "identity", 9 * UNIT, 9 * UNIT, 1);
        if (kind == 2) return receiptRow(label(0), "stranger", 9 * UNIT, 9 * UNIT, 0);
        row = receiptRow(label(0), "identity", 9 * UNIT, kind == 3 ? 0 : 9 * UNIT, 0);
        if (kind == 4) row.voucher = CompactSignature(0, bytes32(uint256(1)));
        if (kind == 5) row.settlement = CompactSignature(0, bytes32(uint256(1)));
        if (kind == 6) row.identity = addressOf("another");
    }

    function lockAll() private {
        for (uint256 i; i < USERS; ++i) {
            lockOne(lockRow(label(i), 8 * UNIT, 0));
        }
    }

    function send(bytes memory data) private {
        (bool good,) = address(escrow).call(data);
        vm.assertTrue(good, "a batch reverted");
    }

    function sendShuffled(uint256 seed) private {
        uint256[STEPS] memory order;
        for (uint256 i; i < STEPS; ++i) {
            uint256 j = random(seed, 200 + i) % (i + 1);
            order[i] = order[j];
            order[j] = i;
        }
        for (uint256 i; i < STEPS; ++i) {
            send(calls[order[i]]);
        }
    }

    /// All accounts, channels and the credit.
    function state() private view returns (bytes32 hash) {
        hash = bytes32(escrow.credit(podId));
        for (uint256 i; i < USERS; ++i) {
            address user = addressOf(label(i));
            hash = keccak256(abi.encode(hash, escrow.account(user), escrow.channel(user, podId)));
        }
    }

    /// Up to somewhat more than a user has.
    function amount(uint256 seed, uint256 i) private pure returns (uint96) {
        return uint96(random(seed, 300 + i) % (12 * UNIT));
    }

    function random(uint256 seed, uint256 i) private pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed, i)));
    }

    function label(uint256 user) private pure returns (string memory) {
        return string.concat("user", vm.toString(user));
    }
}
