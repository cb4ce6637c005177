// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Eip712} from "../src/Eip712.sol";
import {Channel, CompactSignature, IEscrow} from "../src/interfaces/IEscrow.sol";
import {Fixture} from "./Fixture.sol";
import {bound, vm} from "./Vm.sol";

/// Checklist steps 8 (collect) and 9: exit, close.
contract EscrowExitTest is Fixture {
    address private immutable STRANGER = addressOf("stranger");

    function setUp() public {
        deploy();
        fundAndLock("user", 5 * UNIT);
    }

    function test_exit_givesBackEverythingUnclaimed() public {
        settleOne(settleRow("user", 2 * UNIT, UNIT, 0));
        vm.expectEmit(address(escrow));
        emit IEscrow.ExitStarted(USER, podId, 0, START + 48 hours);
        vm.prank(OWNER);
        escrow.startExit(USER, podId);
        vm.warp(START + 48 hours);
        vm.expectEmit(address(escrow));
        emit IEscrow.ExitFinished(USER, podId, 1, 4 * UNIT);
        escrow.finishExit(USER, podId);
        assertChannel(UNIT, UNIT, 0, 1);
        vm.assertEq(escrow.account(USER).free, 4 * UNIT, "free");
    }

    function test_exit_killsTheSignaturesOfItsEpoch() public {
        bytes memory voucher = settleRow("user", 2 * UNIT, 2 * UNIT, 0);
        finishExit();
        vm.assertEq(settleOne(voucher), 0, "old voucher");
        vm.assertEq(lockOne(lockRow("user", 5 * UNIT, 0)), 0, "old allocation");
        lockOne(lockRow("user", 3 * UNIT, 1));
        vm.assertEq(settleOne(voucher), 0, "old voucher in the new epoch");
        vm.assertEq(settleOne(settleRow("user", UNIT, UNIT, 1)), UNIT, "new voucher");
    }

    function test_exit_amountsAreCumulativeAcrossEpochs() public {
        settleOne(settleRow("user", 2 * UNIT, 2 * UNIT, 0));
        finishExit();
        assertChannel(2 * UNIT, 2 * UNIT, 0, 1);
        vm.assertEq(lockOne(lockRow("user", 5 * UNIT, 1)), 3 * UNIT, "difference");
        vm.assertEq(settleOne(settleRow("user", 3 * UNIT, 3 * UNIT, 1)), UNIT, "above 2");
    }

    function test_startExit_isTheOwnersAlone() public {
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NotOwner.selector, USER, OWNER, STRANGER));
        vm.prank(STRANGER);
        escrow.startExit(USER, podId);
    }

    function test_startExit_cannotBeRestarted() public {
        startExit();
        vm.warp(START + 1 hours);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.ExitRunning.selector, START + 48 hours));
        vm.prank(OWNER);
        escrow.startExit(USER, podId);
    }

    function test_startExitFor_withTheUsersSignature() public {
        CompactSignature memory signature = exitSignature("user", 0);
        vm.expectEmit(address(escrow));
        emit IEscrow.ExitStarted(USER, podId, 0, START + 48 hours);
        vm.prank(STRANGER);
        escrow.startExitFor(podId, 0, signature);
        assertChannel(5 * UNIT, 0, START + 48 hours, 0);
    }

    function test_startExitFor_refusesAnotherEpoch() public {
        CompactSignature memory signature = exitSignature("user", 1);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.WrongEpoch.selector, 0, 1));
        escrow.startExitFor(podId, 1, signature);
        signature = exitSignature("user", 0);
        finishExit();
        vm.expectRevert(abi.encodeWithSelector(IEscrow.WrongEpoch.selector, 1, 0));
        escrow.startExitFor(podId, 0, signature);
    }

    function test_startExitFor_refusesSomebodyWithoutAnAccount() public {
        CompactSignature memory signature = exitSignature("stranger", 0);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NotOpen.selector, STRANGER));
        escrow.startExitFor(podId, 0, signature);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NotOpen.selector, address(0)));
        escrow.startExitFor(podId, 0, CompactSignature(0, bytes32(uint256(1))));
    }

    function test_finishExit_waitsForTheWindow() public {
        startExit();
        vm.warp(START + 48 hours - 1);
        vm.expectRevert(
            abi.encodeWithSelector(
                IEscrow.ExitTooEarly.selector, START + 48 hours, START + 48 hours - 1
            )
        );
        escrow.finishExit(USER, podId);
    }

    function test_finishExit_needsAnExitAndHappensOnce() public {
        bytes memory expected = abi.encodeWithSelector(IEscrow.NoExit.selector, USER, podId);
        vm.expectRevert(expected);
        escrow.finishExit(USER, podId);
        finishExit();
        vm.expectRevert(expected);
        escrow.finishExit(USER, podId);
    }

    function test_finishExit_refusesToOverflowTheFreePartUntilSomeIsWithdrawn() public {
        fund("user", type(uint96).max);
        startExit();
        vm.warp(START + 48 hours);
        vm.expectRevert(
            abi.encodeWithSelector(
                IEscrow.FreeTooLarge.selector, USER, uint256(type(uint96).max), 5 * UNIT
            )
        );
        escrow.finishExit(USER, podId);
        vm.prank(OWNER);
        escrow.withdraw(USER, 5 * UNIT);
        escrow.finishExit(USER, podId);
        vm.assertEq(escrow.account(USER).free, type(uint96).max, "free");
    }

    /// Epochs do not wrap, or signatures of the first would count again: the last one has no end.
    function test_finishExit_refusesToEndTheLastEpoch() public {
        uint24 last = type(uint24).max;
        bytes32 slot = keccak256(abi.encode(USER, keccak256(abi.encode(podId, uint256(1)))));
        vm.store(address(escrow), slot, bytes32(uint256(5 * UNIT) | (uint256(last) << 232)));
        assertChannel(5 * UNIT, 0, 0, last);
        startExit();
        vm.warp(START + 48 hours);
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", uint256(0x11)));
        escrow.finishExit(USER, podId);
        assertChannel(5 * UNIT, 0, START + 48 hours, last);
        vm.assertEq(settleOne(settleRow("user", 2 * UNIT, UNIT, last)), UNIT, "still settles");
    }

    function test_close_paysAndFreesAtOnce() public {
        settleOne(settleRow("user", 2 * UNIT, UNIT, 0));
        CompactSignature memory signature = closeSignature("identity", USER, 0, 3 * UNIT);
        vm.expectEmit(address(escrow));
        emit IEscrow.Closed(USER, podId, 1, 2 * UNIT, 2 * UNIT);
        vm.prank(OWNER);
        escrow.close(USER, podId, 3 * UNIT, signature);
        assertChannel(3 * UNIT, 3 * UNIT, 0, 1);
        vm.assertEq(escrow.account(USER).free, 2 * UNIT, "free");
        vm.assertEq(escrow.credit(podId), 3 * UNIT, "credit");
    }

    function test_close_paysAtMostWhatIsLocked() public {
        CompactSignature memory signature = closeSignature("identity", USER, 0, 9 * UNIT);
        vm.prank(OWNER);
        escrow.close(USER, podId, 9 * UNIT, signature);
        vm.assertEq(escrow.credit(podId), 5 * UNIT, "credit");
        assertChannel(5 * UNIT, 5 * UNIT, 0, 1);
    }

    function test_close_neverTakesBackWhatWasClaimed() public {
        settleOne(settleRow("user", 2 * UNIT, 2 * UNIT, 0));
        CompactSignature memory signature = closeSignature("identity", USER, 0, UNIT);
        vm.prank(OWNER);
        escrow.close(USER, podId, UNIT, signature);
        assertChannel(2 * UNIT, 2 * UNIT, 0, 1);
        vm.assertEq(escrow.credit(podId), 2 * UNIT, "credit");
        vm.assertEq(escrow.account(USER).free, 3 * UNIT, "free");
    }

    function test_close_endsARunningExit() public {
        startExit();
        CompactSignature memory signature = closeSignature("identity", USER, 0, 0);
        vm.prank(OWNER);
        escrow.close(USER, podId, 0, signature);
        assertChannel(0, 0, 0, 1);
        vm.warp(START + 48 hours);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NoExit.selector, USER, podId));
        escrow.finishExit(USER, podId);
    }

    function test_close_cannotBeReplayed() public {
        CompactSignature memory signature = closeSignature("identity", USER, 0, UNIT);
        vm.prank(OWNER);
        escrow.close(USER, podId, UNIT, signature);
        lockOne(lockRow("user", 4 * UNIT, 1));
        bytes32 structHash =
            keccak256(abi.encode(Eip712.CLOSE_TYPE, channelOf(USER), uint24(1), UNIT));
        bytes32 digest = Eip712.digest(escrow.DOMAIN_SEPARATOR(), structHash);
        address signer = Eip712.recover(digest, signature.r, signature.vs);
        vm.assertTrue(signer != IDENTITY, "the epoch is signed");
        refuseClose(signature, signer, 0);
    }

    function test_close_isTheOwnersAlone() public {
        CompactSignature memory signature = closeSignature("identity", USER, 0, UNIT);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NotOwner.selector, USER, OWNER, STRANGER));
        vm.prank(STRANGER);
        escrow.close(USER, podId, UNIT, signature);
    }

    function test_close_needsAnAcceptedIdentity() public {
        CompactSignature memory signature = closeSignature("stranger", USER, 0, UNIT);
        refuseClose(signature, STRANGER, 0);
        signature = closeSignature("identity", USER, 0, UNIT);
        vm.warp(START + 8 days + 1);
        refuseClose(signature, IDENTITY, START + 8 days);
        refuseClose(CompactSignature(0, bytes32(uint256(1))), address(0), 0);
    }

    function test_closeFor_withBothSignatures() public {
        CompactSignature memory identity = closeSignature("identity", USER, 0, 2 * UNIT);
        CompactSignature memory user = closeSignature("user", USER, 0, 2 * UNIT);
        vm.expectEmit(address(escrow));
        emit IEscrow.Closed(USER, podId, 1, 2 * UNIT, 3 * UNIT);
        vm.prank(STRANGER);
        escrow.closeFor(USER, podId, 0, 2 * UNIT, identity, user);
        assertChannel(2 * UNIT, 2 * UNIT, 0, 1);
    }

    function test_closeFor_refusesEachBadPart() public {
        CompactSignature memory identity = closeSignature("identity", USER, 0, UNIT);
        CompactSignature memory user = closeSignature("user", USER, 0, UNIT);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NotOpen.selector, STRANGER));
        escrow.closeFor(STRANGER, podId, 0, UNIT, identity, user);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.WrongEpoch.selector, 0, 1));
        escrow.closeFor(USER, podId, 1, UNIT, identity, user);
        vm.expectRevert(abi.encodeWithSelector(IEscrow.WrongSigner.selector, USER, IDENTITY));
        escrow.closeFor(USER, podId, 0, UNIT, identity, identity);
        vm.expectRevert(
            abi.encodeWithSelector(IEscrow.IdentityNotAccepted.selector, podId, USER, 0)
        );
        escrow.closeFor(USER, podId, 0, UNIT, user, user);
    }

    function test_collect_paysThePayoutAddress() public {
        settleOne(settleRow("user", 2 * UNIT, 2 * UNIT, 0));
        vm.expectEmit(address(escrow));
        emit IEscrow.Collected(podId, PAYOUT, 2 * UNIT);
        vm.prank(STRANGER);
        escrow.collect(podId);
        vm.assertEq(token.balanceOf(PAYOUT), 2 * UNIT, "payout");
        vm.assertEq(escrow.credit(podId), 0, "credit");
        vm.expectRevert(abi.encodeWithSelector(IEscrow.NothingToCollect.selector, podId));
        escrow.collect(podId);
    }

    function test_collect_followsThePayoutAddress() public {
        settleOne(settleRow("user", 2 * UNIT, 2 * UNIT, 0));
        vm.prank(OPERATOR);
        registry.updatePayout(podId, STRANGER);
        escrow.collect(podId);
        vm.assertEq(token.balanceOf(STRANGER), 2 * UNIT, "payout");
    }

    function testFuzz_exit_splitsExactly(uint96 total, uint96 claimed) public {
        total = uint96(bound(total, 1, type(uint96).max - 5 * UNIT));
        claimed = uint96(bound(claimed, 0, total));
        address user = fundAndLock("another", total);
        settleOne(settleRow("another", claimed, claimed, 0));
        vm.prank(OWNER);
        escrow.startExit(user, podId);
        vm.warp(START + 48 hours);
        escrow.finishExit(user, podId);
        vm.assertEq(escrow.account(user).free, total - claimed, "free");
        vm.assertEq(escrow.credit(podId), claimed, "credit");
    }

    function testFuzz_close_splitsExactly(uint96 settled, uint96 cumulative) public {
        settled = uint96(bound(settled, 0, 5 * UNIT));
        settleOne(settleRow("user", settled, settled, 0));
        CompactSignature memory signature = closeSignature("identity", USER, 0, cumulative);
        vm.prank(OWNER);
        escrow.close(USER, podId, cumulative, signature);
        uint256 credit = cumulative > 5 * UNIT ? 5 * UNIT : cumulative;
        if (credit < settled) credit = settled;
        vm.assertEq(escrow.credit(podId), credit, "credit");
        vm.assertEq(escrow.account(USER).free, 5 * UNIT - credit, "free");
    }

    function startExit() private {
        vm.prank(OWNER);
        escrow.startExit(USER, podId);
    }

    function finishExit() private {
        startExit();
        vm.warp(block.timestamp + 48 hours);
        escrow.finishExit(USER, podId);
    }

    function refuseClose(CompactSignature memory signature, address identity, uint256 goodUntil)
        private
    {
        vm.expectRevert(
            abi.encodeWithSelector(IEscrow.IdentityNotAccepted.selector, podId, identity, goodUntil)
        );
        vm.prank(OWNER);
        escrow.close(USER, podId, UNIT, signature);
    }

    function assertChannel(uint256 locked, uint256 claimed, uint256 exitAt, uint256 epoch)
        private
        view
    {
        Channel memory channel = escrow.channel(USER, podId);
        vm.assertEq(channel.locked, locked, "locked");
        vm.assertEq(channel.claimed, claimed, "claimed");
        vm.assertEq(channel.exitAt, exitAt, "exitAt");
        vm.assertEq(channel.epoch, epoch, "epoch");
    }
}
