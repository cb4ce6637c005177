// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Eip712} from "../src/Eip712.sol";
import {Escrow} from "../src/Escrow.sol";
import {Channel, CompactSignature, IEscrow, LockRow} from "../src/interfaces/IEscrow.sol";
import {PodId} from "../src/interfaces/IPodRegistry.sol";
import {Fixture} from "./Fixture.sol";
import {bound, vm} from "./Vm.sol";

/// Checklist step 2: allocations.
contract EscrowLockTest is Fixture {
    function setUp() public {
        deploy();
        fund("user", 10 * UNIT);
    }

    function test_lock_movesTheDifferenceToTheChannel() public {
        LockRow[] memory rows = single(lockRow("user", 3 * UNIT, 0));
        vm.expectEmit(address(escrow));
        emit IEscrow.Locked(podId, 3 * UNIT, 1, hex"00");
        (uint256 moved, bytes memory skipped) = escrow.lock(podId, rows);
        vm.assertEq(moved, 3 * UNIT, "moved");
        vm.assertEq(skipped, hex"00", "skipped");
        assertState(3 * UNIT, 7 * UNIT);
        vm.assertEq(lockOne(lockRow("user", 5 * UNIT, 0)), 2 * UNIT, "only the difference");
        assertState(5 * UNIT, 5 * UNIT);
    }

    function test_lock_takesAllThatIsFree() public {
        vm.assertEq(lockOne(lockRow("user", 10 * UNIT, 0)), 10 * UNIT, "moved");
        assertState(10 * UNIT, 0);
    }

    function test_lock_twiceMovesNothing() public {
        LockRow memory row = lockRow("user", 3 * UNIT, 0);
        lockOne(row);
        assertSkipped(row);
        assertState(3 * UNIT, 7 * UNIT);
    }

    function test_lock_skipsALowerTotal() public {
        lockOne(lockRow("user", 3 * UNIT, 0));
        assertSkipped(lockRow("user", 3 * UNIT - 1, 0));
    }

    function test_lock_skipsMoreThanIsFree() public {
        assertSkipped(lockRow("user", 10 * UNIT + 1, 0));
    }

    function test_lock_skipsAnotherEpoch() public {
        assertSkipped(lockRow("user", UNIT, 1));
        nextEpoch();
        assertSkipped(lockRow("user", UNIT, 0));
        vm.assertEq(lockOne(lockRow("user", UNIT, 1)), UNIT, "current epoch");
    }

    function test_lock_worksUpToTheDeadline() public {
        LockRow memory row = lockRow("user", UNIT, 0);
        vm.warp(row.deadline + 1);
        assertSkipped(row);
        vm.warp(row.deadline);
        vm.assertEq(lockOne(row), UNIT, "in the last second");
    }

    function test_lock_skipsWhileAnExitRuns() public {
        vm.prank(OWNER);
        escrow.startExit(USER, podId);
        assertSkipped(lockRow("user", UNIT, 0));
    }

    function test_lock_skipsAnotherPodsAllocation() public {
        LockRow memory row = lockRow("user", UNIT, 0);
        podId = registerPod("another");
        assertSkipped(row);
    }

    function test_lock_skipsAnotherChainsOrEscrowsAllocation() public {
        LockRow memory row = lockRow("user", UNIT, 0);
        vm.chainId(4242);
        assertSkipped(row);
        escrow = new Escrow(address(token), registry);
        fund("user", 10 * UNIT);
        row = lockRow("user", UNIT, 0);
        vm.chainId(4243);
        assertSkipped(row);
    }

    function test_lock_skipsAChangedMember() public {
        for (uint256 i; i < 6; ++i) {
            LockRow memory row = lockRow("user", UNIT, 0);
            if (i == 0) row.total += 1;
            if (i == 1) row.termsHash ^= bytes32(uint256(1));
            if (i == 2) row.epoch += 1;
            if (i == 3) row.deadline += 1;
            if (i == 4) row.signature.r ^= bytes32(uint256(1));
            if (i == 5) row.signature.vs ^= bytes32(uint256(1));
            assertSkipped(row);
        }
    }

    function test_lock_skipsMalformedSignatures() public {
        LockRow memory row = lockRow("user", UNIT, 0);
        row.signature = CompactSignature(0, bytes32(uint256(1)));
        assertSkipped(row);
        row.signature = CompactSignature(bytes32(uint256(1)), bytes32(type(uint256).max >> 1));
        assertSkipped(row);
    }

    /// Even if zero had money, a signature that recovers to nobody would not lock it.
    function test_lock_neverTakesZeroForAUser() public {
        bytes32 slot = keccak256(abi.encode(address(0), uint256(0)));
        vm.store(address(escrow), slot, bytes32(uint256(10 * UNIT) << 160));
        vm.assertEq(escrow.account(address(0)).free, 10 * UNIT, "the slot of the account");
        LockRow memory row = lockRow("user", UNIT, 0);
        row.signature = CompactSignature(0, bytes32(uint256(1)));
        assertSkipped(row);
        vm.assertEq(escrow.account(address(0)).free, 10 * UNIT, "untouched");
    }

    /// 2^96 is one more than what is locked, and that one is free; it must not carry into
    /// `claimed`.
    function test_lock_skipsATotalAbove96Bits() public {
        fund("user", type(uint96).max - 10 * UNIT);
        lockOne(lockRow("user", type(uint96).max, 0));
        fund("user", UNIT);
        uint256 total = 1 << 96;
        bytes32 terms = keccak256("terms");
        bytes32 structHash =
            keccak256(abi.encode(Eip712.ALLOCATION_TYPE, podId, total, terms, 0, START + 1));
        bytes memory data = abi.encodePacked(
            escrow.lock.selector,
            abi.encode(podId, 64, 1, total, terms, 0, START + 1, sign("user", structHash))
        );
        (bool good, bytes memory result) = address(escrow).call(data);
        vm.assertTrue(good, "the batch goes on");
        (uint256 moved, bytes memory skipped) = abi.decode(result, (uint256, bytes));
        vm.assertEq(moved, 0, "moved");
        vm.assertEq(skipped, hex"01", "skipped");
        assertState(type(uint96).max, UNIT);
    }

    function test_lock_refusesNoRows() public {
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NoRows.selector));
        escrow.lock(podId, new LockRow[](0));
    }

    function test_lock_ofABadRowChangesNoOther() public {
        LockRow[] memory rows = new LockRow[](10);
        for (uint256 i; i < 10; ++i) {
            string memory label = string.concat("user", vm.toString(i));
            fund(label, UNIT);
            rows[i] = lockRow(label, i == 0 || i == 2 || i == 9 ? UNIT + 1 : UNIT, 0);
        }
        (uint256 moved, bytes memory skipped) = escrow.lock(podId, rows);
        vm.assertEq(moved, 7 * UNIT, "moved");
        vm.assertEq(skipped, hex"0502", "bits 0, 2 and 9");
    }

    function testFuzz_lock_movesExactlyTheDifference(uint96 first, uint96 second) public {
        uint256 locked = first > 10 * UNIT ? 0 : first;
        vm.assertEq(lockOne(lockRow("user", first, 0)), locked, "first");
        uint256 more = second > 10 * UNIT || second <= locked ? 0 : second - locked;
        vm.assertEq(lockOne(lockRow("user", second, 0)), more, "second");
        assertState(locked + more, 10 * UNIT - locked - more);
    }

    function testFuzz_lock_ignoresTheTerms(bytes32 terms, uint40 deadline) public {
        deadline = uint40(bound(deadline, START, type(uint40).max));
        LockRow memory row;
        (row.total, row.termsHash, row.deadline) = (UNIT, terms, deadline);
        row.signature = sign(
            "user",
            keccak256(abi.encode(Eip712.ALLOCATION_TYPE, podId, UNIT, terms, uint24(0), deadline))
        );
        vm.assertEq(lockOne(row), UNIT, "moved");
    }

    function single(LockRow memory row) private pure returns (LockRow[] memory rows) {
        rows = new LockRow[](1);
        rows[0] = row;
    }

    function nextEpoch() private {
        vm.prank(OWNER);
        escrow.startExit(USER, podId);
        vm.warp(block.timestamp + 48 hours);
        escrow.finishExit(USER, podId);
    }

    function assertSkipped(LockRow memory row) private {
        bytes32 before = keccak256(abi.encode(escrow.account(USER), escrow.channel(USER, podId)));
        (uint256 moved, bytes memory skipped) = escrow.lock(podId, single(row));
        vm.assertEq(moved, 0, "moved");
        vm.assertEq(skipped, hex"01", "skipped");
        bytes32 later = keccak256(abi.encode(escrow.account(USER), escrow.channel(USER, podId)));
        vm.assertEq(before, later, "state");
    }

    function assertState(uint256 locked, uint256 free) private view {
        Channel memory channel = escrow.channel(USER, podId);
        vm.assertEq(channel.locked, locked, "locked");
        vm.assertEq(channel.claimed, 0, "claimed");
        vm.assertEq(escrow.account(USER).free, free, "free");
        vm.assertEq(escrow.account(USER).owner, OWNER, "owner");
    }
}
